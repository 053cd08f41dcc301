"""A picture in colour whose palette photos take over, made ready once for many of them."""

import jax
import numpy as np
from PIL import Image

from colorjax.coloring import borders, carrying
from colorjax.coloring.carrying import Reference
from colorjax.coloring.colorize import Painter, check_pixels, resized
from colorjax.coloring.shapes import network_shape
from colorjax.errors import UserError
from colorjax.pictures.photo import Photo

# Mean chroma, in CIELUV, below which a picture has no colours to give.
LEAST_CHROMA = 3.0
# Numbers of cells are rounded up to multiples of this: few shapes.
QUANTUM = 256


def of_photo(painter: Painter, photo: Photo, name: str = "reference") -> Reference:
    """What a painter is to know of a reference.

    Borders, and what is transparent, give no colours.

    Args:
      painter: from `colorize.open_painter`, the one that is to colour.
      photo: the reference, of any size, of 8 or 16 bits.
      name: what messages call it.

    Raises:
      UserError: the picture is gray or nearly so, transparent all over, or has no pixels.
    """
    box = borders.without_borders(check_pixels(photo.rgb))
    shape = network_shape(*box.size, painter.size)
    small = resized(photo.rgb[box.inside], shape)
    grid = carrying.cells(*shape)
    there = np.ones(grid, np.float32)
    if photo.alpha is not None:
        alpha = Image.fromarray(photo.alpha[box.inside])
        there = np.asarray(alpha.resize(grid[::-1], Image.Resampling.BOX), np.float32) / 255
    seen = painter.features(painter.network.variables, small[None])
    chroma = np.asarray(seen.chroma)[0]
    check_colours(chroma, there, name)
    missing = -there.size % QUANTUM

    def row(x):
        return np.pad(np.asarray(x).reshape(there.size, -1), ((0, missing), (0, 0)))

    levels = tuple(row(x) for x in seen.levels)
    return jax.device_put(Reference(levels, row(chroma), row(there)[:, 0]))


def check_colours(chroma: np.ndarray, there: np.ndarray, name: str) -> None:
    """Raises UserError for chroma [h, w, 2] that is all but none where anything is there."""
    if not there.any():
        raise UserError(f"{name}: is transparent all over, want a reference that shows colours")
    mean = float(np.average(np.hypot(*np.moveaxis(chroma, -1, 0)), weights=there))
    if mean < LEAST_CHROMA:
        raise UserError(
            f"{name}: is gray, or nearly so (its mean chroma is {mean:.1f}), want a reference in "
            f"colour, of {LEAST_CHROMA:g} at least"
        )
