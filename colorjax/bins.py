"""Chroma as classes: each channel is cut into equal bins, on its own (paper, section on
classification: 50 bins over [-100, 100] for each of U and V).

Bin k covers [low + k w, low + (k + 1) w), w = (high - low) / num_bins. The paper's range does not
hold all of sRGB: values outside it go into the end bins, and `clipped_fraction` says how many do.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

_NUM_BINS = 50
_LOW = -100.0
_HIGH = 100.0

# Partial sums that `bin_counts_and_sums` keeps for each bin.
_NUM_PARTIAL = 64


def centers(num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH) -> Array:
    """The middle of every bin: [num_bins] float32.

    Raises:
        ValueError: for no bins or an empty range.
    """
    width = _width(num_bins, low, high)
    return jnp.asarray(low + width * (np.arange(num_bins) + 0.5), jnp.float32)


def bin_chroma(
    chroma: Array, num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH
) -> Array:
    """The bin of every value.

    Args:
        chroma: [...] float, without NaN; what lies outside [low, high) gets the nearer end bin.
    Returns:
        [...] int32 in [0, num_bins).
    Raises:
        ValueError: for no bins or an empty range.
    """
    width = _width(num_bins, low, high)
    chroma = jnp.asarray(chroma)
    chroma = chroma.astype(jnp.promote_types(chroma.dtype, jnp.float32))
    index = jnp.floor((chroma - low) / width)
    # The subtraction rounds: -1e-9 + 100 is 100, which would put it a bin too high.
    index = index - (chroma < low + index * width)
    # Before the cast, which is undefined for what int32 cannot hold.
    return jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)


def unbin_chroma(bins: Array, values: Array) -> Array:
    """The value that stands for every bin.

    Args:
        bins: [..., channels] integers in [0, num_bins).
        values: [num_bins], such as `centers`, or [channels, num_bins], such as `bin_means`.
    Returns:
        [..., channels] float32.
    Raises:
        ValueError: if `values` has another shape.
    """
    bins = jnp.asarray(bins)
    values = jnp.asarray(values, jnp.float32)
    if values.ndim == 1:
        return values[bins]
    # Checked, because a single row would be broadcast over all channels without a word.
    if values.ndim != 2 or values.shape[0] != bins.shape[-1]:
        raise ValueError(
            f"values must be [num_bins] or [{bins.shape[-1]}, num_bins], found {values.shape}"
        )
    return values[jnp.arange(bins.shape[-1]), bins]


def clipped_fraction(
    chroma: Array,
    low: float = _LOW,
    high: float = _HIGH,
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    """The share of pixels that have at least one channel outside [low, high].

    Args:
        chroma: [..., channels], not empty.
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
    chroma: Array, num_bins: int = _NUM_BINS, low: float = _LOW, high: float = _HIGH
) -> tuple[Array, Array]:
    """How many values fall into every bin, and their sum; both add up over batches.

    Add them up on the host in numpy float64: over a data set int32 overflows at 2^31 and float32
    stops counting at 2^24.

    Args:
        chroma: [..., channels], fewer than 2^31 values; those outside the range are counted, and
            summed as they are, in the end bins.
    Returns:
        counts: [channels, num_bins] int32, exact.
        sums: [channels, num_bins] float32.
    Raises:
        ValueError: for no bins or an empty range.
    """
    chroma = jnp.asarray(chroma, jnp.float32)
    channels = chroma.shape[-1]
    pixels = chroma.reshape(-1, channels)
    # Neighbours go to different partial sums: a float32 sum of millions loses digits, and atomic
    # additions to one address wait for each other. A one-hot matrix is 100 times slower on a CPU.
    row = jnp.arange(pixels.size).reshape(pixels.shape) % (_NUM_PARTIAL * channels)
    cell = row * num_bins + bin_chroma(pixels, num_bins, low, high)
    shape = (_NUM_PARTIAL, channels, num_bins)
    counts = jnp.zeros(np.prod(shape), jnp.int32).at[cell].add(1)
    sums = jnp.zeros(np.prod(shape), jnp.float32).at[cell].add(pixels)
    return counts.reshape(shape).sum(axis=0), sums.reshape(shape).sum(axis=0)


def bin_means(counts: Array, sums: Array, centers: Array) -> Array:
    """The mean of the values in every bin, and the bin's centre where there are none.

    Args:
        counts, sums: [channels, num_bins], as from `bin_counts_and_sums`, of any numeric dtype.
        centers: [num_bins].
    Returns:
        [channels, num_bins] float32. An end bin's mean may lie outside the range of the bins.
    """
    # Straight to float32: numpy's int64 would be cut to 32 bits on its way in.
    counts = jnp.asarray(counts, jnp.float32)
    sums = jnp.asarray(sums, jnp.float32)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), jnp.asarray(centers, jnp.float32))


def most_frequent(counts: Array) -> Array:
    """The fullest bin of every channel, the lower one of a tie: the best constant prediction.

    Args:
        counts: [channels, num_bins], of any numeric dtype; compared in float32.
    Returns:
        [channels] int32.
    """
    return jnp.argmax(jnp.asarray(counts, jnp.float32), axis=-1).astype(jnp.int32)


def _width(num_bins: int, low: float, high: float) -> float:
    if num_bins < 1 or not low < high:
        raise ValueError(f"need at least one bin and low < high, found {num_bins}, {low}, {high}")
    return (high - low) / num_bins
