"""Reads uploaded photos, scales them to the size of the page, and writes pictures to files."""

import os
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax.coloring.page.limits import check_aspect_ratio
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo
from colorjax.pictures.photo import Photo

HOURS = 6  # after which a file is deleted


def read(path: str) -> Photo:
    """Reads a photo; reads as much as there is of a truncated file.

    Raises:
      UserError: the photo was deleted, cannot be read, or has an extreme aspect ratio.
    """
    stat(path)
    name = Path(path).name
    full = photo.read_photo(path, name=name, allow_truncated=True)
    height, width, _ = full.rgb.shape
    check_aspect_ratio(height, width, name)
    return full


def stat(path: str) -> os.stat_result:
    """Returns the status of a file; raises UserError if the file was deleted."""
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        name = Path(path).name
        raise UserError(
            f"{name}: was deleted after {HOURS} hours: please choose it again"
        ) from error


def shrink(full: Photo, side: int) -> Photo:
    """Scales a photo down so that no side is longer than `side` pixels."""
    height, width, _ = full.rgb.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def resize(x: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(x).resize(size, reducing_gap=2.0))

    alpha = None if full.alpha is None else resize(full.alpha)
    return full._replace(rgb=resize(full.rgb), alpha=alpha)


def on_white(rgb_u8: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Composites a picture over white, the page's background: uint8 [h, w, 3]."""
    if alpha is None:
        return rgb_u8
    return np.asarray(image_io.on_white(Image.fromarray(photo.with_alpha(rgb_u8, alpha))))


def save(folder: Path, rgb_u8: np.ndarray) -> str:
    """Writes a picture as a JPEG with an unguessable name, and returns its path."""
    path = folder / f"{uuid.uuid4().hex}.jpg"
    image_io.write(path, rgb_u8)
    return str(path)
