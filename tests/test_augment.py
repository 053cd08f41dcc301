"""Augmentation: it depends only on the number of each image, and does only what is asked for."""

import jax
import numpy as np
from numpy.testing import assert_array_equal

from colorjax.training import augment


def test_a_crop_depends_on_the_image_number_not_on_the_place_in_the_batch():
    rgb = np.random.default_rng(1).integers(0, 256, (8, 20, 20, 3), np.uint8)
    key, numbers = jax.random.key(3), np.arange(8, dtype=np.int32)
    crops = augment.crops(key, rgb, numbers, 16)
    later = augment.crops(key, rgb[4:], numbers[4:], 16)
    assert_array_equal(crops[4:], later)


def test_crops_are_parts_of_their_image_and_half_of_them_are_mirrored():
    ramp = np.arange(20 * 20, dtype=np.int32).reshape(20, 20) % 251
    rgb = np.repeat(np.uint8(ramp)[None, ..., None], 3, -1).repeat(64, 0)
    crops = np.asarray(augment.crops(jax.random.key(0), rgb, np.arange(64, dtype=np.int32), 16))
    parts = {
        rgb[0, i : i + 16, j : j + 16].tobytes(): False for i in range(5) for j in range(5)
    } | {
        np.ascontiguousarray(rgb[0, i : i + 16, j : j + 16][:, ::-1]).tobytes(): True
        for i in range(5)
        for j in range(5)
    }
    mirrored = [parts[crop.tobytes()] for crop in crops]
    assert 20 < sum(mirrored) < 44
    assert len({crop.tobytes() for crop in crops}) > 25


def test_scaled_crops_show_part_of_an_image_and_depend_only_on_its_number():
    ramp = np.broadcast_to(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], (60, 60, 3))
    images, numbers = np.stack([ramp] * 64), np.arange(64, dtype=np.int32)
    crops = np.asarray(augment.scaled_crops(jax.random.key(0), images, numbers, 40, 0.5))
    assert crops.shape == (64, 40, 40, 3) and crops.dtype == np.uint8
    height = np.ptp(crops[:, 1:-1, 0, 0].astype(float), axis=1) / 37 * 40 / 4  # in pixels
    assert 29 < height.min() < 34 and 55 < height.max() < 61
    again = augment.scaled_crops(jax.random.key(0), images[32:], numbers[32:], 40, 0.5)
    assert_array_equal(crops[32:], again)
    flipped = np.arange(0, 240, 4, dtype=np.uint8)[None, :, None]
    sides = np.stack([np.broadcast_to(flipped, (60, 60, 3))] * 64)
    slopes = np.diff(
        augment.scaled_crops(jax.random.key(0), sides, numbers, 40, 0.5)[:, 0, ::39, 0].astype(int)
    )
    assert 16 < (slopes < 0).sum() < 48


def test_a_share_of_images_gets_dark_or_light_frames_and_the_rest_none():
    images = np.full((400, 20, 20, 3), (90, 120, 160), np.uint8)
    framed = np.asarray(augment.add_frames(jax.random.key(0), images, np.arange(400), 0.25))
    changed = (framed != images).any((1, 2, 3))
    assert 70 < changed.sum() < 130
    assert_array_equal(framed[:, 4:16, 4:16], images[:, 4:16, 4:16])
    for one in framed[changed]:
        margin = one[(one != images[0]).any(-1)]
        assert np.ptp(margin) == 0 and (margin[0, 0] <= 40 or margin[0, 0] >= 215)


def test_without_crops_and_flips_the_centre_is_used_unchanged():
    rgb = np.random.default_rng(6).integers(0, 256, (4, 12, 12, 3), np.uint8)
    example = np.arange(4, dtype=np.int32)
    centred = augment.crops(jax.random.key(0), rgb, example, 8, crop=False, flip=False)
    assert_array_equal(centred, rgb[:, 2:10, 2:10])
    flipped = augment.crops(jax.random.key(0), rgb, example, 8, crop=False)
    middles = [rgb[:, 2:10, 2:10], rgb[:, 2:10, 9:1:-1]]
    same = np.array(
        [[(a == b).all() for a, b in zip(flipped, middle, strict=True)] for middle in middles]
    )
    assert same.any(0).all() and same.any(1).all()
