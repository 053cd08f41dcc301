"""Reads and writes what Pillow cannot in PNG files: 16 bits per channel, and some texts."""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from colorjax.pictures.formats import tiff_file

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Keywords of texts that hold XMP, EXIF or IPTC, which Pillow or `captions` read by this name.
NON_TEXT_PREFIXES = ("XML:com.adobe.xmp", "Raw profile type ")
_BLOCKS = (*(prefix.encode() for prefix in NON_TEXT_PREFIXES), b"exif\0Exif\0\0")
_MAX_KEYWORD_BYTES = 79
# What `with_distinct_keywords` adds. The standard allows no keyword to begin with a space.
_ADDED = re.compile(r" \d+ ")
# The names that Pillow and this package give to their own entries of `Image.info`.
_INFO_NAME = re.compile(rb"[a-z_]+")


def is_deep(image: Image.Image) -> bool:
    """Whether an image, not decoded yet, is a PNG with 16-bit colour or 16-bit gray and alpha."""
    if not isinstance(image, ImageFile.ImageFile) or image.format != "PNG":
        return False
    is_colour = image.mode in ("RGB", "RGBA")
    return is_colour and any(str(tile.args).endswith(";16B") for tile in image.tile)


def transparent_gray(image: Image.Image) -> int | None:
    """Returns the 8-bit gray level that is transparent in a 2-bit or 4-bit PNG, not decoded yet.

    Pillow scales the pixels to 8 bits but not the transparent level. Returns None for other images,
    and if no level is transparent.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format != "PNG" or not image.tile:
        return None
    scale = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args))
    shade = image.info.get("transparency")
    return scale * shade if scale and isinstance(shade, int) else None


def with_distinct_keywords(source: str | os.PathLike | bytes) -> str | os.PathLike | bytes:
    """Returns a PNG whose texts Pillow can keep apart from each other and from other data.

    Pillow stores texts in `Image.info` by their keywords. So a text with the keyword `transparency`
    would become the transparency of the picture, and of two texts with one keyword only the last is
    left. Such keywords are numbered here; `original_keyword` undoes it.

    Args:
      source: path or bytes of the file.

    Returns:
      The bytes of a file with other keywords, or the source itself if it is not a PNG or needs no
      change.

    Raises:
      OSError: the file cannot be read.
    """
    with tiff_file.open_source(source) as file:
        places = _places_to_number(file)
        if not places:
            return source
        file.seek(0)
        data = file.read()
    parts, done = [], 0
    for number, (offset, size) in enumerate(places):
        kind, content = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + size]
        parts += [data[done:offset], chunk(kind, b" %d " % number + content)]
        done = offset + 12 + size
    return b"".join([*parts, data[done:]])


def original_keyword(keyword: str) -> str:
    """Returns a keyword as it was before `with_distinct_keywords`."""
    return _ADDED.sub("", keyword, count=1) if _ADDED.match(keyword) else keyword


def _places_to_number(file: BinaryIO) -> list[tuple[int, int]]:
    """Returns offset and content size of the text chunks of a PNG that need another keyword."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return []
    places, known, offset = [], set(), 8
    end = file.seek(0, os.SEEK_END)
    # A chunk that is cut short is left to Pillow, which reports it.
    while offset + 12 <= end:
        file.seek(offset)
        size, kind = struct.unpack(">I4s", file.read(8))
        if offset + 12 + size > end or kind == b"IEND":
            break
        if kind in _TEXTS:
            head = file.read(min(size, _MAX_KEYWORD_BYTES + 1))
            keyword = head.split(b"\0")[0]
            if not head.startswith(_BLOCKS):
                if keyword in known or _INFO_NAME.fullmatch(keyword):
                    places.append((offset, size))
                known.add(keyword)
        offset += 12 + size
    return places


def read_deep(source: str | os.PathLike | bytes, image: Image.Image) -> np.ndarray:
    """Reads the colour of a PNG for which `is_deep` was true.

    Pillow returns only the upper byte of each sample. To get the lower byte, the file is decoded a
    second time as if its samples were little-endian.

    Args:
      source: path or bytes of the file.
      image: the same file, decoded.

    Returns:
      uint16 [height, width, 3], without the EXIF orientation applied.
    """
    upper = np.asarray(image)[..., :3].astype(np.uint16) << 8
    source = with_distinct_keywords(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as again:
        is_gray = any(tile.args == "LA;16B" for tile in again.tile)
        # A pixel of gray and alpha has four bytes, two of each; as RGBA, all four are kept.
        rawmode = "RGBA" if is_gray else f"{again.mode};16L"
        again.tile = [tile._replace(args=rawmode) for tile in again.tile]
        lower = np.asarray(again)
    return upper | (lower[..., 1:2] if is_gray else lower[..., :3])


def encode_deep(pixels: np.ndarray, **options) -> bytes:
    """Encodes a PNG file: uint16 [height, width, 3 or 4] -> bytes.

    Except for the header and the pixels, the chunks are those that Pillow writes with `options`.
    """
    height, width, channels = pixels.shape
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **options)
    parts = [buffer.getvalue()[:8]]
    for kind, data in chunks(buffer.getvalue()):
        if kind == b"IHDR":
            colour = 2 if channels == 3 else 6
            data = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
        elif kind == b"IDAT":
            data = _compress(pixels)
        parts.append(chunk(kind, data))
    return b"".join(parts)


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields type and content of the chunks of a PNG file, up to the first incomplete one."""
    offset = 8
    while offset + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + size > len(data):
            return
        yield kind, data[offset + 8 : offset + 8 + size]
        offset += 12 + size


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _compress(pixels: np.ndarray) -> bytes:
    """Filters rows by the pixel on the left (PNG filter type 1) and compresses them."""
    height, width, channels = pixels.shape
    packer, parts, step = zlib.compressobj(6), [], max(1, 2**20 // width)
    for top in range(0, height, step):
        rows = (
            pixels[top : top + step].astype(">u2").view(np.uint8).reshape(-1, width, 2 * channels)
        )
        filtered = rows.copy()
        filtered[:, 1:] -= rows[:, :-1]
        kinds = np.ones((len(rows), 1), np.uint8)
        lines = np.concatenate([kinds, filtered.reshape(len(rows), -1)], axis=1)
        parts.append(packer.compress(lines.tobytes()))
    return b"".join((*parts, packer.flush()))
