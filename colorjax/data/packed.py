"""Packs training photographs as small squares in mosaics, for transfer to a faster machine.

    python -m colorjax.data.pack FOLDER... -o DIR

A packed folder holds `mosaic_0000.avif` and so on, with up to 400 squares each, and `packed.json`
with the key and digest of each square. 45,000 squares of 144 pixels take 115 MB, while the original
files take 400 MB. The compression is lossy, with chroma at half resolution. `packed:DIR`, or
`packed:DIR1,DIR2`, is the source of training pictures in the settings.
"""

import io
import json
import os
import re
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image, features
from tqdm import tqdm

from colorjax.errors import UserError, check_at_least
from colorjax.pictures import files, image_io

INDEX = "packed.json"
FORMAT = "colorjax-packed-1"
COLUMNS = 20  # squares per row of a mosaic, and rows per mosaic
MAX_SIZE = 600  # side of a square; Pillow refuses larger mosaics as decompression bombs
DIGEST = re.compile("[0-9a-f]{64}")


def pack(
    keys: Sequence[str],
    paths: Sequence[Path],
    digests: Sequence[str],
    folder: Path,
    size: int = 144,
    quality: int = 55,
) -> None:
    """Writes photographs to a packed folder, or resumes an interrupted call.

    Existing mosaics of the same photographs are kept.

    Args:
      keys: names of the photographs, such as paths relative to a common folder.
      paths: files of the photographs.
      digests: sha256 of each file in hex, which determines the hold-out of a source.
      folder: the packed folder; created if it does not exist.
      size: side of the squares, which are centre crops.
      quality: of AVIF, from 0 to 100.

    Raises:
      UserError: the size or the quality is out of range, a photograph cannot be read, the folder
        cannot be written or holds other photographs, or this Pillow cannot write AVIF.
    """
    check_at_least("size", size, 1)
    if size > MAX_SIZE:
        raise UserError(f"size is {size}, want at most {MAX_SIZE}")
    if not 0 <= quality <= 100:
        raise UserError(f"quality is {quality}, want a number from 0 to 100")
    if not features.check("avif"):
        raise UserError("this Pillow cannot write AVIF, want Pillow 11.3 or newer from PyPI")
    index = {
        "format": FORMAT,
        "size": size,
        "quality": quality,
        "keys": list(keys),
        "digests": list(digests),
    }
    try:
        _write_or_check_index(folder, index)
        _write_mosaics(folder, paths, size, quality)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _write_or_check_index(folder: Path, index: dict) -> None:
    """Writes the index of a new folder, or checks that the folder has the same index.

    The index is written before the mosaics, so that an interrupted call can be resumed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / INDEX
    if not any(folder.glob("mosaic_*.avif")):
        with files.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(index))
    elif not path.exists():
        raise UserError(f"{folder}: holds mosaics without {INDEX}, want an empty folder")
    elif {"quality": index["quality"], **_read_index(folder)} != index:
        raise UserError(
            f"{folder}: holds other photographs, or squares of another size or quality, want an "
            "empty folder"
        )


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    if not path.is_file():
        raise UserError(
            f"{folder}: is not a packed folder, it has no {INDEX}: want one that "
            "`python -m colorjax.data.pack` has made"
        )
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        file_format = index.get("format") if isinstance(index, dict) else index
        raise UserError(f"{path}: is of format {file_format!r}, want {FORMAT!r}")
    size = index.get("size")
    if not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise UserError(f"{path}: size is {size!r}, want a whole number from 1 to {MAX_SIZE}")
    for name in ("keys", "digests"):
        values = index.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UserError(f"{path}: {name} are no list of texts")
    keys, digests = index["keys"], index["digests"]
    if len(keys) != len(digests):
        raise UserError(
            f"{path}: has {len(keys)} keys and {len(digests)} digests, want equal numbers"
        )
    for digest in digests:
        if not DIGEST.fullmatch(digest):
            raise UserError(f"{path}: a digest is {digest!r}, want 64 digits of a sha256")
    return index


def _write_mosaics(folder: Path, paths: Sequence[Path], size: int, quality: int) -> None:
    count = COLUMNS**2
    starts = range(0, len(paths), count)

    def write(number: int) -> None:
        target = folder / mosaic_name(number)
        if target.exists():
            return
        batch = paths[starts[number] : starts[number] + count]
        squares = np.stack([image_io.read_square(path, size) for path in batch])
        encoded = io.BytesIO()
        Image.fromarray(_mosaic(squares)).save(encoded, "AVIF", quality=quality, speed=7)
        with files.atomic_write(target) as temporary:
            temporary.write_bytes(encoded.getvalue())

    with ThreadPool(os.cpu_count() or 1) as pool:
        list(tqdm(pool.imap(write, range(len(starts))), "packing", len(starts), disable=None))


def unpack(folder: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Reads a packed folder: keys, squares uint8 [count, size, size, 3], and digests.

    Raises UserError if it is not a packed folder, or a mosaic is missing, damaged or of the wrong
    size.
    """
    index = _read_index(folder)
    keys, digests, size = index["keys"], index["digests"], index["size"]
    squares = np.empty((len(keys), size, size, 3), np.uint8)

    def read(number: int) -> None:
        part = squares[number * COLUMNS**2 : (number + 1) * COLUMNS**2]
        path = folder / mosaic_name(number)
        rows = -(-len(part) // COLUMNS)
        try:
            mosaic = np.asarray(Image.open(path, formats=["AVIF"]).convert("RGB"))
        except (
            OSError,
            RuntimeError,  # of Pillow's AVIF plugin
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            raise UserError(f"{path}: cannot be read: {error}") from error
        if mosaic.shape != (rows * size, COLUMNS * size, 3):
            raise UserError(
                f"{path}: is {mosaic.shape[1]}x{mosaic.shape[0]} pixels, want "
                f"{COLUMNS * size}x{rows * size}"
            )
        cells = mosaic.reshape(rows, size, COLUMNS, size, 3).swapaxes(1, 2)
        part[:] = cells.reshape(-1, size, size, 3)[: len(part)]

    with ThreadPool(os.cpu_count() or 1) as pool:
        pool.map(read, range(-(-len(keys) // COLUMNS**2)))
    return keys, squares, digests


def mosaic_name(number: int) -> str:
    return f"mosaic_{number:04d}.avif"


def _mosaic(squares: np.ndarray) -> np.ndarray:
    """Arranges squares [count, s, s, 3] in rows, padded with black: [rows * s, COLUMNS * s, 3]."""
    count, size = squares.shape[:2]
    rows = -(-count // COLUMNS)
    cells = np.zeros((rows * COLUMNS, size, size, 3), np.uint8)
    cells[:count] = squares
    cells = cells.reshape(rows, COLUMNS, size, size, 3).swapaxes(1, 2)
    return cells.reshape(rows * size, COLUMNS * size, 3)
