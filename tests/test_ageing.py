from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from colorjax.models.task import classification
from colorjax.ops import ageing
from colorjax.training import parallel, steps
from colorjax.training.augment import Augmentation

KEY = jax.random.key(5)
age = jax.jit(ageing.age, static_argnums=3)


def pictures(count=16, side=24):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.uniform(0, 255, (count, side, side, 1)), jnp.float32)


def numbers(count=16, first=0):
    return np.arange(first, first + count, dtype=np.int32)


def test_ageing_depends_on_the_example_number_not_on_the_place_in_the_batch():
    gray = pictures()
    whole = age(KEY, gray, numbers(), 1.0)
    assert_allclose(age(KEY, gray[5:7], numbers(2, 5), 1.0), whole[5:7], atol=1e-3)
    other = age(KEY, gray, numbers(first=16), 1.0)
    assert float(jnp.abs(other - whole).mean()) > 5


@pytest.mark.parametrize("level", [0.0, 255.0])
def test_aged_pictures_stay_in_range(level):
    extremes = jnp.full((64, 16, 16, 1), level).at[:, ::2].set(255.0 - level)
    aged = age(KEY, extremes, numbers(64), 1.0)
    assert 0.0 <= float(aged.min()) and float(aged.max()) <= 255.0
    assert np.isfinite(aged).all()


def test_strength_0_changes_nothing_and_more_strength_changes_more():
    gray = pictures()
    assert ageing.age(KEY, gray, numbers(), 0.0) is gray
    some, much = (float(jnp.abs(age(KEY, gray, numbers(), s) - gray).mean()) for s in (0.1, 1.0))
    assert 0 < some < 0.3 * much


def test_about_three_in_ten_pictures_stay_unchanged():
    gray = pictures(400, 8)
    same = jnp.all(age(KEY, gray, numbers(400), 1.0) == gray, axis=(1, 2, 3))
    assert 0.2 < float(same.mean()) < 0.4


@pytest.mark.parametrize("sigma", [0.4, 1.2])
def test_the_blur_is_a_gaussian_with_its_border_repeated(sigma):
    picture = np.asarray(pictures(1)[0])
    blurred = ageing.blur(jnp.asarray(picture), ageing.gaussian(sigma))
    want = ndimage.gaussian_filter(
        picture[..., 0].astype(np.float64), sigma, mode="nearest", radius=ageing.BLUR_RADIUS
    )
    assert_allclose(blurred[..., 0], want, rtol=1e-4)
    assert_allclose(ageing.gaussian(0.0), np.eye(9)[4])


def test_grain_has_the_expected_standard_deviation():
    noise = ageing.blur(jax.random.normal(KEY, (200, 200, 1)), ageing._GRAIN) * 8 / 3
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_training_ages_the_input_but_not_the_target():
    recorded = []
    task = classification()

    def loss(outputs, example):
        recorded.append(example)
        return jnp.mean(outputs, axis=(1, 2, 3))

    class Echo:
        """A model that returns its input."""

        def clone(self, **_):
            return self

        def apply(self, variables, gray, train, mutable):
            recorded.append(gray)
            return gray * variables["params"]["w"], {"batch_stats": {}}

    tx = optax.sgd(0.0)
    params = {"w": jnp.float32(1.0)}
    state = steps.TrainState(jnp.int32(0), params, {}, tx.init(params))
    step = partial(steps.train_step, model=Echo(), task=task._replace(loss=loss), tx=tx)
    rgb = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    batch = {"rgb": rgb, "example": numbers(8)}
    with jax.disable_jit():
        for strength in (0.0, 1.0):
            step(state, batch, None, augmentation=Augmentation(16, ageing=strength))
    (clean, plain), (aged, example) = recorded[:2], recorded[2:]
    assert_array_equal(clean, plain.gray)
    assert float(jnp.abs(aged - clean).mean()) > 3
    jax.tree.map(assert_array_equal, tuple(example), tuple(plain))


def test_one_device_and_four_age_pictures_equally():
    def step(_, batch, axis_name):
        aged = ageing.age(KEY, batch["gray"], batch["example"], 1.0)
        total = jnp.sum(aged, axis=(1, 2, 3)) @ (1.0 + batch["example"])
        return total if axis_name is None else jax.lax.psum(total, axis_name)

    batch = {"gray": np.asarray(pictures()), "example": numbers()}
    one, four = (
        parallel.compile_step(step, devices=jax.devices()[:n])({"x": np.zeros(1)}, batch)
        for n in (1, 4)
    )
    assert_allclose(one, four, rtol=1e-5)
