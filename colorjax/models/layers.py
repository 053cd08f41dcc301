"""Convolution layers of the networks, with the parameters of `flax.linen.Conv`.

Biases are added in float32, whatever the dtype of the layer: the gradient of a bias is a sum over
all pixels of a batch, and a bfloat16 sum stops growing at 256 times its addends.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Float32, Num

from colorjax.ops.arrays import AnyArray
from colorjax.ops.resample import conv_same, conv_upsampled

GLOROT = nn.initializers.glorot_uniform()  # the paper's Xavier


def scale_width(features: int, width: float) -> int:
    """Returns `features` channels scaled by `width` and rounded down, but at least one."""
    return max(1, int(features * width))


def add_bias(
    x: Float[Array, "*batch c"], bias: Float32[AnyArray, " c"] | None
) -> Float[Array, "*batch c"]:
    """Adds `bias`, float32 [c] or None, to `x` [..., c]; the result has the dtype of `x`."""
    return x if bias is None else (x.astype(jnp.float32) + bias).astype(x.dtype)


Params = tuple[Float32[Array, "height width in out"], Float32[Array, " out"] | None]


class ConvParams(nn.Module):
    """The parameters of a convolution without the convolution itself.

    Names and initial values are those of `nn.Conv` with Glorot-uniform kernels. `shape` is that of
    the kernel: height, width, in, out.
    """

    shape: tuple[int, int, int, int]
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> Params:
        """Returns the kernel and the bias [out], or None for the bias; float32."""
        return _params(self, self.shape, self.use_bias)


Map = Float[Array, "b _ _ _"]


class Conv(nn.Module):
    """A convolution with stride 1, zero-padded to SAME; the kernel's sides in `size` are odd.

    It computes in `dtype`; its parameters are float32.
    """

    features: int
    size: tuple[int, int]
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map | list[tuple[Map, int]]) -> Float[Array, "b h w {self.features}"]:
        """Convolves [b, h, w, in] -> [b, h, w, features], in `dtype`.

        `x` may also be a list of maps with their factors, which are upsampled and concatenated as
        in `resample.conv_upsampled`.
        """
        maps = x if isinstance(x, list) else [(x, 1)]
        maps = [(part.astype(self.dtype), factor) for part, factor in maps]
        depth = sum(part.shape[-1] for part, _ in maps)
        kernel, bias = _params(self, (*self.size, depth, self.features), self.use_bias)
        kernel = kernel.astype(self.dtype)
        joined = isinstance(x, list)
        y = conv_upsampled(maps, kernel) if joined else conv_same(maps[0][0], kernel)
        return add_bias(y, bias)


def _params(module: nn.Module, shape: tuple[int, ...], use_bias: bool) -> Params:
    kernel = module.param("kernel", GLOROT, shape)
    if not use_bias:
        return kernel, None
    return kernel, module.param("bias", nn.initializers.zeros, shape[-1:])


def three_channels(gray_or_rgb: Num[AnyArray, "b h w _"]) -> Float32[Array, "b h w 3"]:
    """Converts [b, h, w, 1 or 3] to float32 [b, h, w, 3], repeating gray.

    Raises:
      ValueError: for any other shape.
    """
    if gray_or_rgb.ndim != 4 or gray_or_rgb.shape[-1] not in (1, 3):
        raise ValueError(f"want [b, h, w, 1] or [b, h, w, 3], got shape {gray_or_rgb.shape}")
    rgb = jnp.broadcast_to(gray_or_rgb, (*gray_or_rgb.shape[:-1], 3))
    return rgb.astype(jnp.float32)


def pointwise(
    x: Float[Array, "*batch in"], kernel: Float[AnyArray, "in out"]
) -> Float[Array, "*batch out"]:
    """1x1 convolution of `x` [b, h, w, in] with `kernel` [in, out].

    The pixels are flattened into one axis, because the gradient of the kernel is five times slower
    on a CPU for a product of an array with four axes.
    """
    y = x.reshape(-1, x.shape[-1]) @ kernel
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def conv_stride2(
    x: Float[Array, "b h w in"], kernel: Float[AnyArray, "3 3 in out"]
) -> Float[Array, "b h//2 w//2 out"]:
    """3x3 convolution of `x` [b, h, w, in] with stride 2, zero-padded to SAME; h and w are even.

    It is one product over all nine elements of the kernel, which is fast for few input channels, as
    is its gradient.
    """
    patches = jnp.concatenate([values for _, values in windows(x, 3, 2)], axis=-1)
    return pointwise(patches, kernel.reshape(-1, kernel.shape[-1]))


def same_padding(
    x: Float[AnyArray, "b h w c"], kernel_size: int, stride: int
) -> list[tuple[Any, int, int]]:
    """Returns for height and width the size of the output, and the zeros before and after.

    The padding does not depend on the size, because sizes are symbolic when a program is exported
    for any size. At stride 2 and even sides no window therefore reaches the last zero.
    """
    before = (kernel_size - stride) // 2
    return [((n - 1) // stride + 1, before, kernel_size - 1 - before) for n in x.shape[1:3]]


def windows(
    x: Float[Array, "b h w c"], kernel_size: int, stride: int
) -> list[tuple[tuple[int, int], Float[Array, "b _ _ c"]]]:
    """Returns for each kernel element, (row, column), the values [b, h', w', c] that it multiplies.

    `x` is zero-padded to SAME.
    """
    (height, *rows), (width, *columns) = same_padding(x, kernel_size, stride)
    # Extra padding, because the strided slices extend stride - 1 pixels beyond the last pixel that
    # they read.
    padding = [(before, after + stride - 1) for before, after in (rows, columns)]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def window(i, j):
        return x[:, i : i + stride * height : stride, j : j + stride * width : stride]

    return [((i, j), window(i, j)) for i in range(kernel_size) for j in range(kernel_size)]
