"""Colorizes photographs of any size: one path for the command, the Python API and the page.

The network sees a small copy and says what chroma belongs where; the photograph keeps its own
lightness, pixel by pixel. Both halves are compiled programs whose shapes come from short lists, so
that a folder of a thousand sizes compiles a handful of times.
"""

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from colorjax.coloring import hints
from colorjax.coloring.network import borders, functions, memory, tiles, transfer
from colorjax.coloring.network.functions import Scores
from colorjax.coloring.network.shapes import QUANTUM, canvas_of, network_shape
from colorjax.coloring.prefetch import prefetched
from colorjax.coloring.settings import Settings, check_settings
from colorjax.errors import UserError, check_at_least
from colorjax.pictures import image_io
from colorjax.settings import as_dict
from colorjax.weights import devices
from colorjax.weights.programs import Program
from colorjax.weights.released import Network

# Batches that the network sees in advance, while results are put together.
PREFETCHED = 2


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
    # Variables, uint8 [b, h, w, 3], and int32 [b, 2] if they are canvases -> Scores
    score: Program
    # As decode, of one picture, after whose Scores come uint8 [h, w, 3] and a HintMap
    hint: Program
    # Scores, temperature, rebalance, saturation, seed, method, edges -> fits [b, h, w, 6]
    decode: Program
    features: Program  # variables, uint8 [b, h, w, 3] -> transfer.Features
    # Levels of Features, transfer.Reference, lightness of Scores -> transfer.Transferred
    transfer: Program
    confidence: Program | None  # Scores -> [b, h, w] in [0, 1]; None where there are no scores
    # A pixel's outputs and own lightness, L*, rebalance -> functions.Likely; None as above
    likely: Program | None
    # Fits of one picture, tile of 8 or 16 bits, where its rows and columns lie on them -> the tile
    # in colour, of as many bits.
    color_tile: Program


class Analysis(NamedTuple):
    """What the network has seen of a photo, and says of it: its colourings follow from this.

    Attributes:
      box: what of the photo was looked at.
      small: uint8 [h, w, 3], as the network had it.
      scores: of this photo alone, as of a batch of one.
    """

    box: borders.Box
    small: np.ndarray
    scores: Scores


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
        features=Program(partial(transfer.features, config), device, facts=facts[0]),
        transfer=Program(transfer.transfer, device),
        confidence=Program(partial(functions.confidence, config, statistics), device, facts=facts)
        if config.objective == "classification"
        else None,
        likely=Program(partial(functions.likely, config, statistics), device, facts=facts)
        if config.objective == "classification"
        else None,
        color_tile=Program(functions.color_tile, device),
    )


def colorize(
    painter: Painter, photos: Sequence[np.ndarray], settings: Sequence[Settings]
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

    Yields:
      The index of a photo and its results, [height, width, 3] each of as many bits as the photo,
      in the order of `settings`; photos come in the order in which they are done. The luminance of
      a result is the photo's, to within one step of gray at every pixel, of as many bits.

    Raises:
      UserError: a setting is wrong, a hint is outside of a photo, or a photo has no pixels.
    """
    for i, _, results in colorings(painter, photos, settings):
        yield i, results


def colorings(
    painter: Painter, photos: Sequence[np.ndarray], settings: Sequence[Settings]
) -> Iterator[tuple[int, Analysis, list[np.ndarray]]]:
    """As `colorize`; between index and results stands what the network has seen of the photo."""
    for one in settings:
        check_settings(one, painter.network)
    boxes = [_box(photo, settings) for photo in photos]
    shapes = [network_shape(*box.size, painter.size) for box in boxes]

    def looked(chosen: list[int]) -> list[tuple[Analysis, list[np.ndarray] | None]]:
        small = [resized(photos[i][boxes[i].inside], shapes[i]) for i in chosen]
        return _looked(painter, [boxes[i] for i in chosen], small, settings)

    batches = _batches([_canvas(painter, shape) for shape in shapes], painter.batch_size)
    with ThreadPoolExecutor(PREFETCHED) as pool:
        for chosen, found in prefetched(pool, batches, looked, PREFETCHED):
            for i, (seen, fits) in zip(chosen, found, strict=True):
                fits = fits or fits_of(painter, seen, photos[i], settings)
                yield (
                    i,
                    seen,
                    [tiles.framed(painter.color_tile, fit, photos[i], boxes[i]) for fit in fits],
                )


def analyze(painter: Painter, photo: np.ndarray, box: borders.Box | None = None) -> Analysis:
    """Runs the network on one photo: on the box, that within its borders unless given.

    Raises:
      UserError: the photo has no pixels.
    """
    box = borders.without_borders(check_pixels(photo)) if box is None else box
    small = resized(photo[box.inside], network_shape(*box.size, painter.size))
    ((seen, _),) = _looked(painter, [box], [small], ())
    return seen


def render(painter: Painter, seen: Analysis, photo: np.ndarray, settings: Settings) -> np.ndarray:
    """Colours a photo from what the network has seen of it already: as `colorize` does.

    Settings are right, and their hints within the box that was seen.
    """
    (fits,) = fits_of(painter, seen, photo, [settings])
    return tiles.framed(painter.color_tile, fits, photo, seen.box)


def _canvas(painter: Painter, shape: tuple[int, int]) -> tuple[int, int]:
    """The shape of what the network is given for a photo that it sees in `shape`."""
    return canvas_of(shape, painter.size, painter.network.config.model) or shape


def _batches(kinds: Sequence[Hashable], most: int) -> Iterator[list[int]]:
    """Places of like kinds, so many at most together; of each kind some, and then again.

    Programs that are still to be compiled are thus wanted early, and made at the same time.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(i)
    while groups:
        for kind, members in list(groups.items()):
            yield members[:most]
            del members[:most]
            if not members:
                del groups[kind]


def _looked(
    painter: Painter,
    boxes: Sequence[borders.Box],
    small: Sequence[np.ndarray],
    settings: Sequence[Settings],
) -> list[tuple[Analysis, list[np.ndarray] | None]]:
    """What the network sees of photos that share a canvas, and the fits of each by settings.

    None stands for the fits where hints or a reference want each photo by itself.
    """
    scores, factor = scored(painter, small)
    parts = [(slice(h // factor), slice(w // factor)) for h, w in (x.shape[:2] for x in small)]

    def apart(x) -> list[np.ndarray]:
        # On the host, where to take one of them is no program to compile.
        return [one[part] for one, part in zip(np.asarray(x), parts, strict=False)]

    known = zip(*(apart(x) for x in scores[:3]), strict=True)
    alone = [Scores(*(x[None] for x in one)) for one in known]
    seen = [Analysis(*one) for one in zip(boxes, small, alone, strict=True)]
    if not settings or any(one.hints or one.reference for one in settings):
        return [(one, None) for one in seen]
    fits = zip(*(apart(_decoded(painter, scores, one)) for one in settings), strict=True)
    return [(one, list(of_one)) for one, of_one in zip(seen, fits, strict=False)]


def scored(painter: Painter, small: Sequence[np.ndarray]) -> tuple[Scores, int]:
    """What the network says of small pictures, and how much smaller that is than they are.

    Args:
      painter: from `open_painter`.
      small: uint8 [h, w, 3] each, of shapes that have one canvas.

    Returns:
      Scores of the canvases, each picture's in the upper left corner; a whole factor.
    """
    canvas = _canvas(painter, small[0].shape[:2])
    # Up to the next power of two, at most `batch_size`: few shapes, little work in vain.
    count = min(painter.batch_size, 1 << (len(small) - 1).bit_length())
    pixels = np.zeros((count, *canvas, 3), np.uint8)
    sides = np.full((count, 2), canvas, np.int32)
    for i, one in enumerate(small):
        height, width, _ = one.shape
        pixels[i, :height, :width], sides[i] = one, (height, width)
    model = painter.network.config.model
    on_canvas = canvas_of(small[0].shape[:2], painter.size, model) is not None
    scores = painter.score(painter.network.variables, pixels, *([sides] if on_canvas else []))
    return scores, canvas[0] // scores.outputs.shape[1]


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


def resized(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As training pictures are made small, uint8: bicubic, antialiased."""
    image = Image.fromarray(image_io.eight_bits(rgb))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0))


def _decoded(painter: Painter, scores: Scores, settings: Settings) -> jax.Array:
    numbers, names = decoding_arguments(painter, settings)
    return painter.decode(scores, *numbers, **names)


def fits_of(
    painter: Painter, seen: Analysis, rgb: np.ndarray, settings: Sequence[Settings]
) -> list[np.ndarray]:
    """The fits of one photo by each of `settings`, with hints and references."""
    references = {id(one.reference): one.reference for one in settings if one.reference is not None}
    said = {id(None): seen.scores}
    if references:
        levels = feature_levels(painter, seen)
    for name, reference in references.items():
        said[name] = with_reference(painter, seen, levels, reference).scores
    return [
        np.asarray(
            _hinted(painter, seen, said[id(one.reference)], rgb, one)
            if one.hints
            else _decoded(painter, said[id(one.reference)], one)[0]
        )
        for one in settings
    ]


def feature_levels(painter: Painter, seen: Analysis) -> tuple[jax.Array, ...]:
    """What the encoder sees of one photo, cell by cell: the levels of `transfer.Features`."""
    return painter.features(painter.network.variables, seen.small[None]).levels


def with_reference(
    painter: Painter, seen: Analysis, levels: tuple[jax.Array, ...], reference: transfer.Reference
) -> Analysis:
    """The analysis with the colours of a reference; `levels` are its `feature_levels`."""
    transferred = painter.transfer(levels, reference, seen.scores.lightness)
    return seen._replace(scores=seen.scores._replace(transferred=transferred))


def _hinted(
    painter: Painter, seen: Analysis, scores: Scores, rgb: np.ndarray, settings: Settings
) -> jax.Array:
    """As `_decoded` of one photo, with hints."""
    # Twice the outputs' size shows the edges of small things, and is solved in an instant.
    (height, width), most = scores.outputs.shape[1:3], seen.small.shape
    sides = min(2 * height, most[0]), min(2 * width, most[1])
    map = hints.on_grid(settings.hints, rgb, seen.box, sides)
    numbers, names = decoding_arguments(painter, settings)
    return painter.hint(scores, seen.small, map, *numbers, **names)


def decoding_arguments(painter: Painter, settings: Settings) -> tuple[tuple, dict[str, str]]:
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
