"""Networks on pictures that fill but the upper left corner of what they are given.

One program then serves pictures of many shapes. A network pads a picture with zeros at every
convolution, so that whatever lies outside of the picture is made zero again before each: the same
numbers come out as of the picture alone.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from colorjax.models.build import predict
from colorjax.models.efficientnet import EfficientNetLite
from colorjax.models.layers import Conv


def predict_within(
    model: nn.Module, variables: Any, gray: jax.Array, sides: jax.Array
) -> jax.Array:
    """`build.predict` of pictures in the corners of canvases.

    Args:
      gray: [b, h, w, 1] in [0, 255].
      sides: int32 [b, 2], height and width of each picture, which the network's stride divides.

    Returns:
      As `predict`; what lies outside of a picture means nothing.
    """
    with nn.intercept_methods(partial(_call, sides, gray.shape[1])):
        return predict(model, variables, gray)


def inside(sides: jax.Array, canvas: int, shape: tuple[int, ...]) -> jax.Array:
    """Which cells of a map [b, h, w, c] of canvases so high are of the pictures: [b, h, w, 1]."""
    _, height, width, _ = shape
    # Halved sides are rounded up, so that the quotient may be less than the power of two.
    factor = 1 << (-(-canvas // height) - 1).bit_length()
    rows, columns = (-(-sides // factor)).T
    down = jnp.arange(height) < rows[:, None]
    across = jnp.arange(width) < columns[:, None]
    return (down[:, :, None] & across[:, None])[..., None]


def _call(sides: jax.Array, canvas: int, call, arguments: tuple, options: dict, context) -> Any:
    """Calls a method of a module, whose maps are made zero outside if it is a convolution."""

    def within(x: jax.Array) -> jax.Array:
        return jnp.where(inside(sides, canvas, x.shape), x, 0)

    module, method = context.module, context.method_name
    if isinstance(module, EfficientNetLite) and method == "_layer":
        name, shapes, x, *rest = arguments
        if shapes[name][0] > 1:
            arguments = name, shapes, within(x), *rest
    elif isinstance(module, Conv) and method == "__call__" and max(module.size) > 1:
        (x,) = arguments
        arguments = ([(within(m), f) for m, f in x] if isinstance(x, list) else within(x),)
    return call(*arguments, **options)
