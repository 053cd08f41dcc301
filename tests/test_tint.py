"""Colour photographs are distinguished from gray and toned ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import colorjax
from colorjax.pictures import tint

SAMPLE = sorted((Path(colorjax.__file__).parent / "data" / "sample").glob("*.jpg"))


def sepia(gray):
    """Returns a JPEG with shadows, midtones and lights of different hues, like a toned print."""
    toned = ImageOps.colorize(gray, "#1a0f08", "#f5e8c8", mid="#9a7850")
    buffer = io.BytesIO()
    toned.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_photographs_in_colour_are_distinguished_from_gray_and_sepia_ones(path):
    photo = Image.open(path).convert("RGB")
    gray = photo.convert("L")
    assert tint.has_colours(np.asarray(photo))
    assert not tint.has_colours(np.asarray(gray.convert("RGB")))
    assert not tint.has_colours(np.asarray(sepia(gray)))


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3, 2)])
def test_small_uniform_pictures_count_as_gray(size):
    assert not tint.has_colours(np.full((*size, 3), (120, 90, 40), np.uint8))
