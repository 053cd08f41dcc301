"""Long photographs: enough detail for the network, and work in proportion to the pixels."""

import tracemalloc

import numpy as np
import pytest
from networks import tiny_network
from pictures import encode, gray_steps, png_that_claims
from PIL import Image

from colorjax.coloring import colorize
from colorjax.coloring.network import shapes
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import photo

SHORT = 144 / 2**0.5  # side of a photo of 2:1 for a network of 144 pixels


@pytest.mark.parametrize("ratio", [2, 2.35, 3, 5, 8, 11, 16, 25, 32])
@pytest.mark.parametrize("tall", [False, True])
def test_the_short_side_of_a_long_photo_is_that_of_a_2_to_1_photo(ratio, tall):
    height, width = 1000, round(1000 * ratio)
    rows, columns = shapes.network_shape(*((width, height) if tall else (height, width)), 144)
    short, long = sorted((rows, columns))
    assert (rows > columns) == tall
    assert abs(short - SHORT) <= 8 and 0.85 < long / short / ratio < 1.18


def test_a_large_chequerboard_needs_little_more_memory_than_its_pixels():
    tracemalloc.start()
    try:
        board = shapes.chequered(1500, 1001)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rows, columns, _ = np.indices(board.shape)
    assert board.dtype == np.uint8 and peak < 1.1 * board.nbytes
    np.testing.assert_array_equal(board, (rows + columns) % 2 * 255)


def test_the_shapes_of_photos_up_to_2_to_1_are_those_of_older_versions():
    want = {(256, 256): (144, 144), (256, 384): (112, 192), (256, 455): (112, 192)}
    for size, shape in want.items():
        assert shapes.network_shape(*size, 144) == shape


def test_a_large_network_gets_no_more_pixels_for_a_long_photo():
    for ratio in (4, 16, 1000):
        rows, columns = shapes.network_shape(100, 100 * ratio, 2048)
        assert rows * columns <= 1.1 * 2048**2
    rows, columns = shapes.network_shape(1, 10**6, 512)
    assert rows * columns <= 1.1 * shapes.LONG_PIXELS


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 3), (70, 5000)])
def test_a_long_picture_is_coloured_in_few_tiles(painter, size, monkeypatch):
    shapes_of_tiles = []

    def color_tile(fits, tile, rows, columns):
        shapes_of_tiles.append(tile.shape)
        return painter.color_tile(fits, tile, rows, columns)

    cells = np.random.default_rng(0).integers(0, 256, (4, 9), dtype=np.uint8)
    gray = np.asarray(Image.fromarray(cells).resize(size[::-1], Image.BICUBIC))
    picture = np.repeat(gray[..., None], 3, axis=-1)
    ((_, (result,)),) = colorize.colorize(
        painter._replace(color_tile=color_tile), [picture], [ColorSettings(saturation=3.0)]
    )
    assert len(shapes_of_tiles) <= 10
    assert np.abs(gray_steps(result) - gray_steps(picture)).max() <= 1.0


def test_a_file_longer_than_a_million_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(UserError, match="1 x 117440513 pixels, want at most 1000000 a side"):
        photo.read_photo(png_that_claims(1, 117_440_513))
    assert photo.read_photo(encode(np.zeros((2, 70_000), np.uint8))).rgb.shape == (2, 70_000, 3)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_a_picture_without_pixels_is_refused(painter, shape):
    height, width, _ = shape
    with pytest.raises(UserError, match=f"{width} x {height} pixels, want at least 1 x 1"):
        list(colorize.colorize(painter, [np.zeros(shape, np.uint8)], [ColorSettings()]))
