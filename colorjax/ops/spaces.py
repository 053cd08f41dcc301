"""The colour spaces that a photograph may be cut in: what the network is given, what it predicts.

Chroma is scaled so that [-100, 100] holds all of sRGB, or nearly all in CIELUV and CIELAB, which
are left as they are: one grid of bins and one scale of regression then serve every space.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, UInt8

from colorjax.ops import color
from colorjax.ops.arrays import AnyArray, widen

FULL_SCALE = 100.0
_YUV_REACH = (0.436, 0.615)  # of U and V for colours in the gamut


Rgb8 = UInt8[AnyArray, "*batch 3"]
Rgb = Float[Array, "*batch 3"]
Channel = Float[Array, "*batch 1"]
Chroma = Float[Array, "*batch 2"]
AnyChannel = Float[AnyArray, "*batch 1"]
AnyChroma = Float[AnyArray, "*batch 2"]


class Space(NamedTuple):
    """A colour space as two pure functions, each the other's inverse."""

    # uint8 RGB -> gray in [0, 255], lightness, chroma
    split: Callable[[Rgb8], tuple[Channel, Channel, Chroma]]
    # lightness, any chroma -> sRGB in [0, 1]
    join: Callable[[AnyChannel, AnyChroma], Rgb]
    circular: tuple[bool, bool] = (False, False)  # is -100 the same as 100?


def difference(space: Space, chroma: AnyChroma, true_chroma: AnyChroma) -> Float[Array, "*batch 2"]:
    """`chroma - true_chroma`, [..., 2]; the short way round where a channel is a circle."""
    return wrap(widen(chroma) - widen(true_chroma), jnp.array(space.circular))


def wrap(straight: Float[AnyArray, "..."], circular: Bool[AnyArray, "..."]) -> Float[Array, "..."]:
    """A difference of chroma the short way round, where the bool `circular` says so.

    The two broadcast against each other.
    """
    straight = widen(straight)
    turns = jnp.round(straight / (2 * FULL_SCALE))
    return straight - 2 * FULL_SCALE * turns * circular.astype(straight.dtype)


def _split_luv(rgb_u8: Rgb8) -> tuple[Channel, Channel, Chroma]:
    luv = color.rgb_u8_to_luv(rgb_u8)
    return color.gray_from_lightness(luv[..., :1]), luv[..., :1], luv[..., 1:]


def _join_luv(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    """Chroma outside the gamut is reduced at constant lightness and hue."""
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
    chroma = yuv[..., 1:] * (FULL_SCALE / jnp.array(_YUV_REACH))
    return 255.0 * yuv[..., :1], yuv[..., :1], chroma


def _join_yuv(lightness: AnyChannel, chroma: AnyChroma) -> Rgb:
    uv = chroma * (jnp.array(_YUV_REACH) / FULL_SCALE)
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
