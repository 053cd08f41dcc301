"""A disk cache of decoded squares, so that a picture is decoded once instead of once per epoch.

A cache is a memory-mapped `.npy` file of all squares, uint8 [n, size, size, 3]. Its name contains a
hash of everything that its content depends on, so a changed, renamed, added or removed picture
leads to another file. Files of other names are left alone, because other runs may use them.

A process that does not find the file builds it under a temporary name and then renames it. If
several processes start together, each builds the file; the last one to finish replaces it with an
equal file, and the other processes keep the file that they have opened. The work is duplicated, but
no lock is needed, which a network file system may not support, and no process waits for another one
that has died. Only a build that is killed outright leaves its `.part` file.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import tokenize
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

# The number of files that are hashed for the name of the cache, evenly spread over the items. They
# reveal a data set that was prepared again under its old name. Reading all files would be too slow.
_PROBES = 16
_THREADS = min(16, os.cpu_count() or 1)
_DECODED_AHEAD = 16 * _THREADS

_logger = logging.getLogger(__name__)


def cached(
    items: Sequence[Item], size: int, folder: str | os.PathLike, fit: str = "crop"
) -> Sequence[Item]:
    """Returns the same items with decoded squares from a cache file, which is built if missing.

    Args:
      items: the pictures. Those without a digest are identified by their keys and a few files.
      size, fit: as in `image_io.read_square`.
      folder: the folder of cache files; created if missing. A complete cache may be read-only.

    Returns:
      Items in the order of `items`, whose `data` is a separate array uint8 [size, size, 3], equal
      to the result of `read_square`.

    Raises:
      UserError: a picture cannot be read or has changed since the source was opened, or the cache
        file cannot be read or written, or the disk is full.
    """
    if not items:
        return items
    path = Path(folder).expanduser() / _file_name(items, size, fit)
    shape = (len(items), size, size, 3)
    squares = _open_cache(path, shape)
    if squares is None:
        _build(path, items, size, fit)
        squares = _open_cache(path, shape)
    if squares is None:
        raise UserError(
            f"{path}: was built but is incomplete, want no other program to write there"
        )
    return _DecodedItems(items, squares)


class _DecodedItems(Sequence):
    """The items of another sequence, with their squares as data."""

    def __init__(self, items: Sequence[Item], squares: np.ndarray):
        self._items, self._squares = items, squares

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        # The copy forces the disk access to happen here, in a thread of the loader.
        return sources.stub(self._items, index)._replace(data=np.array(self._squares[index]))


def _file_name(items: Sequence[Item], size: int, fit: str) -> str:
    """Returns a name that is unique to these items, size and fit, and to the decoder's version."""
    digest = hashlib.sha256()

    def add(*parts: str | int):
        digest.update(json.dumps(parts).encode())

    add(image_io.DECODER_VERSION, PIL.__version__, size, len(items))
    if fit != "crop":  # older versions, which always cropped, did not hash the fit
        add(fit)
    for index in range(len(items)):
        stub = sources.stub(items, index)
        add(stub.key, stub.digest)
    for index in files.evenly_spread(len(items), _PROBES):
        add(hashlib.sha256(_read_file(items, index)).hexdigest())
    return f"squares_{len(items)}x{size}px_{digest.hexdigest()[:32]}.npy"


def _open_cache(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns the memory-mapped squares; None if the file is missing or incomplete."""
    try:
        squares = npy.open_memmap(path, mode="r")
        matches = squares.shape == shape and squares.dtype == np.uint8
        if matches and path.stat().st_size == squares.offset + squares.nbytes:
            return squares
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, SyntaxError, tokenize.TokenError):
        pass  # the header is missing or damaged, or declares more squares than the file has
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    _logger.warning("%s: is not a whole cache of %s, and is built anew", path, shape)
    return None


def _build(path: Path, items: Sequence[Item], size: int, fit: str) -> None:
    """Writes the squares of all items to `path` atomically."""
    shape = (len(items), size, size, 3)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path, math.prod(shape))
        with files.atomic_write(path) as temporary, open(temporary, "xb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            # Not through a memory map, with which a full disk would kill the process.
            for square in _decode_all(items, size, fit):
                file.write(square.tobytes())
            file.flush()
            # Without fsync, a power failure might keep the renamed file but lose its content.
            os.fsync(file.fileno())
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


def _decode_all(items: Sequence[Item], size: int, fit: str) -> Iterator[np.ndarray]:
    """Yields the squares of the items in order, decoded in threads with limited prefetch."""
    count = len(items)
    with (
        ThreadPool(_THREADS) as pool,
        tqdm(desc="decoding pictures", total=count, delay=1, disable=None) as bar,
    ):
        for start in range(0, count, _DECODED_AHEAD):
            indices = range(start, min(start + _DECODED_AHEAD, count))
            squares = pool.map(lambda index: _decode_square(items, index, size, fit), indices, 1)
            for square in squares:
                yield square
                bar.update()


def _decode_square(items: Sequence[Item], index: int, size: int, fit: str) -> np.ndarray:
    stub, data = sources.stub(items, index), _read_file(items, index)
    if stub.digest and hashlib.sha256(data).hexdigest() != stub.digest:
        raise UserError(
            f"{stub.key}: was changed while it was read, want it unchanged; start again"
        )
    return image_io.read_square(data, size, fit=fit, name=stub.key)


def _read_file(items: Sequence[Item], index: int) -> bytes:
    """Reads the file of an item."""
    try:
        data = items[index].data
        assert not isinstance(data, np.ndarray)  # squares have no file
        return data.read_bytes() if isinstance(data, Path) else data
    except OSError as error:
        key = sources.stub(items, index).key
        raise UserError(f"{key}: cannot be read: {error.strerror or error}") from error
