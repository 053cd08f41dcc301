"""Upsampling of feature maps and chroma, channel last, and convolution with it and without."""

import functools
import operator
from collections.abc import Sequence
from itertools import accumulate, product
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from colorjax.ops import winograd
from colorjax.ops.arrays import AnyArray, widen

METHODS = ("nearest", "bilinear")

# About as many pixels as keep a band of feature maps in a CPU's cache.
BAND_PIXELS = 2048


Map = Float[AnyArray, "b _ _ _"]


def upsample(
    x: Float[AnyArray, "*batch h w c"], factor: int, *, method: str = "nearest"
) -> Float[Array, "*batch {factor}*h {factor}*w c"]:
    """Enlarges `x` [..., height, width, channels] by a whole `factor` along height and width.

    `nearest` repeats pixels, as Upscale2D of Lasagne does by default; `bilinear` interpolates
    between pixel centres and repeats the border. How the decoder upscales its maps is left open
    (the paper, section 3.5).
    Raises ValueError for any other method.
    """
    if method not in METHODS:
        raise ValueError(f"upsampling method is {method!r}, want one of {METHODS}")
    x = jnp.asarray(x)
    if factor == 1:
        return x
    *batch, height, width, channels = x.shape
    if method == "bilinear":
        return jax.image.resize(x, (*batch, height * factor, width * factor, channels), "bilinear")
    x = jnp.broadcast_to(
        x[..., :, None, :, None, :], (*batch, height, factor, width, factor, channels)
    )
    return x.reshape(*batch, height * factor, width * factor, channels)


def box_mean(x: Float[AnyArray, "*batch h w c"], radius: int) -> Float[Array, "*batch h w c"]:
    """Means over squares of side 2 radius + 1, of what lies inside the image: [..., h, w, c]."""
    means = widen(x)
    for axis in (-3, -2):
        size = [1] * means.ndim
        size[axis] = 2 * radius + 1
        total = jax.lax.reduce_window(means, 0.0, jax.lax.add, size, (1,) * means.ndim, "SAME")
        length = means.shape[axis]  # may be a symbol, where a program is exported
        place = jnp.arange(length)
        inside = jnp.minimum(place + radius, length - 1) - jnp.maximum(place - radius, 0) + 1
        means = total / inside.astype(jnp.float32).reshape(-1, *[1] * (-1 - axis))
    return means


def guide_chroma(
    chroma: Float[AnyArray, "*batch h w 2"],
    lightness: Float[AnyArray, "*batch h w 1"],
    *,
    radius: int = 2,
    smoothness: float = 1.0,
    inside: Bool[AnyArray, "*batch h w 1"] | None = None,
) -> Float[Array, "*batch h w 6"]:
    """Fits chroma to lightness around every pixel, so that it may be enlarged along L's edges.

    The guided filter of He, Sun and Tang (2010), whose linear fits are interpolated instead of its
    results (He and Sun, *Fast Guided Filter*, 2015). A fit says nothing of lightness that it has
    not seen, which thin lines and highlights of the large picture have: hence the range.

    Args:
      chroma: [..., h, w, 2].
      lightness: [..., h, w, 1], L* in [0, 100] of the same places.
      radius: of the squares that are fitted, in pixels of the chroma.
      smoothness: contrast of L* below which an edge counts as none.
      inside: [..., h, w, 1], what there is of the picture; the rest counts no more than what is
        beyond the border, and its fits mean nothing. All unless given.

    Returns:
      [..., h, w, 6], for `guided_chroma`, to be interpolated between its pixels: slope (2, chroma a
      unit of L*) and offset (2) of the fits, the least and the greatest L* around.
    """
    chroma, lightness = widen(chroma), widen(lightness)
    light = lightness - 50.0  # for the sake of float32 squares
    mean = functools.partial(_mean_inside, radius=radius, inside=inside)
    mean_l, mean_c = mean(light), mean(chroma)
    variance = mean(light * light) - mean_l * mean_l
    covariance = mean(light * chroma) - mean_l * mean_c
    slope = covariance / (jnp.maximum(variance, 0.0) + smoothness**2)
    offset = mean_c - slope * mean_l
    slope, offset = mean(slope), mean(offset)
    size = (*[1] * (lightness.ndim - 3), 2 * radius + 1, 2 * radius + 1, 1)

    def extreme(initial, of):
        there = lightness if inside is None else jnp.where(inside, lightness, initial)
        return jax.lax.reduce_window(there, initial, of, size, (1,) * lightness.ndim, "SAME")

    low, high = extreme(jnp.inf, jax.lax.min), extreme(-jnp.inf, jax.lax.max)
    return jnp.concatenate([slope, offset - 50.0 * slope, low, high], axis=-1)


def _mean_inside(x: Array, *, radius: int, inside: AnyArray | None) -> Array:
    """As `box_mean`, of what is inside."""
    if inside is None:
        return box_mean(x, radius)
    share = box_mean(inside.astype(jnp.float32), radius)
    return box_mean(jnp.where(inside, x, 0.0), radius) / jnp.maximum(share, 1e-3)


def plain_chroma(chroma: Float[AnyArray, "*batch 2"]) -> Float[Array, "*batch 6"]:
    """As `guide_chroma`, of chroma that no lightness guides: plain bilinear interpolation."""
    chroma = widen(chroma)
    nothing = jnp.zeros_like(chroma)
    return jnp.concatenate([nothing, chroma, nothing], axis=-1)


def guided_chroma(
    fits: Float[AnyArray, "*batch 6"], lightness: Float[AnyArray, "*batch 1"]
) -> Float[Array, "*batch 2"]:
    """Chroma [..., 2] of `fits` [..., 6] at places whose L* is `lightness` [..., 1]."""
    slope, offset, low, high = jnp.split(widen(fits), (2, 4, 5), axis=-1)
    # Interpolation rounds, and may turn an empty range around.
    return slope * jnp.clip(lightness, low, jnp.maximum(low, high)) + offset


def sample_bilinear(
    x: Float[AnyArray, "h w c"], rows: Float[AnyArray, " r"], columns: Float[AnyArray, " s"]
) -> Float[Array, "r s c"]:
    """`x` [h, w, c] between its pixels, at the places `rows` x `columns`: [len, len, c].

    Places are counted in pixels of `x`, whose centres are whole numbers; outside of [0, h - 1] and
    [0, w - 1] the border goes on.
    """

    height, width, depth = x.shape
    # As products: a CPU gathers pixels one by one, and multiplies small matrices at its full speed.
    planes = jnp.einsum("hwc,sw->hcs", widen(x), _hats(columns, width), precision="highest")
    rows_of_all = planes.reshape(height, -1)
    result = jnp.dot(_hats(rows, height), rows_of_all, precision="highest")
    return jnp.moveaxis(result.reshape(-1, depth, columns.shape[0]), 1, -1)


def _hats(places: Float[AnyArray, " n"], count: Any) -> Float[Array, "n count"]:
    """What each of `count` pixels weighs at the places: two of them, or one.

    `count` is an int, or the symbol of a size that is not known yet.
    """
    places = jnp.clip(widen(places), 0.0, count - 1.0)
    return jnp.maximum(0.0, 1.0 - jnp.abs(places[:, None] - jnp.arange(count)))


def conv_upsampled(
    maps: Sequence[tuple[Map, int]], kernel: Float[AnyArray, "3 3 joined features"]
) -> Float[Array, "b height width features"]:
    """3x3 convolution, zero-padded to SAME, over nearest-upsampled maps joined along channels.

    `maps` holds (x [b, height // factor, width // factor, channels], factor), where a factor is a
    power of two; `kernel` is [3, 3, sum of channels, features], that of the
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
    parts = [conv_same(x, k) for (x, factor), k in zip(maps, kernels, strict=True) if factor == 1]
    coarse = [(*m, k) for m, k in zip(maps, kernels, strict=True) if m[1] > 1]
    if coarse:
        parts.append(_conv_coarse(coarse))
    return functools.reduce(operator.add, parts)


def _check_maps(maps: Sequence[tuple[Map, int]], kernel: Float[AnyArray, "..."]) -> None:
    for _, factor in maps:
        if factor < 1 or factor & (factor - 1):
            raise ValueError(f"factor is {factor}, want a power of two")
    sizes = {(x.shape[0], x.shape[1] * f, x.shape[2] * f) for x, f in maps}
    if len(sizes) != 1:
        raise ValueError(f"upsampled maps are {sorted(sizes)}, want one size")
    want = (3, 3, sum(x.shape[-1] for x, _ in maps))
    if kernel.shape[:-1] != want:
        raise ValueError(f"kernel is {kernel.shape}, want {want} and features")


def _conv_coarse(
    coarse: Sequence[tuple[Map, int, Float[AnyArray, "3 3 _ features"]]],
) -> Float[Array, "b height width features"]:
    """Sum of the convolutions of (map, factor, kernel), all of factors above one."""
    finest = min(factor for _, factor, _ in coarse)

    def tap(row: int, column: int) -> Float[Array, "b h w features"]:
        # Nine small products rather than one with nine times the channels: cutting that apart
        # costs more on a CPU, in the backward pass above all, than the larger product saves.
        products = (upsample(x @ k[row, column], factor // finest) for x, factor, k in coarse)
        return functools.reduce(operator.add, products)

    rows = [_spread([tap(i, j) for j in range(3)], 2, finest) for i in range(3)]
    return _spread(rows, 1, finest)


def _spread(
    taps: Sequence[Float[Array, "b h w c"]], axis: int, factor: int
) -> Float[Array, "b _ _ c"]:
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


def _shift(x: Float[Array, "*shape"], axis: int, by: int) -> Float[Array, "*shape"]:
    """Moves `x` by `by` pixels along `axis`, zeros coming in and the far end falling out."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding)


@jax.custom_vjp
def conv_same(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "n n c features"]
) -> Float[Array, "b h w features"]:
    """Convolution of `x` [b, h, w, in] with `kernel` [n, n, in, out], n odd, zero-padded to SAME.

    XLA's own, but for two things on a CPU. Large ones are computed as of `winograd`, if no gradient
    is asked for: in training they would take more memory. And XLA sees the gradient of the kernel
    as a convolution whose window is the whole image, and takes several times longer over it than a
    sum of products does.
    """
    if not winograd.pays(x, kernel):
        return _xla_conv_same(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=winograd.conv, default=_xla_conv_same)


def _xla_conv_same(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_same_forward(x, kernel):
    return _xla_conv_same(x, kernel), (x, kernel)


def _conv_same_backward(saved, g):
    x, kernel = saved
    kernel_bar = jax.lax.platform_dependent(
        x,
        g,
        cpu=lambda x, g: _kernel_gradient(x, g, kernel.shape[0]).astype(kernel.dtype),
        default=lambda x, g: jax.vjp(lambda k: _xla_conv_same(x, k), kernel)[1](g)[0],
    )
    # Else a compiler leaves the kernels' gradients to the end, and keeps what they are made of.
    kernel_bar, g = jax.lax.optimization_barrier((kernel_bar, g))
    (x_bar,) = jax.vjp(lambda x: _xla_conv_same(x, kernel), x)[1](g)
    return x_bar, kernel_bar


conv_same.defvjp(_conv_same_forward, _conv_same_backward)


def _kernel_gradient(
    x: Float[Array, "b h w c"], g: Float[Array, "b h w features"], size: int
) -> Float[Array, "n n c features"]:
    """d sum(g * conv_same(x, kernel)) / d kernel, float32 at least: [size, size, in, out].

    `x` is [b, h, w, in] and `g` [b, h, w, out]. One product a tap, over all pixels, a band of rows
    at a time: the taps read almost the same pixels, which are then still in the cache.
    """
    batch, height, width, depth = x.shape
    bands = -(-height // max(1, BAND_PIXELS // (batch * width)))
    rows = -(-height // bands)
    margin, missing = size // 2, bands * rows - height
    x = jnp.pad(x, ((0, 0), (margin, margin + missing), (margin, margin), (0, 0)))
    g = jnp.pad(g, ((0, 0), (0, missing), (0, 0), (0, 0)))

    def band(i):
        xs = jax.lax.dynamic_slice_in_dim(x, i * rows, rows + 2 * margin, 1)
        gs = jax.lax.dynamic_slice_in_dim(g, i * rows, rows, 1)
        return jnp.stack(
            [
                jnp.tensordot(
                    xs[:, r : r + rows, c : c + width],
                    gs,
                    ((0, 1, 2),) * 2,
                    preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
                )
                for r, c in product(range(size), repeat=2)
            ]
        )

    total, _ = jax.lax.scan(lambda acc, i: (acc + band(i), None), band(0), jnp.arange(1, bands))
    return total.reshape(size, size, depth, -1)
