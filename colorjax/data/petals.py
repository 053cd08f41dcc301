"""Synthetic pictures of flowers for which the optimal prediction is known.

If objects of one shape have several colours, as petals do (the paper, section 2), the mean of the
colours, which is grayish, minimizes the squared error; classification can choose one of the
colours. Here every flower has the same petals on the same background, and the colour of the petals
is drawn for each picture from `RGB_U8` with `PROBABILITIES`. All colours have the same lightness,
so the gray picture contains no information about the colour. They also have the same saturation,
so any chosen colour has the right saturation.
"""

import colorsys
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.ops import bins, color

COUNT = 400
# Pictures must be used at this size: resizing interpolates gamma-encoded values, so the outlines of
# petals would have different grays for different colours.
SIZE = 36  # pixels
LIGHTNESS = 64.0  # L* of the petals
SATURATION = 0.55  # HSV saturation of the petals

NAMES = ("gold", "blue", "teal", "pink", "violet")
PROBABILITIES = (0.4, 0.2, 0.2, 0.1, 0.1)
# Degrees; chosen among neighbouring hues for the least error from rounding to 8 bits.
HUES = (51, 211, 173, 342, 283)
GROUND = (50, 84, 38)  # leafy green, 8-bit sRGB
HEART = (242, 218, 109)

_PETALS = 5
_SUBPIXELS = 4  # per side of a pixel, for antialiasing


class Flower(NamedTuple):
    """The random parameters of one picture; positions and lengths in pixels."""

    color: int  # index into RGB_U8
    x: float  # of the centre, to the right
    y: float  # of the centre, downwards
    radius: float  # from the centre to the tips of the petals
    turn: float  # rotation in [0, 1), as a fraction of the angle between petals


class Optimum(NamedTuple):
    """The optimal predictions of U and V, [2], if only the distribution of colours is known."""

    regression: np.ndarray  # for the squared error
    classification: np.ndarray  # for cross-entropy and argmax: centres of the most probable bins


def flower(index: int) -> Flower:
    """Returns the `index`-th flower, the same on every machine; its parameters are independent."""
    # numpy guarantees the same raw bits in all versions.
    raw = np.random.Philox([0, index]).random_raw(5)
    draw, x, y, radius, turn = (raw >> np.uint64(11)) / 2.0**53
    colour = int(np.searchsorted(np.cumsum(PROBABILITIES)[:-1], draw, side="right"))
    middle = SIZE / 2
    return Flower(colour, middle + 3 * x - 1.5, middle + 3 * y - 1.5, 13 + 2 * radius, turn)


def coverage(flower: Flower) -> tuple[np.ndarray, np.ndarray]:
    """Returns the share of each pixel that petals and heart cover: two [SIZE, SIZE] in [0, 1]."""
    centres = (np.arange(SIZE * _SUBPIXELS) + 0.5) / _SUBPIXELS
    dx, dy = centres - flower.x, centres[:, None] - flower.y
    distance = np.hypot(dx, dy) / flower.radius
    angle = np.arctan2(dy, dx) + 2 * np.pi * flower.turn / _PETALS
    outline = 0.4 + 0.6 * np.sqrt(np.abs(np.cos(_PETALS / 2 * angle)))
    heart = distance < 0.25
    petals = (distance < outline) & ~heart
    blocks = (SIZE, _SUBPIXELS, SIZE, _SUBPIXELS)
    return tuple(mask.reshape(blocks).mean(axis=(1, 3)) for mask in (petals, heart))


def paint(flower: Flower) -> np.ndarray:
    """Renders a flower: uint8 [SIZE, SIZE, 3].

    Outlines are blended in linear light, in which luminance is linear. So the gray picture is the
    same for all colours of the petals, except for rounding to 8 bits.
    """
    petals, heart = (share[..., None] for share in coverage(flower))
    parts = color.linear_from_u8[np.array([RGB_U8[flower.color], HEART, GROUND], np.uint8)]
    return _encode(petals * parts[0] + heart * parts[1] + (1 - petals - heart) * parts[2])


def png(index: int) -> bytes:
    """Renders the `index`-th flower as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(paint(flower(index))).save(file, "PNG")
    return file.getvalue()


def petal_rgb_u8(hue: float) -> tuple[int, int, int]:
    """Returns the 8-bit colour with LIGHTNESS, SATURATION and this hue, in degrees.

    Raises:
      ValueError: sRGB has no such colour.
    """
    brightest = np.array(colorsys.hsv_to_rgb(hue / 360, SATURATION, 1.0))
    # HSV's value scales all three channels, so luminance increases with it.
    candidates = np.linspace(0, 255, 10_001)[:, None] * brightest
    luminance = _linear(candidates) @ color.xyz_from_linear_rgb[1]
    target = ((LIGHTNESS + 16) / 116) ** 3
    if luminance[-1] < target:
        raise ValueError(f"hue {hue} does not reach L* {LIGHTNESS} at saturation {SATURATION}")
    return tuple(np.rint(candidates[np.searchsorted(luminance, target)]).astype(int).tolist())


def petal_chroma() -> np.ndarray:
    """Returns U and V of the colours of petals: float32 [colours, 2]."""
    return np.asarray(color.rgb_u8_to_luv(np.array(RGB_U8, np.uint8)))[:, 1:]


def optimum(chroma: np.ndarray, probabilities: np.ndarray) -> Optimum:
    """Computes the optimal predictions for pixels that look the same in the gray picture.

    Args:
      chroma: [colours, 2], the possible U and V of such a pixel.
      probabilities: [colours], their probabilities; they sum to one.
    """
    weights, centers = np.asarray(probabilities), np.asarray(bins.centers())
    # The channels are classified separately, so each has its own most probable bin.
    most_probable = [
        np.bincount(channel, weights, len(centers)).argmax()
        for channel in np.asarray(bins.bin_chroma(chroma)).T
    ]
    return Optimum(weights @ chroma, centers[most_probable])


def _linear(levels: np.ndarray) -> np.ndarray:
    """Converts gamma-encoded levels in [0, 255], as floats, to linear light in [0, 1]."""
    return np.interp(levels, np.arange(256), color.linear_from_u8)


def _encode(linear_rgb: np.ndarray) -> np.ndarray:
    """Applies the inverse of `_linear` and rounds to uint8."""
    return np.rint(np.interp(linear_rgb, color.linear_from_u8, np.arange(256))).astype(np.uint8)


RGB_U8 = tuple(petal_rgb_u8(hue) for hue in HUES)
