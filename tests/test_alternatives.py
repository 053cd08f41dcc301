"""Alternatives of the reproduction: hand-counted parameters, and one training step each."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_colorizer import (
    ENCODER_CHANNELS,
    HEADS,
    PAPER,
    REGRESSION,
    TAP_NORMS,
    UNITS,
    count,
    final_convs,
)

from colorjax.models import build
from colorjax.models.task import Statistics
from colorjax.settings import complete, override
from colorjax.training import setup, steps
from colorjax.training.augment import Augmentation
from configs import reproduce

EXPERIMENTS = {name: dict(settings) for name, settings in reproduce.get_config().experiments}
JOINT = PAPER - HEADS + 64 * 449 + 449  # one head for the 449 joint bins that contain colours

# Parameters of the whole network at width 1, counted by hand.
PARAMETERS = {
    "regression": REGRESSION,
    "regression_huber": REGRESSION,
    "regression_hsv": REGRESSION,
    "merge_sum": PAPER - final_convs(512) + final_convs(64) + 64 * (256 + 128 + 64 + 64),
    "pools": PAPER - TAP_NORMS - UNITS + 2 * 960 - final_convs(512) + final_convs(960),
    "final_1": PAPER - final_convs(512) + 9 * 512 * 64 + 64,
    "final_2": PAPER - (9 * 64 * 64 + 64),
    "final_wide": PAPER
    - final_convs(512)
    + 9 * (512 * 256 + 256 * 128 + 128 * 64)
    + 256
    + 128
    + 64,
    "encoder_without_norm": PAPER - ENCODER_CHANNELS,
    "joint": JOINT,
    "zhang": JOINT,
}
LOGITS = {"joint": (1, 449), "zhang": (1, 449)}
RGB = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)


def config_of(name, **changes):
    return override(complete(reproduce.get_config()), {**EXPERIMENTS[name], **changes})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_alternative_has_its_hand_counted_parameters_and_output(name):
    model = build.build_model(config_of(name, **{"model.width": 1.0}))
    gray = jnp.zeros((2, 24, 16, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), gray)
    assert count(variables["params"]) == PARAMETERS.get(name, PAPER)
    outputs = jax.eval_shape(model.apply, variables, gray)
    channels = (2,) if name.startswith("regression") else LOGITS.get(name, (2, 50))
    assert outputs.shape == (2, 24, 16, *channels)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_alternative_takes_a_training_step(name):
    config = config_of(name, **{"model.width": 1 / 16})
    model, tx = build.build_model(config), setup.build_optimizer(config)
    plain = build.build_task(config, None)
    counts = plain.statistics(plain.prepare(RGB))["counts"].sum(axis=0)
    task = build.build_task(config, Statistics(counts, None))
    batch = {"rgb": RGB, "example": np.arange(4, dtype=np.int32)}
    step = partial(
        steps.train_step,
        axis_name=None,
        model=model,
        task=task,
        tx=tx,
        augmentation=Augmentation(16),
    )
    state = setup.init_state(config, model, tx)
    after, scalars = jax.jit(step)(state, batch)
    assert scalars["skipped"] == 0 and np.isfinite(scalars["loss"]) and scalars["grad_norm"] > 0
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, after.params)
    unchanged = [
        jax.tree_util.keystr(p)
        for p, d in jax.tree_util.tree_leaves_with_path(change)
        if d == 0 and "kernel" in jax.tree_util.keystr(p)
    ]
    assert not unchanged


def test_rebalancing_and_soft_targets_change_the_loss_of_the_same_network():
    losses = {}
    for name in ("classification", "channels_soft", "channels_rebalanced"):
        config = config_of(name)
        plain = build.build_task(config, None)
        example = plain.prepare(RGB)
        counts = np.ones((2, 50))
        counts[:, 20:30] = 1000
        task = build.build_task(config, Statistics(counts, None))
        logits = jnp.asarray(np.random.default_rng(1).normal(size=(4, 20, 20, 2, 50)), jnp.float32)
        losses[name] = float(task.loss(logits, example).mean())
    assert len({round(loss, 3) for loss in losses.values()}) == 3
