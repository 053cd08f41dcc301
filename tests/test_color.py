"""Colour conversions against scikit-image, a float64 reference of the standards, and by hand."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color
from numpy.testing import assert_allclose
from processes import usual_options

from colorjax.ops import color

SPACES = ["xyz", "luv", "lab", "hsv", "yuv"]
OPPONENT_SPACES = ["luv", "lab", "yuv"]
SPECIAL = np.array(
    [
        [0, 0, 0],
        [1, 1, 1],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [1, 1, 0],
        [0, 1, 1],
        [1, 0, 1],
        [0.5, 0.5, 0.5],
        [0.04045, 0.04045, 0.04045],
        [0.01, 0.01, 0.01],
        [1 / 255, 0, 0],
        [1e-6, 0, 0],
        [1e-13, 1e-13, 1e-13],
        [1e-25, 0, 1e-30],
        [0.5, 0.5, 0.50000006],
    ],
    np.float32,
)


# The formulas of the standards again, in float64 and as textbooks print them.


def reference_linearize(rgb):
    curve = ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4
    return np.where(rgb <= 0.04045, rgb / 12.92, curve)


def reference_delinearize(linear):
    curve = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def reference_matrix():
    return np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )


def reference_xyz(rgb):
    return reference_linearize(rgb) @ reference_matrix().T


def reference_f(t):
    return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)


def reference_luv(rgb):
    def chromaticity(x, y, z):
        d = x + 15 * y + 3 * z
        d = np.where(d == 0, 1, d)
        return 4 * x / d, 9 * y / d

    x, y, z = np.moveaxis(reference_xyz(rgb), -1, 0)
    lightness = 116 * reference_f(y) - 16
    u, v = chromaticity(x, y, z)
    white_u, white_v = chromaticity(*reference_xyz(np.ones(3)))
    return np.stack([lightness, 13 * lightness * (u - white_u), 13 * lightness * (v - white_v)], -1)


def reference_lab(rgb):
    fx, fy, fz = np.moveaxis(reference_f(reference_xyz(rgb) / reference_xyz(np.ones(3))), -1, 0)
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -1)


def reference_hsv(rgb):
    flat = rgb.reshape(-1, 3)
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in flat]).reshape(rgb.shape)


def reference_yuv(rgb):
    r, g, b = np.moveaxis(rgb, -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, 0.436 * (b - y) / (1 - 0.114), 0.615 * (r - y) / (1 - 0.299)], -1)


REFERENCE = {
    "xyz": reference_xyz,
    "luv": reference_luv,
    "lab": reference_lab,
    "hsv": reference_hsv,
    "yuv": reference_yuv,
}


def from_rgb(space):
    return jax.jit(getattr(color, f"rgb_to_{space}"))


def to_rgb(space):
    return jax.jit(getattr(color, f"{space}_to_rgb"))


@pytest.fixture(scope="module")
def grid():
    """[35937, 3] float64: 33 levels per channel, corners of the cube included."""
    levels = np.linspace(0, 1, 33)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)


def grays(count):
    return np.repeat(np.linspace(0, 1, count, dtype=np.float32)[:, None], 3, axis=1)


# Values


@pytest.mark.parametrize("space", SPACES)
def test_conversion_agrees_with_scikit_image_on_a_grid(space, grid):
    ours = from_rgb(space)(grid.astype(np.float32))
    theirs = getattr(skimage.color, f"rgb2{space}")(grid)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.01)


@pytest.mark.parametrize("space", SPACES)
def test_inverse_agrees_with_scikit_image_on_a_grid(space, grid):
    converted = getattr(skimage.color, f"rgb2{space}")(grid)
    theirs = getattr(skimage.color, f"{space}2rgb")(converted)
    ours = to_rgb(space)(converted.astype(np.float32))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("space", SPACES)
def test_conversion_agrees_with_float64_reference_on_a_grid(space, grid):
    float32 = grid.astype(np.float32)
    expected = REFERENCE[space](float32.astype(np.float64))
    np.testing.assert_allclose(from_rgb(space)(float32), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("space", SPACES)
def test_inverse_inverts_float64_reference_on_a_grid(space, grid):
    converted = REFERENCE[space](grid).astype(np.float32)
    np.testing.assert_allclose(to_rgb(space)(converted), grid, rtol=0, atol=1e-5)


def test_reference_primaries_are_those_of_bt709():
    xyz = np.asarray(from_rgb("xyz")(jnp.eye(3)), np.float64)
    chromaticity = xyz[:, :2] / xyz.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chromaticity, [[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]], atol=1e-4)
    white = np.asarray(from_rgb("xyz")(jnp.ones(3)), np.float64)
    np.testing.assert_allclose(white[:2] / white.sum(), [0.3127, 0.3290], atol=1e-4)


def test_transfer_function_has_the_values_of_the_standard():
    encoded = np.array([0, 0.04045, 0.5, 1, -0.1], np.float32)
    linear = np.array([0, 0.0031308, 0.21404114, 1, -0.0077399], np.float32)
    np.testing.assert_allclose(color.linearize(encoded), linear, rtol=2e-5)
    np.testing.assert_allclose(color.delinearize(linear), encoded, rtol=2e-5)


def test_transfer_function_agrees_with_float64_reference():
    x = np.linspace(-0.1, 1.2, 10_001, dtype=np.float32)
    expected = reference_linearize(x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(color.linearize)(x), expected, atol=1e-6)
    expected = reference_delinearize(x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(color.delinearize)(x), expected, atol=1e-6)


def test_luv_covers_the_known_range_of_srgb(grid):
    luv = np.asarray(jax.jit(color.rgb_to_luv)(grid.astype(np.float32)))
    np.testing.assert_allclose(luv.min(axis=0), [0, -83, -134], atol=0.5)
    np.testing.assert_allclose(luv.max(axis=0), [100, 175, 107], atol=0.5)


def test_dark_colours_keep_their_relative_accuracy():
    rgb = np.random.default_rng(0).uniform(0, 1e-4, (1000, 3)).astype(np.float32)
    for space in ("luv", "lab"):
        expected = REFERENCE[space](rgb.astype(np.float64))
        error = np.abs(np.asarray(from_rgb(space)(rgb)) - expected)
        assert error.max() < (1e-7 if space == "luv" else 1e-4)


def test_hsv_of_named_colours_is_as_by_hand():
    rgb = jnp.array([[1.0, 0, 0], [1, 1, 0], [0, 0.5, 0], [0.5, 0.25, 0.5], [1, 0.5, 0]])
    hsv = [[0, 1, 1], [1 / 6, 1, 1], [1 / 3, 1, 0.5], [5 / 6, 0.5, 0.5], [1 / 12, 1, 1]]
    np.testing.assert_allclose(from_rgb("hsv")(rgb), hsv, atol=1e-6)


def test_hue_is_periodic():
    hsv = jnp.array([[0.3, 0.5, 0.8], [1.3, 0.5, 0.8], [-0.7, 0.5, 0.8]])
    expected = np.tile(colorsys.hsv_to_rgb(0.3, 0.5, 0.8), (3, 1))
    np.testing.assert_allclose(color.hsv_to_rgb(hsv), expected, atol=1e-5)


def test_yuv_of_primaries_is_as_by_hand():
    expected = [[0.299, -0.14714, 0.615], [0.587, -0.28886, -0.51499], [0.114, 0.436, -0.10001]]
    np.testing.assert_allclose(color.rgb_to_yuv(jnp.eye(3)), expected, atol=3e-5)


# Round trips


@pytest.mark.parametrize("space", SPACES)
def test_dark_u8_colours_survive_the_float_round_trip(space):
    levels = np.arange(16, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1)
    back = color.to_u8(to_rgb(space)(from_rgb(space)(colours / np.float32(255))))
    np.testing.assert_array_equal(back, colours)


@pytest.mark.parametrize("space", ["luv", "lab"])
def test_all_u8_colours_survive_the_round_trip(space):
    u8_to_space = getattr(color, f"rgb_u8_to_{space}")

    @jax.jit
    def count_survivors(colours):
        back = color.to_u8(to_rgb(space)(u8_to_space(colours)))
        return jnp.all(back == colours, axis=-1).sum()

    levels = np.arange(256, dtype=np.uint8)
    total = 0
    for reds in levels.reshape(64, 4):
        colours = np.stack(np.meshgrid(reds, levels, levels, indexing="ij"), -1)
        total += int(count_survivors(colours))
    assert total == 2**24


# Grays


@pytest.mark.parametrize("space", OPPONENT_SPACES)
@pytest.mark.parametrize("count", [1, 3, 256, 100_003])
def test_grays_have_exactly_zero_chroma(space, count):
    # Odd counts reach the remainder loops of vectorised powers.
    converted = np.asarray(from_rgb(space)(grays(count)))
    np.testing.assert_array_equal(converted[:, 1:], 0.0)


@pytest.mark.parametrize("space", ["luv", "lab"])
def test_u8_grays_have_exactly_zero_chroma(space):
    gray_u8 = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    converted = np.asarray(jax.jit(getattr(color, f"rgb_u8_to_{space}"))(gray_u8))
    np.testing.assert_array_equal(converted[:, 1:], 0.0)


@pytest.mark.parametrize("space", OPPONENT_SPACES)
def test_zero_chroma_gives_exact_grays(space):
    top = 1 if space == "yuv" else 100
    image = np.zeros((1001, 3), np.float32)
    image[:, 0] = np.linspace(0, top, 1001)
    # With the compiler options of the tests, channels may be rounded differently.
    rgb = np.asarray(jax.jit(to_rgb(space), compiler_options=usual_options())(image))
    np.testing.assert_array_equal(rgb[:, 0], rgb[:, 1])
    np.testing.assert_array_equal(rgb[:, 0], rgb[:, 2])
    assert np.all(np.diff(rgb[:, 0]) > 0)


@pytest.mark.parametrize("space", ["luv", "lab"])
def test_black_and_white_have_exact_lightness(space):
    ends = from_rgb(space)(jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(ends, [[0, 0, 0], [100, 0, 0]])


def test_gray_from_lightness_is_as_by_hand():
    # L* 50: Y = (66 / 116)^3 = 0.184187, encoded 0.466327. L* 8 is the knee: Y = 8 / 903.2963.
    gray = color.gray_from_lightness(jnp.array([[0.0], [8.0], [50.0], [100.0]]))
    assert gray.shape == (4, 1)
    np.testing.assert_allclose(gray[:, 0], [0, 23.5141, 118.9133, 255], atol=1e-3)


def test_lightness_from_gray_inverts_gray_from_lightness():
    lightness = jnp.linspace(0, 100, 1001)[:, None]
    back = jax.jit(lambda x: color.lightness_from_gray(color.gray_from_lightness(x)))(lightness)
    np.testing.assert_allclose(back, lightness, atol=1e-4)


def test_lightness_from_gray_is_that_of_the_gray_colour():
    gray = grays(256)
    lightness = jax.jit(color.lightness_from_gray)(gray[:, :1] * 255)
    np.testing.assert_allclose(lightness, from_rgb("luv")(gray)[:, :1], atol=1e-4)


def test_gray_from_rgb_agrees_with_gray_from_lightness(grid):
    rgb = grid.astype(np.float32)
    by_lightness = jax.jit(color.gray_from_lightness)(from_rgb("luv")(rgb)[..., :1])
    by_luminance = jax.jit(color.gray_from_rgb)(rgb)
    assert by_luminance.shape == (len(rgb), 1)
    np.testing.assert_allclose(by_luminance, by_lightness, rtol=0, atol=1e-3)


def test_gray_from_rgb_keeps_grays():
    np.testing.assert_allclose(color.gray_from_rgb(grays(256))[:, 0], np.arange(256), atol=1e-3)


# Gradients


@pytest.mark.parametrize("space", SPACES)
def test_gradients_are_finite_at_black_white_grays_and_primaries(space):
    jacobians = jax.jit(jax.vmap(jax.jacobian(from_rgb(space))))(SPECIAL)
    assert np.isfinite(jacobians).all()
    inverse = jax.jit(jax.vmap(jax.jacobian(to_rgb(space))))(from_rgb(space)(SPECIAL))
    assert np.isfinite(inverse).all()


@pytest.mark.parametrize("space", ["xyz", "luv", "lab", "yuv"])
def test_gradients_are_those_of_the_reference(space):
    random = np.random.default_rng(0).uniform(0.05, 0.98, (20, 3))
    points = np.vstack([random, [[0.5, 0.5, 0.5], [0.01, 0.01, 0.01], [1 / 255, 0, 0]]])
    step = 1e-6
    expected = np.stack(
        [
            (REFERENCE[space](points + step * axis) - REFERENCE[space](points - step * axis))
            / (2 * step)
            for axis in np.eye(3)
        ],
        axis=-1,
    )
    jacobians = jax.jit(jax.vmap(jax.jacobian(from_rgb(space))))(points.astype(np.float32))
    np.testing.assert_allclose(jacobians, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("space", SPACES)
def test_inverse_gradient_is_the_inverse_of_the_gradient(space):
    rgb = np.random.default_rng(1).uniform(0.1, 0.9, (50, 3)).astype(np.float32)
    jacobian = np.asarray(jax.jit(jax.vmap(jax.jacobian(from_rgb(space))))(rgb))
    inverse = np.asarray(jax.jit(jax.vmap(jax.jacobian(to_rgb(space))))(from_rgb(space)(rgb)))
    np.testing.assert_allclose(inverse @ jacobian, np.tile(np.eye(3), (50, 1, 1)), atol=2e-3)


def test_transfer_gradient_is_right_at_zero_and_on_both_sides_of_the_knee():
    # Below: 1 / 12.92. Above: 2.4 / 1.055 ((x + 0.055) / 1.055)^1.4; the standard has a jump here.
    encoded = jnp.array([-0.5, 0.0, 0.0404, 0.0405, 1.0])
    slopes = jax.jit(jax.vmap(jax.grad(color.linearize)))(encoded)
    line = 1 / 12.92
    np.testing.assert_allclose(slopes, [line, line, line, 0.078779, 2.274882], rtol=1e-4)
    linear = jnp.array([-0.5, 0.0, 0.00313, 0.003132, 1.0])
    slopes = jax.jit(jax.vmap(jax.grad(color.delinearize)))(linear)
    np.testing.assert_allclose(slopes, [12.92, 12.92, 12.92, 12.70024, 0.439583], rtol=1e-4)


def test_gray_gradients_are_right_at_black():
    up, down = (
        jax.jit(jax.grad(lambda x, convert=convert: convert(x)[0]))(jnp.zeros(1))[0]
        for convert in (color.gray_from_lightness, color.lightness_from_gray)
    )
    np.testing.assert_allclose([up, down], [255 * 12.92 / 903.2963, 903.2963 / 12.92 / 255], 1e-4)
    by_channel = jax.jit(jax.grad(lambda rgb: color.gray_from_rgb(rgb)[0]))(jnp.zeros(3))
    np.testing.assert_allclose(by_channel, 255 * reference_matrix()[1], rtol=1e-4)


def test_hue_of_gray_is_zero_with_zero_gradient():
    def hue(rgb):
        return color.rgb_to_hsv(rgb)[0]

    value, gradient = jax.jit(jax.value_and_grad(hue))(jnp.full(3, 0.5))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


# Out of gamut


def test_to_rgb_does_not_clip():
    twice_white = np.float32(2 * reference_xyz(np.ones(3)))
    np.testing.assert_allclose(to_rgb("xyz")(twice_white), reference_delinearize(2.0), atol=1e-5)
    pink = np.asarray(to_rgb("luv")(jnp.array([50.0, 150.0, 0.0])))
    linear = reference_linearize(pink.astype(np.float64))
    assert pink.min() < 0
    # The textbook's inverse, by hand.
    white = reference_xyz(np.ones(3))
    d = white @ [1, 15, 3]
    u, v = 150 / (13 * 50) + 4 * white[0] / d, 9 * white[1] / d
    y = (66 / 116) ** 3
    xyz = np.array([y * 9 * u / (4 * v), y, y * (12 - 3 * u - 20 * v) / (4 * v)])
    np.testing.assert_allclose(linear, np.linalg.inv(reference_matrix()) @ xyz, atol=1e-5)


def test_to_u8_rounds_and_clips():
    rgb = jnp.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 70.0])
    converted = color.to_u8(rgb)
    assert converted.dtype == jnp.uint8
    np.testing.assert_array_equal(converted, [0, 0, 0, 1, 255, 255, 255])


def test_impossible_chroma_of_dark_pixels_stays_finite():
    lightness, u, v = np.meshgrid([0, 1e-30, 1e-6, 1e-3, 1, 5], [-100, 0, 100], [-100, 0, 100])
    luv = np.stack([lightness, u, v], -1).reshape(-1, 3).astype(np.float32)
    assert np.isfinite(to_rgb("luv")(luv)).all()
    assert np.isfinite(jax.jit(jax.vmap(jax.jacobian(color.luv_to_rgb)))(luv)).all()


def test_chroma_below_the_least_v_counts_as_the_least_v():
    # Unchecked, v' passes 0 here: X and Z would be infinite, and negative from there on.
    white = reference_xyz(np.ones(3))
    least_v = 13 * 5 * (0.01 - 9 * white[1] / (white @ [1, 15, 3]))
    luv = jnp.array([[5.0, 0.0, least_v], [5.0, 0.0, -29.9], [5.0, 0.0, -31.0], [5.0, 0.0, -100.0]])
    rgb = np.asarray(to_rgb("luv")(luv))
    np.testing.assert_allclose(rgb[1:], rgb[:1].repeat(3, axis=0), rtol=1e-4)


def test_black_stays_black_whatever_its_luv_chroma():
    rgb = to_rgb("luv")(jnp.array([[0.0, 100.0, -100.0], [0.0, -2.0, 2.0]]))
    np.testing.assert_array_equal(rgb, 0)


# Types and transformations


@pytest.mark.parametrize("space", ["luv", "lab"])
def test_u8_table_agrees_with_the_power(space):
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1)
    by_table = jax.jit(getattr(color, f"rgb_u8_to_{space}"))(colours)
    by_power = from_rgb(space)(colours / np.float32(255))
    assert by_table.dtype == jnp.float32
    np.testing.assert_allclose(by_table, by_power, atol=5e-4)


@pytest.mark.parametrize("space", SPACES)
def test_vmap_and_jit_change_nothing(space):
    images = np.random.default_rng(2).uniform(0, 1, (2, 5, 7, 3)).astype(np.float32)
    whole = getattr(color, f"rgb_to_{space}")(images)
    assert whole.shape == images.shape
    np.testing.assert_allclose(jax.vmap(from_rgb(space))(images), whole, atol=1e-4)
    back = jax.vmap(jax.vmap(to_rgb(space)))(whole)
    np.testing.assert_allclose(back, images, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_bfloat16_is_promoted_to_float32(space):
    rgb = jnp.asarray(np.random.default_rng(3).uniform(0, 1, (50, 3)), jnp.bfloat16)
    converted = from_rgb(space)(rgb)
    assert converted.dtype == jnp.float32
    np.testing.assert_array_equal(converted, from_rgb(space)(rgb.astype(jnp.float32)))
    assert to_rgb(space)(converted.astype(jnp.bfloat16)).dtype == jnp.float32


def test_integers_are_refused_where_a_float_is_wanted(unchecked_shapes):
    with pytest.raises(TypeError, match="uint8"):
        color.rgb_to_luv(np.zeros((4, 3), np.uint8))


def test_floats_are_refused_where_uint8_is_wanted(unchecked_shapes):
    with pytest.raises(TypeError, match="float32"):
        color.rgb_u8_to_luv(np.zeros((4, 3), np.float32))


def test_channels_first_is_refused(unchecked_shapes):
    with pytest.raises(ValueError, match=r"\(3, 8, 8\)"):
        color.rgb_to_luv(np.zeros((3, 8, 8), np.float32))


@functools.cache
def random_luv():
    rng = np.random.default_rng(7)
    chroma = rng.uniform(-250, 250, (20_000, 2))
    return np.concatenate([rng.uniform(0, 100, (20_000, 1)), chroma], -1).astype(np.float32)


def test_fitted_colours_are_in_gamut_with_their_lightness_and_hue():
    fitted = color.fit_chroma(random_luv())
    rgb = np.asarray(color.luv_to_rgb(fitted))
    assert rgb.min() > -1e-4 and rgb.max() < 1 + 1e-5
    assert_allclose(color.rgb_to_luv(np.clip(rgb, 0, 1))[:, 0], random_luv()[:, 0], atol=1e-2)
    (u, v), (fitted_u, fitted_v) = random_luv()[:, 1:].T, np.asarray(fitted)[:, 1:].T
    assert_allclose(u * fitted_v, v * fitted_u, atol=1e-2)
    assert (u * fitted_u >= 0).all() and (v * fitted_v >= 0).all()


def test_fitted_colours_lie_on_the_border_of_the_gamut():
    luv = random_luv()
    fitted = np.asarray(color.fit_chroma(luv))
    reduced = (np.abs(fitted[:, 1:]) < np.abs(luv[:, 1:]) * 0.999).any(-1)
    rgb = np.asarray(color.luv_to_rgb(fitted))[reduced]
    assert reduced.mean() > 0.5
    assert_allclose(np.minimum(rgb.min(-1), 1 - rgb.max(-1)), 0, atol=1e-4)


def test_fitting_leaves_colours_in_gamut_alone():
    rgb = np.random.default_rng(8).uniform(0.001, 0.999, (20_000, 3)).astype(np.float32)
    luv = color.rgb_to_luv(rgb)
    assert_allclose(color.fit_chroma(luv), luv, atol=1e-3)


def test_fitting_has_finite_gradients_at_black_and_white():
    luv = np.float32([[0, 0, 0], [0, 50, 50], [100, 0, 0], [100, 50, -50], [1e-5, 1, 1]])
    assert np.isfinite(jax.grad(lambda x: color.fit_chroma(x).sum())(luv)).all()
