"""Batches of uint8 pictures from the items of a source.

The order of training examples is a pure function of (seed, position in the stream), so a run that
stops may go on at any position, and processes share the stream by taking every n-th position.
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

# Decoded squares are kept in memory if all of a source's fit into this.
CACHE_BYTES = 256 * 2**20
# Odd, so that no two seeds below 2^31 number their examples alike; its bits are those of pi.
_SPREAD = 0x243F6A89


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
    """An endless stream of training batches.

    All items come once an epoch, in an order that changes from epoch to epoch; with `weights` as
    often as those say. Batches run on over the end of an epoch. Process p of n takes positions
    start + p, start + p + n, ... of the one global stream, so the n batches of a step hold the same
    examples as the one batch of a single process.

    Args:
      items: the pictures; those of `disk_cache.cached` are decoded already.
      size: side of the square that each picture is brought to.
      fit: how it is made a square, as in `image_io.read_square`.
      batch_size: over all processes.
      seed: of the order; any non-negative integer.
      weights: [len(items)], >= 0, what the items count for; all alike unless given.
      start: how many examples have been consumed so far, over all processes.
      process_index: this process, from 0.
      process_count: number of processes.
      num_threads: threads that read and decode.
      cache_bytes: squares are decoded once and kept if all items' take no more than this; 0 is off.

    Yields:
      "rgb": uint8 [batch_size / process_count, size, size, 3].
      "example": int32 [batch_size / process_count], what an example's augmentation is to be derived
        from: its position in the global stream modulo 2**31, in an order of the seed's own.

    Raises:
      UserError: there are no items, batch_size is no multiple of process_count, or (while
        iterating) a picture cannot be read.
    """
    import grain

    local = _local_batch_size(batch_size, process_count)
    if not items:
        raise UserError("there are no pictures to train on")
    read = _reader(items, size, fit, cache_bytes)
    item_at = _shuffled(len(items), seed, weights)

    def example(position: int) -> dict[str, np.ndarray | np.generic]:
        return {"rgb": read(item_at(position)), "example": _number(position, seed)}

    positions = grain.MapDataset.range(start + process_index, sys.maxsize, process_count)
    return _batches(positions.map(example), local, num_threads)


def train_indices(
    count: int, *, batch_size: int, seed: int, weights: np.ndarray | None = None, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """As `train_batches` in a single process, but with places in place of pictures.

    For pictures that the device holds already: "index" int32 [batch_size] in [0, count), and
    "example" as there. The same arguments give the same pictures in the same order.
    """
    item_at = _shuffled(count, seed, weights)
    for first in itertools.count(start, batch_size):
        positions = range(first, first + batch_size)
        yield {
            "index": np.array([item_at(p) for p in positions], np.int32),
            "example": np.array([_number(p, seed) for p in positions], np.int32),
        }


def stacked(items: Sequence[Item], size: int, fit: str = "crop") -> np.ndarray:
    """The squares of all items, uint8 [len(items), size, size, 3]; decoded in threads.

    Raises UserError if a picture cannot be read.
    """
    read = _reader(items, size, fit, cache_bytes=0)
    squares = np.empty((len(items), size, size, 3), np.uint8)

    def put(index: int) -> None:
        squares[index] = read(index)

    with ThreadPool(os.cpu_count() or 1) as pool:
        list(pool.imap_unordered(put, range(len(items)), chunksize=64))
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
    """Every picture once, in order; the end is filled up with black pictures that are masked.

    Arguments and errors are those of train_batches, but nothing is kept in memory. Every process
    yields the same number of batches, ceil(len(items) / batch_size).

    Yields:
      "rgb": uint8 [batch_size / process_count, size, size, 3].
      "example": int32 [batch_size / process_count], index of the item; len(items) and more for
        filling.
      "mask": float32 [batch_size / process_count], 1 for a picture and 0 for filling.
    """
    import grain

    local = _local_batch_size(batch_size, process_count)
    read = _reader(items, size, fit, cache_bytes=0)

    def example(index: int) -> dict[str, np.ndarray | np.generic]:
        real = index < len(items)
        rgb = read(index) if real else np.zeros((size, size, 3), np.uint8)
        return {"rgb": rgb, "example": np.int32(index), "mask": np.float32(real)}

    filled = -(-len(items) // batch_size) * batch_size
    examples = grain.MapDataset.range(filled).map(example)
    return _batches(examples[process_index::process_count], local, num_threads)


def folder_weights(items: Sequence[Item], weights: Mapping[str, float]) -> np.ndarray | None:
    """What each item counts for by the folder it lies in: [len(items)], 1 where none is named.

    `weights` is name of a folder -> weight; None where it is empty. Raises UserError if a folder
    has none of the items.
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


def _number(position: int, seed: int) -> np.int32:
    """What the augmentation of the example at a position is derived from."""
    return np.int32((position ^ (seed * _SPREAD)) % 2**31)


def _shuffled(count: int, seed: int, weights: np.ndarray | None = None) -> Callable[[int], int]:
    """A function from a position in the endless stream to the index of the item there."""

    # Grain's own shuffle takes 5 ms an example when there are only ten. Raw bits are used because
    # numpy keeps them the same from version to version, and its permutations not.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        bits = np.random.Philox([seed, epoch])
        permutation = np.argsort(bits.random_raw(count), kind="stable")
        if weights is None:
            return permutation
        # Each item as often as its weight says, rounded up or down by chance.
        ends = np.cumsum(weights[permutation], dtype=np.float64)
        places = (np.arange(count) + bits.random_raw() / 2**64) * (ends[-1] / count)
        picked = permutation[np.searchsorted(ends, places, side="right").clip(max=count - 1)]
        return picked[np.argsort(bits.random_raw(count), kind="stable")]

    def item_at(position: int) -> int:
        epoch, place = divmod(position, count)
        return int(order(epoch)[place])

    return item_at


def _batches(examples, local: int, num_threads: int) -> Iterator[dict[str, np.ndarray]]:
    import grain

    # Two batches ahead: enough to hide a slow picture, and little memory.
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * local)
    return iter(examples.to_iter_dataset(ahead).batch(local))


def _reader(
    items: Sequence[Item], size: int, fit: str, cache_bytes: int
) -> Callable[[int], np.ndarray]:
    """A function from an item's index to its square, which remembers if the memory allows it."""
    # A dict's own operations are atomic; two threads may at worst decode the same picture.
    squares: dict[int, np.ndarray] = {}
    remember = len(items) * size * size * 3 <= cache_bytes

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
        if remember:
            squares[index] = square
        return square

    return read
