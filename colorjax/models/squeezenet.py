"""A light encoder: SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360) with named activations.

It has a tenth of the parameters of VGG16 up to its fourth block, and a fiftieth of its
multiplications. Weights, activations and parameters share the layer names of Keras's weights file,
with `_` in place of `/`.

The published network does not pad its first convolution and its pools. Here they are zero-padded on
the right and below (SAME, for even sides), so that every stage has half the sides of the previous
one. This adds one row and one column and leaves all other activations unchanged.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Num

from colorjax.models.layers import Conv, ConvParams, add_bias, conv_stride2, scale_width
from colorjax.models.vgg16 import subtract_mean
from colorjax.ops.arrays import AnyArray

STRIDE = 16  # the sides of an image must be multiples of it

# Fire module -> channels of its squeeze layer, and of each of its two expand layers.
_FIRES = {
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}
_FIRST = 64  # channels of conv1
_POOLED = ("fire2", "fire4", "fire6")  # modules that follow a max-pool


def layer_shapes(width: float = 1.0) -> dict[str, tuple[int, int, int, int]]:
    """Returns name -> kernel shape (height, width, in, out) of all convolutions, in order.

    `width` scales the channels as `scale_width` does; 1.0 is the published network.
    """
    depth = scale_width(_FIRST, width)
    shapes = {"conv1": (3, 3, 3, depth)}
    for fire, features in _FIRES.items():
        squeeze, expand = (scale_width(f, width) for f in features)
        shapes[f"{fire}_squeeze1x1"] = (1, 1, depth, squeeze)
        shapes[f"{fire}_expand1x1"] = (1, 1, squeeze, expand)
        shapes[f"{fire}_expand3x3"] = (3, 3, squeeze, expand)
        depth = 2 * expand
    return shapes


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 up to its ninth fire module, without batch norm.

    Kernels are initialized Glorot-uniform and biases to zero. The layers compute in `dtype`.
    Parameters are float32: `conv1/kernel` [3, 3, 3, out], with inputs in RGB order,
    `fire2_squeeze1x1/kernel` and so on as in `layer_shapes`, each with a `bias` [out].
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, gray_or_rgb: Num[AnyArray, "b h w _"]) -> dict[str, jax.Array]:
        """Computes the activations after each ReLU.

        For gray input, the order of conv1's input channels and of the means does not matter, as
        long as it is the same for both: the result depends only on sums over the channels, of the
        kernel and of its products with the means.

        Args:
          gray_or_rgb: [b, h, w, 1] or [b, h, w, 3], sRGB in [0, 255], before the mean is
            subtracted; gray counts as three equal channels.
        Returns:
          `conv1` [b, h/2, w/2, 64] and `fire2` [.., h/4, w/4, 128] to `fire9` [.., h/16, w/16,
          512], in `dtype`.
        Raises:
          ValueError: for another number of channels, or sides that are not multiples of 16.
        """
        x = subtract_mean(gray_or_rgb).astype(self.dtype)
        height, width = x.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"image is {height}x{width}, want multiples of {STRIDE}")
        shapes = layer_shapes(self.width)
        kernel, bias = ConvParams(shapes["conv1"], name="conv1")()
        x = nn.relu(add_bias(conv_stride2(x, kernel.astype(self.dtype)), bias))
        activations = {"conv1": x}
        for fire in _FIRES:
            x = max_pool(x) if fire in _POOLED else x
            squeezed = self._conv(f"{fire}_squeeze1x1", shapes, x)
            x = jnp.concatenate(
                [self._conv(f"{fire}_expand{size}", shapes, squeezed) for size in ("1x1", "3x3")],
                axis=-1,
            )
            activations[fire] = x
        return activations

    def _conv(self, name: str, shapes: dict, x: jax.Array) -> jax.Array:
        *size, _, features = shapes[name]
        return nn.relu(Conv(features, tuple(size), dtype=self.dtype, name=name)(x))


def max_pool(x: jax.Array) -> jax.Array:
    """Max-pools 3x3 windows with stride 2 and SAME padding: [b, h, w, c] -> [b, h / 2, w / 2, c].

    h and w are even. The maxima are taken over slices, for the reason given in
    `colorjax.models.vgg16.max_pool`.
    """
    for axis in (1, 2):
        first, second = (jax.lax.slice_in_dim(x, i, None, 2, axis) for i in (0, 1))
        # The last window has no third element; its second element takes that place.
        last = jax.lax.slice_in_dim(second, -1, None, 1, axis)
        third = jnp.concatenate([jax.lax.slice_in_dim(first, 1, None, 1, axis), last], axis)
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def from_pretrained(weights: Mapping[str, Mapping[str, Any]]) -> dict:
    """Converts the published weights to the params of `SqueezeNet()`.

    `weights` is layer name -> {"kernel": as in `layer_shapes`, "bias": [out]}, with conv1's inputs
    in RGB order.
    """
    return {
        name: {part: jnp.asarray(weights[name][part]) for part in ("kernel", "bias")}
        for name in layer_shapes()
    }
