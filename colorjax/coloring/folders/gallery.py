"""Sheets of photographs as a model sees them, as it colours them, and as they were."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from colorjax.coloring.colorize import Painter, colorize
from colorjax.coloring.folders import compare
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.ops import color
from colorjax.pictures import files, image_io, photo

ROWS = 6  # of a sheet
MARGIN = 6
# `mean_chroma` above which a photo has colours that are worth showing.
COLOURED = 8.0


def chosen(paths: Sequence[str], count: int) -> list[str]:
    """At most `count` of the paths, evenly spread over them in the order of their names."""
    paths = sorted(paths)
    return [paths[i] for i in files.evenly_spread(len(paths), count)]


def draw(painter: Painter, paths: Sequence[str], folder: Path, side: int) -> list[Path]:
    """Draws gray | coloured | truth of photos, several a sheet; returns the sheets.

    Args:
      painter: what colours; see `colorize.open_painter`.
      paths: of the photos. Those without colour of their own have no truth.
      folder: where `sheet_1.png` and so on go, and `names.txt`, a line for each row.
      side: longer side of the pictures in pixels.

    Raises:
      UserError: a photo cannot be read, or the folder cannot be written to.
    """
    made(folder)
    rows = [row(painter, path, side) for path in paths]
    sheets = []
    for start in range(0, len(rows), ROWS):
        sheets.append(folder / f"sheet_{start // ROWS + 1}.png")
        image_io.write(sheets[-1], stacked(rows[start : start + ROWS]))
    with image_io.atomic_write(folder / "names.txt") as aside:
        # A name need not be text.
        aside.write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
    return sheets


def made(folder: Path) -> None:
    """Makes a folder, unless it is there; raises UserError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = image_io.reason_of(error)
        raise UserError(f"{folder}: cannot be made, want a folder for sheets: {reason}") from error


def row(painter: Painter, path: str, side: int) -> np.ndarray:
    """One photo: uint8 [h, w, 3]."""
    truth = image_io.fitted(photo.read_photo(path).rgb, side)
    ((_, (result,)),) = colorize(painter, [truth], [Settings()])
    gray = np.asarray(color.to_u8(color.gray_from_rgb(truth / np.float32(255)) / 255))
    pictures = [np.repeat(gray, 3, axis=-1), result]
    if image_io.mean_chroma(truth) > COLOURED:
        pictures.append(truth)
    return compare.in_a_row(pictures, MARGIN)


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows under one another, on white."""
    width = max(one.shape[1] for one in rows)
    sheet = [
        np.pad(one, ((0, MARGIN), (0, width - one.shape[1]), (0, 0)), constant_values=255)
        for one in rows
    ]
    return np.concatenate(sheet)
