"""A light encoder that also classifies: EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946).

"Lite" is the published variant for small devices, without squeeze-and-excitation and with ReLU6
instead of swish. It has 74.8% top-1 accuracy on ImageNet. Every batch norm of the published network
is folded into the preceding convolution, so that each layer has only a kernel and a bias.

Three things differ from `flax.linen.Conv` and give the same results faster on a CPU: depthwise
convolutions are sums of shifted products, 1x1 convolutions are matrix products of flattened arrays,
and the gradient of ReLU6 is computed from its output.
"""

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float32, Num

from colorjax.models.layers import (
    ConvParams,
    add_bias,
    conv_stride2,
    pointwise,
    scale_width,
    three_channels,
    windows,
)
from colorjax.ops.arrays import AnyArray

# The sides of an image must be multiples of this. Stages 6 and 7 have a stride of 32; their sizes
# are rounded up.
STRIDE = 16
CLASSES = 1000

# For each stage: blocks, size of the depthwise kernel, stride of the first block, expansion factor,
# output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280  # output channels


class Block(NamedTuple):
    """An inverted residual block: a 1x1 expansion, a depthwise convolution, a 1x1 projection.

    Attributes:
      name: `block0` to `block15`, numbered as in the published file.
      stage: number of its stage, from 1.
      is_last: whether it is the last block of its stage.
      kernel_size: of the depthwise convolution.
      stride: of the depthwise convolution.
      in_channels: number of input channels.
      expanded_channels: number of channels after the expansion; if equal to `in_channels`, the
        block has no expansion.
      out_channels: number of output channels.
    """

    name: str
    stage: int
    is_last: bool
    kernel_size: int
    stride: int
    in_channels: int
    expanded_channels: int
    out_channels: int


def blocks(width: float = 1.0) -> list[Block]:
    """Returns the sixteen blocks in order.

    `width` scales the channels as `scale_width` does; 1.0 is the published network.
    """
    result: list[Block] = []
    in_channels = scale_width(_STEM, width)
    for stage, (repeats, kernel_size, stride, expansion, channels) in enumerate(_STAGES, start=1):
        for i in range(repeats):
            out_channels = scale_width(channels, width)
            result.append(
                Block(
                    name=f"block{len(result)}",
                    stage=stage,
                    is_last=i == repeats - 1,
                    kernel_size=kernel_size,
                    stride=stride if i == 0 else 1,
                    in_channels=in_channels,
                    expanded_channels=in_channels * expansion,
                    out_channels=out_channels,
                )
            )
            in_channels = out_channels
    return result


def layer_shapes(
    width: float = 1.0, classifier: bool = False
) -> dict[str, tuple[int, int, int, int]]:
    """Returns name -> kernel shape (height, width, in, out) of all convolutions, in order.

    Depthwise kernels have one input channel. With `classifier` the result includes the last
    convolution `head` and the linear layer `classifier`, as a 1x1 convolution.
    """
    shapes = {"stem": (3, 3, 3, scale_width(_STEM, width))}
    for block in blocks(width):
        if block.expanded_channels != block.in_channels:
            shapes[f"{block.name}_expand"] = (1, 1, block.in_channels, block.expanded_channels)
        size, expanded = block.kernel_size, block.expanded_channels
        shapes[f"{block.name}_depthwise"] = (size, size, 1, expanded)
        shapes[f"{block.name}_project"] = (1, 1, expanded, block.out_channels)
    if classifier:
        head = scale_width(_HEAD, width)
        shapes["head"] = (1, 1, block.out_channels, head)
        shapes["classifier"] = (1, 1, head, CLASSES)
    return shapes


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 with its batch norms folded into the convolutions.

    Kernels are initialized Glorot-uniform and biases to zero. Parameters are float32: `stem/kernel`
    [3, 3, 3, 32], with inputs in RGB order, `block0_depthwise/kernel` [3, 3, 1, 32] and so on as in
    `layer_shapes`, each with a `bias` [out].

    Attributes:
      width: scales the channels as `scale_width` does; 1.0 is the published network.
      classifier: whether to add the classifier for ImageNet's classes.
      train_depthwise: whether the depthwise kernels have gradients, which are expensive on a CPU.
      frozen_stages: how many of the first stages have no gradients at all.
      dtype: dtype in which the layers compute.
    """

    width: float = 1.0
    classifier: bool = False
    train_depthwise: bool = True
    frozen_stages: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, gray_or_rgb: Num[AnyArray, "b h w _"]) -> dict[str, jax.Array]:
        """Computes the activations that decoders and losses use.

        Args:
          gray_or_rgb: [b, h, w, 1] or [b, h, w, 3], sRGB in [0, 255]; gray counts as three equal
            channels.
        Returns:
          The output of each stage's last block, in `dtype`: `stage1` [b, h/2, w/2, 16], `stage2`
          [.., h/4, w/4, 24], `stage3` [.., h/8, w/8, 40], `stage4` and `stage5` [.., h/16, w/16, 80
          and 112], `stage6` and `stage7` [.., h/32, w/32, 192 and 320], where h/32 and w/32 are
          rounded up. With `classifier` also, in float32, `pooled` [b, 1280], the means over all
          pixels, and `logits` [b, 1000].
        Raises:
          ValueError: for another number of channels, or sides that are not multiples of 16.
        """
        height, width = gray_or_rgb.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"image is {height}x{width}, want multiples of {STRIDE}")
        shapes = layer_shapes(self.width, self.classifier)
        x = relu6(self._layer("stem", shapes, standardize(gray_or_rgb).astype(self.dtype), 2))
        activations = {}
        for block in blocks(self.width):
            y = x
            if block.expanded_channels != block.in_channels:
                y = relu6(self._layer(f"{block.name}_expand", shapes, y))
            y = relu6(self._layer(f"{block.name}_depthwise", shapes, y, block.stride))
            y = self._layer(f"{block.name}_project", shapes, y)
            x = x + y if block.stride == 1 and block.in_channels == block.out_channels else y
            if block.is_last:
                x = jax.lax.stop_gradient(x) if block.stage <= self.frozen_stages else x
                activations[f"stage{block.stage}"] = x
        if self.classifier:
            x = relu6(self._layer("head", shapes, x)).astype(jnp.float32)
            pooled = jnp.mean(x, axis=(1, 2), keepdims=True)
            activations["pooled"] = pooled[:, 0, 0]
            activations["logits"] = self._layer("classifier", shapes, pooled)[:, 0, 0]
        return activations

    def _layer(self, name: str, shapes: dict, x: jax.Array, stride: int = 1) -> jax.Array:
        """Applies the convolution called `name`, with its bias."""
        kernel, bias = ConvParams(shapes[name], name=name)()
        if name.endswith("_depthwise"):
            kernel = kernel if self.train_depthwise else jax.lax.stop_gradient(kernel)
            y = depthwise(x, kernel, stride)
        elif name == "stem":
            y = conv_stride2(x, kernel.astype(x.dtype))
        else:
            y = pointwise(x, kernel[0, 0].astype(x.dtype))
        return add_bias(y, bias)


def standardize(gray_or_rgb: Num[AnyArray, "b h w _"]) -> Float32[jax.Array, "b h w 3"]:
    """Scales [b, h, w, 1 or 3] in [0, 255] as for the published network: float32 [b, h, w, 3]."""
    return (three_channels(gray_or_rgb) - 127.0) / 128.0


@jax.custom_vjp
def relu6(x: jax.Array) -> jax.Array:
    """Returns min(max(x, 0), 6).

    Its gradient is computed from the output, so that the input need not be stored.
    """
    return jnp.clip(x, 0, 6)


def _relu6_forward(x):
    y = relu6(x)
    return y, y


def _relu6_backward(y, g):
    return (jnp.where((y > 0) & (y < 6), g, 0),)


relu6.defvjp(_relu6_forward, _relu6_backward)


def depthwise(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Depthwise convolution of `x` [b, h, w, c] with `kernel` [n, n, 1, c] at stride 1 or 2.

    The input is zero-padded to SAME; at stride 2, odd sides are padded like even ones. The
    convolution is a sum of shifted products in float32, because XLA's grouped convolution takes 20
    times as long on a CPU, and its gradients 200 times. On a GPU the grouped convolution is faster,
    but autotuning it takes minutes.
    """
    values = windows(x, kernel.shape[0], stride)
    products = (value.astype(jnp.float32) * kernel[i, j, 0] for (i, j), value in values)
    return reduce(operator.add, products).astype(x.dtype)


def is_frozen(layer: str, train_depthwise: bool, frozen_stages: int) -> bool:
    """Returns whether a layer of an `EfficientNetLite` with these settings has no gradients."""
    stages = {block.name: block.stage for block in blocks()}
    stage = stages.get(layer.partition("_")[0], 1)  # the stem is frozen with the first stage
    return stage <= frozen_stages or (layer.endswith("_depthwise") and not train_depthwise)


def from_pretrained(weights: Mapping[str, Mapping[str, Any]], classifier: bool = False) -> dict:
    """Converts the published weights to the params of `EfficientNetLite()`.

    `weights` is layer name -> {"kernel": as in `layer_shapes`, "bias": [out]}. The layers of the
    classifier are included only if `classifier` is True.
    """
    return {
        name: {part: jnp.asarray(weights[name][part]) for part in ("kernel", "bias")}
        for name in layer_shapes(classifier=classifier)
    }
