"""What of one picture is like what of another, told by deep features, and values transferred over.

Attention between pictures, as of exemplar-based colouring (He et al., *Deep Exemplar-based
Colorization*, 2018; Zhang et al., *Deep Exemplar-based Video Colorization*, 2019), without anything
that is trained for it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from colorjax.ops.arrays import AnyArray, widen

# Lengths of features below this count as none.
LEAST_LENGTH = 1e-3


def similarity(
    ours: Sequence[Float[AnyArray, "m _"]],
    theirs: Sequence[Float[AnyArray, "n _"]],
    there: Float[AnyArray, " n"],
) -> Float[Array, "m n"]:
    """Cosines between the features of two pictures, in the mean of all levels.

    At each level, features are what they differ by from the mean of both pictures: what every
    feature has in common says nothing, and pictures of two kinds are unlike everywhere.

    Args:
      ours: [m, c] of each level; c may differ from one to the other.
      theirs: [n, c] of each.
      there: [n], how much of them there is, from 0, nothing, to 1.

    Returns:
      [m, n] in [-1, 1].
    """
    weights = widen(there)[:, None]
    parts = []
    for our, their in zip(map(widen, ours), map(widen, theirs), strict=True):
        their_mean = jnp.sum(weights * their, axis=0) / jnp.maximum(jnp.sum(weights), 1e-6)
        middle = (jnp.mean(our, axis=0) + their_mean) / 2
        parts.append((_directions(our - middle), _directions(their - middle)))
    # One product of all levels: the sum of the products of each.
    our, their = (jnp.concatenate(levels, axis=-1) for levels in zip(*parts, strict=True))
    return our @ their.T / len(parts)


def transferred(
    similarities: Float[AnyArray, "m n"],
    values: Float[AnyArray, "n c"],
    there: Float[AnyArray, " n"],
    *,
    temperature: float = 0.03,
) -> tuple[Float[Array, "m c"], Float[Array, " m"]]:
    """Each of m places with the values of the places that are like it.

    Args:
      similarities: [m, n], from `similarity`.
      values: [n, c].
      there: [n], as for `similarity`; above 0 somewhere.
      temperature: the difference in similarity that makes one place count e times as much.

    Returns:
      Values [m, c], and [m] the greatest similarity to a place that is there.
    """
    there = widen(there)
    like = jnp.where(there > 0, widen(similarities), -jnp.inf)
    counts = jnp.where(there > 0, jnp.log(jnp.maximum(there, 1e-6)), 0.0)
    share = jax.nn.softmax(like / temperature + counts, axis=-1)
    return share @ widen(values), jnp.max(like, axis=-1)


def _directions(features: Float[Array, "m c"]) -> Float[Array, "m c"]:
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.maximum(length, LEAST_LENGTH)
