"""Tells colour photographs from gray ones that are tinted or faded."""

import numpy as np
from PIL import Image

from colorjax.pictures import image_io

_MAX_SIDE = 64  # most pixels per side of the thumbnail; averaging hides JPEG artefacts at edges
# The least mean distance of the colours from those of a single tint, in 8-bit levels.
_MIN_DEVIATION = 6.0


def has_colours(rgb: np.ndarray) -> bool:
    """Whether a photo has several colours.

    A toned print, such as sepia, has only one colour at each lightness, though shadows and
    highlights may differ. So colour is fitted as a polynomial in lightness; a large residual means
    that the photo has colours.

    Args:
      rgb: uint8 or uint16 [height, width, 3].
    """
    red, green, blue = np.moveaxis(_thumbnail(rgb).reshape(-1, 3).astype(float), -1, 0)
    gray = (red + 2 * green + blue) / 4 / 255
    curve = np.stack([gray**power for power in range(5)], axis=-1)
    opponents = np.stack([red - green, (red + green) / 2 - blue], axis=-1)
    if not opponents.any():
        return False
    residual = opponents - curve @ np.linalg.lstsq(curve, opponents, rcond=None)[0]
    return float(np.hypot(*residual.T).mean()) > _MIN_DEVIATION


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    height, width, _ = rgb.shape
    # Averaging all pixels of a large picture would be slow, and a subsample is enough.
    step = max(1, max(height, width) // (8 * _MAX_SIDE))
    subsample = Image.fromarray(image_io.eight_bits(rgb[::step, ::step]))
    size = [min(_MAX_SIDE, side) for side in subsample.size]
    return np.asarray(subsample.resize(size, Image.Resampling.BOX))
