"""Processes one request's picture: decodes it, colours it in a batch, and encodes the result."""

import contextlib
import io
import threading
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.coloring.colorize import Painter, colorize
from colorjax.coloring.network.shapes import USUAL_SIZES, chequered
from colorjax.coloring.page.limits import check_aspect_ratio
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import formats, photo, writing
from colorjax.pictures.formats import jxl_file

NAME = "picture"  # what messages call the uploaded picture
MEDIA = {"jpg": "image/jpeg", "png": "image/png", "tif": "image/tiff", "webp": "image/webp"}
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif"}


class TooLarge(UserError):
    """The picture has more pixels than the service accepts."""


class Task(NamedTuple):
    """A picture to colour.

    Attributes:
      data: the bytes of its file.
      format: of the result, a key of MEDIA; None selects `default_format`.
      quality: of JPEG and WebP, from 1 to 100.
      settings: of the colouring.
    """

    data: bytes
    format: str | None = None
    quality: int = writing.QUALITY
    settings: ColorSettings = ColorSettings()


class Result(NamedTuple):
    """A coloured picture: its bytes, media type, and notices about what the format lacks."""

    data: bytes
    media: str
    notices: tuple[str, ...]


class _Pending(NamedTuple):
    rgb: np.ndarray
    settings: ColorSettings
    result: Future


class Batcher:
    """Collects photos from several threads into batches, and colours one batch at a time.

    Photos that wait with the same settings form one batch, of at most the painter's batch size: on
    a CPU that is one.
    """

    def __init__(self, painter: Painter):
        self.painter = painter
        self._network_lock, self._pending_lock = threading.Lock(), threading.Lock()
        self._pending: list[_Pending] = []

    def warm_up(self) -> None:
        """Compiles the programs for common aspect ratios."""
        for width, height in USUAL_SIZES:
            self.run(chequered(width, height), ColorSettings())

    def run(self, rgb: np.ndarray, settings: ColorSettings) -> np.ndarray:
        """Colours a photo and returns it; raises UserError as `colorize`."""
        own = _Pending(rgb, settings, Future())
        with self._pending_lock:
            self._pending.append(own)
        with self._network_lock:
            # Another thread's batch may have included this photo.
            if not own.result.done():
                self._run_batch(self._take_batch(own))
        return own.result.result()

    def _take_batch(self, own: _Pending) -> list[_Pending]:
        """Removes a batch from the pending photos: `own` first, then others with its settings.

        A photo with hints is a batch of its own, because hints belong to one photo.
        """
        with self._pending_lock:
            # Compared by identity, because == of arrays gives no single truth value.
            others = [one for one in self._pending if one is not own]
            same = [one for one in others if one.settings == own.settings]
            batch = [own, *([] if own.settings.hints else same)][: self.painter.batch_size]
            taken = {id(one) for one in batch}
            self._pending = [one for one in self._pending if id(one) not in taken]
        return batch

    def _run_batch(self, batch: list[_Pending]) -> None:
        try:
            photos = [one.rgb for one in batch]
            for i, (result,) in colorize(self.painter, photos, [batch[0].settings]):
                batch[i].result.set_result(result)
        # BaseException, because every waiting thread must get a result or an error.
        except BaseException as error:
            for one in batch:
                if not one.result.done():
                    one.result.set_exception(error)


def process(batcher: Batcher, task: Task, max_pixels: int) -> Result:
    """Decodes, colours and encodes a picture.

    Raises:
      TooLarge: the picture has more than `max_pixels` pixels.
      UserError: the picture cannot be read, its settings are invalid, or the format cannot hold it.
    """
    format = task.format or default_format(task.data)
    _check_pixels(*_size_of(task.data), max_pixels)
    bits = 16 if writing.holds_16_bits("", format) else 8
    one = photo.read_photo(task.data, name=NAME, bits=bits)
    height, width, _ = one.rgb.shape
    _check_pixels(width, height, max_pixels)
    check_aspect_ratio(height, width, NAME)
    rgb = batcher.run(one.rgb, task.settings)
    file = io.BytesIO()
    notices = writing.write_photo(file, rgb, photo.marked(one), format=format, quality=task.quality)
    return Result(file.getvalue(), MEDIA[format], (*one.notices, *notices))


def default_format(data: bytes) -> str:
    """Returns a picture's own format if it can be written, otherwise png."""
    if data[8:12] == b"WEBP":
        return "webp"
    return _SUFFIXES.get(formats.detect_format(data[:12]) or "", "png")


def _size_of(data: bytes) -> tuple[int, int]:
    """Returns width and height from the file's header, without decoding; 0 x 0 if unknown."""
    # Errors are ignored here, because reading the photo reports them.
    with contextlib.suppress(Exception):
        if formats.detect_format(data[:12]) == "JXL":  # Pillow would decode it
            header = jxl_file.read_header(data)
            return (header.width, header.height) if header else (0, 0)
        with Image.open(io.BytesIO(data), formats=photo.FORMATS) as image:
            return image.size
    return 0, 0


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLarge(f"{NAME}: has {width} x {height} pixels, want at most {max_pixels}")
