"""Propagates colours from hints over regions of similar lightness: pure functions of arrays."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from colorjax.ops import color, propagation, resample

# Weights of a cell with hints, and of the network's own chroma at a confidence of 1. The latter is
# the total over all pixels, so that a hint reaches equally far in large and in small pictures.
HINT_WEIGHT, NETWORK_WEIGHT = 100.0, 1.0
# Iterations that compensate for the error of the upsampled chroma at the hints.
ROUNDS = 6


class HintMap(NamedTuple):
    """Hints on a grid over the photo; several hints in one cell are averaged."""

    number: np.ndarray  # [h, w, 1] float32, the number of hints in each cell
    colour: np.ndarray  # [h, w, 3] float32 in [0, 1], the hints' sRGB colour
    photo: np.ndarray  # [h, w, 3] float32 in [0, 1], the photo's sRGB colour at the hints' pixels
    position: np.ndarray  # [h, w, 2] float32, row and column of the hints' pixels, in grid cells


def apply_hints(
    chroma: jax.Array,
    confidence: jax.Array,
    lightness: jax.Array,
    hint_map: HintMap,
    *,
    guided: bool,
) -> jax.Array:
    """Changes chroma to follow hints, and returns its fits [h, w, 6] for upsampling.

    The changes at the hints spread over pixels of similar lightness (`ops.propagation`), less where
    the network is confident of its own chroma.

    Args:
      chroma: [h, w, 2], the network's, CIELUV.
      confidence: [h, w, 1] in [0, 1].
      lightness: [h, w, 1], L* of the photo.
      hint_map: the hints, in at least one cell.
      guided: whether chroma is upsampled along the photo's edges.
    """
    make_fits: Callable[[jax.Array], jax.Array] = resample.unguided_fits
    if guided:
        make_fits = partial(resample.fit_guided_filter, lightness=lightness)
    affinities = propagation.affinities(lightness)
    has_hints = hint_map.number > 0
    wanted = color.rgb_to_luv(hint_map.colour)[..., 1:]
    lightness_at_hints = color.rgb_to_luv(hint_map.photo)[..., :1]
    network_weight = NETWORK_WEIGHT / lightness.size * jnp.maximum(confidence, 1e-3)
    weights = jnp.where(has_hints, HINT_WEIGHT, network_weight)

    def iterate(_, state):
        target, change, _ = state
        known = jnp.where(has_hints, target - chroma, 0.0)
        change = propagation.propagate(affinities, known, weights, start=change)
        fits = make_fits(chroma + change)
        upsampled = resample.apply_fits(_sample(fits, hint_map.position), lightness_at_hints)
        return target + jnp.where(has_hints, wanted - upsampled, 0.0), change, fits

    start = wanted, jnp.zeros_like(chroma), jnp.zeros((*chroma.shape[:-1], 6))
    return jax.lax.fori_loop(0, 1 + ROUNDS, iterate, start)[-1]


def _sample(x: jax.Array, positions: jax.Array | np.ndarray) -> jax.Array:
    """Interpolates `x` [h, w, c] bilinearly at positions [..., 2]: [..., c]."""
    rows, columns = positions[..., 0], positions[..., 1]
    sample = partial(map_coordinates, coordinates=[rows, columns], order=1)
    return jax.vmap(partial(sample, mode="nearest"), -1, -1)(x)
