"""Joining of luminance and chroma at full size, compared with the definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pictures import gray_steps, noise

from colorjax.coloring.network import functions, tiles
from colorjax.ops import color, joining, resample


def linear(encoded):
    return np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)


def encoded(linear):
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def true_lightness(y):
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, (29 / 3) ** 3 * y)


def colours(y, u, v):
    """Linear RGB by CIE 15, fitted to the gamut, in float64; only the matrix is colorjax's."""
    white = color.white_xyz
    denominator = white @ [1, 15, 3]
    lightness = true_lightness(y)[..., None]

    def at(share):
        chroma = share * np.stack([u, v], -1) / (13 * np.maximum(lightness, 1e-9))
        a, b = np.moveaxis(chroma + np.array([4 * white[0], 9 * white[1]]) / denominator, -1, 0)
        b = np.where(b > 1e-4, b, np.nan)
        xyz = np.stack([9 * y * a / (4 * b), y, y * (12 - 3 * a - 20 * b) / (4 * b)], -1)
        return xyz @ np.linalg.inv(color.xyz_from_linear_rgb).T

    low, high = np.zeros_like(y), np.ones_like(y)
    for _ in range(60):
        middle = (low + high) / 2
        rgb = at(middle[..., None])
        inside = ((rgb >= -1e-9) & (rgb <= 1 + 1e-9)).all(-1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return at(low[..., None])


@pytest.fixture(scope="module")
def samples():
    """Luminance, u and v of every lightness, with more chroma than fits into the gamut."""
    rng = np.random.default_rng(0)
    y = np.concatenate([linear(np.arange(1, 255) / 255).repeat(40), rng.uniform(1e-4, 0.02, 4000)])
    u, v = rng.normal(0, 60, (2, y.size))
    return y, u, v


def u8_by_conversion(y, u, v):
    luv = np.stack([true_lightness(y), u, v], -1).astype(np.float32)
    return color.to_u8(color.luv_to_rgb(color.fit_chroma(luv)))


def u8_by_joining(y, u, v):
    y = y.astype(np.float32)
    chroma = np.stack([u, v], -1).astype(np.float32)
    channels = joining.join(y, joining.lightness(y), chroma)
    return jnp.stack([joining.encode_u8(x) for x in channels], -1)


@pytest.mark.parametrize("path", [u8_by_conversion, u8_by_joining])
def test_both_methods_are_within_a_step_of_the_definitions(samples, path):
    want = np.round(255 * encoded(np.clip(colours(*samples), 0, 1)))
    error = np.abs(np.asarray(path(*samples), int) - want)
    assert error.max() <= 1 and (error > 0).mean() < 0.002


def test_lightness_is_within_a_five_thousandth_of_the_definition():
    y = np.linspace(0, 1, 200_001)
    assert_allclose(joining.lightness(y.astype(np.float32)), true_lightness(y), atol=2e-4)


def test_linear_values_are_encoded_to_the_nearest_step():
    x = np.linspace(-0.1, 1.1, 400_001).astype(np.float32)
    exact = 255 * encoded(np.clip(x.astype(np.float64), 0, 1))
    assert np.abs(np.asarray(joining.encode_u8(x)) - exact).max() <= 0.501
    assert_array_equal(joining.encode_u8(linear(np.arange(256) / 255)), np.arange(256))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_luminance_agrees_with_the_definition_for_colours_and_grays(kind):
    maximum = np.iinfo(kind).max
    rgb = (noise(9, 11).astype(kind) * kind(maximum // 255)).astype(kind)
    want = linear(rgb / maximum) @ color.relative_xyz_from_linear_rgb[1]
    assert_allclose(joining.luminance(rgb), want, atol=1e-6)
    gray = np.arange(256).astype(kind) * kind(maximum // 255)
    want_gray = (
        np.float32(color.linear_from_u8) if kind is np.uint8 else color.linearize(gray / maximum)
    )
    assert_allclose(joining.luminance(gray.repeat(3).reshape(-1, 3)), want_gray, rtol=1e-6)


def test_zero_chroma_gives_exact_grays():
    y = np.linspace(0, 1, 1001).astype(np.float32)
    red, green, blue = joining.join(y, joining.lightness(y), np.zeros((1001, 2), np.float32))
    assert_array_equal(red, green)
    assert_array_equal(red, blue)
    assert_allclose(red, y, rtol=1e-6)


@pytest.mark.parametrize("sides", [(256, 512), (64, 100)])
@pytest.mark.parametrize("coarse", [(3, 5), (30, 40)])
def test_a_tile_joined_in_bands_is_within_a_step_of_the_definitions(sides, coarse):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
    chroma = rng.normal(0, 40, (*coarse, 2)).astype(np.float32)
    fits = np.asarray(resample.unguided_fits(chroma))
    rows, columns = (tiles._positions(0, n, n, m) for n, m in zip(sides, coarse, strict=True))
    got = np.asarray(jax.jit(functions.color_tile)(fits, rgb, rows, columns))
    assert np.abs(gray_steps(got) - gray_steps(rgb)).max() <= 1.0
    upscaled = np.asarray(resample.sample_bilinear(chroma, rows, columns), np.float64)
    y = linear(rgb / 255) @ color.relative_xyz_from_linear_rgb[1]
    want = np.round(255 * encoded(np.clip(colours(y, *np.moveaxis(upscaled, -1, 0)), 0, 1)))
    error = np.abs(got - want)[(y > 0) & (y < 1)]
    assert error.max() <= 1 and (error > 0).mean() < 0.002
