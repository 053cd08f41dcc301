"""PNG files of 16 bits a channel, of which Pillow gives and takes 8."""

import io
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile


def is_deep(image: Image.Image) -> bool:
    """Whether an image, not decoded yet, is a PNG of 16-bit colour, or gray with alpha."""
    if not isinstance(image, ImageFile.ImageFile) or image.format != "PNG":
        return False
    is_colour = image.mode in ("RGB", "RGBA")
    return is_colour and any(str(tile.args).endswith(";16B") for tile in image.tile)


def transparent_gray(image: Image.Image) -> int | None:
    """The shade, of 8 bits, that is transparent in a PNG of 2 or 4 bits, not decoded yet.

    Pillow brings the pixels to 8 bits, and leaves the shade as it is in the file. None where there
    is no such shade, or the image is another.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format != "PNG" or not image.tile:
        return None
    scale = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args))
    shade = image.info.get("transparency")
    return scale * shade if scale and isinstance(shade, int) else None


def read_deep(source: str | os.PathLike | bytes, image: Image.Image) -> np.ndarray:
    """The colour of a PNG for which `is_deep` was true: uint16 [height, width, 3], not turned.

    Pillow takes the upper byte of each sample. Decoded a second time, as if the bytes of a sample
    stood the other way round, it gives the lower one.

    Args:
      source: path or bytes of the file.
      image: the same, decoded.
    """
    upper = np.asarray(image)[..., :3].astype(np.uint16) << 8
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as again:
        is_gray = any(tile.args == "LA;16B" for tile in again.tile)
        # Of gray the four bytes of a pixel: both of gray, both of alpha.
        rawmode = "RGBA" if is_gray else f"{again.mode};16L"
        again.tile = [tile._replace(args=rawmode) for tile in again.tile]
        lower = np.asarray(again)
    return upper | (lower[..., 1:2] if is_gray else lower[..., :3])


def encode_deep(pixels: np.ndarray, **options) -> bytes:
    """A PNG file: uint16 [height, width, 3 or 4] -> bytes.

    All chunks but those of the pixels are as Pillow writes them with these options.
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
            data = _compressed(pixels)
        parts.append(chunk(kind, data))
    return b"".join(parts)


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG file, as long as there are whole ones."""
    place = 8
    while place + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if place + 12 + size > len(data):
            return
        yield kind, data[place + 8 : place + 8 + size]
        place += 12 + size


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _compressed(pixels: np.ndarray) -> bytes:
    """Rows of differences to the pixel on the left (PNG's filter 1), deflated."""
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
