"""Random degradations of old photographs, as augmentation of the network's training input.

They imitate the effects of lenses, film and time. A network that was trained on clean scans only
mistakes the grain and the fog of an old print for image content. All strengths are our choice. They
are strong for the 100 to 150 pixels at which a network is trained: downscaling a large print to
that size leaves little of its blur and grain.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from colorjax.ops.arrays import AnyArray, widen

UNTOUCHED_SHARE = 0.3  # probability that a picture stays unchanged
VIGNETTE_SHARE = 0.2  # probability that a degraded picture gets darkened corners
BLUR_RADIUS = 4  # pixels of the Gaussian kernel on each side: more than three times MAX_BLUR
MAX_BLUR, MAX_GRAIN = 1.2, 14.0  # standard deviations, in pixels and in 8-bit levels

_GRAIN = np.array([0.25, 0.5, 0.25], np.float32)  # silver clumps are larger than a pixel


def age(
    key: PRNGKeyArray,
    gray: Float[AnyArray, "b h w 1"],
    example: Int[AnyArray, " b"],
    strength: float,
) -> Float[Array, "b h w 1"]:
    """Ages each picture independently: [b, h, w, 1] -> [b, h, w, 1], in [0, 255].

    The effects follow the order in which they arise: the lens adds blur and a vignette; the film
    changes contrast and gamma and adds grain; time raises the blacks and lowers the whites.

    Args:
      key: random key of the whole run.
      gray: [b, h, w, 1] in [0, 255].
      example: int32 [b], the index of each image within the run. The effects on an image depend
        only on `key` and its index, so they do not change with the number of devices or after a
        restart.
      strength: scales all effects, in [0, 1]; 0 returns the pictures unchanged.
    """
    gray = widen(gray)
    if not strength:
        return gray

    def age_one(picture, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        aged = _lens(keys[0], picture / 255.0, strength)
        aged = _fade(keys[2], _film(keys[1], aged, strength), strength)
        untouched = jax.random.bernoulli(keys[3], UNTOUCHED_SHARE)
        return jnp.where(untouched, picture, 255.0 * jnp.clip(aged, 0.0, 1.0))

    return jax.vmap(age_one)(gray, example)


def _lens(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    """Blurs the picture and, sometimes, darkens its corners."""
    keys = jax.random.split(key, 3)
    x = blur(x, gaussian(strength * jax.random.uniform(keys[0], maxval=MAX_BLUR)))
    depth = jax.random.uniform(keys[1], maxval=0.6) * jax.random.bernoulli(keys[2], VIGNETTE_SHARE)
    rows, columns = (jnp.linspace(-1, 1, n) ** 2 for n in x.shape[:2])
    return x * (1 - 0.5 * strength * depth * (rows[:, None] + columns)[..., None])


def _film(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    """Applies a tone curve, contrast around mid-gray followed by gamma, and adds film grain."""
    keys = jax.random.split(key, 4)
    slope, gamma = (
        jnp.exp2(strength * jax.random.uniform(k, minval=-limit, maxval=limit))
        for k, limit in ((keys[0], 0.4), (keys[1], 0.6))
    )
    x = jnp.clip(0.5 + slope * (x - 0.5), 0.0, 1.0) ** gamma
    noise = blur(jax.random.normal(keys[2], x.shape), _GRAIN) * 8 / 3  # back to variance 1
    # The square makes weak grain common and strong grain rare, as it is among prints.
    amount = jax.random.uniform(keys[3]) ** 2 * (strength * MAX_GRAIN / 255.0)
    return x + amount * noise


def _fade(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    """Raises the blacks and lowers the whites."""
    black, white = strength * jax.random.uniform(key, (2,)) * jnp.array([0.25, 0.2])
    return black + (1 - black - white) * x


def gaussian(sigma: float | Float[AnyArray, ""]) -> Float[Array, " taps"]:
    """Returns a Gaussian kernel of 2 BLUR_RADIUS + 1 weights, summing to 1.

    At a `sigma` near 0 the kernel is the identity.
    """
    sigma = jnp.asarray(sigma, jnp.float32)
    offsets = jnp.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weights = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-3)) ** 2)
    return weights / weights.sum()


def blur(x: Float[AnyArray, "h w c"], weights: Float[AnyArray, " taps"]) -> Float[Array, "h w c"]:
    """Filters `x` [h, w, c] along rows and columns with an odd number of `weights`.

    The border pixels are repeated outwards.
    """
    blurred = widen(x)
    for axis in (0, 1):
        radius, length = len(weights) // 2, blurred.shape[axis]
        padding = [(0, 0)] * blurred.ndim
        padding[axis] = (radius, radius)
        padded = jnp.pad(blurred, padding, mode="edge")
        blurred = sum(
            w * jax.lax.dynamic_slice_in_dim(padded, i, length, axis) for i, w in enumerate(weights)
        )
        # Without the barrier, XLA on a GPU fuses both passes: the second sum then recomputes every
        # term of the first.
        blurred = jax.lax.optimization_barrier(blurred)
    return blurred
