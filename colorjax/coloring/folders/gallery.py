"""Draws sheets of photographs: the gray input, the coloured result, and the original."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from colorjax.coloring.colorize import Painter, colorize
from colorjax.coloring.folders import compare
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.ops import color
from colorjax.pictures import files, image_io, photo

ROWS = 6  # per sheet
MARGIN = 6
# The original is drawn, too, if its `image_io.mean_chroma` is above this.
MIN_CHROMA = 8.0


def choose(paths: Sequence[str], count: int) -> list[str]:
    """Returns at most `count` of the paths, evenly spaced in the sorted list."""
    paths = sorted(paths)
    return [paths[i] for i in files.evenly_spread(len(paths), count)]


def draw(painter: Painter, paths: Sequence[str], folder: Path, side: int) -> list[Path]:
    """Draws sheets with a row gray | coloured | original for each photo; returns their paths.

    Args:
      painter: from `colorize.open_painter`.
      paths: the photos. The row of a photo without colours has no original.
      folder: gets `sheet_1.png` and so on, and `names.txt` with a line for each row.
      side: longer side of the pictures in pixels.

    Raises:
      UserError: a photo cannot be read, or the folder cannot be written to.
    """
    make_folder(folder)
    rows = [draw_row(painter, path, side) for path in paths]
    sheets = []
    for start in range(0, len(rows), ROWS):
        sheets.append(folder / f"sheet_{start // ROWS + 1}.png")
        image_io.write(sheets[-1], stack_rows(rows[start : start + ROWS]))
    with image_io.atomic_write(folder / "names.txt") as temporary:
        # Names are bytes that need not be valid text.
        temporary.write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
    return sheets


def make_folder(folder: Path) -> None:
    """Makes a folder unless it exists; raises UserError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = image_io.reason_of(error)
        raise UserError(f"{folder}: cannot be made, want a folder for sheets: {reason}") from error


def draw_row(painter: Painter, path: str, side: int) -> np.ndarray:
    """Draws the row of one photo: uint8 [h, w, 3]."""
    truth = image_io.fitted(photo.read_photo(path).rgb, side)
    ((_, (result,)),) = colorize(painter, [truth], [ColorSettings()])
    gray = np.asarray(color.to_u8(color.gray_from_rgb(truth / np.float32(255)) / 255))
    pictures = [np.repeat(gray, 3, axis=-1), result]
    if image_io.mean_chroma(truth) > MIN_CHROMA:
        pictures.append(truth)
    return compare.in_a_row(pictures, MARGIN)


def stack_rows(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks rows vertically on white."""
    width = max(one.shape[1] for one in rows)
    sheet = [
        np.pad(one, ((0, MARGIN), (0, width - one.shape[1]), (0, 0)), constant_values=255)
        for one in rows
    ]
    return np.concatenate(sheet)
