"""What time, lenses and film do to a photograph, at random: for the input of training alone.

A network that has seen clean scans only takes the grain and the fog of an old print for content.
All amounts are our choice: strong ones, at the 100 to 150 pixels that a network is trained at, to
which the making small of a large print leaves little blur and grain.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from colorjax.ops.arrays import AnyArray, widen

UNTOUCHED = 0.3  # share of pictures that stay as they are
VIGNETTED = 0.2  # share of the others whose corners are darkened
BLUR_RADIUS = 4  # of the Gaussian, in pixels: over three times its greatest sigma
MOST_BLUR, MOST_GRAIN = 1.2, 14.0  # sigmas, in pixels and in levels of 255

_GRAIN = np.array([0.25, 0.5, 0.25], np.float32)  # clumps of silver are not single pixels


def age(
    key: PRNGKeyArray,
    gray: Float[AnyArray, "b h w 1"],
    example: Int[AnyArray, " b"],
    strength: float,
) -> Float[Array, "b h w 1"]:
    """Ages each picture in its own way: [b, h, w, 1] -> [b, h, w, 1], in [0, 255].

    In the order in which it happens: blur and a vignette by the lens, contrast and gamma and grain
    by the film, blacks raised and whites lowered by the years. `example` int32 [b] numbers the
    images of the whole run; how an image is aged depends on `key` and its number alone, so that it
    is the same on any count of devices and after a restart. `strength` in [0, 1] scales all
    amounts; at 0 nothing is done.
    """
    gray = widen(gray)
    if not strength:
        return gray

    def one(picture, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        aged = _lens(keys[0], picture / 255.0, strength)
        aged = _fade(keys[2], _film(keys[1], aged, strength), strength)
        untouched = jax.random.bernoulli(keys[3], UNTOUCHED)
        return jnp.where(untouched, picture, 255.0 * jnp.clip(aged, 0.0, 1.0))

    return jax.vmap(one)(gray, example)


def _lens(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    keys = jax.random.split(key, 3)
    x = blur(x, gaussian(strength * jax.random.uniform(keys[0], maxval=MOST_BLUR)))
    depth = jax.random.uniform(keys[1], maxval=0.6) * jax.random.bernoulli(keys[2], VIGNETTED)
    rows, columns = (jnp.linspace(-1, 1, n) ** 2 for n in x.shape[:2])
    return x * (1 - 0.5 * strength * depth * (rows[:, None] + columns)[..., None])


def _film(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    """The curve of a film: steeper or flatter around its middle, and bent; and its grain."""
    keys = jax.random.split(key, 4)
    slope, gamma = (
        jnp.exp2(strength * jax.random.uniform(k, minval=-most, maxval=most))
        for k, most in ((keys[0], 0.4), (keys[1], 0.6))
    )
    x = jnp.clip(0.5 + slope * (x - 0.5), 0.0, 1.0) ** gamma
    noise = blur(jax.random.normal(keys[2], x.shape), _GRAIN) * 8 / 3  # of variance 1 again
    # Squared: most prints have a little, few have much.
    amount = jax.random.uniform(keys[3]) ** 2 * (strength * MOST_GRAIN / 255.0)
    return x + amount * noise


def _fade(key: PRNGKeyArray, x: Float[Array, "h w 1"], strength: float) -> Float[Array, "h w 1"]:
    black, white = strength * jax.random.uniform(key, (2,)) * jnp.array([0.25, 0.2])
    return black + (1 - black - white) * x


def gaussian(sigma: float | Float[AnyArray, ""]) -> Float[Array, " taps"]:
    """The 2 BLUR_RADIUS + 1 weights of a Gaussian, adding up to 1; of a sigma near 0, no blur."""
    sigma = jnp.asarray(sigma, jnp.float32)
    place = jnp.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weights = jnp.exp(-0.5 * (place / jnp.maximum(sigma, 1e-3)) ** 2)
    return weights / weights.sum()


def blur(x: Float[AnyArray, "h w c"], weights: Float[AnyArray, " taps"]) -> Float[Array, "h w c"]:
    """`x` [h, w, c] under odd `weights`, along rows and columns; the border is repeated."""
    blurred = widen(x)
    for axis in (0, 1):
        radius, length = len(weights) // 2, blurred.shape[axis]
        padding = [(0, 0)] * blurred.ndim
        padding[axis] = (radius, radius)
        padded = jnp.pad(blurred, padding, mode="edge")
        blurred = sum(
            w * jax.lax.dynamic_slice_in_dim(padded, i, length, axis) for i, w in enumerate(weights)
        )
        # Else a GPU's compiler would write out the second sum over all terms of the first.
        blurred = jax.lax.optimization_barrier(blurred)
    return blurred
