"""A loss of what is seen: a classifier is to see in a result what it sees in the truth.

The other losses count pixels one by one: a dog that is half green costs no more than one whose
brown is a little off everywhere. EfficientNet-Lite0, which tells ImageNet's classes apart and is
not trained here, sees that the former is no dog. Such losses are perceptual losses (Johnson, Alahi
and Fei-Fei, arXiv:1603.08155).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from colorjax.models.efficientnet import EfficientNetLite
from colorjax.models.task import Example, Task, enlarge
from colorjax.ops import losses
from colorjax.ops.arrays import widen
from colorjax.settings import Decoding, Perception

MAPS = ("stage3", "stage5", "stage7")  # the last ones at strides of 8, 16 and 32


def perceptual_loss(
    task: Task,
    params: Mapping[str, Any],
    how: Decoding,
    share: Perception,
    dtype: Any = jnp.float32,
) -> Task:
    """The objective `task`, to whose loss the distance between result and truth is added.

    The loss of the hold-out, in `measure`, stays as it is, so that runs can be compared by it.

    Args:
      task: the objective, whose outputs may be of any size that it allows.
      params: of `EfficientNetLite(classifier=True)`.
      how: how a result is decoded; by a method that has a gradient, mean or annealed.
      share: what the two distances are multiplied by.
      dtype: what the classifier computes in; the distances are in float32.
    """
    see = classifier(params, dtype)

    def loss(outputs: jax.Array, example: Example) -> jax.Array:
        chroma = enlarge(task.decode(outputs, how), example.gray.shape[-2])
        seen = see(task.colors(example.lightness, chroma))
        true = jax.lax.stop_gradient(see(task.colors(example.lightness, example.chroma)))
        return (
            task.loss(outputs, example)
            + share.classes * losses.divergence(seen["logits"], true["logits"])
            + share.maps * sum(map_distance(seen[name], true[name]) for name in MAPS)
        )

    return task._replace(loss=loss)


def classifier(
    params: Mapping[str, Any], dtype: Any = jnp.float32
) -> Callable[[jax.Array], Mapping[str, jax.Array]]:
    """sRGB [b, h, w, 3] in [0, 1], sides multiples of 16 -> the taps of `EfficientNetLite`."""
    model: nn.Module = EfficientNetLite(classifier=True, dtype=dtype)

    def see(rgb):
        return cast(Mapping[str, jax.Array], model.apply({"params": params}, 255.0 * rgb))

    return see


def map_distance(seen: jax.Array, true: jax.Array) -> jax.Array:
    """Of two maps [b, h, w, c] the squared distance of each pixel's unit vectors, its mean: [b].

    As LPIPS has it, unweighted (Zhang et al. 2018, arXiv:1801.03924). From 0 to 4.
    """
    difference = unit_vectors(widen(seen)) - unit_vectors(widen(true))
    return jnp.mean(jnp.sum(jnp.square(difference), axis=-1), axis=(1, 2))


def unit_vectors(x: jax.Array) -> jax.Array:
    """Vectors [..., c] of length 1; those of next to no length stay so, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
