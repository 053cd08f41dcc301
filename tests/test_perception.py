"""The perceptual loss: its terms, its gradient, and a run with it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import rel_entr, softmax
from test_train import LIGHT, tiny_config

from colorjax.errors import UserError
from colorjax.models import perception, task
from colorjax.models.efficientnet import layer_shapes
from colorjax.ops import losses
from colorjax.settings import ARGMAX, Decoding, Perception, complete
from colorjax.training import setup, train

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
BOTH = Perception(classes=1.0, maps=1.0)


@pytest.fixture(scope="module")
def params():
    """Random params of the classifier, scaled so that its activations keep their size."""
    rng, found = np.random.default_rng(1), {}
    for name, shape in layer_shapes(classifier=True).items():
        kernel = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)
        found[name] = {"kernel": jnp.float32(kernel), "bias": jnp.zeros(shape[-1:])}
    return found


@pytest.fixture(scope="module")
def added_loss(params):
    """Returns a function (regression outputs, weights) -> the loss that is added for `RGB`, [2]."""
    plain = task.regression()
    example = plain.prepare(RGB)

    @jax.jit
    def added_loss(outputs, classes=1.0, maps=1.0):
        weights = Perception(classes=classes, maps=maps)
        perceptual = perception.add_perceptual_loss(plain, params, ARGMAX, weights)
        return perceptual.loss(outputs, example) - plain.loss(outputs, example)

    return added_loss


def test_kl_divergence_agrees_with_scipy():
    predicted, true = RNG.normal(0, 3, (2, 4, 10)).astype(np.float32)
    want = rel_entr(softmax(np.float64(true), -1), softmax(np.float64(predicted), -1)).sum(-1)
    assert_allclose(losses.kl_divergence(predicted, true), want, rtol=1e-5)


def test_map_distance_is_0_for_parallel_2_for_orthogonal_4_for_opposite_maps():
    true = np.zeros((1, 1, 1, 3), np.float32) + (2.0, 0.0, 0.0)
    for vector, want in (((5, 0, 0), 0), ((0, 3, 0), 2), ((-1, 0, 0), 4), ((0, 0, 0), 1)):
        got = perception.map_distance(np.zeros_like(true) + np.float32(vector), true)
        assert_allclose(got, [want], atol=1e-5)


def test_map_distance_has_a_finite_gradient_at_zero():
    zeros, ones = jnp.zeros((1, 2, 2, 3)), jnp.ones((1, 2, 2, 3))
    gradient = jax.grad(lambda x: perception.map_distance(x, ones)[0])(zeros)
    assert np.isfinite(gradient).all()


def test_the_added_loss_is_zero_for_true_colours_and_positive_for_gray(added_loss):
    truth = task.regression().prepare(RGB).chroma / task.CHROMA_SCALE
    assert_allclose(added_loss(truth), 0, atol=1e-4)
    assert (added_loss(jnp.zeros_like(truth)) > 0.01).all()


@pytest.mark.slow
def test_each_weight_scales_its_own_term(added_loss):
    gray = jnp.zeros((2, 32, 32, 2))
    classes, maps, both = (added_loss(gray, c, m) for c, m in ((1.0, 0.0), (0.0, 1.0), (3.0, 5.0)))
    assert_allclose(both, 3 * classes + 5 * maps, rtol=1e-3)


@pytest.mark.slow
def test_a_gradient_step_reduces_the_added_loss(added_loss):
    gray = jnp.zeros((2, 32, 32, 2))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(added_loss(x))))(gray)
    step = 1e-2 * gradient / jnp.max(jnp.abs(gradient))
    assert (added_loss(gray - step) < added_loss(gray)).all()


@pytest.mark.slow
def test_logits_smaller_than_the_picture_have_a_finite_gradient(params):
    plain = task.classification()
    options = Decoding(method="annealed")
    perceptual = perception.add_perceptual_loss(plain, params, options, BOTH)
    example = plain.prepare(RGB)
    logits = jnp.zeros((2, 8, 8, 2, 50))
    total = lambda x: perceptual.loss(x, example).sum()  # noqa: E731
    loss, gradient = jax.jit(jax.value_and_grad(total))(logits)
    assert loss > plain.loss(logits, example).sum()
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_the_measured_loss_excludes_the_perceptual_loss(params):
    plain = task.classification()
    perceptual = perception.add_perceptual_loss(plain, params, Decoding(method="mean"), BOTH)
    example = plain.prepare(RGB)
    logits = RNG.normal(0, 1, (2, 32, 32, 2, 50)).astype(np.float32)
    measured = perceptual.measure(logits, example, ARGMAX)
    assert_allclose(measured["loss"], plain.loss(logits, example), rtol=1e-6)


def test_without_weights_the_objective_is_unchanged():
    plain = task.classification()
    assert setup.load_classifier(complete(tiny_config())) is None
    assert setup.with_perception(complete(tiny_config()), plain, None) is plain


@pytest.mark.slow
def test_all_three_maps_contribute(params, added_loss):
    classify, truth = perception.classifier(params), task.regression().prepare(RGB)
    to_rgb = task.regression().to_rgb
    gray, true = (classify(to_rgb(truth.lightness, share * truth.chroma)) for share in (0, 1))
    parts = [perception.map_distance(gray[name], true[name]) for name in perception.MAPS]
    assert_allclose(added_loss(jnp.zeros((2, 32, 32, 2)), 0.0, 1.0), sum(parts), rtol=1e-3)
    assert len(parts) == 3 and all((part > 1e-3 * sum(parts)).all() for part in parts)


@pytest.mark.slow
def test_the_classifier_computes_in_the_models_type(params):
    plain = task.regression()
    example, gray = plain.prepare(RGB), jnp.zeros((2, 32, 32, 2))
    losses = {}
    for dtype in ("float32", "bfloat16"):
        config = tiny_config(perception__classes=1.0, objective="regression", model__dtype=dtype)
        perceptual = setup.with_perception(complete(config), plain, params)
        losses[dtype] = perceptual.loss(gray, example) - plain.loss(gray, example)
    assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.2)
    assert (losses["bfloat16"] != losses["float32"]).all()


@pytest.mark.slow
def test_a_run_trains_with_the_perceptual_loss(params, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.efficientnet_weights, "classifier_params", lambda: params)
    weights = {"perception__classes": 1e6, "perception__maps": 0.0}
    config = tiny_config(decoding__method="annealed", num_steps=1, **weights, **LIGHT)
    train.train(config, tmp_path)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] > 100 and first["skipped"] == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"perception__classes": -1.0}, "perception.classes is -1.0, want at least 0"),
        ({"perception__maps": 1.0}, "decoding.method is 'argmax' with perception"),
        (
            {"perception__maps": 1.0, "decoding__method": "mean", "data__crop_size": 24},
            "data.crop_size is 24 with perception, want a multiple of 16",
        ),
    ],
)
def test_settings_that_the_perceptual_loss_excludes_are_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        setup.check_training(tiny_config(data__load_size=32, **changes))
