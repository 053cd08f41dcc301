"""Whether a photograph is one in colour, and not a gray one that is tinted or has faded."""

import numpy as np
from PIL import Image

from colorjax.pictures import image_io

SIDE = 64  # most pixels of a side that are looked at; means hide what JPEG does to edges
# How far colours must be, in the mean, from what one tint would give them, in 8-bit steps.
LEAST = 6.0


def has_colours(rgb: np.ndarray) -> bool:
    """Whether a photo has several colours.

    A toned print has at each lightness one colour alone, as sepia has, whose shadows and lights may
    differ: what a curve of the lightness does not explain is colour.

    Args:
      rgb: uint8 or uint16 [height, width, 3].
    """
    red, green, blue = np.moveaxis(_small(rgb).reshape(-1, 3).astype(float), -1, 0)
    gray = (red + 2 * green + blue) / 4 / 255
    curve = np.stack([gray**power for power in range(5)], axis=-1)
    opponents = np.stack([red - green, (red + green) / 2 - blue], axis=-1)
    if not opponents.any():
        return False
    rest = opponents - curve @ np.linalg.lstsq(curve, opponents, rcond=None)[0]
    return float(np.hypot(*rest.T).mean()) > LEAST


def _small(rgb: np.ndarray) -> np.ndarray:
    height, width, _ = rgb.shape
    # So few pixels of a large picture are enough, and means of all would take a while.
    step = max(1, max(height, width) // (8 * SIDE))
    some = Image.fromarray(image_io.eight_bits(rgb[::step, ::step]))
    size = [min(SIDE, side) for side in some.size]
    return np.asarray(some.resize(size, Image.Resampling.BOX))
