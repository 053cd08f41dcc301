"""Confidence maps: gray pictures that show where the network is sure of its colours."""

import os

import numpy as np
from PIL import Image, PngImagePlugin

from colorjax.coloring.colorize import Analysis, Painter, analyze
from colorjax.errors import UserError
from colorjax.pictures import image_io, mark
from colorjax.weights.programs import Program


def check_confidence(painter: Painter) -> Program:
    """Returns the painter's confidence program; raises UserError if it has none."""
    if painter.confidence is None:
        raise UserError(
            "the model predicts chroma itself, which has no confidence: want a model that scores "
            "colours"
        )
    return painter.confidence


def of_photo(painter: Painter, rgb: np.ndarray) -> np.ndarray:
    """Analyses a photo and returns its confidence map, as `of_analysis` does.

    Raises:
      UserError: the network predicts chroma itself, or the photo has no pixels.
    """
    check_confidence(painter)
    return of_analysis(painter, analyze(painter, rgb), rgb)


def of_analysis(painter: Painter, analysis: Analysis, rgb: np.ndarray) -> np.ndarray:
    """Returns the confidence map of a photo: 0 is a guess, 255 all probability in one colour.

    Args:
      painter: from `colorize.open_painter`.
      analysis: the painter's analysis of the photo.
      rgb: uint8 or uint16 [height, width, 3] sRGB, the photo.

    Returns:
      uint8 [height, width]. Borders, which stay gray, are 255.

    Raises:
      UserError: the network predicts chroma itself.
    """
    (shares,) = np.asarray(check_confidence(painter)(analysis.scores))
    height, width = analysis.box.size
    steps = Image.fromarray(np.round(255 * shares).astype(np.uint8))
    result = np.full(rgb.shape[:2], 255, np.uint8)
    result[analysis.box.inside] = np.asarray(
        steps.resize((width, height), Image.Resampling.BILINEAR)
    )
    return result


def write(path: str, gray: np.ndarray, *, overwrite: bool) -> tuple[str, ...]:
    """Writes uint8 [height, width] as a gray PNG with the mark of results; returns no notices.

    Raises:
      UserError: the file exists and `overwrite` is false, or it cannot be written.
    """
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", (mark.marked(None) or b"").decode())
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with image_io.atomic_write(path, overwrite=overwrite) as temporary:
        Image.fromarray(gray).save(temporary, "PNG", pnginfo=info)
    return ()
