"""Fast combination of a photograph's luminance with predicted chroma, at full resolution.

It gives the colours of `color.fit_chroma` and `color.luv_to_rgb` in a third of the time: it does
not convert luminance to lightness and back, the gamut mapping takes two divisions, and for 8-bit
results polynomials replace the powers. The functions are not meant to be differentiated.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8, UInt16

from colorjax.ops import color
from colorjax.ops.arrays import AnyArray, widen

# Degree of the polynomials, whose variable is the fourth root of the argument. The powers are so
# smooth in that root that the errors stay below 0.0006 of an 8-bit step and 0.0002 of L*.
DEGREE = 6
# u* / L* and v* / L*, multiplied by these, are u'/u'n - 1 and v'/v'n - 1.
_PER_U, _PER_V = 1.0 / (13.0 * color.WHITE_U), 1.0 / (13.0 * color.WHITE_V)
_MIN_LIGHTNESS = 1e-4  # darker pixels have no chroma, as in `color.luv_to_rgb`


def luminance(rgb: UInt8[AnyArray, "*batch 3"] | UInt16[AnyArray, "*batch 3"]) -> Array:
    """Returns the luminance Y of 8-bit or 16-bit sRGB: [..., 3] -> [...] float32 in [0, 1]."""
    if rgb.dtype == jnp.uint8:
        linear = jnp.asarray(color.linear_from_u8).at[rgb].get(mode="promise_in_bounds")
    else:
        linear = color.linearize(rgb / jnp.float32(65535))
    red, green, blue = linear[..., 0], linear[..., 1], linear[..., 2]
    from_red, _, from_blue = color.relative_xyz_from_linear_rgb[1].tolist()
    # Differences, as in `color`, so that the luminance of a gray equals its value to the last bit.
    return green + from_red * (red - green) + from_blue * (blue - green)


def lightness(luminance: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Converts the luminance Y in [0, 1] to L*, to within 0.0002."""
    luminance = widen(luminance)
    curved = luminance > color.LUMINANCE_KNEE
    return jnp.where(curved, _evaluate(_LIGHTNESS, luminance), color.KAPPA * luminance)


def encode_u8(linear: Float[AnyArray, "*shape"]) -> UInt8[Array, "*shape"]:
    """Approximates `color.to_u8(color.delinearize(linear))`: [...] -> [...] uint8.

    Only values within 0.0006 of the middle between two 8-bit steps may be rounded differently.
    """
    linear = _maximum(widen(linear), 0.0)
    curved = linear > color.LINEAR_KNEE
    steps = jnp.where(curved, _evaluate(_ENCODED, linear), (255.0 * 12.92) * linear)
    return jnp.minimum(steps + 0.5, 255.0).astype(jnp.uint8)


def join(
    luminance: Float[AnyArray, "*shape"],
    lightness: Float[AnyArray, "*shape"],
    chroma: Float[AnyArray, "*shape 2"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Converts luminance and CIELUV chroma to linear red, green and blue.

    Chroma outside the gamut is moved towards gray, as by `color.fit_chroma`.

    Args:
      luminance: [...], Y in [0, 1].
      lightness: [...], L* of `luminance`.
      chroma: [..., 2], u* and v*, any values.
    Returns:
      Red, green and blue, [...] each, in [0, 1] up to rounding. Their luminance is `luminance`.
    """
    luminance, lightness, chroma = widen(luminance), widen(lightness), widen(chroma)
    coloured = (lightness > _MIN_LIGHTNESS) & (luminance < 1.0)
    per_lightness = jnp.where(coloured, 1.0 / lightness, 0.0)
    du = chroma[..., 0] * per_lightness * _PER_U
    dv = chroma[..., 1] * per_lightness * _PER_V
    # As in `color.fit_chroma`: with the chroma divided by `excess`, each channel is
    # y (1 + k / excess) / (1 + dv / excess). Here red, green and blue are the values of k.
    red, green, blue = (a * du + b * dv for a, b in color.linear_rgb_from_chromaticity.tolist())
    largest = _maximum(_maximum(red, green), blue)
    smallest = _minimum(_minimum(red, green), blue)
    headroom = _maximum(1.0 - luminance, 1e-7)
    excess = _maximum(_maximum(-smallest, (luminance * largest - dv) / headroom), 1.0)
    scale = luminance / (excess + dv)
    return scale * (excess + red), scale * (excess + green), scale * (excess + blue)


def _maximum(x: Array, y: Array | float) -> Array:
    """A faster jnp.maximum, which takes twice as long on a CPU because it propagates NaN."""
    return jnp.where(x > y, x, y)


def _minimum(x: Array, y: Array | float) -> Array:
    return jnp.where(x < y, x, y)


def _fit(function: Callable, knee: float) -> list[float]:
    """Fits `function` on [knee, 1] by a polynomial in the fourth root; returns its coefficients."""
    polynomial = np.polynomial.Chebyshev.interpolate(
        lambda root: function(root**4), DEGREE, (knee**0.25, 1.0)
    )
    return polynomial.convert(kind=np.polynomial.Polynomial).coef.tolist()


def _evaluate(coefficients: list[float], x: Array) -> Array:
    """Evaluates a polynomial from `_fit` by Horner's rule."""
    root = jnp.sqrt(jnp.sqrt(x))
    result = jnp.full_like(root, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * root + coefficient
    return result


_LIGHTNESS = _fit(lambda y: 116.0 * y ** (1 / 3) - 16.0, color.LUMINANCE_KNEE)
_ENCODED = _fit(lambda x: 255.0 * (1.055 * x ** (1 / 2.4) - 0.055), color.LINEAR_KNEE)
