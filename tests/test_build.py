from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from colorjax.errors import UserError
from colorjax.models import build
from colorjax.settings import complete
from colorjax.training import setup
from configs import classify, huber, regress


def settings_of(**changes):
    config = classify.get_config()
    for name, value in changes.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    return complete(config)


def updates(tx):
    """Ten updates for the gradients 1, 2, ..., 10 of one parameter."""
    params = {"w": jnp.array([1.0])}
    state, steps = tx.init(params), []
    for i in range(10):
        update, state = tx.update({"w": jnp.array([i + 1.0])}, state, params)
        steps.append(float(update["w"][0]))
    return steps


@pytest.mark.parametrize(
    "changes, tx",
    [
        ({}, optax.adam(1e-3, 0.9, 0.999)),
        ({"optimizer__b2": 0.99}, optax.adam(1e-3, 0.9, 0.99)),
        ({"optimizer__weight_decay": 0.1}, optax.adamw(1e-3, weight_decay=0.1)),
        ({"optimizer__name": "nesterov"}, optax.sgd(1e-3, 0.9, nesterov=True)),
        (
            {"optimizer__clip_norm": 0.5},
            optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3)),
        ),
    ],
)
def test_each_update_rule_is_that_of_optax(changes, tx):
    ours = setup.build_optimizer(settings_of(**changes))
    assert_allclose(updates(ours), updates(tx), rtol=1e-6)


def test_weights_without_gradient_do_not_decay():
    layers = ("stem", "block2_project", "block3_expand", "block3_depthwise")
    params = {
        "encoder": {layer: {"kernel": jnp.ones(2)} for layer in layers},
        "unit1": {"kernel": jnp.ones(2)},
    }
    tx = setup.build_optimizer(
        settings_of(
            model__encoder="efficientnet-lite0",
            model__train_depthwise=False,
            model__frozen_stages=2,
            optimizer__weight_decay=0.1,
            batch_size=8,
        )
    )
    zeros = jax.tree.map(jnp.zeros_like, params)
    update, _ = tx.update(zeros, tx.init(params), params)
    parts = {**update["encoder"], "unit1": update["unit1"]}
    moved = {layer: float(jnp.abs(part["kernel"]).max()) > 0 for layer, part in parts.items()}
    assert moved == {
        "stem": False,
        "block2_project": False,
        "block3_expand": True,
        "block3_depthwise": False,
        "unit1": True,
    }


def test_the_encoder_has_its_own_share_of_the_learning_rate():
    params = {name: {"kernel": jnp.ones(3)} for name in ("encoder", "unit1")}
    gradient = {"encoder": {"kernel": jnp.array([1.0, -2.0, 3.0])}, "unit1": params["unit1"]}
    plain, ours = (
        setup.build_optimizer(settings_of(optimizer__encoder_rate=rate)) for rate in (1.0, 0.2)
    )
    whole, _ = plain.update(gradient, plain.init(params), params)
    share, _ = ours.update(gradient, ours.init(params), params)
    assert_allclose(share["encoder"]["kernel"], 0.2 * whole["encoder"]["kernel"], rtol=1e-6)
    assert_allclose(share["unit1"]["kernel"], whole["unit1"]["kernel"], rtol=0)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    schedule = setup.build_schedule(
        settings_of(num_steps=30, optimizer__warmup_steps=10, optimizer__schedule="cosine")
    )
    rates = [float(schedule(step)) for step in (0, 5, 10, 20, 30)]
    assert_allclose(rates, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-9)


def test_the_learning_rate_is_constant_by_default():
    schedule = setup.build_schedule(settings_of())
    assert_allclose([schedule(step) for step in (0, 10, 10_000)], 1e-3)


def test_the_paper_variant_has_the_papers_settings():
    paper = classify.get_config("paper")
    assert (paper.data.crop_size, paper.batch_size, paper.bins.num_bins) == (224, 6, 50)
    assert (paper.bins.low, paper.bins.high) == (-100, 100)
    settings = paper.optimizer
    assert (settings.name, settings.learning_rate, settings.b1, settings.b2) == (
        "adam",
        3e-4,
        0.9,
        0.999,
    )


def loss_of(settings, residual):
    """The objective's loss if U and V are both wrong by `residual`, in units of 100."""
    rgb = jnp.full((1, 8, 8, 3), 128, jnp.uint8)
    objective = build.build_task(settings, None)
    return float(objective.loss(jnp.full((1, 8, 8, 2), residual), objective.prepare(rgb))[0])


@pytest.mark.parametrize("variant", ["sample", "paper"])
def test_regression_uses_the_huber_loss_or_l2_if_set(variant):
    config = regress.get_config(variant)
    assert config.objective == "regression"
    assert config.regression == huber.get_config(variant).regression
    m = config.regression.huber_m
    assert_allclose(loss_of(complete(config), 0.5), 2 * m * (2 * 0.5 - m), rtol=1e-5)
    config.regression.loss = "l2"  # as runs of older versions have it
    assert_allclose(loss_of(complete(config), 0.5), 2 * 0.5**2, rtol=1e-5)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"model__merge": "mean"}, "model.merge is 'mean', want one of 'concat', 'sum'"),
        ({"model__upscaling": "cubic"}, "model.upscaling is 'cubic'"),
        ({"model__dtype": "float16"}, "model.dtype is 'float16'"),
        ({"model__decoder_features": (1, 2)}, r"model.decoder_features is \(1, 2\), want 4"),
    ],
)
def test_an_unknown_structure_is_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build.build_model(settings_of(**changes))


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"data__crop_size": 60}, "data.crop_size is 60, want a multiple of 8"),
        ({"data__load_size": 60}, "data.load_size is 60, want at least 64"),
        ({"data__crop_size": 8}, "data.crop_size is 8, want a multiple of 8 of at least 16"),
        ({"data__max_images": -1}, "data.max_images is -1, want at least 0"),
        ({"num_steps": 0}, "num_steps is 0, want at least 1"),
        ({"batch_size": 6}, "batch_size is 6, want a positive multiple of the 4 devices"),
    ],
)
def test_invalid_sizes_and_counts_are_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        setup.check_training(settings_of(**{"batch_size": 8, **changes}))


@pytest.mark.parametrize("changes", [{"bins__low": 100.0}, {"bins__num_bins": 0}])
def test_impossible_bins_are_refused(changes):
    with pytest.raises(UserError, match="bins are"):
        build.build_task(settings_of(**changes), None)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"objective": "guess"}, "objective is 'guess', want one of 'classification', 'regr"),
        ({"bins__value": "median"}, "bins.value is 'median'"),
        ({"bins__layout": "cube"}, "bins.layout is 'cube', want one of 'channels', 'joint'"),
        ({"bins__layout": "joint", "bins__joint_width": 0.1}, "bins.joint_width is 0.1, want at"),
        ({"bins__softness": -1.0}, "bins.softness is -1.0, want at least 0"),
        ({"decoding__method": "mode"}, "decoding.method is 'mode', want one of 'argmax', 'mean'"),
        ({"decoding__temperature": 0.0}, "decoding.temperature is 0.0, want at least 0.001"),
        ({"objective": "regression", "regression__loss": "l3"}, "regression.loss is 'l3'"),
    ],
)
def test_an_unknown_objective_is_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build.build_task(settings_of(**changes), None)


def test_a_uniform_share_above_1_is_refused():
    with pytest.raises(UserError, match="rebalance.uniform is 1.5, want a share from 0 to 1"):
        settings_of(rebalance__enabled=True, rebalance__uniform=1.5)


def random_weights():
    from colorjax.models.vgg16 import layer_shapes

    rng = np.random.default_rng(0)
    return {
        name: {
            "kernel": rng.normal(size=shape, scale=0.05).astype(np.float32),
            "bias": rng.normal(size=shape[-1:]).astype(np.float32),
        }
        for name, shape in layer_shapes().items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [True, False])
def test_at_step_0_the_colorizers_encoder_equals_vgg16(tmp_path, batch_norm):
    from colorjax.models.vgg16 import VGG16, from_pretrained
    from colorjax.weights import store
    from colorjax.weights.published import vgg16 as vgg16_weights

    weights = random_weights()
    store.save(vgg16_weights.PUBLISHED, weights, tmp_path / "vgg16.safetensors")
    settings = settings_of(
        model__encoder_weights=str(tmp_path / "vgg16.safetensors"),
        model__encoder_batch_norm=batch_norm,
    )
    gray = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (2, 16, 16, 1)), jnp.float32)
    model, tx = build.build_model(settings), setup.build_optimizer(settings)
    state, record = setup.load_encoder(settings.model, setup.init_state(settings, model, tx), gray)
    assert "sha256" in record
    variables = {"params": state.params["encoder"]}
    if batch_norm:
        variables["batch_stats"] = state.batch_stats["encoder"]
    taps = VGG16(batch_norm=batch_norm).apply(variables, gray, False)
    params, _ = from_pretrained(weights, batch_norm=False)
    expected = VGG16(batch_norm=False).apply({"params": params}, gray, False)
    for name in expected:
        assert_allclose(taps[name], expected[name], rtol=1e-3, atol=1e-4 * expected[name].max())


def test_without_calibration_the_encoder_gets_the_weights_unchanged(tmp_path):
    from colorjax.weights import store
    from colorjax.weights.published import vgg16 as vgg16_weights

    weights = random_weights()
    store.save(vgg16_weights.PUBLISHED, weights, tmp_path / "vgg16.safetensors")
    settings = settings_of(
        model__encoder_weights=str(tmp_path / "vgg16.safetensors"),
        model__calibrate_batch_norm=False,
    )
    model, tx = build.build_model(settings), setup.build_optimizer(settings)
    fresh = setup.init_state(settings, model, tx)
    state, _ = setup.load_encoder(settings.model, fresh, None)  # no pictures to calibrate on
    params, batch_stats = state.params["encoder"], state.batch_stats["encoder"]
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert_allclose(params["block4_conv3"]["kernel"], weights["block4_conv3"]["kernel"], rtol=0)
    jax.tree.map(partial(assert_allclose, rtol=0), batch_stats, fresh.batch_stats["encoder"])


def test_pretrained_weights_are_refused_for_another_width():
    settings = settings_of(model__width=0.5, model__encoder_weights="imagenet")
    with pytest.raises(UserError, match="model.width is 0.5 .* fit width 1.0 only"):
        setup.load_encoder(settings.model, None, None)


def test_hsv_is_refused_if_outputs_are_smaller_than_the_picture():
    changes = {"space": "hsv", "model__encoder": "squeezenet"}
    with pytest.raises(UserError, match="space is 'hsv' with model.encoder 'squeezenet'"):
        build.build_model(settings_of(**changes))


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"ema": 1.5}, "ema is 1.5, want a share from 0 to 1"),
        ({"ageing": -1.0}, "ageing is -1.0, want a share from 0 to 1"),
        ({"frames": 2.0}, "frames is 2.0, want a share from 0 to 1"),
        ({"num_seconds": -1.0}, "num_seconds is -1.0, want at least 0"),
        ({"decoding__vibrance": -1.0}, "decoding.vibrance is -1.0, want at least 0"),
        (
            {"decoding__vibrance": 5.0, "space": "hsv"},
            "decoding.vibrance is 5.0 with space 'hsv', whose chroma is not a plane around gray",
        ),
        ({"data__scale_jitter": 1.0}, "data.scale_jitter is 1.0, want a share below 1"),
        ({"data__weights": (("a", 0),)}, r"data.weights has \('a', 0\), want pairs of a folder's"),
        ({"data__weights": ("a", 0.5)}, "data.weights has 'a', want pairs of a folder's name"),
        ({"model__encoder": "resnet"}, "model.encoder is 'resnet', want one of 'vgg16', 'squ"),
        (
            {"model__encoder": "squeezenet", "data__crop_size": 24},
            "data.crop_size is 24, want a multiple of 16",
        ),
    ],
)
def test_invalid_settings_of_the_release_are_refused_by_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        setup.check_training(settings_of(batch_size=8, **changes))


@pytest.mark.slow
def test_the_weight_average_starts_from_the_pretrained_encoder(tmp_path):
    from test_squeezenet import random_keras_weights

    from colorjax.weights import store
    from colorjax.weights.published import squeezenet as squeezenet_weights

    weights = {
        name: {"kernel": kernel, "bias": bias}
        for name, (kernel, bias) in random_keras_weights().items()
    }
    path = tmp_path / "squeezenet.safetensors"
    store.save(squeezenet_weights.PUBLISHED, weights, path)
    settings = settings_of(
        model__encoder="squeezenet",
        model__encoder_weights=str(path),
        ema=0.9,
        model__final_features=(8,),
    )
    model, tx = build.build_model(settings), setup.build_optimizer(settings)
    state, record = setup.load_encoder(settings.model, setup.init_state(settings, model, tx), None)
    assert "not the published arrays" in record
    for tree in (state.params, state.average["params"]):
        for name, parts in weights.items():
            assert_allclose(tree["encoder"][name]["kernel"], parts["kernel"], rtol=0)
