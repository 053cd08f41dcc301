"""The colours that the network considers likely for one pixel of a photo."""

from typing import NamedTuple

import numpy as np

from colorjax.coloring.colorize import Analysis, Painter
from colorjax.errors import UserError
from colorjax.ops import color

# Range of L* in which colours are shown: closer to black or white, they cannot be told apart.
LIGHTNESS = 25.0, 85.0
# Smallest difference in chroma (CIELUV) between two colours that count as distinct.
MIN_DISTANCE = 15.0
MIN_PROBABILITY = 1e-3  # less likely colours are left out


class Guess(NamedTuple):
    """A colour that the network considers possible."""

    colour: str  # "#rrggbb"
    probability: float  # in (0, 1], including that of similar colours


def at_pixel(
    painter: Painter,
    analysis: Analysis,
    rgb: np.ndarray,
    x: int,
    y: int,
    *,
    rebalance: float | None = None,
    count: int = 8,
) -> tuple[Guess, ...]:
    """Returns the likely colours of a pixel, the likeliest first.

    Args:
      painter: from `colorize.open_painter`.
      analysis: the painter's analysis of the photo.
      rgb: uint8 or uint16 [height, width, 3], the photo.
      x, y: a pixel within `analysis.box`.
      rebalance: how much rare colours are favoured; the model's own value if None.
      count: most colours to return.

    Returns:
      Colours at the pixel's own lightness, clipped to LIGHTNESS. Any two differ by at least
      MIN_DISTANCE; colours that are closer are merged into the likelier one.

    Raises:
      UserError: the network predicts chroma itself.
    """
    if painter.likely is None:
        raise UserError(
            "the model predicts chroma itself, a single colour for each pixel: want a model "
            "that scores colours"
        )
    if rebalance is None:
        rebalance = painter.network.config.decoding.rebalance
    height, width = analysis.scores.outputs.shape[1:3]
    row = (y - analysis.box.top) * height // analysis.box.size[0]
    column = (x - analysis.box.left) * width // analysis.box.size[1]
    pixel = rgb[y, x] / np.float32(np.iinfo(rgb.dtype).max)
    lightness = np.clip(color.rgb_to_luv(pixel)[0], *LIGHTNESS)
    # Indexed on the host, so that one program serves pictures of all shapes.
    outputs, _, own_lightness = (np.asarray(x)[0, row, column] for x in analysis.scores[:3])
    distribution = painter.likely(
        outputs, own_lightness, np.float32(lightness), np.float32(rebalance)
    )
    probabilities, luv, rgb_u8 = map(np.asarray, distribution)
    return distinct(probabilities, luv, rgb_u8, count)


def distinct(
    probabilities: np.ndarray, luv: np.ndarray, rgb: np.ndarray, count: int
) -> tuple[Guess, ...]:
    """Merges similar ones of n colours, adding their probabilities; returns the likeliest."""
    chosen: list[int] = []
    total: list[float] = []
    for i in np.argsort(-probabilities, kind="stable"):
        if chosen:
            distances = np.hypot(*(luv[chosen, 1:] - luv[i, 1:]).T)
            nearest = int(np.argmin(distances))
            if distances[nearest] < MIN_DISTANCE:
                total[nearest] += float(probabilities[i])
                continue
        chosen.append(int(i))
        total.append(float(probabilities[i]))
    order = sorted(range(len(chosen)), key=lambda k: -total[k])
    return tuple(
        Guess(f"#{bytes(rgb[chosen[k]]).hex()}", min(total[k], 1.0))
        for k in order[:count]
        if total[k] >= MIN_PROBABILITY
    )
