"""Photos from files, as large as the page shows them, and pictures into files."""

import os
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax.coloring.page.limits import check_shape
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo
from colorjax.pictures.photo import Photo

HOURS = 6  # that a file is kept


def read(path: str) -> Photo:
    """A photo, as much of it as there is.

    Raises:
      UserError: the photo is gone, cannot be read, or has extreme proportions.
    """
    stat_of(path)
    name = Path(path).name
    full = photo.read_photo(path, name=name, allow_truncated=True)
    height, width, _ = full.rgb.shape
    check_shape(height, width, name)
    return full


def stat_of(path: str) -> os.stat_result:
    """Raises UserError where a file was deleted."""
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        name = Path(path).name
        raise UserError(
            f"{name}: is deleted by now, {HOURS} hours on: please choose it again"
        ) from error


def shrunk(full: Photo, side: int) -> Photo:
    """A photo of at most `side` pixels a side."""
    height, width, _ = full.rgb.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def resized(x: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(x).resize(size, reducing_gap=2.0))

    alpha = None if full.alpha is None else resized(full.alpha)
    return full._replace(rgb=resized(full.rgb), alpha=alpha)


def on_white(rgb_u8: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """What is seen of a picture on a white page: uint8 [h, w, 3]."""
    if alpha is None:
        return rgb_u8
    return np.asarray(image_io.on_white(Image.fromarray(photo.with_alpha(rgb_u8, alpha))))


def save(folder: Path, rgb_u8: np.ndarray) -> str:
    """Writes a picture under a name that nobody can guess."""
    path = folder / f"{uuid.uuid4().hex}.jpg"
    image_io.write(path, rgb_u8)
    return str(path)
