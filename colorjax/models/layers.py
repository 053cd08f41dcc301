"""Convolutions as the networks here use them, with the parameters of `flax.linen.Conv`.

A bias is added in float32, whatever the layer computes in: its gradient is a sum over all pixels of
a batch, and a sum in bfloat16 stops growing at 256 times what is added to it.
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
    """`features` channels scaled by `width` and rounded down, but at least one."""
    return max(1, int(features * width))


def add_bias(
    x: Float[Array, "*batch c"], bias: Float32[AnyArray, " c"] | None
) -> Float[Array, "*batch c"]:
    """`x` [..., c] plus `bias` float32 [c], in the type of `x`."""
    return x if bias is None else (x.astype(jnp.float32) + bias).astype(x.dtype)


Params = tuple[Float32[Array, "height width in out"], Float32[Array, " out"] | None]


class ConvParams(nn.Module):
    """The parameters of a convolution alone: those of `nn.Conv` with Glorot-uniform kernels.

    `shape` is the kernel's: height, width, in, out. Names and initial values are `nn.Conv`'s.
    """

    shape: tuple[int, int, int, int]
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> Params:
        """The kernel and, if there is one, the bias [out]; float32."""
        return _params(self, self.shape, self.use_bias)


Map = Float[Array, "b _ _ _"]


class Conv(nn.Module):
    """A convolution with stride 1, zero-padded to SAME; `size` is of odd sides.

    `dtype` is what it computes in; parameters are float32.
    """

    features: int
    size: tuple[int, int]
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map | list[tuple[Map, int]]) -> Float[Array, "b h w {self.features}"]:
        """[b, h, w, in] -> [b, h, w, features], in `dtype`.

        `x` may be several maps, (map, factor) each, to be upsampled and joined as
        `resample.conv_upsampled` has it.
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
    """[b, h, w, 1 or 3] -> float32 [b, h, w, 3]; gray is repeated. ValueError for other shapes."""
    if gray_or_rgb.ndim != 4 or gray_or_rgb.shape[-1] not in (1, 3):
        raise ValueError(f"want [b, h, w, 1] or [b, h, w, 3], got shape {gray_or_rgb.shape}")
    rgb = jnp.broadcast_to(gray_or_rgb, (*gray_or_rgb.shape[:-1], 3))
    return rgb.astype(jnp.float32)


def pointwise(
    x: Float[Array, "*batch in"], kernel: Float[AnyArray, "in out"]
) -> Float[Array, "*batch out"]:
    """1x1 convolution of `x` [b, h, w, in] with `kernel` [in, out].

    Flattened: the kernel's gradient of a product of four axes costs a CPU five times as much.
    """
    y = x.reshape(-1, x.shape[-1]) @ kernel
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def conv_halving(
    x: Float[Array, "b h w in"], kernel: Float[AnyArray, "n n in out"]
) -> Float[Array, "b h//2 w//2 out"]:
    """3x3 convolution of `x` [b, h, w, in] with stride 2, zero-padded to SAME, of even sides.

    One product over all nine taps: of so few input channels it is quick, and so is its gradient.
    """
    taps = jnp.concatenate([tap for _, tap in windows(x, kernel.shape[0], 2)], axis=-1)
    return pointwise(taps, kernel.reshape(-1, kernel.shape[-1]))


def extents(x: Float[AnyArray, "b h w c"], side: int, stride: int) -> list[tuple[Any, int, int]]:
    """For height and width: how large the result is, and how many zeros come before and after.

    Of even sides, stride 2 leaves the last zero alone; so padding depends on no size. Sizes are
    symbols where a program for any is exported.
    """
    before = (side - stride) // 2
    return [((n - 1) // stride + 1, before, side - 1 - before) for n in x.shape[1:3]]


def windows(
    x: Float[Array, "b h w c"], side: int, stride: int
) -> list[tuple[tuple[int, int], Float[Array, "b _ _ c"]]]:
    """What each element of a kernel is multiplied with: ((row, column), [b, h', w', c]) each."""
    (height, *rows), (width, *columns) = extents(x, side, stride)
    # As much further as any window's slice may reach, whatever the sides.
    padding = [(before, after + stride - 1) for before, after in (rows, columns)]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def window(i, j):
        return x[:, i : i + stride * height : stride, j : j + stride * width : stride]

    return [((i, j), window(i, j)) for i in range(side) for j in range(side)]
