"""Reads and writes PNG files with 16 bits per channel, of which Pillow handles only 8."""

import io
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile


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
