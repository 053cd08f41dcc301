"""Colour conversions of arrays whose last axis holds the channels.

`rgb` is gamma-encoded sRGB in [0, 1]. Every function accepts any leading shape, promotes narrower
floats to float32, and may be jitted, vmapped and differentiated. All gradients are finite, also at
black and on the gray axis. The `_to_rgb` functions do not clip: a colour outside the sRGB gamut
gives values outside [0, 1]. `to_u8` and `to_u16` clip.

Two choices give every gray a chroma of exactly 0.0 in LUV, Lab and YUV. White is the sum of the
three primaries; with the tabulated D65 white, grays would have a chroma of up to 0.008. And the
sums below are written in differences of channels: the rows of the relative matrices sum to one, so
that the middle weight drops out. This form also avoids matrix products, which a GPU may round to
tf32.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num, UInt8, UInt16

from colorjax.ops.arrays import AnyArray, widen

# ITU-R BT.709 primaries and D65 white, to six digits, as in OpenCV and scikit-image.
xyz_from_linear_rgb = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
white_xyz = xyz_from_linear_rgb.sum(axis=1)

# "Relative" XYZ is XYZ divided by that of white; each row of this matrix sums to one.
relative_xyz_from_linear_rgb = xyz_from_linear_rgb / white_xyz[:, None]
linear_rgb_from_relative_xyz = np.linalg.inv(relative_xyz_from_linear_rgb)

# CIELUV: u' = 4X / d and v' = 9Y / d, where d = X + 15Y + 3Z.
_WHITE_X, _, _WHITE_Z = white_xyz.tolist()
_WHITE_D = _WHITE_X + 15.0 + 3.0 * _WHITE_Z
WHITE_U = 4.0 * _WHITE_X / _WHITE_D
WHITE_V = 9.0 / _WHITE_D
_MIN_V = 0.01

# Linear R, G and B are each Y (1 + k) / (1 + dv), where k is a linear function of
# du = u'/u'n - 1 and dv = v'/v'n - 1. The matrix below has one row of weights of (du, dv) for each
# of R, G and B.
_DU_Z = 3.0 * WHITE_U / (12.0 - 3.0 * WHITE_U - 20.0 * WHITE_V)
_DV_Z = 20.0 * WHITE_V / (12.0 - 3.0 * WHITE_U - 20.0 * WHITE_V)
linear_rgb_from_chromaticity = linear_rgb_from_relative_xyz @ np.array(
    [[1.0, 0.0], [0.0, 1.0], [-_DU_Z, -_DV_Z]]
)

# CIE 15: a line replaces the cube root below these values of luminance, lightness and f(luminance).
LUMINANCE_KNEE = (6.0 / 29.0) ** 3
_LIGHTNESS_KNEE = 8.0
_F_KNEE = 6.0 / 29.0
KAPPA = (29.0 / 3.0) ** 3

# IEC 61966-2-1: a line replaces the power below these encoded and linear values.
_ENCODED_KNEE = 0.04045
LINEAR_KNEE = 0.0031308
_encoded = np.arange(256) / 255.0
linear_from_u8 = np.where(
    _encoded > _ENCODED_KNEE, ((_encoded + 0.055) / 1.055) ** 2.4, _encoded / 12.92
).astype(np.float32)

# ITU-R BT.601 luma weights, and the factors that scale B - Y and R - Y to the ranges of U and V,
# which are +-0.436 and +-0.615.
_LUMA_R, _LUMA_G, _LUMA_B = 0.299, 0.587, 0.114
_U_PER_DIFFERENCE = 0.436 / (1.0 - _LUMA_B)
_V_PER_DIFFERENCE = 0.615 / (1.0 - _LUMA_R)

# Denominators below this count as zero. The gradient of a quotient squares its denominator, and the
# square must not underflow float32. The darkest 16-bit colour is six orders of magnitude larger.
_TINY = 1e-12


def linearize(rgb: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Applies sRGB's electro-optical transfer function (IEC 61966-2-1).

    Args:
      rgb: [...], gamma-encoded, in [0, 1]; the linear segment extends below 0.
    Returns:
      [...], linear light, in [0, 1].
    Raises:
      TypeError: if `rgb` has an integer dtype, because its range is ambiguous.
    """
    rgb = _as_float(rgb)
    curved = rgb > _ENCODED_KNEE
    # Mask the base as well: a power of the values that `where` discards may be NaN, and would make
    # the gradient NaN.
    base = (jnp.where(curved, rgb, 1.0) + 0.055) / 1.055
    return jnp.where(curved, base**2.4, rgb / 12.92)


def delinearize(linear_rgb: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Inverts `linearize`: [...], linear light -> [...], gamma-encoded; both in [0, 1]."""
    linear_rgb = _as_float(linear_rgb)
    curved = linear_rgb > LINEAR_KNEE
    # The slope of the power is infinite at 0, and its product with the zero of `where` is NaN.
    base = jnp.where(curved, linear_rgb, 1.0)
    return jnp.where(curved, 1.055 * base ** (1.0 / 2.4) - 0.055, linear_rgb * 12.92)


def rgb_to_xyz(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts sRGB to CIE 1931 XYZ: [..., 3] in [0, 1] -> [..., 3], where white has Y = 1."""
    x, y, z = _relative_xyz(linearize(rgb))
    return jnp.stack([x * _WHITE_X, y, z * _WHITE_Z], axis=-1)


def xyz_to_rgb(xyz: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts CIE 1931 XYZ to sRGB, unclipped: [..., 3] -> [..., 3]."""
    x, y, z = _channels(_as_float(xyz))
    return delinearize(_linear_rgb(x / _WHITE_X, y, z / _WHITE_Z))


def rgb_to_luv(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts sRGB to CIELUV (CIE 15).

    Args:
      rgb: [..., 3], gamma-encoded, in [0, 1].
    Returns:
      [..., 3]: L* in [0, 100], u* in [-83, 175], v* in [-134, 107].
    """
    return _luv_from_relative_xyz(*_relative_xyz(linearize(rgb)))


def luv_to_rgb(luv: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts CIELUV to sRGB, unclipped: [..., 3] -> [..., 3].

    The result is also defined for chroma that no real colour of that lightness has, because a
    prediction for a dark pixel may contain it: v' below 0.01 counts as 0.01, and a colour with L*
    below 1e-4 counts as gray.
    """
    lightness, u, v = _channels(_as_float(luv))
    du, dv = _offsets_from_white(lightness, u, v)
    # v' is a divisor: X and Z would be infinite at 0 and would change their sign below 0.
    dv = jnp.maximum(dv, _MIN_V / WHITE_V - 1.0)
    y = _luminance_from_lightness(lightness)
    x = y * (1.0 + du) / (1.0 + dv)
    # Z = Y (12 - 3u' - 20v') / 4v'
    z = y * (1.0 - _DU_Z * du - _DV_Z * dv) / (1.0 + dv)
    return delinearize(_linear_rgb(x, y, z))


def fit_chroma(luv: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Moves colours outside the sRGB gamut towards gray, at constant lightness and hue.

    Clipping RGB instead changes the lightness. The change is gross in dark pixels, where the width
    of one bin is more chroma than any real colour has: black areas would show bright specks.

    Args:
      luv: [..., 3] CIELUV, L* in [0, 100], any chroma.
    Returns:
      [..., 3]: L* unchanged, chroma scaled by a factor in [0, 1] that is 1 inside the gamut.
    """
    lightness, u, v = _channels(_as_float(luv))
    du, dv = _offsets_from_white(lightness, u, v)
    y = _luminance_from_lightness(lightness)
    headroom = jnp.where(y < 1.0, 1.0 - y, 1.0)
    # With the chroma scaled by t, linear red is y (1 + t k) / (1 + t dv), and green and blue
    # likewise. It is at least 0 while -k t <= 1, and at most 1 while (y k - dv) t <= 1 - y.
    excess = jnp.ones_like(y)
    for by_du, by_dv in linear_rgb_from_chromaticity.tolist():
        k = by_du * du + by_dv * dv
        excess = jnp.maximum(excess, jnp.maximum(-k, (y * k - dv) / headroom))
    scale = jnp.where((lightness > 0.0) & (y < 1.0), 1.0 / excess, 0.0)
    return jnp.stack([lightness, u * scale, v * scale], axis=-1)


def rgb_to_lab(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts sRGB to CIELAB (CIE 15).

    Args:
      rgb: [..., 3], gamma-encoded, in [0, 1].
    Returns:
      [..., 3]: L* in [0, 100], a* in [-86, 98], b* in [-108, 94].
    """
    return _lab_from_relative_xyz(*_relative_xyz(linearize(rgb)))


def lab_to_rgb(lab: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts CIELAB to sRGB, unclipped: [..., 3] -> [..., 3]."""
    lightness, a, b = _channels(_as_float(lab))
    f_y = (lightness + 16.0) / 116.0
    x, y, z = (_f_inverse(f) for f in (f_y + a / 500.0, f_y, f_y - b / 200.0))
    return delinearize(_linear_rgb(x, y, z))


def rgb_u8_to_luv(rgb_u8: UInt8[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Computes `rgb_to_luv(rgb_u8 / 255)` by a lookup table: [..., 3] uint8 -> [..., 3].

    Raises:
      TypeError: if the dtype is not uint8.
    """
    return _luv_from_relative_xyz(*_relative_xyz(_linearize_u8(rgb_u8)))


def rgb_u8_to_lab(rgb_u8: UInt8[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Computes `rgb_to_lab(rgb_u8 / 255)` by a lookup table: [..., 3] uint8 -> [..., 3].

    Raises:
      TypeError: if the dtype is not uint8.
    """
    return _lab_from_relative_xyz(*_relative_xyz(_linearize_u8(rgb_u8)))


def to_u8(rgb: Float[AnyArray, "*shape"]) -> UInt8[Array, "*shape"]:
    """Clips to [0, 1] and rounds to 8 bits: [...] -> [...] uint8."""
    return jnp.clip(jnp.round(_as_float(rgb) * 255.0), 0.0, 255.0).astype(jnp.uint8)


def to_u16(rgb: Float[AnyArray, "*shape"]) -> UInt16[Array, "*shape"]:
    """Clips to [0, 1] and rounds to 16 bits: [...] -> [...] uint16."""
    return jnp.clip(jnp.round(_as_float(rgb) * 65535.0), 0.0, 65535.0).astype(jnp.uint16)


def rgb_to_hsv(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts sRGB to hue, saturation and value (Smith 1978).

    Args:
      rgb: [..., 3], gamma-encoded, in [0, 1].
    Returns:
      [..., 3], all in [0, 1]. Hue is in turns, so 0 and 1 are the same red. The hue of a gray and
      the saturation of black are undefined; they are set to 0, with gradient 0.
    """
    r, g, b = _channels(_as_float(rgb))
    value = jnp.maximum(r, jnp.maximum(g, b))
    spread = value - jnp.minimum(r, jnp.minimum(g, b))
    coloured = spread > _TINY
    # Mask the divisor as well as the result: `where` passes on the NaN gradient of 0 / 0.
    divisor = jnp.where(coloured, spread, 1.0)
    sixths = jnp.where(value == g, 2.0 + (b - r) / divisor, 4.0 + (r - g) / divisor)
    turns = jnp.where(value == r, (g - b) / divisor, sixths) / 6.0
    hue = jnp.where(coloured, turns - jnp.floor(turns), 0.0)
    lit = value > _TINY
    saturation = jnp.where(lit, spread / jnp.where(lit, value, 1.0), 0.0)
    return jnp.stack([hue, saturation, value], axis=-1)


def hsv_to_rgb(hsv: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Inverts `rgb_to_hsv`: [..., 3] -> [..., 3] in [0, 1]; hue may be any number."""
    hue, saturation, value = _channels(_as_float(hsv))

    def channel(offset: float) -> Array:
        sixths = offset + 6.0 * hue
        sixths = sixths - 6.0 * jnp.floor(sixths / 6.0)
        ramp = jnp.clip(jnp.minimum(sixths, 4.0 - sixths), 0.0, 1.0)
        return value - value * saturation * ramp

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)


def rgb_to_yuv(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts gamma-encoded sRGB to luma and two colour differences (ITU-R BT.601).

    Args:
      rgb: [..., 3], gamma-encoded, in [0, 1].
    Returns:
      [..., 3]: Y in [0, 1], U in [-0.436, 0.436], V in [-0.615, 0.615]; U and V of a gray are 0.
      Some colorization networks use the name YUV for YCbCr, whose chroma is U / 0.872 and
      V / 1.23, in [-0.5, 0.5].
    """
    r, g, b = _channels(_as_float(rgb))
    y = g + _LUMA_R * (r - g) + _LUMA_B * (b - g)
    return jnp.stack([y, _U_PER_DIFFERENCE * (b - y), _V_PER_DIFFERENCE * (r - y)], axis=-1)


def yuv_to_rgb(yuv: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Inverts `rgb_to_yuv`, unclipped: [..., 3] -> [..., 3]."""
    y, u, v = _channels(_as_float(yuv))
    b_minus_y = u / _U_PER_DIFFERENCE
    r_minus_y = v / _V_PER_DIFFERENCE
    g = y - (_LUMA_R / _LUMA_G) * r_minus_y - (_LUMA_B / _LUMA_G) * b_minus_y
    return jnp.stack([y + r_minus_y, g, y + b_minus_y], axis=-1)


def gray_from_lightness(lightness: Float[AnyArray, "*batch 1"]) -> Float[Array, "*batch 1"]:
    """Returns the sRGB gray of a given lightness.

    Args:
      lightness: [..., 1], L* in [0, 100].
    Returns:
      [..., 1], gamma-encoded, in [0, 255]: the encoder's input before the mean is subtracted.
    """
    return 255.0 * delinearize(_luminance_from_lightness(_as_float(lightness)))


def lightness_from_gray(gray: Float[AnyArray, "*batch 1"]) -> Float[Array, "*batch 1"]:
    """Inverts `gray_from_lightness`: [..., 1] in [0, 255] -> L* in [0, 100]."""
    return _lightness_from_luminance(linearize(_as_float(gray) / 255.0))


def gray_from_rgb(rgb: Float[AnyArray, "*batch 3"]) -> Float[Array, "*batch 1"]:
    """Returns the sRGB gray of a colour's luminance: [..., 3] in [0, 1] -> [..., 1] in [0, 255].

    It is computed in linear light, so that it agrees with `gray_from_lightness` of the colour's L*.
    """
    _, y, _ = _relative_xyz(linearize(rgb))
    return 255.0 * delinearize(y)[..., None]


def _as_float(array: Num[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"colours must be floating point, found {array.dtype}: divide 8-bit values by 255, "
            "or use the rgb_u8_ functions"
        )
    return widen(array)


def _linearize_u8(rgb_u8: UInt8[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    rgb_u8 = jnp.asarray(rgb_u8)
    if rgb_u8.dtype != jnp.uint8:
        raise TypeError(f"rgb_u8 must be uint8, found {rgb_u8.dtype}")
    return jnp.asarray(linear_from_u8).at[rgb_u8].get(mode="promise_in_bounds")


def _channels(image: Array) -> tuple[Array, Array, Array]:
    if image.shape[-1:] != (3,):
        raise ValueError(f"the last axis must hold 3 channels, found shape {image.shape}")
    return image[..., 0], image[..., 1], image[..., 2]


def _relative_xyz(linear_rgb: Array) -> tuple[Array, Array, Array]:
    """Returns X/Xn, Y/Yn and Z/Zn, which are exactly equal for a gray."""
    r, g, b = _channels(linear_rgb)
    weights = relative_xyz_from_linear_rgb.tolist()
    x, y, z = (g + from_r * (r - g) + from_b * (b - g) for from_r, _, from_b in weights)
    return x, y, z


def _linear_rgb(x: Array, y: Array, z: Array) -> Array:
    """Inverts `_relative_xyz`; the result is exactly gray where x, y and z are exactly equal."""
    weights = linear_rgb_from_relative_xyz.tolist()
    return jnp.stack(
        [y + from_x * (x - y) + from_z * (z - y) for from_x, _, from_z in weights], axis=-1
    )


def _offsets_from_white(lightness: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """Returns u'/u'n - 1 and v'/v'n - 1, which are exactly 0 for a gray."""
    # At L* = 0 chroma has no meaning, and u* / L* has no limit.
    lit = lightness > 1e-4
    per_lightness = jnp.where(lit, 1.0 / (13.0 * jnp.where(lit, lightness, 1.0)), 0.0)
    return u * per_lightness / WHITE_U, v * per_lightness / WHITE_V


def _luv_from_relative_xyz(x: Array, y: Array, z: Array) -> Array:
    # u' - u'n and v' - v'n are each written as a single fraction. Their numerators are sums of
    # differences that vanish for gray, so that no digits cancel near it.
    d = _WHITE_X * x + 15.0 * y + 3.0 * _WHITE_Z * z
    # At black d is 0, but so are the lightness and the differences.
    divisor = _WHITE_D * jnp.where(d > _TINY, d, 1.0)
    lightness = _lightness_from_luminance(y)
    scale = 13.0 * lightness / divisor
    u = scale * (4.0 * _WHITE_X) * (15.0 * (x - y) + 3.0 * _WHITE_Z * (x - z))
    v = scale * 9.0 * (_WHITE_X * (y - x) + 3.0 * _WHITE_Z * (y - z))
    return jnp.stack([lightness, u, v], axis=-1)


def _lab_from_relative_xyz(x: Array, y: Array, z: Array) -> Array:
    f_x, f_y, f_z = _f(x), _f(y), _f(z)
    return jnp.stack(
        [_lightness_from_luminance(y), 500.0 * (f_x - f_y), 200.0 * (f_y - f_z)], axis=-1
    )


def _lightness_from_luminance(y: Array) -> Array:
    curved = y > LUMINANCE_KNEE
    # Masked as in `delinearize`. A power is as exact as cbrt, and a third faster on a CPU.
    root = jnp.where(curved, y, 1.0) ** (1.0 / 3.0)
    return jnp.where(curved, 116.0 * root - 16.0, KAPPA * y)


def _luminance_from_lightness(lightness: Array) -> Array:
    cube = ((lightness + 16.0) / 116.0) ** 3
    return jnp.where(lightness > _LIGHTNESS_KNEE, cube, lightness / KAPPA)


def _f(t: Array) -> Array:
    curved = t > LUMINANCE_KNEE
    root = jnp.where(curved, t, 1.0) ** (1.0 / 3.0)
    return jnp.where(curved, root, t * (KAPPA / 116.0) + 16.0 / 116.0)


def _f_inverse(f: Array) -> Array:
    return jnp.where(f > _F_KNEE, f**3, (f - 16.0 / 116.0) * (116.0 / KAPPA))
