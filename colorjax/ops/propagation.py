"""A field that is known at some places, spread over what belongs together there.

Colour changes where lightness does: neighbours belong together as their lightness is alike (Levin,
Lischinski and Weiss, *Colorization using Optimization*, 2004). The field that differs least between
neighbours that belong together, and least from what is known, is the solution of a sparse,
symmetric and positive definite system. It is nowhere beyond the range of what is known.
"""

from itertools import product

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from colorjax.ops.arrays import AnyArray, widen

# The other pixels of a 3x3 window; the one opposite the i-th is the (7 - i)-th.
NEIGHBOURS = tuple(place for place in product((-1, 0, 1), repeat=2) if place != (0, 0))
# The share of the variance of L* in a window by which differences of L* are measured, in bounds:
# below the least lie noise and rounding; the most keeps strong edges shut, where variance is large.
VARIANCE_SHARE, VARIANCES = 0.6, (0.5, 4.0)
TOLERANCE, MOST_STEPS = 3e-3, 2000


def affinities(
    lightness: Float[AnyArray, "h w 1"], *, variances: tuple[float, float] = VARIANCES
) -> Float[Array, "8 h w"]:
    """How much pixels belong together with their neighbours.

    A neighbour has exp(-d^2 / 2 v), d being the difference in L* and v a share of the variance in
    the 3x3 window, divided by the sum over all neighbours; for two pixels, the mean of what each is
    to the other.

    Args:
      lightness: [h, w, 1], L* in [0, 100].
      variances: the least and the most that v may be. Levin et al. have no most, and chroma that
        goes a long way then goes over edges too.

    Returns:
      [8, h, w] >= 0, in the order of NEIGHBOURS; 0 for those outside of the picture.
    """
    light = widen(lightness)[..., 0]
    inside, around = _neighbours(jnp.ones_like(light)), _neighbours(light)
    count = 1 + jnp.sum(inside, axis=0)
    mean = (light + jnp.sum(around, axis=0)) / count
    squares = (light - mean) ** 2 + jnp.sum(inside * (around - mean) ** 2, axis=0)
    variance = jnp.clip(VARIANCE_SHARE * squares / count, *variances)
    difference = (around - light) ** 2
    # The neighbour that is most alike counts, however unlike it is.
    difference -= jnp.min(difference, axis=0, where=inside > 0, initial=1e4)
    weights = inside * jnp.exp(-difference / (2 * variance))
    weights /= jnp.maximum(jnp.sum(weights, axis=0), 1e-6)
    return (weights + _opposite(weights)) / 2


def propagate(
    weights: Float[AnyArray, "8 h w"],
    known: Float[AnyArray, "h w c"],
    trust: Float[AnyArray, "h w 1"],
    *,
    start: Float[AnyArray, "h w c"] | None = None,
) -> Float[Array, "h w c"]:
    """The x for which sum weights (x - neighbour)^2 / 2 + sum trust (x - known)^2 is least.

    The first sum is over all pixels and their neighbours. By conjugate gradients, preconditioned by
    the diagonal, up to a residual of TOLERANCE.

    Args:
      weights: [8, h, w], from `affinities`.
      known: [h, w, c], what is known; of no meaning where trust is 0.
      trust: [h, w, 1], >= 0, and above 0 somewhere in everything that hangs together.
      start: [h, w, c], a guess of the result, which is then found sooner; `known` unless given.

    Returns:
      [h, w, c] float32.
    """
    weights = widen(weights)
    start = known if start is None else start
    known, trust, start = (jnp.moveaxis(widen(x), -1, 0) for x in (known, trust, start))
    diagonal = jnp.sum(weights, axis=0) + trust

    def system(x):
        return diagonal * x - sum(
            weight * neighbour for weight, neighbour in zip(weights, _neighbours(x), strict=True)
        )

    found, _ = jax.scipy.sparse.linalg.cg(
        system,
        trust * known,
        x0=start,
        tol=0.0,
        atol=TOLERANCE,
        maxiter=MOST_STEPS,
        M=lambda x: x / diagonal,
    )
    return jnp.moveaxis(found, 0, -1)


def _neighbours(x: Float[AnyArray, "*rest h w"]) -> Float[Array, "8 *rest h w"]:
    """What stands around each pixel, 0 outside of the picture."""
    return jnp.stack([_shifted(x, *place) for place in NEIGHBOURS])


def _opposite(weights: Float[AnyArray, "8 h w"]) -> Float[Array, "8 h w"]:
    """What each pixel is to its neighbours, from what they are to it."""
    return jnp.stack([_shifted(weights[7 - i], *place) for i, place in enumerate(NEIGHBOURS)])


def _shifted(x: Float[AnyArray, "*rest h w"], down: int, right: int) -> Float[Array, "*rest h w"]:
    """At each pixel, what stands so many pixels below and to the right of it."""
    height, width = x.shape[-2:]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)])
    return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]
