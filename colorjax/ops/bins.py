"""Chroma as classes, in one of two layouts.

`channel_bins` cut each channel into equal bins on its own: 50 bins over [-100, 100] for each of U
and V (the paper, section 3.6). Bin k covers [low + k w, low + (k + 1) w), w = (high - low) /
num_bins. The paper's range does not hold all of sRGB: values outside it go into the end bins, and
`clipped_fraction` says how many do. `joint_bins` cut the plane of both channels into
squares and keep those that hold a colour (Zhang, Isola and Efros 2016, section 2.1).

Either way chroma is G groups of D channels, G D = 2, with Q bins each: [2, 50, 1] or [1, Q, 2].
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

# Partial sums that `bin_counts_and_sums` keeps for each bin.
_NUM_PARTIAL = 64


Chroma = Float[AnyArray, "*batch 2"]
Bins = Int32[Array, "*batch G"]


class Binning(NamedTuple):
    """A layout of bins: how chroma is binned, and what every bin stands for."""

    encode: Callable[[Chroma], Bins]  # chroma -> its bins, in [0, Q)
    centers: Float32[np.ndarray, "G Q D"]
    low: Float32[
        np.ndarray, "2"
    ]  # the least chroma that the bins cover; what lies below is clipped
    high: Float32[np.ndarray, "2"]  # likewise the greatest


def channel_bins(*, num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH) -> Binning:
    """`num_bins` equal bins on [low, high] for each of two channels: G = 2, D = 1.

    Raises:
        ValueError: for no bins or an empty range.
    """
    middles = _middles(num_bins, low, high)
    return Binning(
        encode=lambda chroma: bin_chroma(chroma, num_bins=num_bins, low=low, high=high),
        centers=np.stack([middles, middles])[..., None],
        low=np.array([low, low], np.float32),
        high=np.array([high, high], np.float32),
    )


def joint_bins(colors: Float[np.ndarray, "n 2"], width: float) -> Binning:
    """Squares of side `width` that hold at least one of `colors`: G = 1, D = 2.

    Chroma in any other square gets the bin whose centre is nearest to that square's.

    Args:
        colors: [n, 2], the chroma of colours from all over the gamut, n >= 1.
        width: side of a square, > 0; edges lie at its multiples.
    """
    first = np.floor(colors.min(axis=0) / width).astype(int)
    rows, columns = np.floor(colors.max(axis=0) / width).astype(int) - first + 1
    cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
    occupied = np.unique(np.floor(colors / width).astype(int) - first, axis=0)
    # Integers, so that a tie goes to the same bin everywhere.
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
    """The middle of every bin: [num_bins] float32.

    Raises:
        ValueError: for no bins or an empty range.
    """
    return jnp.asarray(_middles(num_bins, low, high))


def bin_chroma(
    chroma: Float[AnyArray, "*shape"],
    *,
    num_bins: int = _NUM_BINS,
    low: float = _LOW,
    high: float = _HIGH,
) -> Int32[Array, "*shape"]:
    """The bin of every value.

    Args:
        chroma: [...] float, without NaN; what lies outside [low, high) gets the nearer end bin.
    Returns:
        [...] int32 in [0, num_bins).
    Raises:
        ValueError: for no bins or an empty range.
    """
    width = _width(num_bins, low, high)
    chroma = widen(chroma)
    index = jnp.floor((chroma - low) / width)
    # The subtraction rounds: -1e-9 + 100 is 100, which would put it a bin too high.
    index = index - (chroma < low + index * width)
    # Before the cast, which is undefined for what int32 cannot hold.
    return jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)


def unbin_chroma(
    bins: Int[AnyArray, "*batch G"], values: Num[AnyArray, "G Q D"]
) -> Float32[Array, "*batch channels"]:
    """The chroma that stands for every bin.

    Args:
        bins: [..., G] integers in [0, Q).
        values: [G, Q, D], such as a binning's `centers`, or `bin_means`.
    Returns:
        [..., G D] float32.
    Raises:
        ValueError: if `values` has another shape.
    """
    bins = jnp.asarray(bins)
    values = jnp.asarray(values, jnp.float32)
    # Checked, because a single group would be broadcast over all without a word.
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
    """The share of pixels that have at least one channel outside [low, high].

    Args:
        chroma: [..., channels], not empty.
        low: the least chroma that is not outside, one number or [channels].
        high: likewise the greatest.
        axis: axes of `chroma[..., 0]` to average over, all by default: (1, 2) on a batch of images
            gives one share an image.
    Returns:
        float32 in [0, 1], without the averaged axes and the channel axis.
    """
    chroma = jnp.asarray(chroma)
    outside = jnp.any((chroma < low) | (chroma > high), axis=-1)
    # Counted in integers: a float32 sum of ones stops growing at 2^24, a 16-megapixel photograph.
    count = jnp.sum(outside, axis=axis, dtype=jnp.int32)
    return count / (outside.size // count.size)


def bin_counts_and_sums(
    binning: Binning, chroma: Float[AnyArray, "*batch channels"]
) -> tuple[Int32[Array, "G Q"], Float32[Array, "G Q D"]]:
    """How many pixels fall into every bin, and the sum of their chroma; both add up over batches.

    Add them up on the host in numpy float64: over a data set int32 overflows at 2^31 and float32
    stops counting at 2^24.

    Args:
        chroma: [..., channels], fewer than 2^31 values; what is clipped is counted, and summed as
            it is, in the bin that it gets.
    Returns:
        counts: [G, Q] int32, exact.
        sums: [G, Q, D] float32.
    """
    chroma = jnp.asarray(chroma, jnp.float32)
    pixels = chroma.reshape(-1, chroma.shape[-1])
    bins = binning.encode(pixels)
    groups, num_bins = bins.shape[-1], binning.centers.shape[1]
    values = pixels.reshape(*bins.shape, -1)
    # Neighbours go to different partial sums: a float32 sum of millions loses digits, and atomic
    # additions to one address wait for each other. A one-hot matrix is 100 times slower on a CPU.
    row = jnp.arange(bins.size).reshape(bins.shape) % (_NUM_PARTIAL * groups)
    cell = row * num_bins + bins
    shape = (_NUM_PARTIAL, groups, num_bins)
    counts = jnp.zeros(np.prod(shape), jnp.int32).at[cell].add(1)
    sums = jnp.zeros((np.prod(shape), values.shape[-1]), jnp.float32).at[cell].add(values)
    return counts.reshape(shape).sum(axis=0), sums.reshape(*shape, -1).sum(axis=0)


def bin_means(
    counts: Num[AnyArray, "G Q"], sums: Float[AnyArray, "G Q D"], centers: Float[AnyArray, "G Q D"]
) -> Float32[Array, "G Q D"]:
    """The mean of the chroma in every bin, and the bin's centre where there is none.

    Args:
        counts: [G, Q], as from `bin_counts_and_sums`, of any numeric dtype.
        sums: [G, Q, D], of the chroma in each bin.
        centers: [G, Q, D], of the bins.
    Returns:
        [G, Q, D] float32. An end bin's mean may lie outside the range of the bins.
    """
    # Straight to float32: numpy's int64 would be cut to 32 bits on its way in.
    counts = jnp.asarray(counts, jnp.float32)[..., None]
    sums = jnp.asarray(sums, jnp.float32)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), jnp.asarray(centers, jnp.float32))


def most_frequent(counts: Num[AnyArray, "G Q"]) -> Int32[Array, " G"]:
    """The fullest bin of every group, the lower one of a tie: the best constant prediction.

    Args:
        counts: [G, Q], of any numeric dtype; compared in float32.
    Returns:
        [G] int32.
    """
    return jnp.argmax(jnp.asarray(counts, jnp.float32), axis=-1).astype(jnp.int32)


def smooth_prior(
    counts: Num[AnyArray, "G Q"], squared_distances: Float[AnyArray, "G Q Q"], sigma: float
) -> Float32[np.ndarray, "G Q"]:
    """The frequencies of the bins, blurred by a Gaussian (Zhang, Isola and Efros, section 2.2).

    In numpy and float64, as it is wanted once, of numbers that are on the host.

    Args:
        counts: [G, Q], of pixels, of any numeric dtype; a group without any is uniform.
        squared_distances: [G, Q, Q], between the bins' centres.
        sigma: of the Gaussian, in units of chroma; 0 leaves the frequencies as they are.
    Returns:
        [G, Q] float32, each group adding up to 1.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    prior = np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[-1])
    if sigma > 0:
        # Each bin's mass is shared out among its neighbours, so that none is lost at the border.
        closeness = np.exp(-np.asarray(squared_distances, np.float64) / (2 * sigma**2))
        shares = closeness / closeness.sum(axis=-2, keepdims=True)
        prior = np.sum(shares * prior[:, None, :], axis=-1)
    return prior.astype(np.float32)


def rebalancing_weights(
    prior: Float[AnyArray, "G Q"], uniform: float
) -> Float32[np.ndarray, "G Q"]:
    """What a pixel's loss is multiplied by, by the bin of its true chroma (their equation 4).

    w is proportional to 1 / ((1 - uniform) prior + uniform / Q), and 1 on average over the prior.
    A bin that neither the prior nor the uniform share gives any mass has weight 0.

    Args:
        prior: [G, Q], each group adding up to 1.
        uniform: their lambda, in [0, 1]: 1/2 in their experiments, 1 weighs all bins alike.
    Returns:
        [G, Q] float32.
    """
    prior = np.asarray(prior, np.float64)
    mix = (1 - uniform) * prior + uniform / prior.shape[-1]
    weights = np.where(mix > 0, 1 / np.where(mix > 0, mix, 1), 0)
    weights /= np.sum(prior * weights, axis=-1, keepdims=True)
    return weights.astype(np.float32)


def _middles(num_bins: int, low: float, high: float) -> Float32[np.ndarray, " num_bins"]:
    """In numpy, so that a module may make bins before jax is told of the devices."""
    width = _width(num_bins, low, high)
    return (low + width * (np.arange(num_bins) + 0.5)).astype(np.float32)


def _width(num_bins: int, low: float, high: float) -> float:
    if num_bins < 1 or not low < high:
        raise ValueError(f"need at least one bin and low < high, found {num_bins}, {low}, {high}")
    return (high - low) / num_bins
