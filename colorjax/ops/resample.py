"""Upsampling of channel-last feature maps and chroma, and convolutions of the maps."""

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

# Pixels in a band of rows whose feature maps fit into a CPU's cache.
BAND_PIXELS = 2048


Map = Float[AnyArray, "b _ _ _"]


def upsample(
    x: Float[AnyArray, "*batch h w c"], factor: int, *, method: str = "nearest"
) -> Float[Array, "*batch {factor}*h {factor}*w c"]:
    """Upsamples `x` [..., height, width, channels] by an integer `factor` along height and width.

    `nearest` repeats pixels, as Lasagne's Upscale2D does by default. `bilinear` interpolates
    between pixel centres and repeats the border. How the decoder upscales its maps (the paper,
    section 3.5) is not stated.

    Raises:
      ValueError: if the method is unknown.
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
    """Returns the mean over a square window around each pixel: [..., h, w, c].

    The windows have side 2 `radius` + 1. Pixels outside the image do not count.
    """
    means = widen(x)
    for axis in (-3, -2):
        size = [1] * means.ndim
        size[axis] = 2 * radius + 1
        total = jax.lax.reduce_window(means, 0.0, jax.lax.add, size, (1,) * means.ndim, "SAME")
        length = means.shape[axis]  # a symbolic dimension when a program is exported
        index = jnp.arange(length)
        count = jnp.minimum(index + radius, length - 1) - jnp.maximum(index - radius, 0) + 1
        means = total / count.astype(jnp.float32).reshape(-1, *[1] * (-1 - axis))
    return means


def fit_guided_filter(
    chroma: Float[AnyArray, "*batch h w 2"],
    lightness: Float[AnyArray, "*batch h w 1"],
    *,
    radius: int = 2,
    smoothness: float = 1.0,
    inside: Bool[AnyArray, "*batch h w 1"] | None = None,
) -> Float[Array, "*batch h w 6"]:
    """Fits chroma as a linear function of lightness around every pixel.

    This is the guided filter of He, Sun and Tang (2010). Interpolating the coefficients of the fits
    instead of the filtered chroma upsamples chroma along the edges of a full-size L* (He and Sun,
    *Fast Guided Filter*, 2015). A fit does not hold for L* outside the range that it was fitted on,
    which thin lines and highlights of the full-size picture exceed. The result therefore includes
    that range, and `apply_fits` clips L* to it.

    Args:
      chroma: [..., h, w, 2].
      lightness: [..., h, w, 1], L* in [0, 100] at the same resolution.
      radius: radius of the square windows, in pixels of the chroma.
      smoothness: contrast of L* below which the filter ignores an edge: the square root of its
        regularization.
      inside: [..., h, w, 1], True for pixels of the picture. Other pixels are ignored like those
        beyond the border, and their fits have no meaning. All pixels count by default.

    Returns:
      [..., h, w, 6], to be interpolated and passed to `apply_fits`: slope (2, chroma per unit of
      L*) and offset (2) of the fits, then the smallest and the largest L* in the window.
    """
    chroma, lightness = widen(chroma), widen(lightness)
    light = lightness - 50.0  # values around 0 have more precise float32 squares
    mean = functools.partial(_mean_inside, radius=radius, inside=inside)
    mean_l, mean_c = mean(light), mean(chroma)
    variance = mean(light * light) - mean_l * mean_l
    covariance = mean(light * chroma) - mean_l * mean_c
    slope = covariance / (jnp.maximum(variance, 0.0) + smoothness**2)
    offset = mean_c - slope * mean_l
    slope, offset = mean(slope), mean(offset)
    size = (*[1] * (lightness.ndim - 3), 2 * radius + 1, 2 * radius + 1, 1)

    def extreme(initial, reduce):
        masked = lightness if inside is None else jnp.where(inside, lightness, initial)
        return jax.lax.reduce_window(masked, initial, reduce, size, (1,) * lightness.ndim, "SAME")

    low, high = extreme(jnp.inf, jax.lax.min), extreme(-jnp.inf, jax.lax.max)
    return jnp.concatenate([slope, offset - 50.0 * slope, low, high], axis=-1)


def _mean_inside(x: Array, *, radius: int, inside: AnyArray | None) -> Array:
    """Returns the `box_mean` of the pixels that are inside the picture."""
    if inside is None:
        return box_mean(x, radius)
    share = box_mean(inside.astype(jnp.float32), radius)
    return box_mean(jnp.where(inside, x, 0.0), radius) / jnp.maximum(share, 1e-3)


def unguided_fits(chroma: Float[AnyArray, "*batch 2"]) -> Float[Array, "*batch 6"]:
    """Returns fits for `apply_fits` that do not depend on lightness.

    Interpolating them is plain bilinear interpolation of the chroma.
    """
    chroma = widen(chroma)
    zeros = jnp.zeros_like(chroma)
    return jnp.concatenate([zeros, chroma, zeros], axis=-1)


def apply_fits(
    fits: Float[AnyArray, "*batch 6"], lightness: Float[AnyArray, "*batch 1"]
) -> Float[Array, "*batch 2"]:
    """Evaluates `fits` [..., 6] at `lightness` [..., 1], L* in [0, 100]: chroma [..., 2]."""
    slope, offset, low, high = jnp.split(widen(fits), (2, 4, 5), axis=-1)
    # Rounding in the interpolation may make `low` exceed `high` where they are equal.
    return slope * jnp.clip(lightness, low, jnp.maximum(low, high)) + offset


def sample_bilinear(
    x: Float[AnyArray, "h w c"], rows: Float[AnyArray, " r"], columns: Float[AnyArray, " s"]
) -> Float[Array, "r s c"]:
    """Interpolates `x` [h, w, c] bilinearly on the grid `rows` [r] x `columns` [s]: [r, s, c].

    Coordinates are in pixels of `x`, whose centres have integer coordinates. Outside [0, h - 1] and
    [0, w - 1] the border is repeated.
    """
    height, width, depth = x.shape
    # Matrix products, because a CPU gathers pixels one by one but multiplies small matrices at full
    # speed.
    planes = jnp.einsum(
        "hwc,sw->hcs", widen(x), _bilinear_weights(columns, width), precision="highest"
    )
    planes = planes.reshape(height, -1)
    result = jnp.dot(_bilinear_weights(rows, height), planes, precision="highest")
    return jnp.moveaxis(result.reshape(-1, depth, columns.shape[0]), 1, -1)


def _bilinear_weights(coordinates: Float[AnyArray, " n"], count: Any) -> Float[Array, "n count"]:
    """Returns the bilinear weights of `count` pixels at n coordinates.

    At most two weights of a row are not 0. `count` is an int or a symbolic dimension.
    """
    coordinates = jnp.clip(widen(coordinates), 0.0, count - 1.0)
    return jnp.maximum(0.0, 1.0 - jnp.abs(coordinates[:, None] - jnp.arange(count)))


def conv_upsampled(
    maps: Sequence[tuple[Map, int]], kernel: Float[AnyArray, "3 3 joined features"]
) -> Float[Array, "b height width features"]:
    """Convolves the concatenation of nearest-upsampled feature maps without building it.

    The result is, up to rounding, the 3x3 convolution, zero-padded to SAME, of
    `concatenate([upsample(x, factor) for x, factor in maps], axis=-1)` with `kernel`.

    Each tap of the kernel multiplies pixels by a matrix, which commutes with nearest upsampling.
    The taps are therefore applied at each map's own resolution. Their products are summed at the
    finest of the coarse resolutions, and only the sums are upsampled. A map thus costs nine taps
    per cell of factor x factor pixels instead of nine taps per pixel.

    Args:
      maps: pairs of a map [b, height // factor, width // factor, channels] and its factor, which is
        a power of two.
      kernel: [3, 3, sum of channels, features].
    Returns:
      [b, height, width, features].
    Raises:
      ValueError: if a factor is not a power of two, or the shapes do not fit together.
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
    """Sums the convolutions of (map, factor, kernel) triples, whose factors are all above one."""
    finest = min(factor for _, factor, _ in coarse)

    def tap(row: int, column: int) -> Float[Array, "b h w features"]:
        # Nine small products instead of one with nine times the channels: splitting its result
        # costs more on a CPU, above all in the backward pass, than the larger product saves.
        products = (upsample(x @ k[row, column], factor // finest) for x, factor, k in coarse)
        return functools.reduce(operator.add, products)

    rows = [_upsample_taps([tap(i, j) for j in range(3)], 2, finest) for i in range(3)]
    return _upsample_taps(rows, 1, finest)


def _upsample_taps(
    taps: Sequence[Float[Array, "b h w c"]], axis: int, factor: int
) -> Float[Array, "b _ _ c"]:
    """Upsamples `axis` by `factor`, and sums for every pixel the three taps that it reads.

    `taps` are the low-resolution products with the kernel's first, middle and last element. A pixel
    reads all three from its own cell, with two exceptions: at the left edge of a cell the first tap
    reads the cell to the left, and at the right edge the last tap reads the cell to the right.
    Beyond the border of the image the taps read zeros.
    """
    first, middle, last = taps
    left = _shift(first, axis, 1) + middle + last
    right = first + middle + _shift(last, axis, -1)
    pixels = [left, *[first + middle + last] * (factor - 2), right]
    shape = list(left.shape)
    shape[axis] *= factor
    return jnp.stack(pixels, axis + 1).reshape(shape)


def _shift(x: Float[Array, "*shape"], axis: int, by: int) -> Float[Array, "*shape"]:
    """Shifts `x` by `by` pixels along `axis`, filling with zeros."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding)


@jax.custom_vjp
def conv_same(
    x: Float[AnyArray, "b h w c"], kernel: Float[AnyArray, "n n c features"]
) -> Float[Array, "b h w features"]:
    """Convolves `x` [b, h, w, in] with `kernel` [n, n, in, out], n odd, zero-padded to SAME.

    It uses XLA's convolution, with two exceptions on a CPU. Large convolutions go through
    `winograd`, unless a gradient is required, because training would then need more memory. The
    gradient of the kernel is a sum of products: XLA would compute it as a convolution whose window
    is the whole image, which takes several times longer.
    """
    if not winograd.is_faster(x, kernel):
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
    # Without the barrier, the compiler defers the gradients of all kernels to the end, and keeps
    # their inputs in memory until then.
    kernel_bar, g = jax.lax.optimization_barrier((kernel_bar, g))
    (x_bar,) = jax.vjp(lambda x: _xla_conv_same(x, kernel), x)[1](g)
    return x_bar, kernel_bar


conv_same.defvjp(_conv_same_forward, _conv_same_backward)


def _kernel_gradient(
    x: Float[Array, "b h w c"], g: Float[Array, "b h w features"], size: int
) -> Float[Array, "n n c features"]:
    """Returns d sum(g * conv_same(x, kernel)) / d kernel: [size, size, in, out], at least float32.

    `x` is [b, h, w, in] and `g` [b, h, w, out]. Each tap is one matrix product over the pixels of a
    band of rows. All taps of a band are computed before the next band, because they read almost the
    same pixels, which are then in the cache.
    """
    batch, height, width, depth = x.shape
    bands = -(-height // max(1, BAND_PIXELS // (batch * width)))
    rows = -(-height // bands)
    margin, fill = size // 2, bands * rows - height
    x = jnp.pad(x, ((0, 0), (margin, margin + fill), (margin, margin), (0, 0)))
    g = jnp.pad(g, ((0, 0), (0, fill), (0, 0), (0, 0)))

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
