"""Small pictures for tests, and measures of pictures."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from colorjax.ops.color import relative_xyz_from_linear_rgb


def encode(image, format="PNG", **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def png_that_claims(width, height) -> bytes:
    """A PNG of a few bytes whose header claims the given size."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def gray_steps(rgb_u8):
    """The sRGB gray of each pixel's luminance, float64 in [0, 255]."""
    linear = np.where(
        rgb_u8 / 255 > 0.04045, ((rgb_u8 / 255 + 0.055) / 1.055) ** 2.4, rgb_u8 / 255 / 12.92
    )
    y = linear @ relative_xyz_from_linear_rgb[1]
    return 255 * np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y)


def spread(rgb_u8: np.ndarray) -> float:
    """The mean difference of a pixel's largest and smallest channel, which is 0 for grays."""
    return float(np.mean(np.ptp(rgb_u8.astype(int), axis=-1)))
