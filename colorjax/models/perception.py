"""A perceptual loss: a frozen classifier should respond to a result as to the true picture.

The other losses compare pixels one by one: a dog that is half green costs no more than a dog whose
brown is slightly wrong everywhere. A classifier, however, does not recognise a half green dog. Here
it is EfficientNet-Lite0, trained on ImageNet and not trained further. Perceptual losses are due to
Johnson, Alahi and Fei-Fei, arXiv:1603.08155.
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

MAPS = ("stage3", "stage5", "stage7")  # the last feature maps at strides 8, 16 and 32


def add_perceptual_loss(
    task: Task,
    params: Mapping[str, Any],
    options: Decoding,
    weights: Perception,
    dtype: Any = jnp.float32,
) -> Task:
    """Adds a perceptual loss to the training loss of `task`, and returns the new task.

    The loss in `measure`, on the hold-out set, does not include it, so that runs remain comparable.

    Args:
      task: the objective, whose outputs may have any size that it allows.
      params: of `EfficientNetLite(classifier=True)`.
      options: decoding of the outputs, by a method with a gradient: mean or annealed.
      weights: factors of the two terms, which compare class probabilities and feature maps.
      dtype: dtype in which the classifier computes; the terms are float32.
    """
    classify = classifier(params, dtype)

    def loss(outputs: jax.Array, example: Example) -> jax.Array:
        chroma = enlarge(task.decode(outputs, options), example.gray.shape[-2])
        predicted = classify(task.to_rgb(example.lightness, chroma))
        true = jax.lax.stop_gradient(classify(task.to_rgb(example.lightness, example.chroma)))
        return (
            task.loss(outputs, example)
            + weights.classes * losses.kl_divergence(predicted["logits"], true["logits"])
            + weights.maps * sum(map_distance(predicted[name], true[name]) for name in MAPS)
        )

    return task._replace(loss=loss)


def classifier(
    params: Mapping[str, Any], dtype: Any = jnp.float32
) -> Callable[[jax.Array], Mapping[str, jax.Array]]:
    """Returns a function from sRGB pictures to the activations of `EfficientNetLite`.

    Its argument is [b, h, w, 3] in [0, 1]; h and w are multiples of 16.
    """
    model: nn.Module = EfficientNetLite(classifier=True, dtype=dtype)

    def classify(rgb):
        return cast(Mapping[str, jax.Array], model.apply({"params": params}, 255.0 * rgb))

    return classify


def map_distance(predicted: jax.Array, true: jax.Array) -> jax.Array:
    """Returns the distance between two feature maps [b, h, w, c], in [0, 4]: [b].

    It is the squared distance between the unit vectors of each pixel, averaged over pixels: LPIPS
    without its learned weights (Zhang et al. 2018, arXiv:1801.03924).
    """
    difference = unit_vectors(widen(predicted)) - unit_vectors(widen(true))
    return jnp.mean(jnp.sum(jnp.square(difference), axis=-1), axis=(1, 2))


def unit_vectors(x: jax.Array) -> jax.Array:
    """Normalizes vectors [..., c] to length 1.

    Vectors of nearly zero length stay nearly zero, so that the gradient is finite.
    """
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
