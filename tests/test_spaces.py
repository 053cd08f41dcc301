import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.models import task
from colorjax.ops import bins, spaces
from colorjax.settings import ARGMAX

RGB = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
GRAY = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1)[None]

each = pytest.mark.parametrize("name", spaces.SPACES)


@each
def test_joining_a_split_photograph_restores_it(name):
    space = spaces.SPACES[name]
    _, lightness, chroma = space.split(RGB)
    assert_allclose(space.join(lightness, chroma), RGB / 255.0, atol=2e-4)


@each
def test_a_gray_photograph_is_the_networks_input_unchanged(name):
    gray, _, _ = spaces.SPACES[name].split(GRAY)
    assert_allclose(gray[0, :, :, 0], np.arange(256)[None], atol=1e-3)


@each
def test_a_gray_photograph_stays_gray_when_it_is_split_and_joined(name):
    space = spaces.SPACES[name]
    _, lightness, chroma = space.split(GRAY)
    assert_allclose(space.join(lightness, chroma), GRAY / 255.0, atol=1e-4)


CORNERS = np.stack(np.meshgrid(*[[0, 85, 170, 255]] * 3), -1).reshape(1, 8, 8, 3).astype(np.uint8)


@pytest.mark.parametrize(
    "name, limit", [("luv", 175.1), ("lab", 107.9), ("yuv", 100.0), ("hsv", 100.0)]
)
def test_the_largest_chroma_of_each_space_is_as_expected(name, limit):
    _, _, chroma = spaces.SPACES[name].split(CORNERS)
    assert_allclose(np.abs(chroma).max(), limit, atol=0.1)


@each
def test_any_chroma_joins_to_a_finite_colour_in_range(name):
    space = spaces.SPACES[name]
    _, lightness, _ = space.split(RGB)
    chroma = np.random.default_rng(1).uniform(-150, 150, (*RGB.shape[:-1], 2))
    rgb = space.join(lightness, jnp.asarray(chroma, jnp.float32))
    assert np.isfinite(rgb).all() and rgb.min() >= 0 and rgb.max() <= 1 + 1e-6


def test_differences_of_hue_go_the_short_way_round():
    hsv, luv = spaces.SPACES["hsv"], spaces.SPACES["luv"]
    a, b = jnp.array([[98.0, 98.0]]), jnp.array([[-98.0, -98.0]])
    assert_allclose(spaces.difference(hsv, a, b), [[-4.0, 196.0]])
    assert_allclose(spaces.difference(hsv, b, a), [[4.0, -196.0]])
    assert_array_equal(spaces.difference(luv, a, b), [[196.0, 196.0]])


@each
def test_perfect_logits_have_good_metrics_in_every_space(name):
    fine = bins.channel_bins(num_bins=200)
    objective = task.classification(fine, spaces.SPACES[name])
    example = objective.prepare(RGB)
    index = fine.encode(example.chroma)
    measured = objective.measure(100.0 * jax.nn.one_hot(index, 200), example, ARGMAX)
    assert measured["psnr"].min() > (20 if name == "luv" else 35)  # luv clips 14% of random colours
    assert measured["acc_u"].min() > 0.7
    assert_allclose(measured["loss"], 0, atol=1e-3)


@each
def test_regression_of_the_true_chroma_has_no_loss_in_any_space(name):
    objective = task.regression(space=spaces.SPACES[name])
    example = objective.prepare(RGB)
    measured = objective.measure(example.chroma / 100, example, ARGMAX)
    assert_allclose(measured["loss"], 0, atol=1e-8)
    assert measured["psnr"].min() > 60
