"""Prediction for pictures that occupy the upper left corner of a larger canvas.

One compiled program then serves pictures of many shapes. To give the same numbers as for the
picture alone, every feature map is set to zero outside the picture before each convolution, because
the network pads a picture with zeros there.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from colorjax.models.build import predict
from colorjax.models.efficientnet import EfficientNetLite
from colorjax.models.layers import Conv


def predict_on_canvas(
    model: nn.Module, variables: Any, gray: jax.Array, sides: jax.Array
) -> jax.Array:
    """Calls `build.predict` for pictures in the upper left corners of canvases.

    Args:
      model: the network.
      variables: of the network.
      gray: [b, h, w, 1] in [0, 255], the canvases.
      sides: int32 [b, 2], height and width of each picture, multiples of the network's stride.

    Returns:
      The outputs of `predict`; they have no meaning outside a picture.
    """
    with nn.intercept_methods(partial(_call_masked, sides, gray.shape[1])):
        return predict(model, variables, gray)


def inside_mask(sides: jax.Array, canvas: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns which cells of a feature map lie inside the pictures: bool [b, h, w, 1].

    Args:
      sides: int32 [b, 2], height and width of each picture.
      canvas: height of the canvases.
      shape: [b, h, w, c], the shape of the feature map.
    """
    _, height, width, _ = shape
    # Halving rounds up odd sides, so that the quotient may be smaller than the power of two.
    factor = 1 << (-(-canvas // height) - 1).bit_length()
    rows, columns = (-(-sides // factor)).T
    down = jnp.arange(height) < rows[:, None]
    across = jnp.arange(width) < columns[:, None]
    return (down[:, :, None] & across[:, None])[..., None]


def _call_masked(
    sides: jax.Array, canvas: int, call, arguments: tuple, options: dict, context
) -> Any:
    """Calls a module's method; the inputs of a convolution are set to zero outside the pictures."""

    def masked(x: jax.Array) -> jax.Array:
        return jnp.where(inside_mask(sides, canvas, x.shape), x, 0)

    module, method = context.module, context.method_name
    if isinstance(module, EfficientNetLite) and method == "_layer":
        name, shapes, x, *rest = arguments
        if shapes[name][0] > 1:
            arguments = name, shapes, masked(x), *rest
    elif isinstance(module, Conv) and method == "__call__" and max(module.size) > 1:
        (x,) = arguments
        arguments = ([(masked(m), f) for m, f in x] if isinstance(x, list) else masked(x),)
    return call(*arguments, **options)
