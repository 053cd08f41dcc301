"""Colour photographs are told from gray and toned ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import colorjax
from colorjax.pictures import tint

SAMPLE = sorted((Path(colorjax.__file__).parent / "data" / "sample").glob("*.jpg"))


def sepia(gray):
    """Of shadows, middle and lights of different hues, as toned prints have; a JPEG of them."""
    toned = ImageOps.colorize(gray, "#1a0f08", "#f5e8c8", mid="#9a7850")
    buffer = io.BytesIO()
    toned.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_photographs_in_colour_are_told_from_gray_and_sepia_ones(path):
    photo = Image.open(path).convert("RGB")
    gray = photo.convert("L")
    assert tint.has_colours(np.asarray(photo))
    assert not tint.has_colours(np.asarray(gray.convert("RGB")))
    assert not tint.has_colours(np.asarray(sepia(gray)))


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3, 2)])
def test_small_pictures_and_even_ones_have_no_colours(size):
    assert not tint.has_colours(np.full((*size, 3), (120, 90, 40), np.uint8))
