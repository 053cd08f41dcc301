"""A photograph's own luminance joined with chroma: at full size, where time is a matter of pixels.

The same colours as of `color.fit_chroma` and `color.luv_to_rgb`, in a third of the time: luminance
is not turned into lightness and back, the gamut costs two divisions, and for 8 bits powers are
polynomials. Nothing here is meant to be differentiated.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8, UInt16

from colorjax.ops import color
from colorjax.ops.arrays import AnyArray, widen

# A power of a fourth root is so smooth that this degree leaves 0.0006 of an 8-bit step, and 0.0002
# of lightness.
DEGREE = 6
# Chroma per lightness, in units of 13 u'n and 13 v'n, is u'/u'n - 1 and v'/v'n - 1.
_PER_U, _PER_V = 1.0 / (13.0 * color.WHITE_U), 1.0 / (13.0 * color.WHITE_V)
_LEAST_LIGHTNESS = 1e-4  # below it there is no chroma, as in `color.luv_to_rgb`


def luminance(rgb: UInt8[AnyArray, "*batch 3"] | UInt16[AnyArray, "*batch 3"]) -> Array:
    """Y of sRGB of 8 or 16 bits: [..., 3] -> [...] float32 in [0, 1]."""
    if rgb.dtype == jnp.uint8:
        linear = jnp.asarray(color.linear_from_u8).at[rgb].get(mode="promise_in_bounds")
    else:
        linear = color.linearize(rgb / jnp.float32(65535))
    red, green, blue = linear[..., 0], linear[..., 1], linear[..., 2]
    from_red, _, from_blue = color.relative_xyz_from_linear_rgb[1].tolist()
    # In differences, as in `color`, so that a gray's luminance is its own to the last bit.
    return green + from_red * (red - green) + from_blue * (blue - green)


def lightness(luminance: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """L* of Y in [0, 1], to within 0.0002."""
    luminance = widen(luminance)
    curved = luminance > color.LUMINANCE_KNEE
    return jnp.where(curved, _evaluated(_LIGHTNESS, luminance), color.KAPPA * luminance)


def encoded_u8(linear: Float[AnyArray, "*shape"]) -> UInt8[Array, "*shape"]:
    """`color.to_u8(color.delinearize(linear))`, but for what is within 0.0006 of half a step."""
    linear = _greater(widen(linear), 0.0)
    curved = linear > color.LINEAR_KNEE
    steps = jnp.where(curved, _evaluated(_ENCODED, linear), (255.0 * 12.92) * linear)
    return jnp.minimum(steps + 0.5, 255.0).astype(jnp.uint8)


def join(
    luminance: Float[AnyArray, "*shape"],
    lightness: Float[AnyArray, "*shape"],
    chroma: Float[AnyArray, "*shape 2"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Linear red, green and blue of a luminance and CIELUV chroma.

    Chroma outside the gamut is pulled towards gray, as by `color.fit_chroma`.

    Args:
      luminance: [...], Y in [0, 1].
      lightness: [...], its L*.
      chroma: [..., 2], u* and v*, any.
    Returns:
      [...] each, in [0, 1] up to rounding; their luminance is the given one.
    """
    luminance, lightness, chroma = widen(luminance), widen(lightness), widen(chroma)
    coloured = (lightness > _LEAST_LIGHTNESS) & (luminance < 1.0)
    per_lightness = jnp.where(coloured, 1.0 / lightness, 0.0)
    du = chroma[..., 0] * per_lightness * _PER_U
    dv = chroma[..., 1] * per_lightness * _PER_V
    # As in `color.fit_chroma`: with the chroma divided by `excess`, red is y (1 + k / excess) /
    # (1 + dv / excess), and so are green and blue.
    red, green, blue = (a * du + b * dv for a, b in color.linear_rgb_from_chromaticity.tolist())
    most, least = (of(of(red, green), blue) for of in (_greater, _less))
    room = _greater(1.0 - luminance, 1e-7)
    excess = _greater(_greater(-least, (luminance * most - dv) / room), 1.0)
    scale = luminance / (excess + dv)
    return scale * (excess + red), scale * (excess + green), scale * (excess + blue)


def _greater(x: Array, y: Array | float) -> Array:
    """As jnp.maximum, which takes twice as long on a CPU as it passes NaN on."""
    return jnp.where(x > y, x, y)


def _less(x: Array, y: Array | float) -> Array:
    return jnp.where(x < y, x, y)


def _fitted(function: Callable, knee: float) -> list[float]:
    """Coefficients of a polynomial of the fourth root: that of a function on [knee, 1]."""
    polynomial = np.polynomial.Chebyshev.interpolate(
        lambda root: function(root**4), DEGREE, (knee**0.25, 1.0)
    )
    return polynomial.convert(kind=np.polynomial.Polynomial).coef.tolist()


def _evaluated(coefficients: list[float], x: Array) -> Array:
    root = jnp.sqrt(jnp.sqrt(x))
    result = jnp.full_like(root, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * root + coefficient
    return result


_LIGHTNESS = _fitted(lambda y: 116.0 * y ** (1 / 3) - 16.0, color.LUMINANCE_KNEE)
_ENCODED = _fitted(lambda x: 255.0 * (1.055 * x ** (1 / 2.4) - 0.055), color.LINEAR_KNEE)
