"""Propagation of values that are known at some pixels over regions of similar lightness.

Colour usually changes where lightness does. Neighbouring pixels therefore have an affinity that
grows with the similarity of their lightness (Levin, Lischinski and Weiss, *Colorization using
Optimization*, 2004). The propagated field minimizes a sum of squared differences: those between
neighbours, weighted by affinity, and those from the known values. It is the solution of a sparse,
symmetric and positive definite system, and stays within the range of the known values.
"""

from itertools import product

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from colorjax.ops.arrays import AnyArray, widen

# Offsets of the neighbours in a 3x3 window; the (7 - i)-th is opposite the i-th.
NEIGHBOURS = tuple(offset for offset in product((-1, 0, 1), repeat=2) if offset != (0, 0))
# The variance of the Gaussian in `affinities` is this share of the variance of L* in the window,
# clipped to VARIANCES. Smaller variances come from noise and rounding. The upper bound keeps colour
# from crossing strong edges, where the variance in the window is large.
VARIANCE_SHARE, VARIANCES = 0.6, (0.5, 4.0)
TOLERANCE, MAX_STEPS = 3e-3, 2000


def affinities(
    lightness: Float[AnyArray, "h w 1"], *, variances: tuple[float, float] = VARIANCES
) -> Float[Array, "8 h w"]:
    """Returns the affinity of each pixel to its eight neighbours.

    A neighbour's weight is exp(-d^2 / 2 v), divided by the sum over all neighbours, where d is the
    difference in L* and v a share of the variance of L* in the 3x3 window. The affinity of two
    pixels is the mean of the weights that they give to each other.

    Args:
      lightness: [h, w, 1], L* in [0, 100].
      variances: lower and upper bound of v. Levin et al. have no upper bound; chroma that spreads
        over long distances then crosses edges too.

    Returns:
      [8, h, w] >= 0, in the order of NEIGHBOURS; 0 for neighbours outside the picture.
    """
    light = widen(lightness)[..., 0]
    inside, around = _neighbours(jnp.ones_like(light)), _neighbours(light)
    count = 1 + jnp.sum(inside, axis=0)
    mean = (light + jnp.sum(around, axis=0)) / count
    squares = (light - mean) ** 2 + jnp.sum(inside * (around - mean) ** 2, axis=0)
    variance = jnp.clip(VARIANCE_SHARE * squares / count, *variances)
    difference = (around - light) ** 2
    # The most similar neighbour gets weight 1 before normalization, however dissimilar it is:
    # otherwise all weights of an isolated pixel could underflow to 0.
    difference -= jnp.min(difference, axis=0, where=inside > 0, initial=1e4)
    weights = inside * jnp.exp(-difference / (2 * variance))
    weights /= jnp.maximum(jnp.sum(weights, axis=0), 1e-6)
    return (weights + _reversed(weights)) / 2


def propagate(
    weights: Float[AnyArray, "8 h w"],
    known: Float[AnyArray, "h w c"],
    trust: Float[AnyArray, "h w 1"],
    *,
    start: Float[AnyArray, "h w c"] | None = None,
) -> Float[Array, "h w c"]:
    """Propagates known values: minimizes sum w (x - neighbour)^2 / 2 + sum trust (x - known)^2.

    The first sum is over all pixels and their neighbours, with w from `weights`. The solver is the
    conjugate gradient method with the diagonal as preconditioner, up to a residual of TOLERANCE.

    Args:
      weights: [8, h, w], from `affinities`.
      known: [h, w, c], the known values; ignored where `trust` is 0.
      trust: [h, w, 1] >= 0, the weights of the known values. In every set of pixels that
        `weights` connects, at least one must be above 0.
      start: [h, w, c], an initial guess, which speeds up the solver if it is good; `known` by
        default.

    Returns:
      [h, w, c] float32, the minimizing x.
    """
    weights = widen(weights)
    start = known if start is None else start
    known, trust, start = (jnp.moveaxis(widen(x), -1, 0) for x in (known, trust, start))
    diagonal = jnp.sum(weights, axis=0) + trust

    def system(x):
        return diagonal * x - sum(
            weight * neighbour for weight, neighbour in zip(weights, _neighbours(x), strict=True)
        )

    solution, _ = jax.scipy.sparse.linalg.cg(
        system,
        trust * known,
        x0=start,
        tol=0.0,
        atol=TOLERANCE,
        maxiter=MAX_STEPS,
        M=lambda x: x / diagonal,
    )
    return jnp.moveaxis(solution, 0, -1)


def _neighbours(x: Float[AnyArray, "*rest h w"]) -> Float[Array, "8 *rest h w"]:
    """Returns the values of each pixel's neighbours, 0 outside the picture."""
    return jnp.stack([_shifted(x, *offset) for offset in NEIGHBOURS])


def _reversed(weights: Float[AnyArray, "8 h w"]) -> Float[Array, "8 h w"]:
    """Returns the weights that each pixel's neighbours give to it."""
    return jnp.stack([_shifted(weights[7 - i], *offset) for i, offset in enumerate(NEIGHBOURS)])


def _shifted(x: Float[AnyArray, "*rest h w"], down: int, right: int) -> Float[Array, "*rest h w"]:
    """Returns at each pixel the value `down` pixels below and `right` pixels to the right of it."""
    height, width = x.shape[-2:]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)])
    return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]
