"""Colour spaces that split a photograph into the network's input and the chroma to predict.

Chroma is scaled so that [-100, 100] contains the whole sRGB gamut. The chroma of CIELUV and CIELAB
is not scaled, and nearly all of the gamut lies in this range. One set of bins and one scale of
regression therefore serve every space.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, UInt8

from colorjax.ops import color
from colorjax.ops.arrays import AnyArray, widen

FULL_SCALE = 100.0
_YUV_LIMITS = (0.436, 0.615)  # largest absolute U and V in the gamut


Rgb8 = UInt8[AnyArray, "*batch 3"]
Rgb = Float[Array, "*batch 3"]
Channel = Float[Array, "*batch 1"]
Chroma = Float[Array, "*batch 2"]
AnyChannel = Float[AnyArray, "*batch 1"]
AnyChroma = Float[AnyArray, "*batch 2"]


class Space(NamedTuple):
    """A colour space as a pair of pure functions, which are inverse to each other.

    Attributes:
      split: uint8 RGB -> gray in [0, 255], lightness, chroma.
      join: lightness, any chroma -> sRGB in [0, 1].
      circular: for each chroma channel, whether -100 and 100 are the same value.
    """

    split: Callable[[Rgb8], tuple[Channel, Channel, Chroma]]
    join: Callable[[AnyChannel, AnyChroma], Rgb]
    circular: tuple[bool, bool] = (False, False)


def difference(space: Space, chroma: AnyChroma, true_chroma: AnyChroma) -> Float[Array, "*batch 2"]:
    """Returns `chroma - true_chroma`, [..., 2], wrapped in the space's circular channels."""
    return wrap(widen(chroma) - widen(true_chroma), jnp.array(space.circular))


def wrap(delta: Float[AnyArray, "..."], circular: Bool[AnyArray, "..."]) -> Float[Array, "..."]:
    """Wraps differences of chroma into [-100, 100] where `circular` is True.

    `delta` and `circular` broadcast against each other.
    """
    delta = widen(delta)
    turns = jnp.round(delta / (2 * FULL_SCALE))
    return delta - 2 * FULL_SCALE * turns * circular.astype(delta.dtype)


def _split_luv(rgb_u8: Rgb8) -> tuple[Channel, Channel, Chroma]:
    luv = color.rgb_u8_to_luv(rgb_u8)
    return color.gray_from_lightness(luv[..., :1]), luv[..., :1], luv[..., 1:]


def _join_luv(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    """Converts to sRGB, after moving colours outside the gamut towards gray (`fit_chroma`)."""
    luv = color.fit_chroma(jnp.concatenate([lightness, chroma], axis=-1))
    return jnp.clip(color.luv_to_rgb(luv), 0.0, 1.0)


def _split_lab(rgb_u8: Rgb8) -> tuple[Channel, Channel, Chroma]:
    lab = color.rgb_u8_to_lab(rgb_u8)
    return color.gray_from_lightness(lab[..., :1]), lab[..., :1], lab[..., 1:]


def _join_lab(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    lab = jnp.concatenate([lightness, chroma], axis=-1)
    return jnp.clip(color.lab_to_rgb(lab), 0.0, 1.0)


def _split_yuv(rgb_u8: Rgb8) -> tuple[Channel, Channel, Chroma]:
    yuv = color.rgb_to_yuv(rgb_u8 / 255.0)
    chroma = yuv[..., 1:] * (FULL_SCALE / jnp.array(_YUV_LIMITS))
    return 255.0 * yuv[..., :1], yuv[..., :1], chroma


def _join_yuv(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    uv = chroma * (jnp.array(_YUV_LIMITS) / FULL_SCALE)
    return jnp.clip(color.yuv_to_rgb(jnp.concatenate([lightness, uv], axis=-1)), 0.0, 1.0)


def _split_hsv(rgb_u8: Rgb8) -> tuple[Channel, Channel, Chroma]:
    hsv = color.rgb_to_hsv(rgb_u8 / 255.0)
    return 255.0 * hsv[..., 2:], hsv[..., 2:], (2.0 * hsv[..., :2] - 1.0) * FULL_SCALE


def _join_hsv(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    hue, saturation = jnp.split(0.5 + chroma / (2.0 * FULL_SCALE), 2, axis=-1)
    hsv = jnp.concatenate([hue, jnp.clip(saturation, 0.0, 1.0), lightness], axis=-1)
    return color.hsv_to_rgb(hsv)


SPACES = {
    "luv": Space(_split_luv, _join_luv),
    "lab": Space(_split_lab, _join_lab),
    "yuv": Space(_split_yuv, _join_yuv),
    "hsv": Space(_split_hsv, _join_hsv, circular=(True, False)),  # hue and saturation
}
