"""Convolutions as the networks here use them, with the parameters of `flax.linen.Conv`.

A bias is added in float32, whatever the layer computes in: its gradient is a sum over all pixels of
a batch, and a sum in bfloat16 stops growing at 256 times what is added to it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from colorjax.ops.resample import conv_same, conv_upsampled

GLOROT = nn.initializers.glorot_uniform()  # the paper's Xavier


def scale_width(features: int, width: float) -> int:
    """`features` channels scaled by `width` and rounded down, but at least one."""
    return max(1, int(features * width))


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """`x` [..., c] plus `bias` float32 [c], in the type of `x`."""
    return x if bias is None else (x.astype(jnp.float32) + bias).astype(x.dtype)


class ConvParams(nn.Module):
    """The parameters of a convolution alone: those of `nn.Conv` with Glorot-uniform kernels.

    `shape` is the kernel's: height, width, in, out. Names and initial values are `nn.Conv`'s.
    """

    shape: tuple[int, int, int, int]
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array | None]:
        """The kernel and, if there is one, the bias [out]; float32."""
        return _params(self, self.shape, self.use_bias)


class Conv(nn.Module):
    """A convolution with stride 1, zero-padded to SAME; `size` is of odd sides.

    `dtype` is what it computes in; parameters are float32.
    """

    features: int
    size: tuple[int, int]
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array | list[tuple[jax.Array, int]]) -> jax.Array:
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


def _params(module, shape, use_bias):
    kernel = module.param("kernel", GLOROT, shape)
    if not use_bias:
        return kernel, None
    return kernel, module.param("bias", nn.initializers.zeros, shape[-1:])
