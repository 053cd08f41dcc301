"""Pictures from Python callers: a path, bytes, an open file, a Pillow image or an array."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np
from PIL import Image

from colorjax.errors import UserError
from colorjax.pictures import image_io, photo

Picture = str | os.PathLike | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray
# What `Colorizer.colorize_many` does with a picture that cannot be read.
ERRORS = ("raise", "return")


def as_photo(picture: Picture | photo.Photo, bits: int = 8) -> photo.Photo:
    """Reads a picture with at most `bits` bits per channel; a Photo is returned unchanged.

    Raises:
      UserError: the picture cannot be read.
      TypeError, ValueError: the argument is not a picture.
    """
    if isinstance(picture, photo.Photo):
        return picture
    if isinstance(picture, Image.Image):
        return photo.from_image(picture)
    if isinstance(picture, np.ndarray):
        return photo.Photo(as_array(picture))
    if isinstance(picture, bytearray | memoryview):
        return photo.read_photo(bytes(picture), bits=bits)
    if isinstance(picture, str | os.PathLike | bytes):
        return photo.read_photo(picture, bits=bits)
    if not hasattr(picture, "read"):
        raise TypeError(
            f"picture is of type {type(picture).__name__}, want a path, the bytes of a file, an "
            "open file, an array or a Pillow image"
        )
    return _from_file(picture, bits)


def _from_file(file: BinaryIO, bits: int) -> photo.Photo:
    """Reads the photo in an open file, from the beginning if the file is seekable."""
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "picture"
    if isinstance(file, io.TextIOBase):
        raise UserError(f"{name}: is open for reading text, want it opened in mode 'rb'")
    # So that a BytesIO that was just written can be passed as it is, as to Pillow.
    if file.seekable():
        file.seek(0)
    data = file.read()
    if not isinstance(data, bytes):
        raise UserError(f"{name}: returns {type(data).__name__} when read, want bytes")
    return photo.read_photo(data, name=name, bits=bits)


def as_array(array: np.ndarray) -> np.ndarray:
    """Converts uint8 [height, width] or [height, width, 1 or 3] to [height, width, 3]."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    image_io.check_rgb_u8(array)
    return array


def results_in_order(
    pictures: Iterator[Picture],
    at_once: int,
    errors: str,
    run: Callable[[Sequence[photo.Photo]], list[list[Image.Image]]],
) -> Iterator[Image.Image | UserError]:
    """Yields the first result of each picture, in order, as `Colorizer.colorize_many` does.

    Args:
      pictures: the pictures, of any supported type.
      at_once: how many are read and passed to `run` together.
      errors: one of ERRORS.
      run: returns the list of results of each photo.

    Raises:
      UserError: a picture cannot be read, and `errors` is "raise".
      TypeError, ValueError: an item is not a picture.
    """
    while chunk := list(islice(pictures, at_once)):
        photos: list[photo.Photo | UserError] = []
        fault = None
        for picture in chunk:
            try:
                photos.append(as_photo(picture))
            except (UserError, TypeError, ValueError) as error:
                if errors == "raise" or not isinstance(error, UserError):
                    fault = error
                    break
                photos.append(error)
        results = iter(run([one for one in photos if isinstance(one, photo.Photo)]))
        for one in photos:
            yield next(results)[0] if isinstance(one, photo.Photo) else one
        if fault is not None:
            raise fault
