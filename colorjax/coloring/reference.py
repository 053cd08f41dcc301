"""References: colour pictures whose palette is transferred to photos, prepared once for many."""

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
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures.photo import Photo

# A picture whose mean chroma (CIELUV) is below this counts as gray.
MIN_CHROMA = 3.0
# The number of cells is padded to a multiple of this, to limit the number of shapes.
QUANTUM = 256


def prepare_reference(painter: Painter, photo: Photo, name: str = "reference") -> Reference:
    """Computes the features and colours of a reference; borders and transparent parts are ignored.

    Args:
      painter: from `colorize.open_painter`; the one that will use the reference.
      photo: the reference, of any size, of 8 or 16 bits.
      name: what error messages call it.

    Raises:
      UserError: the picture is gray or nearly so, entirely transparent, or has no pixels.
    """
    box = borders.without_borders(check_pixels(photo.rgb))
    shape = network_shape(*box.size, painter.size)
    small = resized(photo.rgb[box.inside], shape)
    grid = transfer.cells(*shape)
    coverage: np.ndarray = np.ones(grid, np.float32)
    if photo.alpha is not None:
        alpha = Image.fromarray(photo.alpha[box.inside])
        coverage = np.asarray(alpha.resize(grid[::-1], Image.Resampling.BOX), np.float32) / 255
    features = painter.features(painter.network.variables, small[None])
    chroma = np.asarray(features.chroma)[0]
    check_colours(chroma, coverage, name)
    padding = -coverage.size % QUANTUM

    def row(x):
        return np.pad(np.asarray(x).reshape(coverage.size, -1), ((0, padding), (0, 0)))

    levels = tuple(row(x) for x in features.levels)
    return jax.device_put(Reference(levels, row(chroma), row(coverage)[:, 0]))


def as_settings(
    painter: Painter,
    *,
    hints: Iterable[Any] = (),
    reference: Picture | Reference | None = None,
    **others: Any,
) -> ColorSettings:
    """Makes ColorSettings from a caller's arguments.

    Args:
      painter: from `colorize.open_painter`.
      hints: in any form that `hints.as_hints` takes.
      reference: a picture, or the result of `prepare_reference`.
      others: further fields of ColorSettings.

    Raises:
      UserError: a hint is invalid, or the reference cannot be read or has no colours.
      TypeError, ValueError: the reference is not a picture.
    """
    settings = ColorSettings(**others, hints=as_hints(hints))
    if reference is None or isinstance(reference, Reference):
        return settings._replace(reference=reference)
    name = str(reference) if isinstance(reference, str | os.PathLike) else "reference"
    return settings._replace(reference=prepare_reference(painter, as_photo(reference), name))


def check_colours(chroma: np.ndarray, coverage: np.ndarray, name: str) -> None:
    """Raises UserError if all is transparent, or the mean of chroma [h, w, 2] is nearly zero."""
    if not coverage.any():
        raise UserError(f"{name}: is transparent all over, want a reference that shows colours")
    mean = float(np.average(np.hypot(*np.moveaxis(chroma, -1, 0)), weights=coverage))
    if mean < MIN_CHROMA:
        raise UserError(
            f"{name}: is gray, or nearly so (its mean chroma is {mean:.1f}), want a reference in "
            f"colour, of {MIN_CHROMA:g} at least"
        )
