"""A picture in colour whose palette photos take over, made ready once for many of them."""

import os
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from PIL import Image

from colorjax.coloring.colorize import Painter, check_pixels, resized
from colorjax.coloring.hints import as_hints
from colorjax.coloring.inputs import Picture, as_photo
from colorjax.coloring.network import borders, transfer
from colorjax.coloring.network.shapes import network_shape
from colorjax.coloring.network.transfer import Reference
from colorjax.coloring.settings import Settings
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
    grid = transfer.cells(*shape)
    there: np.ndarray = np.ones(grid, np.float32)
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


def as_settings(
    painter: Painter,
    *,
    hints: Iterable[Any] = (),
    reference: Picture | Reference | None = None,
    **others: Any,
) -> Settings:
    """Settings as programs give them: hints and a reference of any kind, the others by name.

    A reference may have been made ready.

    Raises:
      UserError: what is no hint, a reference that cannot be read, or that has no colours.
      TypeError, ValueError: the reference is no picture.
    """
    settings = Settings(**others, hints=as_hints(hints))
    if reference is None or isinstance(reference, Reference):
        return settings._replace(reference=reference)
    name = str(reference) if isinstance(reference, str | os.PathLike) else "reference"
    return settings._replace(reference=of_photo(painter, as_photo(reference), name))


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
