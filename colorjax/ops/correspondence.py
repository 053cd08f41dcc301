"""Correspondence between two pictures by deep features, and transfer of values along it.

This is the attention between pictures of exemplar-based colorization (He et al., *Deep
Exemplar-based Colorization*, 2018; Zhang et al., *Deep Exemplar-based Video Colorization*, 2019),
but without parameters that are trained for it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from colorjax.ops.arrays import AnyArray, widen

# Feature vectors with a smaller norm are not scaled up to unit length.
MIN_NORM = 1e-3


def similarity(
    ours: Sequence[Float[AnyArray, "m _"]],
    theirs: Sequence[Float[AnyArray, "n _"]],
    coverage: Float[AnyArray, " n"],
) -> Float[Array, "m n"]:
    """Returns cosine similarities between the cells of two pictures, averaged over feature levels.

    At each level, the mean feature of both pictures is subtracted first, because a component that
    all features share carries no information. The same mean serves both pictures, so that pictures
    of different kinds are dissimilar everywhere.

    Args:
      ours: [m, c] for each level, the features of the first picture; c may differ between levels.
      theirs: [n, c] for each level, the features of the second picture.
      coverage: [n] in [0, 1], the share of each cell of the second picture that is valid.

    Returns:
      [m, n] in [-1, 1].
    """
    weights = widen(coverage)[:, None]
    parts = []
    for our, their in zip(map(widen, ours), map(widen, theirs), strict=True):
        their_mean = jnp.sum(weights * their, axis=0) / jnp.maximum(jnp.sum(weights), 1e-6)
        center = (jnp.mean(our, axis=0) + their_mean) / 2
        parts.append((_unit_vectors(our - center), _unit_vectors(their - center)))
    # The product of the concatenated levels is the sum of the products of all levels.
    our, their = (jnp.concatenate(levels, axis=-1) for levels in zip(*parts, strict=True))
    return our @ their.T / len(parts)


def transfer(
    similarities: Float[AnyArray, "m n"],
    values: Float[AnyArray, "n c"],
    coverage: Float[AnyArray, " n"],
    *,
    temperature: float = 0.03,
) -> tuple[Float[Array, "m c"], Float[Array, " m"]]:
    """Gives each of m cells the mean value of n cells, weighted by a softmax of similarities.

    Args:
      similarities: [m, n], from `similarity`.
      values: [n, c], the values to transfer.
      coverage: [n], as for `similarity`; at least one must be above 0. Weights are proportional to
        it.
      temperature: of the softmax, in units of similarity: a cell that is more similar by this much
        has e times the weight.

    Returns:
      values: [m, c], the weighted means.
      similarity: [m], the greatest similarity to a cell whose coverage is above 0.
    """
    coverage = widen(coverage)
    valid = jnp.where(coverage > 0, widen(similarities), -jnp.inf)
    log_coverage = jnp.where(coverage > 0, jnp.log(jnp.maximum(coverage, 1e-6)), 0.0)
    attention = jax.nn.softmax(valid / temperature + log_coverage, axis=-1)
    return attention @ widen(values), jnp.max(valid, axis=-1)


def _unit_vectors(features: Float[Array, "m c"]) -> Float[Array, "m c"]:
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.maximum(norm, MIN_NORM)
