"""The network's own likely colours for one spot of a photo."""

from typing import NamedTuple

import numpy as np

from colorjax.coloring.colorize import Analysis, Painter
from colorjax.errors import UserError
from colorjax.ops import color

# Nearer to black or white than this (L*), all colours look the same, and none could be chosen.
LIGHTNESS = 25.0, 85.0
# Least difference in chroma (CIELUV) of two colours that are told apart.
APART = 15.0
LEAST_SHARE = 1e-3  # of a colour that is worth naming


class Guess(NamedTuple):
    """A colour that the network thinks possible."""

    colour: str  # "#rrggbb"
    probability: float  # in (0, 1], with that of colours like it


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
    """Likely colours of a pixel, the likeliest first.

    Args:
      painter: from `colorize.open_painter`.
      analysis: what its network has seen of the photo.
      rgb: uint8 or uint16 [height, width, 3], the photo.
      x, y: a pixel within `analysis.box`.
      rebalance: how far rare colours are favoured; the model's own unless given.
      count: most colours.

    Returns:
      Colours at the pixel's own lightness, brought into LIGHTNESS. Any two differ by APART at
      least; what differs less counts as the likelier one.

    Raises:
      UserError: the network predicts chroma itself.
    """
    if painter.likely is None:
        raise UserError(
            "the model predicts chroma itself, and knows one colour alone: want a model that "
            "scores colours"
        )
    if rebalance is None:
        rebalance = painter.network.config.decoding.rebalance
    height, width = analysis.scores.outputs.shape[1:3]
    row = (y - analysis.box.top) * height // analysis.box.size[0]
    column = (x - analysis.box.left) * width // analysis.box.size[1]
    pixel = rgb[y, x] / np.float32(np.iinfo(rgb.dtype).max)
    lightness = np.clip(color.rgb_to_luv(pixel)[0], *LIGHTNESS)
    # Taken out on the host: one program serves pictures of all shapes.
    outputs, _, own = (np.asarray(x)[0, row, column] for x in analysis.scores[:3])
    found = painter.likely(outputs, own, np.float32(lightness), np.float32(rebalance))
    shares, luv, rgb_u8 = map(np.asarray, found)
    return distinct(shares, luv, rgb_u8, count)


def distinct(shares: np.ndarray, luv: np.ndarray, rgb: np.ndarray, count: int) -> tuple[Guess, ...]:
    """The likeliest of [n] colours that look different; each with the shares of those like it."""
    taken: list[int] = []
    total: list[float] = []
    for i in np.argsort(-shares, kind="stable"):
        if taken:
            apart = np.hypot(*(luv[taken, 1:] - luv[i, 1:]).T)
            nearest = int(np.argmin(apart))
            if apart[nearest] < APART:
                total[nearest] += float(shares[i])
                continue
        taken.append(int(i))
        total.append(float(shares[i]))
    order = sorted(range(len(taken)), key=lambda k: -total[k])
    return tuple(
        Guess(f"#{bytes(rgb[taken[k]]).hex()}", min(total[k], 1.0))
        for k in order[:count]
        if total[k] >= LEAST_SHARE
    )
