"""A light encoder that knows what it sees: EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946).

"Lite" is the published variant for small devices: no squeeze-and-excitation, ReLU6 in place of
swish; 74.8% top-1 on ImageNet. Every batch norm of the published network is folded into the
convolution before it, so that each layer has a kernel and a bias alone.

Three things here differ from `flax.linen.Conv`, for speed on a CPU, at equal results: depthwise
convolutions are sums of shifted products there, 1x1 convolutions are products of flattened arrays,
and the gradient of ReLU6 comes from its output.
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
    conv_halving,
    pointwise,
    scale_width,
    three_channels,
    windows,
)
from colorjax.ops.arrays import AnyArray

# Sides must divide by it. Where they do not by 32, stages 6 and 7 have half of it, rounded up.
STRIDE = 16
CLASSES = 1000

# Stage -> blocks, side of the depthwise kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280  # channels


class Block(NamedTuple):
    """One inverted residual: expand by a 1x1 convolution, filter each channel, project."""

    name: str  # `block0` to `block15`, as the published file counts them
    stage: int  # from 1
    last: bool  # of its stage
    side: int  # of the depthwise kernel
    stride: int
    depth: int  # channels that come in
    expanded: int  # channels in between; no expansion where it is `depth`
    features: int  # channels that go out


def blocks(width: float = 1.0) -> list[Block]:
    """The sixteen blocks in order; `width` scales the channels, 1.0 is the published network."""
    found: list[Block] = []
    depth = scale_width(_STEM, width)
    for stage, (repeats, side, stride, expansion, channels) in enumerate(_STAGES, start=1):
        for i in range(repeats):
            features = scale_width(channels, width)
            found.append(
                Block(
                    f"block{len(found)}",
                    stage,
                    i == repeats - 1,
                    side,
                    stride if i == 0 else 1,
                    depth,
                    depth * expansion,
                    features,
                )
            )
            depth = features
    return found


def layer_shapes(
    width: float = 1.0, classifier: bool = False
) -> dict[str, tuple[int, int, int, int]]:
    """Name -> kernel shape (height, width, in, out) of all convolutions, in order.

    Depthwise kernels have one input each. With `classifier` the last convolution `head` and the
    linear layer `classifier`, as a 1x1 convolution, are there too.
    """
    shapes = {"stem": (3, 3, 3, scale_width(_STEM, width))}
    for block in blocks(width):
        if block.expanded != block.depth:
            shapes[f"{block.name}_expand"] = (1, 1, block.depth, block.expanded)
        shapes[f"{block.name}_depthwise"] = (block.side, block.side, 1, block.expanded)
        shapes[f"{block.name}_project"] = (1, 1, block.expanded, block.features)
    if classifier:
        head = scale_width(_HEAD, width)
        shapes["head"] = (1, 1, block.features, head)
        shapes["classifier"] = (1, 1, head, CLASSES)
    return shapes


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 with its batch norms folded into the convolutions.

    Fresh kernels are Glorot-uniform, biases zero. `dtype` is what the layers compute in; parameters
    are float32: `stem/kernel` [3, 3, 3, 32], its inputs in RGB order, `block0_depthwise/kernel`
    [3, 3, 1, 32] and so on as in `layer_shapes`, each with a `bias` [out].

    Attributes:
      width: scales the channels as `scale_width` does; 1.0 is the published network.
      classifier: whether to end in the scores of ImageNet's classes.
      train_depthwise: whether the depthwise kernels have gradients, which are dear on a CPU.
      frozen_stages: how many of the first stages have no gradients at all.
    """

    width: float = 1.0
    classifier: bool = False
    train_depthwise: bool = True
    frozen_stages: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, gray_or_rgb: Num[AnyArray, "b h w _"]) -> dict[str, jax.Array]:
        """Computes the taps, in `dtype`, each the output of a stage's last block.

        `stage1` [b, h/2, w/2, 16], `stage2` [.., h/4, w/4, 24], `stage3` [.., h/8, w/8, 40],
        `stage4` and `stage5` [.., h/16, w/16, 80 and 112], `stage6` and `stage7` [.., h/32, w/32,
        192 and 320], rounded up. With `classifier` also, in float32, `pooled` [b, 1280], the means
        over all pixels, and `logits` [b, 1000].

        `gray_or_rgb` is [b, h, w, 1] or [b, h, w, 3], sRGB in [0, 255]; gray counts as three equal
        channels. Raises ValueError for another number of channels, or for sides that do not divide
        by 16.
        """
        height, width = gray_or_rgb.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"image is {height}x{width}, want multiples of {STRIDE}")
        shapes = layer_shapes(self.width, self.classifier)
        x = relu6(self._layer("stem", shapes, standardize(gray_or_rgb).astype(self.dtype), 2))
        taps = {}
        for block in blocks(self.width):
            y = x
            if block.expanded != block.depth:
                y = relu6(self._layer(f"{block.name}_expand", shapes, y))
            y = relu6(self._layer(f"{block.name}_depthwise", shapes, y, block.stride))
            y = self._layer(f"{block.name}_project", shapes, y)
            x = x + y if block.stride == 1 and block.depth == block.features else y
            if block.last:
                x = jax.lax.stop_gradient(x) if block.stage <= self.frozen_stages else x
                taps[f"stage{block.stage}"] = x
        if self.classifier:
            x = relu6(self._layer("head", shapes, x)).astype(jnp.float32)
            pooled = jnp.mean(x, axis=(1, 2), keepdims=True)
            taps["pooled"] = pooled[:, 0, 0]
            taps["logits"] = self._layer("classifier", shapes, pooled)[:, 0, 0]
        return taps

    def _layer(self, name: str, shapes: dict, x: jax.Array, stride: int = 1) -> jax.Array:
        """A convolution and its bias."""
        kernel, bias = ConvParams(shapes[name], name=name)()
        if name.endswith("_depthwise"):
            kernel = kernel if self.train_depthwise else jax.lax.stop_gradient(kernel)
            y = depthwise(x, kernel, stride)
        elif name == "stem":
            y = conv_halving(x, kernel.astype(x.dtype))
        else:
            y = pointwise(x, kernel[0, 0].astype(x.dtype))
        return add_bias(y, bias)


def standardize(gray_or_rgb: Num[AnyArray, "b h w _"]) -> Float32[jax.Array, "b h w 3"]:
    """[b, h, w, 1 or 3] in [0, 255] -> float32 [b, h, w, 3] as the published network wants it."""
    return (three_channels(gray_or_rgb) - 127.0) / 128.0


@jax.custom_vjp
def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6); the gradient is taken from the output, so that the input is not kept."""
    return jnp.clip(x, 0, 6)


def _relu6_forward(x):
    y = relu6(x)
    return y, y


def _relu6_backward(y, g):
    return (jnp.where((y > 0) & (y < 6), g, 0),)


relu6.defvjp(_relu6_forward, _relu6_backward)


def depthwise(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Each channel of `x` [b, h, w, c] under its own filter: kernel [n, n, 1, c], stride 1 or 2.

    Zero-padded to SAME; of odd sides, stride 2 places its windows as it does in even ones. A sum of
    shifted products in float32: XLA's grouped convolution takes a CPU 20 times as long, and its
    gradients 200 times; a GPU's are quicker, but it tries their algorithms for minutes.
    """
    taps = windows(x, kernel.shape[0], stride)
    products = (tap.astype(jnp.float32) * kernel[i, j, 0] for (i, j), tap in taps)
    return reduce(operator.add, products).astype(x.dtype)


def is_frozen(layer: str, train_depthwise: bool, frozen_stages: int) -> bool:
    """Whether the parameters of a layer have no gradients under settings of `EfficientNetLite`."""
    stages = {block.name: block.stage for block in blocks()}
    stage = stages.get(layer.partition("_")[0], 1)  # the stem comes before the first
    return stage <= frozen_stages or (layer.endswith("_depthwise") and not train_depthwise)


def from_pretrained(weights: Mapping[str, Mapping[str, Any]], classifier: bool = False) -> dict:
    """Params of `EfficientNetLite()` from the published weights.

    `weights` is layer name -> {"kernel": as in `layer_shapes`, "bias": [out]}; those of the
    classifier are left out unless wanted.
    """
    return {
        name: {part: jnp.asarray(weights[name][part]) for part in ("kernel", "bias")}
        for name in layer_shapes(classifier=classifier)
    }
