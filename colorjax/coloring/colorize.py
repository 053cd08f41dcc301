"""Colorizes photographs of any size: one path for the command, the Python API and the page.

The network sees a small copy and says what chroma belongs where; the photograph keeps its own
lightness, pixel by pixel. Both halves are compiled programs whose shapes come from short lists, so
that a folder of a thousand sizes compiles a handful of times.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from colorjax.coloring import borders, functions, hints, memory
from colorjax.coloring.functions import Scores
from colorjax.coloring.settings import Settings, check_settings
from colorjax.errors import UserError, check_at_least
from colorjax.ops.arrays import AnyArray
from colorjax.pictures import image_io
from colorjax.settings import as_dict
from colorjax.weights import devices
from colorjax.weights.programs import Program
from colorjax.weights.released import Network

# Sides of the network's input are multiples of this, as every encoder here wants.
QUANTUM = 16
# Up to the first ratio of its sides all photos have as many pixels for the network; from there on
# longer ones have more, as their short sides would show it next to nothing; and beyond the second
# they are squeezed.
PLAIN_RATIO, MOST_RATIO = 2.0, 32.0
# Ratios of long photos come in steps, so many from one to its double: few shapes.
RATIO_STEPS = 6
# Most pixels that a photo has for the network because it is long.
LONG_PIXELS = 2**20
# Sides of the tiles in which full-size pictures are put together, and how many are under way.
TILE, IN_FLIGHT = (512, 512), 3
# Those of pictures that are but a few pixels wide, or high, and very long.
NARROW, LONG = 64, 4096


class Painter(NamedTuple):
    """What colours photographs: a network, and the compiled programs around it.

    Made by `open_painter`, once for many photographs. The programs follow one another: `score` runs
    the network on small copies, `decode` turns its scores into chroma, and `color_tile` gives that
    chroma to the full-size photo, tile by tile. Between the last two stand "fits", [b, h, w, 6]:
    chroma as a linear function of lightness at every pixel of the outputs, as
    `resample.guide_chroma` makes them.
    """

    network: Network
    size: int
    batch_size: int
    score: Program  # variables, uint8 [b, h, w, 3] -> Scores
    # As decode, of one picture, after whose Scores come uint8 [h, w, 3] and hints.Map
    hint: Program
    # Scores, temperature, rebalance, saturation, seed, method, edges -> fits [b, h, w, 6]
    decode: Program
    confidence: Program | None  # Scores -> [b, h, w] in [0, 1]; None where there are no scores
    # A pixel's outputs and own lightness, L*, rebalance -> functions.Likely; None as above
    likely: Program | None
    # Fits of one picture, tile of 8 or 16 bits, where its rows and columns lie on them -> the tile
    # in colour, of as many bits.
    color_tile: Program


class Seen(NamedTuple):
    """What the network has seen of a photo, and says of it: its colourings follow from this.

    Attributes:
      box: what of the photo was looked at.
      small: uint8 [h, w, 3], as the network had it.
      scores: of the batch that the photo was in.
      place: the photo's in that batch.
    """

    box: borders.Box
    small: np.ndarray
    scores: Scores
    place: int


def open_painter(
    network: Network, *, size: int | None = None, batch_size: int | None = None
) -> Painter:
    """Makes ready to colorize; programs are compiled when they are first wanted, and kept.

    All of it is done by the device that is jax's default while this is called.

    Args:
      network: what colours.
      size: side of the square that has as many pixels as the network's input: the size of the
        photographs that it was trained on unless given.
      batch_size: most pictures that the network sees at once; 8 on a GPU and 1 on a CPU, where
        more are no faster, unless given.

    Raises:
      UserError: size or batch_size is too small, or size too large for the memory that there is.
    """
    size = network.config.data.load_size if size is None else size
    check_at_least("size", size, QUANTUM)
    memory.check_size(size)
    device = devices.default_device()
    if batch_size is None:
        batch_size = 1 if device.platform == "cpu" else 8
    check_at_least("batch_size", batch_size, 1)
    config, statistics = network.config, network.statistics
    facts = (as_dict(config), statistics.counts.tolist(), statistics.means.tolist())
    return Painter(
        network._replace(variables=jax.device_put(network.variables, device)),
        size,
        batch_size,
        score=Program(partial(functions.score, config), device, facts=facts[0]),
        decode=Program(
            partial(functions.decode, config, statistics),
            device,
            facts=facts,
            static=("method", "edges"),
        ),
        hint=Program(
            partial(functions.hint, config, statistics),
            device,
            facts=facts,
            static=("method", "edges"),
        ),
        confidence=Program(partial(functions.confidence, config, statistics), device, facts=facts)
        if config.objective == "classification"
        else None,
        likely=Program(partial(functions.likely, config, statistics), device, facts=facts)
        if config.objective == "classification"
        else None,
        color_tile=Program(functions.color_tile, device),
    )


def colorize(
    painter: Painter,
    photos: Sequence[np.ndarray],
    settings: Sequence[Settings],
    *,
    tell: Callable[[int, Seen], None] | None = None,
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Colours photos, each in every one of `settings`.

    Photos of like proportions go through the network together. Only one result is made at a time,
    so that memory holds the photos and the results of one of them. The network does not see the
    borders of a photo (`borders.without_borders`), which become gray.

    Args:
      painter: from `open_painter`.
      photos: uint8 or uint16 [height, width, 3] sRGB each, of any size; what colour they have is
        not looked at, only their luminance.
      settings: at least one.
      tell: is told the index of a photo, and what the network has seen of it, before its results.

    Yields:
      The index of a photo and its results, [height, width, 3] each of as many bits as the photo,
      in the order of `settings`; photos come in the order in which they are done. The luminance of
      a result is the photo's, to within one step of gray at every pixel, of as many bits.

    Raises:
      UserError: a setting is wrong, a hint is outside of a photo, or a photo has no pixels.
    """
    for one in settings:
        check_settings(one, painter.network)
    groups: dict[tuple[int, int], list[int]] = {}
    boxes = [_box(photo, settings) for photo in photos]
    for i, box in enumerate(boxes):
        groups.setdefault(network_shape(*box.size, painter.size), []).append(i)
    for shape, members in groups.items():
        for start in range(0, len(members), painter.batch_size):
            chosen = members[start : start + painter.batch_size]
            small = np.stack([resized(photos[i][boxes[i].inside], shape) for i in chosen])
            scores = painter.score(painter.network.variables, _padded(small, painter.batch_size))
            # On the host, where to take one of them is no program to compile.
            plain = [
                None if one.hints else np.asarray(_decoded(painter, scores, one))
                for one in settings
            ]
            for place, i in enumerate(chosen):
                seen = Seen(boxes[i], small[place], scores, place)
                fits = (
                    hinted(painter, seen, photos[i], one) if fit is None else fit[place]
                    for fit, one in zip(plain, settings, strict=True)
                )
                if tell is not None:
                    tell(i, seen)
                yield i, [framed(painter, fit, photos[i], boxes[i]) for fit in fits]


def look_at(painter: Painter, photo: np.ndarray, box: borders.Box | None = None) -> Seen:
    """Runs the network on one photo: on the box, that within its borders unless given.

    Raises:
      UserError: the photo has no pixels.
    """
    box = borders.without_borders(check_pixels(photo)) if box is None else box
    small = resized(photo[box.inside], network_shape(*box.size, painter.size))
    return Seen(box, small, painter.score(painter.network.variables, small[None]), 0)


def coloured(painter: Painter, seen: Seen, photo: np.ndarray, settings: Settings) -> np.ndarray:
    """Colours a photo from what the network has seen of it already: as `colorize` does.

    Settings are right, and their hints within the box that was seen.
    """
    if settings.hints:
        fits = hinted(painter, seen, photo, settings)
    else:
        fits = np.asarray(_decoded(painter, seen.scores, settings))[seen.place]
    return framed(painter, fits, photo, seen.box)


def scores_of(seen: Seen) -> Scores:
    """The scores of the one photo, as of a batch of one."""
    if len(seen.scores.outputs) == 1:
        return seen.scores
    return jax.tree.map(lambda x: x[seen.place, None], seen.scores)


def _box(photo: np.ndarray, settings: Sequence[Settings]) -> borders.Box:
    """What of a photo is coloured: that within its borders, or all if a hint is on one."""
    box = borders.without_borders(check_pixels(photo))
    for one in settings:
        hints.check_inside(one.hints, photo)
    return box if all(hints.within(one.hints, box) for one in settings) else borders.whole(photo)


def check_pixels(rgb_u8: np.ndarray) -> np.ndarray:
    """The picture [height, width, 3]; raises UserError if it has no pixels."""
    height, width, _ = rgb_u8.shape
    if not height or not width:
        raise UserError(f"picture: has {width} x {height} pixels, want at least 1 x 1")
    return rgb_u8


def network_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Sides of the network's input for a photo of so many pixels: of its proportions, nearly.

    They have size^2 pixels together. Of a photo longer than 2:1 they have more, as many as leave
    its short side as it is at 2:1, up to 32:1 and LONG_PIXELS. The width follows from the height,
    so that there are no more shapes than heights, and some for long photos.
    """
    stretch = height / width
    ratio = max(stretch, 1 / stretch)
    pixels = float(size * size)
    if ratio > PLAIN_RATIO:
        steps = round(RATIO_STEPS * np.log2(min(ratio, MOST_RATIO) / PLAIN_RATIO))
        ratio = PLAIN_RATIO * 2.0 ** (steps / RATIO_STEPS)
        stretch = ratio if height > width else 1 / ratio
        pixels = max(pixels, min(pixels * ratio / PLAIN_RATIO, LONG_PIXELS))
    rows = max(1, round(pixels**0.5 * stretch**0.5 / QUANTUM))
    columns = max(1, round(pixels / (rows * QUANTUM * QUANTUM)))
    return rows * QUANTUM, columns * QUANTUM


def framed(painter: Painter, fits: AnyArray, rgb: np.ndarray, box: borders.Box) -> np.ndarray:
    """A photo whose `box` is coloured from fits [h, w, 6], and gray around: of its bits.

    The gray is that of its luminance, as if no chroma had been found.
    """
    if box == borders.whole(rgb):
        return full_size(painter, fits, rgb)
    result = np.empty_like(rgb)
    result[box.inside] = full_size(painter, fits, rgb[box.inside])
    for strip in borders.strips(rgb, box):
        result[strip] = full_size(painter, np.zeros_like(fits), rgb[strip])
    return result


def full_size(painter: Painter, fits: AnyArray, rgb: np.ndarray) -> np.ndarray:
    """Joins a photo's own luminance with chroma from fits [h, w, 6]: [height, width, 3] as it is.

    Photo and result have 8 bits, or both 16.
    """
    height, width, _ = rgb.shape
    result = np.empty_like(rgb)
    coarse_height, coarse_width, _ = fits.shape
    fits = jax.device_put(fits)  # once, and not for each tile
    under_way: list[tuple[slice, slice, jax.Array]] = []

    def settle():
        rows, columns, tile = under_way.pop(0)
        result[rows, columns] = np.asarray(tile)[
            : rows.stop - rows.start, : columns.stop - columns.start
        ]

    sides = _tile_sides(height, width)
    for top, left in product(range(0, height, sides[0]), range(0, width, sides[1])):
        rows = slice(top, min(top + sides[0], height))
        columns = slice(left, min(left + sides[1], width))
        tile = np.zeros((*sides, 3), rgb.dtype)
        part = rgb[rows, columns]
        tile[: part.shape[0], : part.shape[1]] = part
        places = (
            _places(start, side, full, coarse)
            for start, side, full, coarse in zip(
                (top, left), sides, (height, width), (coarse_height, coarse_width), strict=True
            )
        )
        under_way.append((rows, columns, painter.color_tile(fits, tile, *places)))
        if len(under_way) == IN_FLIGHT:
            settle()
    while under_way:
        settle()
    return result


def _tile_sides(height: int, width: int) -> tuple[int, int]:
    """A square, but for pictures of which it would hold next to nothing."""
    if max(height, width) <= LONG or min(height, width) > NARROW:
        return TILE
    return (LONG, NARROW) if height > width else (NARROW, LONG)


def _places(start: int, side: int, full: int, coarse: int) -> np.ndarray:
    """Where the `side` pixels of a tile lie on a grid of `coarse` pixels over the `full` side."""
    return (((np.arange(start, start + side) + 0.5) * (coarse / full)) - 0.5).astype(np.float32)


def resized(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As training pictures are made small, uint8: bicubic, antialiased."""
    image = Image.fromarray(image_io.eight_bits(rgb))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0))


def _padded(small: np.ndarray, batch_size: int) -> np.ndarray:
    """Up to the next power of two, at most `batch_size`: few shapes, little work in vain."""
    count = min(batch_size, 1 << (len(small) - 1).bit_length())
    return np.concatenate([small, np.zeros((count - len(small), *small.shape[1:]), np.uint8)])


def _decoded(painter: Painter, scores: Scores, settings: Settings) -> jax.Array:
    numbers, names = _arguments(painter, settings)
    return painter.decode(scores, *numbers, **names)


def hinted(painter: Painter, seen: Seen, rgb: np.ndarray, settings: Settings) -> jax.Array:
    """As `_decoded` of one photo, with hints."""
    # Twice the outputs' size shows the edges of small things, and is solved in an instant.
    (height, width), most = seen.scores.outputs.shape[1:3], seen.small.shape
    sides = min(2 * height, most[0]), min(2 * width, most[1])
    map = hints.on_grid(settings.hints, rgb, seen.box, sides)
    numbers, names = _arguments(painter, settings)
    return painter.hint(scores_of(seen), seen.small, map, *numbers, **names)


def _arguments(painter: Painter, settings: Settings) -> tuple[tuple, dict[str, str]]:
    """What programs are told of settings: numbers, and names."""
    own = painter.network.config.decoding
    share = own.rebalance if settings.rebalance is None else settings.rebalance
    numbers = (
        np.float32(settings.temperature or own.temperature),
        np.float32(share),
        np.float32(settings.saturation),
        np.uint32(settings.seed),
    )
    return numbers, {"method": settings.decode or own.method, "edges": settings.edges}
