"""Which shapes the network sees photographs in, and on what canvases: short lists, few programs."""

import functools

import numpy as np

from colorjax.settings import Model

# Sides of the network's input are multiples of this, as every encoder here wants.
QUANTUM = 16
# Width and height of photographs of 3:2 and 4:3, lying and upright.
USUAL_SIZES = ((600, 400), (400, 600), (400, 300), (300, 400))
# Up to the first ratio of its sides all photos have as many pixels for the network; from there on
# longer ones have more, as their short sides would show it next to nothing; and beyond the second
# they are squeezed.
PLAIN_RATIO, MOST_RATIO = 2.0, 32.0
# Ratios of long photos come in steps, so many from one to its double: few shapes.
RATIO_STEPS = 6
# Most pixels that a photo has for the network because it is long.
LONG_PIXELS = 2**20
# Larger shapes have no canvas: with them the network's own time is more than that of compiling.
CANVAS_PIXELS = 2**17
# Ratios of height to width, from and to, all of whose shapes have one canvas.
_CLASSES = ((1.0, PLAIN_RATIO), (1 / PLAIN_RATIO, 1.0))


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


def chequered(width: int, height: int) -> np.ndarray:
    """A picture to make programs ready with, uint8 [height, width, 3].

    It is bright and dark in turn, as borders of one gray would be set aside.
    """
    board = np.zeros((height, width, 3), np.uint8)
    board[::2, 1::2] = board[1::2, ::2] = 255
    return board


def canvas_of(shape: tuple[int, int], size: int, model: Model) -> tuple[int, int] | None:
    """The canvas in whose corner the network sees a shape; None where it sees the shape alone.

    Args:
      shape: as of `network_shape`.
      size: the same as was given to that.
      model: the network; `models.canvas` knows the layers of one kind, and interpolation would look
        beyond the corner.
    """
    if model.encoder != "efficientnet-lite0" or model.upscaling != "nearest":
        return None
    if shape[0] * shape[1] > CANVAS_PIXELS:
        return None
    height, width = shape
    return next((one for one in _canvases(size) if height <= one[0] and width <= one[1]), None)


@functools.cache
def _canvases(size: int) -> tuple[tuple[int, int], ...]:
    """Two for all shapes up to 2:1, and for longer ones two from each ratio to its double."""
    found = []
    for least, most in _CLASSES:
        ratios = np.geomspace(least, most, 50)
        some = [network_shape(round(1000 * ratio), 1000, size) for ratio in ratios]
        found.append((max(h for h, _ in some), max(w for _, w in some)))
    for ratio in PLAIN_RATIO * 2.0 ** np.arange(0.5, 4.5, 0.5):
        height, width = network_shape(1000, round(1000 * ratio), size)
        found += [(height, width), (width, height)]
    return tuple(found)
