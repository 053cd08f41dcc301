"""Borders are found, cut off before the network and made gray; uniform areas are not borders."""

import io
from pathlib import Path

import numpy as np
import pytest
from networks import tiny_network
from numpy.testing import assert_array_equal
from PIL import Image

import colorjax
from colorjax.coloring import colorize
from colorjax.coloring.network import borders
from colorjax.coloring.network.borders import Box
from colorjax.coloring.settings import ColorSettings

SAMPLE = sorted((Path(colorjax.__file__).parent / "data" / "sample").glob("*.jpg"))


def gray(path):
    return np.repeat(np.asarray(Image.open(path).convert("L"))[..., None], 3, axis=-1)


def bordered(rgb_u8, top, bottom, left, right, level, noise=0.0):
    """Adds a border to a picture; returns the result and the box of the picture in it."""
    height, width, _ = rgb_u8.shape
    rng = np.random.default_rng(0)
    shape = (height + top + bottom, width + left + right, 1)
    border = np.clip(rng.normal(level, noise, shape), 0, 255).round().astype(np.uint8)
    result = np.repeat(border, 3, axis=-1)
    box = Box(top, top + height, left, left + width)
    result[box.inside] = rgb_u8
    return result, box


def as_jpeg(rgb_u8):
    buffer = io.BytesIO()
    Image.fromarray(rgb_u8).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


def uniform(height, width, level, noise=2.0, seed=0):
    values = np.random.default_rng(seed).normal(level, noise, (height, width, 1))
    return np.repeat(np.clip(values, 0, 255).round().astype(np.uint8), 3, axis=-1)


def scene(height, width, seed=0):
    cells = np.random.default_rng(seed).integers(70, 200, (5, 6), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(cells).resize((width, height), Image.BICUBIC))
    return np.repeat(smooth[..., None], 3, axis=-1)


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "share, level, noise",
    [((0.15, 0.15), 0, 0.0), ((0.33, 0.0), 0, 0.0), ((0.15, 0.15), 255, 0.0)],
    ids=["frame", "bars", "print"],
)
def test_the_borders_of_photographs_are_found_to_the_pixel(path, share, level, noise):
    photo = gray(path)
    rows, columns = (round(s * n) for s, n in zip(share, photo.shape, strict=False))
    framed, box = bordered(photo, rows, rows, columns, columns, level, noise)
    found = borders.without_borders(framed)
    errors = np.abs(np.subtract(found, box))
    # The photo of spices itself ends in a black line at the bottom.
    assert np.sort(errors)[-2] == 0 and (errors.max() == 0 or path.stem == "spices")


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_photographs_without_borders_are_left_whole(path):
    photo = gray(path)
    assert borders.without_borders(photo) == borders.whole(photo)


@pytest.mark.parametrize(
    "sides, level, noise",
    [
        ((20, 20, 30, 30), 18, 5.0),  # a scanner's lid
        ((0, 0, 25, 0), 6, 3.0),  # one side only
        ((8, 30, 3, 17), 250, 1.0),  # sides of different widths
        ((20, 20, 20, 20), 128, 3.0),  # gray card
        ((30, 30, 0, 0), 128, 3.0),
    ],
)
def test_noisy_borders_of_unequal_widths_are_found_in_jpegs_too(sides, level, noise):
    photo = scene(150, 200)
    framed, box = bordered(photo, *sides, level, noise)
    assert borders.without_borders(framed) == box
    assert np.abs(np.subtract(borders.without_borders(as_jpeg(framed)), box)).max() <= 1


def test_a_white_margin_inside_a_black_frame_is_part_of_the_border():
    print_, inner = bordered(scene(150, 200), 12, 12, 12, 12, 245, 1.0)
    scan, outer = bordered(print_, 0, 9, 14, 0, 10, 3.0)
    want = np.add(inner, (outer.top, outer.top, outer.left, outer.left))
    assert borders.without_borders(scan) == Box(*want.tolist())


def night():
    """A black sky above roofs of many heights."""
    photo = uniform(150, 200, 12)
    for left in range(0, 200, 20):
        photo[60 + (left * 7) % 50 :, left : left + 20] = scene(150, 20, left)[0, :20]
    return photo


def studio():
    """A round object on white."""
    photo = uniform(150, 200, 252, 1.0)
    y, x = np.mgrid[:150, :200]
    photo[np.hypot(y - 75, x - 100) < 60] = 120
    return photo


def clear_sky():
    """A uniform gray sky down to a straight horizon."""
    return np.concatenate([uniform(70, 200, 170, 1.5), scene(80, 200)])


def dusk():
    """A sky that grows brighter towards the horizon."""
    photo = scene(150, 200)
    photo[:100] = np.linspace(2, 90, 100).astype(np.uint8)[:, None, None]
    return photo


def moon():
    photo = uniform(150, 200, 3, 1.0)
    photo[60:80, 90:110] = 240
    return photo


def blank():
    return np.full((40, 50, 3), 255, np.uint8)


@pytest.mark.parametrize("photo", [night, studio, clear_sky, dusk, moon, blank])
def test_uniform_areas_of_a_photo_are_not_borders(photo):
    assert borders.without_borders(photo()) == borders.whole(photo())


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3, 2), (2000, 1)])
def test_pictures_too_small_for_a_border_have_none(size):
    photo = uniform(*size, 100, 30.0)
    assert borders.without_borders(photo) == borders.whole(photo)


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


def test_a_border_stays_gray_and_does_not_change_the_colours_inside(painter):
    photo = scene(90, 120)
    framed, box = bordered(photo, 0, 14, 20, 9, 16, 4.0)
    found = dict(colorize.colorize(painter, [photo, framed], [ColorSettings(saturation=2.0)]))
    (alone,), (with_border,) = found[0], found[1]
    assert_array_equal(with_border[box.inside], alone)
    assert np.ptp(alone.astype(int), axis=-1).mean() > 5
    rest = with_border.copy()
    rest[box.inside] = framed[box.inside]
    assert np.abs(rest.astype(int) - framed).max() <= 1
    assert (np.ptp(rest.astype(int), axis=-1) == 0).all()


def test_a_box_and_the_strips_around_it_cover_the_picture_once():
    count = np.zeros((9, 12, 3), int)
    for box in (Box(2, 7, 3, 10), Box(0, 9, 4, 12)):
        count[:] = 0
        for part in [box.inside, *borders.strips(count, box)]:
            count[part] += 1
        assert (count == 1).all()


@pytest.mark.parametrize("level", [0, 255])
def test_a_scan_has_the_same_borders_in_16_bits_as_in_8(level):
    inside = scene(120, 150)
    photo, box = bordered(inside, 20, 12, 9, 30, level)
    assert borders.without_borders(photo) == box
    assert borders.without_borders(photo.astype(np.uint16) * 257) == box
    gray_sky, _ = bordered(inside, 40, 0, 0, 0, 200)
    assert borders.without_borders(gray_sky.astype(np.uint16) * 257) == borders.whole(gray_sky)
