"""Decoded squares on disk: a picture is decoded once, and not once an epoch.

A cache is one `.npy` file of all squares, uint8 [n, size, size, 3], which is mapped into memory.
Its name holds a hash of everything that its content depends on, so a changed, renamed, added or
removed picture leads to another file. Files of other names are left alone: other runs may use them.

Whoever misses the file builds it under a name of its own and renames it when it is whole. Processes
that start together each build it, and the last to end puts an equal file in place of the others',
which whoever has opened them keeps. That is the same work done twice, but it needs no lock that a
network's file system may not have, and nobody waits for a process that has died. Only a build that
is killed outright leaves its `.part` behind.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import PIL
from numpy.lib import format as npy
from tqdm import tqdm

from colorjax.data import sources
from colorjax.data.places import Item
from colorjax.errors import UserError
from colorjax.pictures import files, image_io

# Files that are read for the cache's name, evenly spread: a data set prepared anew under its old
# name shows in these, and reading all of it is what the cache is there to save.
_PROBES = 16
_THREADS = min(16, os.cpu_count() or 1)
_DECODED_AHEAD = 16 * _THREADS

_logger = logging.getLogger(__name__)


def cached(
    items: Sequence[Item], size: int, folder: str | os.PathLike, fit: str = "crop"
) -> Sequence[Item]:
    """The same items, decoded: their squares are in a file in `folder`, which is built if missing.

    Args:
      items: the pictures. Those without a digest are known by their keys and by a few files.
      size, fit: of the squares, as in `image_io.read_square`.
      folder: where caches are kept; made if missing. A whole cache may be read-only.

    Returns:
      Items whose `data` is a uint8 [size, size, 3] of their own, bit for bit what `read_square`
      gives, in the order of `items`.

    Raises:
      UserError: a picture cannot be read or was changed since the source was opened, or the file
        cannot be read or written, or has no room.
    """
    if not items:
        return items
    path = Path(folder).expanduser() / _file_name(items, size, fit)
    shape = (len(items), size, size, 3)
    squares = _opened(path, shape)
    if squares is None:
        _build(path, items, size, fit)
        squares = _opened(path, shape)
    if squares is None:
        raise UserError(f"{path}: was built and is not whole, want nobody else to write there")
    return _Squares(items, squares)


class _Squares(Sequence):
    """Items of another sequence with their squares for data."""

    def __init__(self, items: Sequence[Item], squares: np.ndarray):
        self._items, self._squares = items, squares

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        # A copy, so that the disk is read here, in a loader's thread.
        return sources.stub(self._items, index)._replace(data=np.array(self._squares[index]))


def _file_name(items: Sequence[Item], size: int, fit: str) -> str:
    """A name that no other items, sizes or decoders have."""
    digest = hashlib.sha256()

    def add(*parts: str | int):
        digest.update(json.dumps(parts).encode())

    add(image_io.DECODER_VERSION, PIL.__version__, size, len(items))
    if fit != "crop":  # of which there is no word in the names of older versions
        add(fit)
    for index in range(len(items)):
        stub = sources.stub(items, index)
        add(stub.key, stub.digest)
    for index in files.evenly_spread(len(items), _PROBES):
        add(hashlib.sha256(_file(items, index)).hexdigest())
    return f"squares_{len(items)}x{size}px_{digest.hexdigest()[:32]}.npy"


def _opened(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The squares, mapped into memory; None if the file is missing or not whole."""
    try:
        squares = npy.open_memmap(path, mode="r")
        whole = squares.shape == shape and squares.dtype == np.uint8
        if whole and path.stat().st_size == squares.offset + squares.nbytes:
            return squares
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # no header, or more squares in it than in the file
        pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    _logger.warning("%s: is not a whole cache of %s, and is built anew", path, shape)
    return None


def _build(path: Path, items: Sequence[Item], size: int, fit: str) -> None:
    """Writes the squares of all items to `path`, which nobody sees before it is whole."""
    shape = (len(items), size, size, 3)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path, math.prod(shape))
        with files.atomic_write(path) as aside, open(aside, "xb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            # Not through a map: there, a full disk would kill the process.
            for square in _decoded(items, size, fit):
                file.write(square.tobytes())
            file.flush()
            os.fsync(file.fileno())  # or a power cut might leave the name without its content
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; want data.cache_dir to be a "
            f"folder with {math.prod(shape) / 1e9:.3g} GB of room, or empty for no cache"
        ) from error


def _check_room(path: Path, wanted: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < wanted:
        raise UserError(
            f"{path}: has {free / 1e9:.3g} GB of room and takes {wanted / 1e9:.3g} GB; want "
            "data.cache_dir on a larger disk, or empty for no cache"
        )


def _decoded(items: Sequence[Item], size: int, fit: str) -> Iterator[np.ndarray]:
    """The items' squares in order, decoded in threads that stay but a little ahead."""
    count = len(items)
    with (
        ThreadPool(_THREADS) as pool,
        tqdm(desc="decoding pictures", total=count, delay=1, disable=None) as bar,
    ):
        for start in range(0, count, _DECODED_AHEAD):
            indices = range(start, min(start + _DECODED_AHEAD, count))
            for square in pool.map(lambda index: _square(items, index, size, fit), indices, 1):
                yield square
                bar.update()


def _square(items: Sequence[Item], index: int, size: int, fit: str) -> np.ndarray:
    stub, data = sources.stub(items, index), _file(items, index)
    if stub.digest and hashlib.sha256(data).hexdigest() != stub.digest:
        raise UserError(f"{stub.key}: was changed while it was read, want it to stay; start again")
    return image_io.read_square(data, size, fit=fit, name=stub.key)


def _file(items: Sequence[Item], index: int) -> bytes:
    """The content of an item's file."""
    try:
        data = items[index].data
        assert not isinstance(data, np.ndarray)  # squares are no files
        return data.read_bytes() if isinstance(data, Path) else data
    except OSError as error:
        key = sources.stub(items, index).key
        raise UserError(f"{key}: cannot be read: {error.strerror or error}") from error
