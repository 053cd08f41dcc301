"""Quantization of chroma into classes, in one of two layouts.

`channel_bins` divides each channel separately into bins of equal width: 50 bins over [-100, 100]
for each of U and V (the paper, section 3.6). Bin k covers [low + k w, low + (k + 1) w), where
w = (high - low) / num_bins. The paper's range does not cover the whole sRGB gamut: values outside
it go into the first or the last bin, and `clipped_fraction` measures how many do. `joint_bins`
divides the plane of both channels into squares and keeps the squares that contain a colour of the
gamut (Zhang, Isola and Efros 2016, section 2.1).

Both layouts describe chroma by G groups of D channels, G D = 2, with Q bins per group. The bins'
centres have shape [G, Q, D]: [2, 50, 1] or [1, Q, 2].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, Int32, Num

from colorjax.ops.arrays import AnyArray, widen

_NUM_BINS = 50
_LOW = -100.0
_HIGH = 100.0

# Partial sums per bin in `bin_counts_and_sums`.
_NUM_PARTIAL = 64


Chroma = Float[AnyArray, "*batch 2"]
Bins = Int32[Array, "*batch G"]


class Binning(NamedTuple):
    """A layout of bins.

    Attributes:
      encode: chroma [..., 2] -> the index of its bin in each group, int32 [..., G] in [0, Q).
      centers: [G, Q, D], the chroma at each bin's centre.
      low: [2], the smallest chroma that the bins cover; smaller values are clipped.
      high: [2], the largest chroma that the bins cover; larger values are clipped.
    """

    encode: Callable[[Chroma], Bins]
    centers: Float32[np.ndarray, "G Q D"]
    low: Float32[np.ndarray, "2"]
    high: Float32[np.ndarray, "2"]


def channel_bins(*, num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH) -> Binning:
    """Divides [low, high] into `num_bins` equal bins for each of two channels: G = 2, D = 1.

    Raises:
      ValueError: if `num_bins` is below 1 or the range is empty.
    """
    channel_centers = _bin_centers(num_bins, low, high)
    return Binning(
        encode=lambda chroma: bin_chroma(chroma, num_bins=num_bins, low=low, high=high),
        centers=np.stack([channel_centers, channel_centers])[..., None],
        low=np.array([low, low], np.float32),
        high=np.array([high, high], np.float32),
    )


def joint_bins(colors: Float[np.ndarray, "n 2"], width: float) -> Binning:
    """Bins the chroma plane into the squares that contain at least one of `colors`: G = 1, D = 2.

    Chroma in any other square gets the bin whose centre is nearest to the centre of that square.

    Args:
      colors: [n, 2], n >= 1, the chroma of colours that sample the whole gamut.
      width: side of a square, > 0; the squares' edges lie at multiples of it.
    """
    first = np.floor(colors.min(axis=0) / width).astype(int)
    rows, columns = np.floor(colors.max(axis=0) / width).astype(int) - first + 1
    cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    occupied = np.unique(np.floor(colors / width).astype(int) - first, axis=0)
    # With integer distances, ties are broken in the same way on every platform.
    distance = np.sum((cells[..., None, :] - occupied) ** 2, axis=-1)
    table = np.argmin(distance, axis=-1).astype(np.int32)

    edges = [(n * width, (n + count) * width) for n, count in zip(first, table.shape, strict=True)]

    def encode(chroma: Chroma) -> Bins:
        row, column = (
            bin_chroma(chroma[..., i : i + 1], num_bins=count, low=low, high=high)
            for i, (count, (low, high)) in enumerate(zip(table.shape, edges, strict=True))
        )
        return jnp.asarray(table)[row, column]

    return Binning(
        encode=encode,
        centers=((occupied + first + 0.5) * width).astype(np.float32)[None],
        low=(first * width).astype(np.float32),
        high=((first + [rows, columns]) * width).astype(np.float32),
    )


def centers(
    *, num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH
) -> Float32[Array, " num_bins"]:
    """Returns the centre of every bin: [num_bins] float32.

    Raises:
      ValueError: if `num_bins` is below 1 or the range is empty.
    """
    return jnp.asarray(_bin_centers(num_bins, low, high))


def bin_chroma(
    chroma: Float[AnyArray, "*shape"],
    *,
    num_bins: int = _NUM_BINS,
    low: float = _LOW,
    high: float = _HIGH,
) -> Int32[Array, "*shape"]:
    """Returns the index of the bin that contains each value.

    Args:
      chroma: [...] float, without NaN; values outside [low, high) go into the nearer end bin.
    Returns:
      [...] int32 in [0, num_bins).
    Raises:
      ValueError: if `num_bins` is below 1 or the range is empty.
    """
    width = _width(num_bins, low, high)
    chroma = widen(chroma)
    index = jnp.floor((chroma - low) / width)
    # The subtraction above rounds: -1e-9 + 100 is 100, which would give an index too high by one.
    index = index - (chroma < low + index * width)
    # Clip before the cast, which is undefined for values outside the range of int32.
    return jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)


def unbin_chroma(
    bins: Int[AnyArray, "*batch G"], values: Num[AnyArray, "G Q D"]
) -> Float32[Array, "*batch channels"]:
    """Looks up the chroma value that represents each bin.

    Args:
      bins: [..., G] integers in [0, Q).
      values: [G, Q, D], for example the `centers` of a binning or the result of `bin_means`.
    Returns:
      [..., G D] float32.
    Raises:
      ValueError: if `values` has another shape.
    """
    bins = jnp.asarray(bins)
    values = jnp.asarray(values, jnp.float32)
    # Indexing would silently broadcast a single group over all groups.
    if values.ndim != 3 or values.shape[0] != bins.shape[-1]:
        raise ValueError(
            f"values must be [{bins.shape[-1]}, num_bins, channels], found {values.shape}"
        )
    chroma = values[jnp.arange(bins.shape[-1]), bins]
    return chroma.reshape(*bins.shape[:-1], -1)


def clipped_fraction(
    chroma: Float[AnyArray, "*batch channels"],
    *,
    low: float | Float[AnyArray, " channels"] = _LOW,
    high: float | Float[AnyArray, " channels"] = _HIGH,
    axis: int | tuple[int, ...] | None = None,
) -> Float32[Array, "..."]:
    """Returns the fraction of pixels with at least one channel outside [low, high].

    Args:
      chroma: [..., channels], not empty.
      low: lower end of the range, one number or [channels].
      high: upper end of the range, one number or [channels].
      axis: axes of `chroma[..., 0]` to average over, all by default. For a batch of images, (1, 2)
        gives one fraction per image.
    Returns:
      float32 in [0, 1], without the averaged axes and the channel axis.
    """
    chroma = jnp.asarray(chroma)
    outside = jnp.any((chroma < low) | (chroma > high), axis=-1)
    # An integer count, because a float32 sum of ones stops growing at 2^24, which is a
    # 16-megapixel photograph.
    count = jnp.sum(outside, axis=axis, dtype=jnp.int32)
    return count / (outside.size // count.size)


def bin_counts_and_sums(
    binning: Binning, chroma: Float[AnyArray, "*batch channels"]
) -> tuple[Int32[Array, "G Q"], Float32[Array, "G Q D"]]:
    """Counts the pixels in every bin and sums their chroma.

    The results of several batches may be added. Do so on the host in numpy float64: over a data set
    int32 overflows at 2^31, and float32 stops counting at 2^24.

    Args:
      binning: the layout of the bins.
      chroma: [..., channels], fewer than 2^31 values. Values outside the range of the bins are
        counted in the bin that they are clipped to; their unclipped value enters its sum.
    Returns:
      counts: [G, Q] int32, exact.
      sums: [G, Q, D] float32.
    """
    chroma = jnp.asarray(chroma, jnp.float32)
    pixels = chroma.reshape(-1, chroma.shape[-1])
    bins = binning.encode(pixels)
    groups, num_bins = bins.shape[-1], binning.centers.shape[1]
    values = pixels.reshape(*bins.shape, -1)
    # Neighbouring pixels go to different partial sums, because a float32 sum of millions of terms
    # loses digits and atomic additions to one address serialize. A product with a one-hot matrix
    # would be 100 times slower on a CPU.
    row = jnp.arange(bins.size).reshape(bins.shape) % (_NUM_PARTIAL * groups)
    cell = row * num_bins + bins
    shape = (_NUM_PARTIAL, groups, num_bins)
    counts = jnp.zeros(np.prod(shape), jnp.int32).at[cell].add(1)
    sums = jnp.zeros((np.prod(shape), values.shape[-1]), jnp.float32).at[cell].add(values)
    return counts.reshape(shape).sum(axis=0), sums.reshape(*shape, -1).sum(axis=0)


def bin_means(
    counts: Num[AnyArray, "G Q"], sums: Float[AnyArray, "G Q D"], centers: Float[AnyArray, "G Q D"]
) -> Float32[Array, "G Q D"]:
    """Returns the mean chroma of every bin, or the centre of a bin that is empty.

    Args:
      counts: [G, Q], pixels per bin as from `bin_counts_and_sums`, of any numeric dtype.
      sums: [G, Q, D], sums of the chroma in each bin.
      centers: [G, Q, D], the bins' centres.
    Returns:
      [G, Q, D] float32. The mean of an end bin may lie outside the range of the bins.
    """
    # Convert directly to float32: by default jax would first truncate numpy's int64 to int32.
    counts = jnp.asarray(counts, jnp.float32)[..., None]
    sums = jnp.asarray(sums, jnp.float32)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), jnp.asarray(centers, jnp.float32))


def most_frequent(counts: Num[AnyArray, "G Q"]) -> Int32[Array, " G"]:
    """Returns the bin with the most pixels in every group, which is the best constant prediction.

    A tie goes to the bin with the lower index.

    Args:
      counts: [G, Q], of any numeric dtype; compared in float32.
    Returns:
      [G] int32.
    """
    return jnp.argmax(jnp.asarray(counts, jnp.float32), axis=-1).astype(jnp.int32)


def smooth_prior(
    counts: Num[AnyArray, "G Q"], squared_distances: Float[AnyArray, "G Q Q"], sigma: float
) -> Float32[np.ndarray, "G Q"]:
    """Smooths the bins' frequencies with a Gaussian (Zhang, Isola and Efros 2016, section 2.2).

    It computes in numpy and float64, because it runs once, on counts that are on the host.

    Args:
      counts: [G, Q], pixels per bin, of any numeric dtype; a group without pixels gets a uniform
        prior.
      squared_distances: [G, Q, Q], between the bins' centres.
      sigma: standard deviation of the Gaussian, in units of chroma; 0 disables the smoothing.
    Returns:
      [G, Q] float32, summing to 1 over each group.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    prior = np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[-1])
    if sigma > 0:
        # The kernel of each bin is normalized, so that no mass is lost at the border.
        closeness = np.exp(-np.asarray(squared_distances, np.float64) / (2 * sigma**2))
        shares = closeness / closeness.sum(axis=-2, keepdims=True)
        prior = np.sum(shares * prior[:, None, :], axis=-1)
    return prior.astype(np.float32)


def rebalancing_weights(
    prior: Float[AnyArray, "G Q"], uniform: float
) -> Float32[np.ndarray, "G Q"]:
    """Returns the class rebalancing weights (Zhang, Isola and Efros 2016, equation 4).

    The weight of a pixel in the loss depends on the bin of its true chroma. It is proportional to
    1 / ((1 - uniform) prior + uniform / Q), and its mean under the prior is 1. A bin whose
    mixture of prior and uniform distribution is 0 has weight 0.

    Args:
      prior: [G, Q], summing to 1 over each group.
      uniform: the lambda of Zhang et al., in [0, 1]; they use 1/2, and 1 gives equal weights.
    Returns:
      [G, Q] float32.
    """
    prior = np.asarray(prior, np.float64)
    mixture = (1 - uniform) * prior + uniform / prior.shape[-1]
    weights = np.where(mixture > 0, 1 / np.where(mixture > 0, mixture, 1), 0)
    weights /= np.sum(prior * weights, axis=-1, keepdims=True)
    return weights.astype(np.float32)


def _bin_centers(num_bins: int, low: float, high: float) -> Float32[np.ndarray, " num_bins"]:
    """Returns the bins' centres, as numpy so that a module may build bins without starting jax."""
    width = _width(num_bins, low, high)
    return (low + width * (np.arange(num_bins) + 0.5)).astype(np.float32)


def _width(num_bins: int, low: float, high: float) -> float:
    if num_bins < 1 or not low < high:
        raise ValueError(f"need at least one bin and low < high, found {num_bins}, {low}, {high}")
    return (high - low) / num_bins
