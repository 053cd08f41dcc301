"""Loads batches of uint8 pictures from the items of a source.

The order of training examples is a pure function of (seed, position in the stream). So an
interrupted run can resume at any position, and n processes share the stream by taking every n-th
position.
"""

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool

import numpy as np

from colorjax.data.places import Item
from colorjax.data.sources import in_folder, stub
from colorjax.errors import UserError
from colorjax.pictures import image_io

# Decoded squares are cached in memory if those of all items fit into this.
CACHE_BYTES = 256 * 2**20
# Odd, so that no two seeds below 2^31 give the same example ids; the bits are digits of pi.
_SEED_MULTIPLIER = 0x243F6A89


def train_batches(
    items: Sequence[Item],
    *,
    size: int,
    fit: str = "crop",
    batch_size: int,
    seed: int,
    weights: np.ndarray | None = None,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    cache_bytes: int = CACHE_BYTES,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields an endless stream of training batches.

    Each epoch contains every item once, or as often as its weight says, and has its own order. A
    batch may extend over the end of an epoch. Process p of n takes positions start + p,
    start + p + n, ... of one global stream, so the n batches of a step contain the same examples as
    the batch of a single process.

    Args:
      items: the pictures; those from `disk_cache.cached` are decoded already.
      size: side of the square that each picture is resized to.
      fit: how pictures are made square, as in `image_io.read_square`.
      batch_size: size of the global batch, over all processes.
      seed: seed of the order, any non-negative integer.
      weights: [len(items)], >= 0, relative frequencies of the items; equal by default.
      start: the number of examples consumed so far, over all processes.
      process_index: index of this process, from 0.
      process_count: number of processes.
      num_threads: number of threads that read and decode.
      cache_bytes: decoded squares are cached in memory if those of all items take at most this many
        bytes; 0 disables the cache.

    Yields:
      "rgb": uint8 [batch_size / process_count, size, size, 3].
      "example": int32 [batch_size / process_count], ids to derive each example's augmentation from:
        its position in the global stream modulo 2**31, permuted depending on the seed.

    Raises:
      UserError: there are no items, batch_size is not a multiple of process_count, or (while
        iterating) a picture cannot be read.
    """
    import grain

    local_size = _local_batch_size(batch_size, process_count)
    if not items:
        raise UserError("there are no pictures to train on")
    read = _reader(items, size, fit, cache_bytes)
    item_at = _index_at(len(items), seed, weights)

    def example(position: int) -> dict[str, np.ndarray | np.generic]:
        return {"rgb": read(item_at(position)), "example": _example_id(position, seed)}

    positions = grain.MapDataset.range(start + process_index, sys.maxsize, process_count)
    return _batches(positions.map(example), local_size, num_threads)


def train_indices(
    count: int, *, batch_size: int, seed: int, weights: np.ndarray | None = None, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Like `train_batches` in a single process, but yields indices instead of pictures.

    This is for pictures that are in device memory already. A batch has "index", int32 [batch_size]
    in [0, count), and the same "example". Equal arguments give the same pictures in the same order
    as `train_batches`.
    """
    item_at = _index_at(count, seed, weights)
    for first in itertools.count(start, batch_size):
        positions = range(first, first + batch_size)
        yield {
            "index": np.array([item_at(p) for p in positions], np.int32),
            "example": np.array([_example_id(p, seed) for p in positions], np.int32),
        }


def decode_all(items: Sequence[Item], size: int, fit: str = "crop") -> np.ndarray:
    """Decodes all items in threads: uint8 [len(items), size, size, 3].

    Raises UserError if a picture cannot be read.
    """
    read = _reader(items, size, fit, cache_bytes=0)
    squares = np.empty((len(items), size, size, 3), np.uint8)

    def decode(index: int) -> None:
        squares[index] = read(index)

    with ThreadPool(os.cpu_count() or 1) as pool:
        list(pool.imap_unordered(decode, range(len(items)), chunksize=64))
    return squares


def eval_batches(
    items: Sequence[Item],
    *,
    size: int,
    fit: str = "crop",
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields every picture once, in order; the last batch is padded with masked black pictures.

    Arguments and errors are those of train_batches, but there is no cache in memory. Every process
    yields the same number of batches, ceil(len(items) / batch_size).

    Yields:
      "rgb": uint8 [batch_size / process_count, size, size, 3].
      "example": int32 [batch_size / process_count], index of the item; len(items) or more for
        padding.
      "mask": float32 [batch_size / process_count], 1 for a picture and 0 for padding.
    """
    import grain

    local_size = _local_batch_size(batch_size, process_count)
    read = _reader(items, size, fit, cache_bytes=0)

    def example(index: int) -> dict[str, np.ndarray | np.generic]:
        is_picture = index < len(items)
        rgb = read(index) if is_picture else np.zeros((size, size, 3), np.uint8)
        return {"rgb": rgb, "example": np.int32(index), "mask": np.float32(is_picture)}

    padded = -(-len(items) // batch_size) * batch_size
    examples = grain.MapDataset.range(padded).map(example)
    return _batches(examples[process_index::process_count], local_size, num_threads)


def folder_weights(items: Sequence[Item], weights: Mapping[str, float]) -> np.ndarray | None:
    """Returns the weight of each item by its folder: [len(items)], 1 for items in no named folder.

    `weights` maps names of folders to weights; if it is empty, the result is None. Raises UserError
    if a folder contains none of the items.
    """
    if not weights:
        return None
    keys = [stub(items, i).key for i in range(len(items))]
    values = np.ones(len(items))
    for folder, weight in weights.items():
        inside = [i for i, key in enumerate(keys) if in_folder(key, [folder])]
        if not inside:
            raise UserError(f"data.weights names {folder!r}, but no picture lies in such a folder")
        values[inside] = weight
    return values


def _local_batch_size(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch size {batch_size} does not divide among {process_count} processes")
    return batch_size // process_count


def _example_id(position: int, seed: int) -> np.int32:
    """Returns the id from which the augmentation of the example at a position is derived."""
    return np.int32((position ^ (seed * _SEED_MULTIPLIER)) % 2**31)


def _index_at(count: int, seed: int, weights: np.ndarray | None = None) -> Callable[[int], int]:
    """Returns a function from a position in the endless shuffled stream to the index of an item."""

    # Grain's own shuffle takes 5 ms per example if there are only ten. Raw bits are used because
    # numpy guarantees them in all versions, but not its permutations.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        bits = np.random.Philox([seed, epoch])
        permutation = np.argsort(bits.random_raw(count), kind="stable")
        if weights is None:
            return permutation
        # Systematic sampling: each item occurs as often as its weight says, randomly rounded up or
        # down.
        ends = np.cumsum(weights[permutation], dtype=np.float64)
        points = (np.arange(count) + bits.random_raw() / 2**64) * (ends[-1] / count)
        sampled = permutation[np.searchsorted(ends, points, side="right").clip(max=count - 1)]
        return sampled[np.argsort(bits.random_raw(count), kind="stable")]

    def item_at(position: int) -> int:
        epoch, offset = divmod(position, count)
        return int(order(epoch)[offset])

    return item_at


def _batches(examples, local_size: int, num_threads: int) -> Iterator[dict[str, np.ndarray]]:
    import grain

    # Prefetching two batches hides a slow picture and takes little memory.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * local_size)
    return iter(examples.to_iter_dataset(options).batch(local_size))


def _reader(
    items: Sequence[Item], size: int, fit: str, cache_bytes: int
) -> Callable[[int], np.ndarray]:
    """Returns a function that decodes the item at an index; it caches if all fit `cache_bytes`."""
    # Dict operations are atomic; at worst, two threads decode the same picture.
    squares: dict[int, np.ndarray] = {}
    use_cache = len(items) * size * size * 3 <= cache_bytes

    def read(index: int) -> np.ndarray:
        if index in squares:
            return squares[index]
        key, data, _ = items[index]
        if isinstance(data, np.ndarray):
            if data.shape != (size, size, 3):
                raise ValueError(f"{key}: want a square of side {size}, got {data.shape}")
            return data
        name = key if isinstance(data, bytes) else str(data)
        square = image_io.read_square(data, size, fit=fit, name=name)
        if use_cache:
            squares[index] = square
        return square

    return read
