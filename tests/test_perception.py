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
def added(params):
    """(Outputs of regression, weights) -> the perceptual loss that is added for `RGB`: [2]."""
    plain = task.regression()
    example = plain.prepare(RGB)

    @jax.jit
    def added(outputs, classes=1.0, maps=1.0):
        weights = Perception(classes=classes, maps=maps)
        perceptual = perception.add_perceptual_loss(plain, params, ARGMAX, weights)
        return perceptual.loss(outputs, example) - plain.loss(outputs, example)

    return added


def test_the_divergence_is_that_of_scipy():
    said, true = RNG.normal(0, 3, (2, 4, 10)).astype(np.float32)
    want = rel_entr(softmax(np.float64(true), -1), softmax(np.float64(said), -1)).sum(-1)
    assert_allclose(losses.kl_divergence(said, true), want, rtol=1e-5)


def test_the_distance_of_maps_is_0_for_one_direction_2_for_a_right_angle_and_4_for_opposites():
    true = np.zeros((1, 1, 1, 3), np.float32) + (2.0, 0.0, 0.0)
    for seen, want in (((5, 0, 0), 0), ((0, 3, 0), 2), ((-1, 0, 0), 4), ((0, 0, 0), 1)):
        got = perception.map_distance(np.zeros_like(true) + np.float32(seen), true)
        assert_allclose(got, [want], atol=1e-5)


def test_maps_of_nothing_have_a_finite_gradient():
    zeros, ones = jnp.zeros((1, 2, 2, 3)), jnp.ones((1, 2, 2, 3))
    gradient = jax.grad(lambda x: perception.map_distance(x, ones)[0])(zeros)
    assert np.isfinite(gradient).all()


def test_the_true_colours_add_nothing_and_gray_does(added):
    truth = task.regression().prepare(RGB).chroma / task.CHROMA_SCALE
    assert_allclose(added(truth), 0, atol=1e-4)
    assert (added(jnp.zeros_like(truth)) > 0.01).all()


def test_each_share_multiplies_its_own_part(added):
    gray = jnp.zeros((2, 32, 32, 2))
    classes, maps, both = (added(gray, c, m) for c, m in ((1.0, 0.0), (0.0, 1.0), (3.0, 5.0)))
    assert_allclose(both, 3 * classes + 5 * maps, rtol=1e-3)


def test_a_step_along_its_gradient_lessens_it(added):
    gray = jnp.zeros((2, 32, 32, 2))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(added(x))))(gray)
    step = 1e-2 * gradient / jnp.max(jnp.abs(gradient))
    assert (added(gray - step) < added(gray)).all()


def test_scores_smaller_than_the_picture_have_a_finite_gradient(params):
    scores = task.classification()
    options = Decoding(method="annealed")
    perceptual = perception.add_perceptual_loss(scores, params, options, BOTH)
    example = scores.prepare(RGB)
    logits = jnp.zeros((2, 8, 8, 2, 50))
    total = lambda x: perceptual.loss(x, example).sum()  # noqa: E731
    loss, gradient = jax.jit(jax.value_and_grad(total))(logits)
    assert loss > scores.loss(logits, example).sum()
    assert np.isfinite(gradient).all()


def test_the_loss_of_the_hold_out_stays_as_it_is(params):
    plain = task.classification()
    perceptual = perception.add_perceptual_loss(plain, params, Decoding(method="mean"), BOTH)
    example = plain.prepare(RGB)
    logits = RNG.normal(0, 1, (2, 32, 32, 2, 50)).astype(np.float32)
    measured = perceptual.measure(logits, example, ARGMAX)
    assert_allclose(measured["loss"], plain.loss(logits, example), rtol=1e-6)


def test_without_a_share_the_objective_is_as_it_was():
    plain = task.classification()
    assert setup.load_classifier(complete(tiny_config())) is None
    assert setup.with_perception(complete(tiny_config()), plain, None) is plain


def test_all_three_maps_count(params, added):
    classify, truth = perception.classifier(params), task.regression().prepare(RGB)
    to_rgb = task.regression().to_rgb
    gray, true = (classify(to_rgb(truth.lightness, share * truth.chroma)) for share in (0, 1))
    parts = [perception.map_distance(gray[name], true[name]) for name in perception.MAPS]
    assert_allclose(added(jnp.zeros((2, 32, 32, 2)), 0.0, 1.0), sum(parts), rtol=1e-3)
    assert len(parts) == 3 and all((part > 1e-3 * sum(parts)).all() for part in parts)


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
def test_a_run_trains_with_it(params, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.efficientnet_weights, "classifier_params", lambda: params)
    shares = {"perception__classes": 1e6, "perception__maps": 0.0}
    config = tiny_config(decoding__method="annealed", num_steps=1, **shares, **LIGHT)
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
def test_what_it_cannot_be_used_with_is_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        setup.check_training(tiny_config(data__load_size=32, **changes))
