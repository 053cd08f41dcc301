"""The whole colouring as one pure function of arrays, with settings and parameters built in."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from colorjax.coloring.network import functions
from colorjax.ops.arrays import AnyArray
from colorjax.weights.released import Network


def colored(network: Network, photos: AnyArray, small: AnyArray) -> Array:
    """Colours photographs like `Colorizer.colorize_arrays`, but borders are not treated apart.

    The network's outputs are decoded according to its config.

    Args:
      network: the network.
      photos: uint8 [b, h, w, 1 or 3], sRGB.
      small: uint8 [b, r, c, 1 or 3], the same photographs downscaled for the network; r and c are
        multiples of 16.

    Returns:
      uint8 [b, h, w, 3].
    """
    photos, small = (jnp.broadcast_to(x, (*x.shape[:-1], 3)) for x in (photos, small))
    options = network.config.decoding
    scores = functions.score(network.config, network.variables, small)
    numbers = (options.temperature, options.rebalance, 1.0)
    fits = functions.decode(
        network.config,
        network.statistics,
        scores,
        *(jnp.float32(x) for x in numbers),
        jnp.uint32(options.seed),
        method=options.method,
        edges="guided",
    )
    positions = [_positions(photos.shape[axis], fits.shape[axis]) for axis in (1, 2)]
    return jax.vmap(lambda fit, photo: functions.color_band(fit, photo, *positions))(fits, photos)


def _positions(full: int, coarse: int) -> Array:
    """Returns the positions of `full` pixels on a grid of `coarse` pixels: float32 [full]."""
    scale = jnp.asarray(coarse, jnp.float32) / jnp.asarray(full, jnp.float32)
    return (jnp.arange(full) + 0.5) * scale - 0.5


def resized(photos: AnyArray, shape: tuple[int, int]) -> Array:
    """Downscales uint8 [b, h, w, c] to [b, *shape, c]: bicubic and antialiased, like Pillow."""
    for axis, side in ((2, shape[1]), (1, shape[0])):
        weights = _weights(photos.shape[axis], side)
        values = jnp.tensordot(photos.astype(jnp.float32), weights, (axis, 1), precision="highest")
        photos = jnp.clip(jnp.round(jnp.moveaxis(values, -1, axis)), 0, 255).astype(jnp.uint8)
    return jnp.asarray(photos)


@functools.cache
def _weights(full: int, side: int) -> np.ndarray:
    """Returns the weights of `full` pixels in each of `side` pixels: float32 [side, full]."""
    scale = full / side
    reach = max(scale, 1.0)
    centers = (np.arange(side)[:, None] + 0.5) * scale
    x = np.abs(np.arange(full) + 0.5 - centers) / reach
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
