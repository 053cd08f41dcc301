"""Colours photographs of any size, for the command, the Python API and the page alike.

The network sees a small copy of a photograph and predicts its chroma; the photograph keeps its own
lightness at every pixel. Both stages are compiled programs whose input shapes come from short
lists, so that a folder with a thousand picture sizes needs only a handful of compilations.
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
from colorjax.coloring.settings import ColorSettings, check_settings
from colorjax.errors import UserError, check_at_least
from colorjax.pictures import image_io
from colorjax.settings import as_dict
from colorjax.weights import devices
from colorjax.weights.programs import Program
from colorjax.weights.released import Network

# Batches that the network processes ahead, while full-size results are computed.
PREFETCH = 2


class Painter(NamedTuple):
    """A network and the compiled programs that colour photographs with it.

    `open_painter` makes one for many photographs. The programs form a pipeline: `score` runs the
    network on small copies, `decode` turns its scores into chroma, and `color_tile` applies the
    chroma to the full-size photo, tile by tile. `decode` passes chroma on as "fits" [b, h, w, 6]:
    at every output pixel, chroma as a linear function of lightness (`resample.fit_guided_filter`).
    """

    network: Network
    size: int
    batch_size: int
    # Variables, uint8 [b, h, w, 3], and int32 [b, 2] if pictures are on canvases -> Scores
    score: Program
    # Like `decode`, for one picture; uint8 [h, w, 3] and a HintMap come after the Scores
    hint: Program
    # Scores, temperature, rebalance, saturation, seed, method, edges -> fits [b, h, w, 6]
    decode: Program
    features: Program  # variables, uint8 [b, h, w, 3] -> transfer.Features
    # Levels of Features, transfer.Reference, lightness of Scores -> transfer.Transferred
    transfer: Program
    confidence: Program | None  # Scores -> [b, h, w] in [0, 1]; None for a regression network
    # Outputs and own lightness of a pixel, L*, rebalance -> functions.Distribution; None as above
    likely: Program | None
    # Fits of one picture, tile of 8 or 16 bits, row and column positions of the tile on the fits
    # -> the tile in colour, with the same number of bits
    color_tile: Program


class Analysis(NamedTuple):
    """The network's result for one photo, from which all its colourings are computed.

    Attributes:
      box: the part of the photo that the network was given.
      small: uint8 [h, w, 3], the network's input.
      scores: of this photo alone, as a batch of one.
    """

    box: borders.Box
    small: np.ndarray
    scores: Scores


def open_painter(
    network: Network, *, size: int | None = None, batch_size: int | None = None
) -> Painter:
    """Makes a painter on jax's current default device.

    Programs are compiled at their first call, and then cached.

    Args:
      network: the network that predicts the colours.
      size: side of the square that has as many pixels as the network's input. The default is the
        size of the photographs that the network was trained on.
      batch_size: most pictures in a batch. The default is 8 on a GPU and 1 on a CPU, where larger
        batches are no faster.

    Raises:
      UserError: size or batch_size is too small, or size is too large for the available memory.
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
    painter: Painter, photos: Sequence[np.ndarray], settings: Sequence[ColorSettings]
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Colours photos, each once for every element of `settings`.

    Photos of similar proportions share a batch. The full-size results are computed one photo at a
    time, so that memory holds the photos and the results of one of them. The network does not see
    the borders of a photo (`borders.without_borders`), which become gray.

    Args:
      painter: from `open_painter`.
      photos: uint8 or uint16 [height, width, 3] sRGB each, of any size. Only their luminance is
        used; any colour is ignored.
      settings: at least one.

    Yields:
      The index of a photo and its results, in the order of `settings`. A result is
      [height, width, 3] with as many bits as the photo; its luminance is the photo's to within one
      step of gray (of that bit depth) at every pixel. Photos come in the order in which they are
      finished.

    Raises:
      UserError: a setting is invalid, a hint is outside its photo, or a photo has no pixels.
    """
    for i, _, results in colorings(painter, photos, settings):
        yield i, results


def colorings(
    painter: Painter, photos: Sequence[np.ndarray], settings: Sequence[ColorSettings]
) -> Iterator[tuple[int, Analysis, list[np.ndarray]]]:
    """Like `colorize`, but yields (index, analysis, results)."""
    for one in settings:
        check_settings(one, painter.network)
    boxes = [_colored_box(photo, settings) for photo in photos]
    shapes = [network_shape(*box.size, painter.size) for box in boxes]

    def analyze_batch(batch: list[int]) -> list[tuple[Analysis, list[np.ndarray] | None]]:
        small = [resized(photos[i][boxes[i].inside], shapes[i]) for i in batch]
        return _analyze_batch(painter, [boxes[i] for i in batch], small, settings)

    batches = _batches([_canvas(painter, shape) for shape in shapes], painter.batch_size)
    with ThreadPoolExecutor(PREFETCH) as pool:
        for batch, analyses in prefetched(pool, batches, analyze_batch, PREFETCH):
            for i, (analysis, fits) in zip(batch, analyses, strict=True):
                fits = fits or compute_fits(painter, analysis, photos[i], settings)
                yield (
                    i,
                    analysis,
                    [tiles.color_box(painter.color_tile, fit, photos[i], boxes[i]) for fit in fits],
                )


def analyze(painter: Painter, photo: np.ndarray, box: borders.Box | None = None) -> Analysis:
    """Runs the network on a box of one photo; the default is the box within its borders.

    Raises:
      UserError: the photo has no pixels.
    """
    box = borders.without_borders(check_pixels(photo)) if box is None else box
    small = resized(photo[box.inside], network_shape(*box.size, painter.size))
    ((analysis, _),) = _analyze_batch(painter, [box], [small], ())
    return analysis


def render(
    painter: Painter, analysis: Analysis, photo: np.ndarray, settings: ColorSettings
) -> np.ndarray:
    """Colours a photo from its analysis as `colorize` does, without running the network again.

    The settings must be valid, and their hints within the analysis's box.
    """
    (fits,) = compute_fits(painter, analysis, photo, [settings])
    return tiles.color_box(painter.color_tile, fits, photo, analysis.box)


def _canvas(painter: Painter, shape: tuple[int, int]) -> tuple[int, int]:
    """Returns the shape of the network's input for a photo that is resized to `shape`."""
    return canvas_of(shape, painter.size, painter.network.config.model) or shape


def _batches(kinds: Sequence[Hashable], most: int) -> Iterator[list[int]]:
    """Yields batches of at most `most` indices whose kinds are equal, taking the kinds in turn.

    Programs that must still be compiled are thus needed early, and are compiled concurrently.
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


def _analyze_batch(
    painter: Painter,
    boxes: Sequence[borders.Box],
    small: Sequence[np.ndarray],
    settings: Sequence[ColorSettings],
) -> list[tuple[Analysis, list[np.ndarray] | None]]:
    """Analyses photos that share a canvas, and computes the fits of each for all settings.

    The fits are None if there are no settings, or if hints or a reference require that each photo
    is decoded by itself.
    """
    scores, factor = score_batch(painter, small)
    crops = [(slice(h // factor), slice(w // factor)) for h, w in (x.shape[:2] for x in small)]

    def split(x) -> list[np.ndarray]:
        # On the host, where indexing compiles no program. `crops` ends before the batch's padding.
        return [one[crop] for one, crop in zip(np.asarray(x), crops, strict=False)]

    fields = zip(*(split(x) for x in scores[:3]), strict=True)
    single = [Scores(*(x[None] for x in one)) for one in fields]
    analyses = [Analysis(*one) for one in zip(boxes, small, single, strict=True)]
    if not settings or any(one.hints or one.reference for one in settings):
        return [(one, None) for one in analyses]
    fits = zip(*(split(_decode(painter, scores, one)) for one in settings), strict=True)
    return [(one, list(its_fits)) for one, its_fits in zip(analyses, fits, strict=False)]


def score_batch(painter: Painter, small: Sequence[np.ndarray]) -> tuple[Scores, int]:
    """Runs the network on small pictures.

    Args:
      painter: from `open_painter`.
      small: uint8 [h, w, 3] each, of shapes that share one canvas.

    Returns:
      Scores of the canvases, each with its picture in the upper left corner; and the integer
      factor by which the scores are smaller than the canvases.
    """
    canvas = _canvas(painter, small[0].shape[:2])
    # The next power of two, at most `batch_size`: few shapes to compile, little wasted work.
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


def _colored_box(photo: np.ndarray, settings: Sequence[ColorSettings]) -> borders.Box:
    """Returns the part of a photo to colour: within its borders, or all if a hint is on one."""
    box = borders.without_borders(check_pixels(photo))
    for one in settings:
        hints.check_inside(one.hints, photo)
    return box if all(hints.within(one.hints, box) for one in settings) else borders.whole(photo)


def check_pixels(rgb: np.ndarray) -> np.ndarray:
    """Returns the picture [height, width, 3]; raises UserError if it has no pixels."""
    height, width, _ = rgb.shape
    if not height or not width:
        raise UserError(f"picture: has {width} x {height} pixels, want at least 1 x 1")
    return rgb


def resized(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a picture to `shape`, uint8, by the antialiased bicubic filter of training."""
    image = Image.fromarray(image_io.eight_bits(rgb))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0))


def _decode(painter: Painter, scores: Scores, settings: ColorSettings) -> jax.Array:
    numbers, names = decoding_arguments(painter, settings)
    return painter.decode(scores, *numbers, **names)


def compute_fits(
    painter: Painter, analysis: Analysis, rgb: np.ndarray, settings: Sequence[ColorSettings]
) -> list[np.ndarray]:
    """Returns the fits of one photo for each of `settings`, including hints and references."""
    references = {id(one.reference): one.reference for one in settings if one.reference is not None}
    scores = {id(None): analysis.scores}
    if references:
        levels = feature_levels(painter, analysis)
    for key, reference in references.items():
        scores[key] = with_reference(painter, analysis, levels, reference).scores
    return [
        np.asarray(
            _decode_with_hints(painter, analysis, scores[id(one.reference)], rgb, one)
            if one.hints
            else _decode(painter, scores[id(one.reference)], one)[0]
        )
        for one in settings
    ]


def feature_levels(painter: Painter, analysis: Analysis) -> tuple[jax.Array, ...]:
    """Returns the encoder's features of one photo: the levels of `transfer.Features`."""
    return painter.features(painter.network.variables, analysis.small[None]).levels


def with_reference(
    painter: Painter,
    analysis: Analysis,
    levels: tuple[jax.Array, ...],
    reference: transfer.Reference,
) -> Analysis:
    """Returns the analysis with a reference's colours; `levels` are from `feature_levels`."""
    transferred = painter.transfer(levels, reference, analysis.scores.lightness)
    return analysis._replace(scores=analysis.scores._replace(transferred=transferred))


def _decode_with_hints(
    painter: Painter, analysis: Analysis, scores: Scores, rgb: np.ndarray, settings: ColorSettings
) -> jax.Array:
    """Like `_decode` for one photo, with the hints of `settings`."""
    # A grid of twice the outputs' size resolves the edges of small objects and is solved fast.
    (height, width), most = scores.outputs.shape[1:3], analysis.small.shape
    sides = min(2 * height, most[0]), min(2 * width, most[1])
    hint_map = hints.on_grid(settings.hints, rgb, analysis.box, sides)
    numbers, names = decoding_arguments(painter, settings)
    return painter.hint(scores, analysis.small, hint_map, *numbers, **names)


def decoding_arguments(painter: Painter, settings: ColorSettings) -> tuple[tuple, dict[str, str]]:
    """Returns arguments of `functions.decode` and `hint`: its `numbers`, and the keywords."""
    own = painter.network.config.decoding
    rebalance = own.rebalance if settings.rebalance is None else settings.rebalance
    numbers = (
        np.float32(settings.temperature or own.temperature),
        np.float32(rebalance),
        np.float32(settings.saturation),
        np.uint32(settings.seed),
    )
    return numbers, {"method": settings.decode or own.method, "edges": settings.edges}
