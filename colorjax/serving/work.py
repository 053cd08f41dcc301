"""From the bytes of a picture to those of the coloured one, as the command writes it."""

import contextlib
import io
import threading
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.coloring.colorize import Painter, colorize
from colorjax.coloring.network.shapes import USUAL_SIZES, chequered
from colorjax.coloring.page.limits import check_shape
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import formats, mark, photo, writing

NAME = "picture"  # what messages call what was sent
MEDIA = {"jpg": "image/jpeg", "png": "image/png", "tif": "image/tiff", "webp": "image/webp"}
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif"}


class TooLarge(UserError):
    """A picture has more pixels than are taken."""


class Asked(NamedTuple):
    """What is to be made of a picture.

    Attributes:
      data: the bytes of its file.
      format: one of MEDIA; the picture's own, or png where that is not written, if None.
      quality: of JPEG and WebP, from 1 to 100.
      settings: how it is coloured.
    """

    data: bytes
    format: str | None = None
    quality: int = writing.QUALITY
    settings: Settings = Settings()


class Answer(NamedTuple):
    """The bytes of a result, their media type, and sentences on what could not be kept."""

    data: bytes
    media: str
    notices: tuple[str, ...]


class _Waiting(NamedTuple):
    rgb: np.ndarray
    settings: Settings
    result: Future


class Studio:
    """A network that colours for several threads, one batch at a time.

    Photos that wait with the same settings go through the network together, as many as it takes at
    once: on a CPU that is one.
    """

    def __init__(self, painter: Painter):
        self.painter = painter
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    def warm_up(self) -> None:
        """Makes the programs for usual proportions ready."""
        for width, height in USUAL_SIZES:
            self.colored(chequered(width, height), Settings())

    def colored(self, rgb: np.ndarray, settings: Settings) -> np.ndarray:
        """A photo in colour; raises UserError as `colorize`."""
        mine = _Waiting(rgb, settings, Future())
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            # Another's turn may have done it.
            if not mine.result.done():
                self._colour(self._together(mine))
        return mine.result.result()

    def _together(self, mine: _Waiting) -> list[_Waiting]:
        """What is coloured with a photo, which comes first; hints are of one photo."""
        with self._lock:
            # By identity, as arrays have no truth.
            others = [one for one in self._waiting if one is not mine]
            alike = [one for one in others if one.settings == mine.settings]
            chosen = [mine, *([] if mine.settings.hints else alike)][: self.painter.batch_size]
            taken = {id(one) for one in chosen}
            self._waiting = [one for one in self._waiting if id(one) not in taken]
        return chosen

    def _colour(self, chosen: list[_Waiting]) -> None:
        try:
            photos = [one.rgb for one in chosen]
            for i, (result,) in colorize(self.painter, photos, [chosen[0].settings]):
                chosen[i].result.set_result(result)
        # Whatever it is, each of those who wait is to hear of it.
        except BaseException as error:
            for one in chosen:
                if not one.result.done():
                    one.result.set_exception(error)


def answer(studio: Studio, asked: Asked, most_pixels: int) -> Answer:
    """Reads, colours and writes a picture.

    Raises:
      TooLarge: it has more pixels than `most_pixels`.
      UserError: it cannot be read, coloured so, or written in this format.
    """
    format = asked.format or own_format(asked.data)
    _check_pixels(*_size_of(asked.data), most_pixels)
    bits = 16 if writing.holds_16_bits("", format) else 8
    one = photo.read_photo(asked.data, name=NAME, bits=bits)
    height, width, _ = one.rgb.shape
    _check_pixels(width, height, most_pixels)
    check_shape(height, width, NAME)
    rgb = studio.colored(one.rgb, asked.settings)
    metadata = one.metadata._replace(xmp=mark.marked(one.metadata.xmp))
    file = io.BytesIO()
    notices = writing.write_photo(
        file, rgb, one._replace(metadata=metadata), format=format, quality=asked.quality
    )
    return Answer(file.getvalue(), MEDIA[format], (*one.notices, *notices))


def own_format(data: bytes) -> str:
    """The format in which a picture is written unless told: its own, or else png."""
    if data[8:12] == b"WEBP":
        return "webp"
    return _SUFFIXES.get(formats.by_signature(data[:12]) or "", "png")


def _size_of(data: bytes) -> tuple[int, int]:
    """Width and height as the file says, before anything is decoded; 0 x 0 where it cannot say."""
    # What is wrong with it is told by what reads it.
    with contextlib.suppress(Exception):
        with Image.open(io.BytesIO(data), formats=photo.FORMATS) as image:
            return image.size
    return 0, 0


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise TooLarge(f"{NAME}: has {width} x {height} pixels, want at most {most}")
