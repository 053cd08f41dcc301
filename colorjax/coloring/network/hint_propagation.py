"""Colours of places, spread over what belongs together: pure functions of arrays."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from colorjax.ops import color, propagation, resample

# How much a hint holds, and how much the network's own chroma does where it is all sure of itself:
# all pixels together, so that a hint reaches as far in a large picture as in a small one.
HOLD, PULL = 100.0, 1.0
# How often the hints are corrected by what enlarging leaves of them.
ROUNDS = 6


class HintMap(NamedTuple):
    """Hints on a grid over the photo; means where several fall into one cell."""

    number: np.ndarray  # [h, w, 1] float32, of hints
    colour: np.ndarray  # [h, w, 3] float32 in [0, 1], sRGB
    photo: np.ndarray  # [h, w, 3] float32 in [0, 1], sRGB, the photo's own at their pixels
    place: np.ndarray  # [h, w, 2] float32, row and column of their pixels, in cells of the grid


def corrected(
    chroma: jax.Array, confidence: jax.Array, lightness: jax.Array, map: HintMap, *, guided: bool
) -> jax.Array:
    """Chroma that follows hints, made ready to be enlarged: fits [h, w, 6] as of `resample`.

    What the hints change spreads over what belongs together by its lightness
    (`ops.propagation`), the less the surer the network is of its own chroma.

    Args:
      chroma: [h, w, 2], the network's, CIELUV.
      confidence: [h, w, 1] in [0, 1].
      lightness: [h, w, 1], L* of the photo.
      map: the hints; of one cell at least.
      guided: whether chroma is enlarged along the photo's edges.
    """
    make = partial(resample.guide_chroma, lightness=lightness) if guided else resample.plain_chroma
    weights = propagation.affinities(lightness)
    given = map.number > 0
    wanted = color.rgb_to_luv(map.colour)[..., 1:]
    there = color.rgb_to_luv(map.photo)[..., :1]
    pull = PULL / lightness.size * jnp.maximum(confidence, 1e-3)
    trust = jnp.where(given, HOLD, pull)

    def again(_, state):
        target, change, _ = state
        known = jnp.where(given, target - chroma, 0.0)
        change = propagation.propagate(weights, known, trust, start=change)
        fits = make(chroma + change)
        missing = wanted - resample.guided_chroma(_sampled(fits, map.place), there)
        return target + jnp.where(given, missing, 0.0), change, fits

    start = wanted, jnp.zeros_like(chroma), jnp.zeros((*chroma.shape[:-1], 6))
    return jax.lax.fori_loop(0, 1 + ROUNDS, again, start)[-1]


def _sampled(x: jax.Array, places: jax.Array | np.ndarray) -> jax.Array:
    """`x` [h, w, c] between its pixels, at places [..., 2]: [..., c]."""
    rows, columns = places[..., 0], places[..., 1]
    sample = partial(map_coordinates, coordinates=[rows, columns], order=1)
    return jax.vmap(partial(sample, mode="nearest"), -1, -1)(x)
