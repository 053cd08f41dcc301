"""The input shapes of the network, and the canvases they share: few of them, to compile little."""

import functools

import numpy as np

from colorjax.settings import Model

# Every encoder here needs input sides that are multiples of this.
QUANTUM = 16
# Width and height of photographs of 3:2 and 4:3, in landscape and portrait format.
USUAL_SIZES = ((600, 400), (400, 600), (400, 300), (300, 400))
# Up to the first aspect ratio, all inputs have the same number of pixels. Longer photos get more,
# because too little would remain of their short side. Beyond the second ratio they are squeezed.
PLAIN_RATIO, MAX_RATIO = 2.0, 32.0
# Ratios of long photos are rounded to this many steps per doubling, to limit the number of shapes.
RATIO_STEPS = 6
# Most pixels of the input of a long photo.
LONG_PIXELS = 2**20
# Larger shapes have no canvas: for them, running the network takes longer than compiling it.
CANVAS_PIXELS = 2**17
# Ranges of the ratio of height to width; all shapes in a range share one canvas.
_CANVAS_RATIOS = ((1.0, PLAIN_RATIO), (1 / PLAIN_RATIO, 1.0))


def network_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Returns height and width of the network's input for a photo, nearly of its proportions.

    The input has about size^2 pixels. For a photo longer than 2:1 it has more, so that its short
    side stays as it is at 2:1, up to a ratio of 32:1 and LONG_PIXELS. The width is determined by
    the height, so that there are only as many shapes as heights, plus a few for long photos.
    """
    stretch = height / width
    ratio = max(stretch, 1 / stretch)
    pixels = float(size * size)
    if ratio > PLAIN_RATIO:
        steps = round(RATIO_STEPS * np.log2(min(ratio, MAX_RATIO) / PLAIN_RATIO))
        ratio = PLAIN_RATIO * 2.0 ** (steps / RATIO_STEPS)
        stretch = ratio if height > width else 1 / ratio
        pixels = max(pixels, min(pixels * ratio / PLAIN_RATIO, LONG_PIXELS))
    rows = max(1, round(pixels**0.5 * stretch**0.5 / QUANTUM))
    columns = max(1, round(pixels / (rows * QUANTUM * QUANTUM)))
    return rows * QUANTUM, columns * QUANTUM


def chequered(width: int, height: int) -> np.ndarray:
    """Returns a chequerboard, uint8 [height, width, 3], with which programs are compiled.

    A uniform picture would not do, because it could be taken for a border.
    """
    board = np.zeros((height, width, 3), np.uint8)
    board[::2, 1::2] = board[1::2, ::2] = 255
    return board


def canvas_of(shape: tuple[int, int], size: int, model: Model) -> tuple[int, int] | None:
    """Returns the canvas on which an input shape is zero-padded; None if the shape has no canvas.

    Args:
      shape: from `network_shape`.
      size: the argument of `network_shape`.
      model: the config of the network. `models.canvas` supports only one encoder, and nearest
        upscaling, since interpolation would read beyond the picture.
    """
    if model.encoder != "efficientnet-lite0" or model.upscaling != "nearest":
        return None
    if shape[0] * shape[1] > CANVAS_PIXELS:
        return None
    height, width = shape
    return next((one for one in _canvases(size) if height <= one[0] and width <= one[1]), None)


@functools.cache
def _canvases(size: int) -> tuple[tuple[int, int], ...]:
    """Returns two canvases for all shapes up to 2:1, and two for each half octave beyond that."""
    canvases = []
    for least, most in _CANVAS_RATIOS:
        ratios = np.geomspace(least, most, 50)
        shapes = [network_shape(round(1000 * ratio), 1000, size) for ratio in ratios]
        canvases.append((max(h for h, _ in shapes), max(w for _, w in shapes)))
    for ratio in PLAIN_RATIO * 2.0 ** np.arange(0.5, 4.5, 0.5):
        height, width = network_shape(1000, round(1000 * ratio), size)
        canvases += [(height, width), (width, height)]
    return tuple(canvases)
