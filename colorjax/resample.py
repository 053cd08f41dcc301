"""Upsampling of feature maps and chroma, channel last, and convolution of what it gives."""

from collections.abc import Sequence
from itertools import accumulate

import jax
import jax.numpy as jnp

METHODS = ("nearest", "bilinear")


def upsample(x: jax.Array, factor: int, method: str = "nearest") -> jax.Array:
    """Enlarges `x` [..., height, width, channels] by a whole `factor` along height and width.

    `nearest` repeats pixels, as Lasagne's Upscale2D does (the paper, section 3); `bilinear`
    interpolates between pixel centres and repeats the border.
    Raises ValueError for any other method.
    """
    if method not in METHODS:
        raise ValueError(f"upsampling method is {method!r}, want one of {METHODS}")
    if factor == 1:
        return x
    *batch, height, width, channels = x.shape
    if method == "bilinear":
        return jax.image.resize(
            x, (*batch, height * factor, width * factor, channels), "bilinear"
        )
    x = jnp.broadcast_to(
        x[..., :, None, :, None, :], (*batch, height, factor, width, factor, channels)
    )
    return x.reshape(*batch, height * factor, width * factor, channels)


def conv_upsampled(
    maps: Sequence[tuple[jax.Array, int]], kernel: jax.Array, bias: jax.Array | None = None
) -> jax.Array:
    """3x3 convolution, zero-padded to SAME, over nearest-upsampled maps joined along channels.

    `maps` holds (x [b, height // factor, width // factor, channels], factor), where a factor is a
    power of two; `kernel` is [3, 3, sum of channels, features] and `bias` [features], those of the
    plain convolution over `concatenate([upsample(x, factor) for x, factor in maps], axis=-1)`.
    Returns its [b, height, width, features] up to rounding, without ever making the concatenation.

    A tap of the kernel is a matrix, and matrices commute with upsampling: each is applied at the
    map's own size, and the coarse maps meet there, so that only their sum has to grow. Against
    nine taps a pixel, a map costs nine taps a cell of factor x factor pixels.
    Raises ValueError if a factor is no power of two, or the shapes do not fit together.
    """
    _check_maps(maps, kernel)
    ends = list(accumulate(x.shape[-1] for x, _ in maps))
    kernels = jnp.split(kernel, ends[:-1], axis=2)
    parts = [
        jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for (x, factor), k in zip(maps, kernels, strict=True)
        if factor == 1
    ]
    coarse = [(*m, k) for m, k in zip(maps, kernels, strict=True) if m[1] > 1]
    if coarse:
        parts.append(_conv_coarse(coarse))
    y = sum(parts)
    return y if bias is None else y + bias


def _check_maps(maps: Sequence[tuple[jax.Array, int]], kernel: jax.Array) -> None:
    for _, factor in maps:
        if factor < 1 or factor & (factor - 1):
            raise ValueError(f"factor is {factor}, want a power of two")
    sizes = {(x.shape[0], x.shape[1] * f, x.shape[2] * f) for x, f in maps}
    if len(sizes) != 1:
        raise ValueError(f"upsampled maps are {sorted(sizes)}, want one size")
    want = (3, 3, sum(x.shape[-1] for x, _ in maps))
    if kernel.shape[:-1] != want:
        raise ValueError(f"kernel is {kernel.shape}, want {want} and features")


def _conv_coarse(coarse: Sequence[tuple[jax.Array, int, jax.Array]]) -> jax.Array:
    """Sum of the convolutions of (map, factor, kernel), all of factors above one."""
    finest = min(factor for _, factor, _ in coarse)

    def tap(row: int, column: int) -> jax.Array:
        # Nine small products rather than one with nine times the channels: cutting that apart
        # costs more on a CPU, in the backward pass above all, than the larger product saves.
        return sum(upsample(x @ k[row, column], factor // finest) for x, factor, k in coarse)

    rows = [_spread([tap(i, j) for j in range(3)], 2, finest) for i in range(3)]
    return _spread(rows, 1, finest)


def _spread(taps: Sequence[jax.Array], axis: int, factor: int) -> jax.Array:
    """Enlarges `axis` by `factor`, each pixel the sum of the three taps that fall on it there.

    `taps` are the low-resolution products with the kernel's first, middle and last element. All
    three fall into a pixel's own cell, but for the first at the left edge of a cell and the last
    at the right edge, which fall into the neighbours, or onto the zeros around the image.
    """
    first, middle, last = taps
    left = _shift(first, axis, 1) + middle + last
    right = first + middle + _shift(last, axis, -1)
    pixels = [left, *[first + middle + last] * (factor - 2), right]
    shape = list(left.shape)
    shape[axis] *= factor
    return jnp.stack(pixels, axis + 1).reshape(shape)


def _shift(x: jax.Array, axis: int, by: int) -> jax.Array:
    """Moves `x` by `by` pixels along `axis`, zeros coming in and the far end falling out."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding)
