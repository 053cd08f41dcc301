"""Painted flowers for which the best prediction is known.

Where things of one shape have several colours, as petals do (the paper, section 2), the squared
error is least at the mean of the colours, which is grayish; bins can name one of them.
Here every flower has the same petals on the same ground, and their colour is drawn for each picture
from `RGB_U8` by `PROBABILITIES`. The colours share one lightness, so that the gray picture tells
nothing of which it was, and one saturation, so that choosing any of them has the right saturation.
"""

import colorsys
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.ops import bins, color

COUNT = 400
# Pictures are to be used at this size: a resize mixes gamma-encoded values, and petals of different
# colours would then get outlines of different grays.
SIZE = 36  # pixels
LIGHTNESS = 64.0  # L* of the petals
SATURATION = 0.55  # HSV saturation of the petals

NAMES = ("gold", "blue", "teal", "pink", "violet")
PROBABILITIES = (0.4, 0.2, 0.2, 0.1, 0.1)
# Degrees; of neighbouring hues the one that suffers least from rounding to 8 bits.
HUES = (51, 211, 173, 342, 283)
GROUND = (50, 84, 38)  # leafy green, 8-bit sRGB
HEART = (242, 218, 109)

_PETALS = 5
_SUBPIXELS = 4  # a side, for smooth outlines


class Flower(NamedTuple):
    """One picture's choices; lengths and places in pixels."""

    color: int  # index into RGB_U8
    x: float  # of the centre, to the right
    y: float  # downwards
    radius: float  # from the centre to the petals' tips
    turn: float  # in [0, 1), in petals


class Optimum(NamedTuple):
    """The best that can be said of a colour when only its distribution is known: U and V, [2]."""

    regression: np.ndarray  # by squared error
    classification: np.ndarray  # by cross-entropy and argmax: the fullest bins' centres


def flower(index: int) -> Flower:
    """The `index`-th flower, the same on every machine; all its numbers are independent."""
    # Raw bits: numpy keeps them the same from version to version.
    raw = np.random.Philox([0, index]).random_raw(5)
    draw, x, y, radius, turn = (raw >> np.uint64(11)) / 2.0**53
    which = int(np.searchsorted(np.cumsum(PROBABILITIES)[:-1], draw, side="right"))
    middle = SIZE / 2
    return Flower(which, middle + 3 * x - 1.5, middle + 3 * y - 1.5, 13 + 2 * radius, turn)


def coverage(one: Flower) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel the petals and the heart cover: twice [SIZE, SIZE] in [0, 1]."""
    at = (np.arange(SIZE * _SUBPIXELS) + 0.5) / _SUBPIXELS
    across, down = at - one.x, at[:, None] - one.y
    distance = np.hypot(across, down) / one.radius
    angle = np.arctan2(down, across) + 2 * np.pi * one.turn / _PETALS
    outline = 0.4 + 0.6 * np.sqrt(np.abs(np.cos(_PETALS / 2 * angle)))
    heart = distance < 0.25
    petals = (distance < outline) & ~heart
    blocks = (SIZE, _SUBPIXELS, SIZE, _SUBPIXELS)
    return tuple(mask.reshape(blocks).mean(axis=(1, 3)) for mask in (petals, heart))


def paint(one: Flower) -> np.ndarray:
    """The picture: uint8 [SIZE, SIZE, 3].

    Colours are mixed at the outlines in linear light, where luminance is linear too: so the gray
    picture is the same for petals of any colour, but for the rounding to 8 bits.
    """
    petals, heart = (share[..., None] for share in coverage(one))
    parts = color.linear_from_u8[np.array([RGB_U8[one.color], HEART, GROUND], np.uint8)]
    return _encode(petals * parts[0] + heart * parts[1] + (1 - petals - heart) * parts[2])


def png(index: int) -> bytes:
    """The `index`-th flower's picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(paint(flower(index))).save(file, "PNG")
    return file.getvalue()


def petal_rgb_u8(hue: float) -> tuple[int, int, int]:
    """The 8-bit colour of LIGHTNESS and SATURATION that has this hue, in degrees.

    Raises:
      ValueError: sRGB has none.
    """
    brightest = np.array(colorsys.hsv_to_rgb(hue / 360, SATURATION, 1.0))
    # HSV's value scales all three channels, and so luminance grows with it.
    candidates = np.linspace(0, 255, 10_001)[:, None] * brightest
    luminance = _linear(candidates) @ color.xyz_from_linear_rgb[1]
    target = ((LIGHTNESS + 16) / 116) ** 3
    if luminance[-1] < target:
        raise ValueError(f"hue {hue} does not reach L* {LIGHTNESS} at saturation {SATURATION}")
    return tuple(np.rint(candidates[np.searchsorted(luminance, target)]).astype(int).tolist())


def petal_chroma() -> np.ndarray:
    """U and V of the petals' colours: float32 [colours, 2]."""
    return np.asarray(color.rgb_u8_to_luv(np.array(RGB_U8, np.uint8)))[:, 1:]


def optimum(chroma: np.ndarray, probabilities: np.ndarray) -> Optimum:
    """What the best regression and the best classification answer for all pixels that look alike.

    Args:
      chroma: [colours, 2], the U and V that such a pixel may have.
      probabilities: [colours], of each; they add up to one.
    """
    weights, centers = np.asarray(probabilities), np.asarray(bins.centers())
    # Each channel is classified alone, so each has its own most probable bin.
    fullest = [
        np.bincount(channel, weights, len(centers)).argmax()
        for channel in np.asarray(bins.bin_chroma(chroma)).T
    ]
    return Optimum(weights @ chroma, centers[fullest])


def _linear(levels: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] of gamma-encoded 8-bit levels that need not be whole numbers."""
    return np.interp(levels, np.arange(256), color.linear_from_u8)


def _encode(linear_rgb: np.ndarray) -> np.ndarray:
    """The inverse of `_linear`, rounded to uint8."""
    return np.rint(np.interp(linear_rgb, color.linear_from_u8, np.arange(256))).astype(np.uint8)


RGB_U8 = tuple(petal_rgb_u8(hue) for hue in HUES)
