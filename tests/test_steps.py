from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.models.colorizer import ColorizationNet
from colorjax.models.task import classification, regression
from colorjax.ops.spaces import SPACES
from colorjax.settings import ARGMAX, complete, override
from colorjax.training import parallel, setup, steps
from colorjax.training.augment import Augmentation
from colorjax.weights.devices import place
from configs import classify

TASK = classification()
MODEL = ColorizationNet(width=1 / 8)


def make_batch(size=8, side=20, first=0):
    """Returns random images that depend only on the arguments, whatever the order of the tests."""
    rng = np.random.default_rng([size, side, first])
    rgb = rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    return {"rgb": rgb, "example": np.arange(first, first + size, dtype=np.int32)}


@cache
def fresh_variables():
    return jax.device_get(jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1))))


def fresh_state(tx):
    variables = jax.tree.map(np.copy, fresh_variables())
    params = variables["params"]
    state = steps.TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params))
    return jax.device_get(state)


def make_train_step(tx, devices, crop_size=16):
    step = partial(
        steps.train_step, model=MODEL, task=TASK, tx=tx, augmentation=Augmentation(crop_size)
    )
    return parallel.compile_step(step, donate=True, devices=devices)


def test_one_device_and_four_agree_after_five_sgd_steps():
    tx = optax.sgd(0.1)  # Adam would hide gradients that are off by a factor
    batches = [make_batch(first=8 * i) for i in range(5)]
    ends = []
    for devices in (jax.devices()[:1], jax.devices()[:4]):
        train_step = make_train_step(tx, devices)
        state = place(fresh_state(tx), devices)
        for batch in batches:
            state, scalars = train_step(state, batch)
        ends.append(jax.device_get((state, scalars)))
    assert len(jax.devices()) == 4
    start = fresh_state(tx)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, ends[0][0].params)
    for path, distance in jax.tree_util.tree_leaves_with_path(moved):
        if "kernel" in jax.tree_util.keystr(path):  # otherwise agreement would prove nothing
            assert distance > 1e-4, jax.tree_util.keystr(path)
    jax.tree.map(partial(assert_allclose, rtol=1e-6, atol=1e-6), ends[0], ends[1])


ADAM = optax.adam(3e-3)


@pytest.fixture(scope="module")
def adam_step():
    return make_train_step(ADAM, jax.devices()[:1])


@pytest.mark.slow
def test_training_lowers_the_loss_of_a_batch(adam_step):
    state, batch = fresh_state(ADAM), make_batch()
    batch["rgb"][:] = (253, 127, 237)  # one colour, which is soon learnt
    losses = []
    for _ in range(10):
        state, scalars = adam_step(state, batch)
        losses.append(float(scalars["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    assert int(state.step) == 10


def test_a_step_that_is_not_finite_changes_only_the_step_count(adam_step):
    start = jax.tree.map(np.array, fresh_state(ADAM))
    start.params["unit2"]["kernel"][0, 0, 0, 0] = np.nan
    state, scalars = adam_step(jax.tree.map(jnp.array, start), make_batch())
    assert scalars["skipped"] == 1 and not np.isfinite(scalars["loss"])
    assert int(state.step) == 1
    jax.tree.map(assert_array_equal, state._replace(step=start.step), start)


def test_infinite_gradients_of_a_finite_loss_are_not_applied():
    assert steps.all_finite({"a": jnp.ones(3), "b": jnp.zeros(())})
    assert not steps.all_finite({"a": jnp.ones(3), "b": jnp.array(jnp.inf)})
    assert not steps.all_finite([jnp.array([1.0, jnp.nan])])


def test_padding_changes_no_measurement():
    measure = partial(
        steps.eval_step,
        measure=lambda v, example: {"mean": example.chroma.mean((1, 2, 3))},
        task=TASK,
        crop_size=16,
    )
    rgb = make_batch(size=6)["rgb"]
    whole = measure({}, {"rgb": rgb, "mask": np.ones(6, np.float32)}, None)
    padded_rgb = np.concatenate([rgb, make_batch(size=2)["rgb"]])
    padded = measure({}, {"rgb": padded_rgb, "mask": np.float32([1] * 6 + [0] * 2)}, None)
    assert padded["count"] == 6
    assert_allclose(padded["mean"], whole["mean"], rtol=1e-6)


def test_evaluation_has_the_same_sums_on_one_device_and_four():
    step = partial(
        steps.eval_step,
        measure=lambda v, example: TASK.statistics(example),
        task=TASK,
        crop_size=16,
    )
    batch = {"rgb": make_batch()["rgb"], "mask": np.float32([1] * 7 + [0])}
    one, four = (parallel.compile_step(step, devices=jax.devices()[:n])(0.0, batch) for n in (1, 4))
    assert one["count"] == four["count"] == 7
    assert_array_equal(one["counts"], four["counts"])
    assert_allclose(one["clipped"], four["clipped"], rtol=1e-6)


def test_prediction_keeps_the_photographs_lightness():
    from colorjax.ops import color

    variables = steps.variables(fresh_state(optax.sgd(0.1)))
    rgb = np.full((1, 16, 16, 3), 128, np.uint8)
    predict = parallel.compile_step(
        partial(steps.predict_step, model=MODEL, task=TASK, decoding=ARGMAX),
        devices=jax.devices()[:1],
    )
    pictures = predict(variables, {"rgb": rgb})
    assert {name: x.shape for name, x in pictures.items()} == dict.fromkeys(
        ("gray", "prediction", "truth"), (1, 16, 16, 3)
    )
    assert_allclose(pictures["truth"], 128 / 255, atol=1e-4)
    assert_allclose(
        color.rgb_to_luv(pictures["gray"])[..., 0], color.rgb_to_luv(rgb / 255.0)[..., 0], atol=1e-3
    )


@pytest.mark.parametrize("name", SPACES)
def test_the_gray_picture_of_a_prediction_is_gray_in_every_space(name):
    task = classification(space=SPACES[name])
    variables = steps.variables(fresh_state(optax.sgd(0.1)))
    predict = parallel.compile_step(
        partial(steps.predict_step, model=MODEL, task=task, decoding=ARGMAX),
        devices=jax.devices()[:1],
    )
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    assert_allclose(predict(variables, {"rgb": ramp})["gray"], ramp / 255.0, atol=1e-4)


@pytest.mark.parametrize("batch_size", [0, 6, -4])
def test_a_batch_size_not_divisible_by_the_devices_is_refused(batch_size):
    from colorjax.errors import UserError

    with pytest.raises(UserError, match=rf"batch_size is {batch_size}, .* of the 4 devices"):
        parallel.check_batch_size("batch_size", batch_size)


def test_the_average_follows_its_recurrence_and_adapts_quickly_at_first():
    values, decay = np.random.default_rng(0).normal(size=50), 0.9
    mean = jnp.float32(1e6)  # a start that must be forgotten
    want = 1e6
    for step, value in enumerate(values, start=1):
        mean = steps.update_average(mean, jnp.float32(value), jnp.int32(step), decay)
        d = min(decay, (1 + step) / (10 + step))
        want = d * want + (1 - d) * value
    assert_allclose(mean, want, rtol=1e-4, atol=1e-3)
    early = steps.update_average(jnp.float32(0.0), jnp.float32(1.0), jnp.int32(1), 0.999)
    assert early > 0.8


@pytest.mark.slow
def test_evaluation_uses_the_average_which_skipped_steps_leave_unchanged():
    tx = optax.sgd(0.1)
    step = partial(
        steps.train_step,
        model=MODEL,
        task=TASK,
        tx=tx,
        augmentation=Augmentation(16),
        average_decay=0.5,
    )
    train_step = parallel.compile_step(step, devices=jax.devices()[:1])
    start = jax.tree.map(np.array, steps.start_average(fresh_state(tx)))
    state, _ = train_step(start, make_batch())
    d = 2 / 11  # the decay of the warm-up, which is below 0.5
    want = jax.tree.map(
        lambda old, new: d * old + (1 - d) * new,
        start.average,
        {"params": state.params, "batch_stats": state.batch_stats},
    )
    jax.tree.map(partial(assert_allclose, rtol=1e-5, atol=1e-6), state.average, want)
    assert steps.variables(state) is state.average
    start.params["unit2"]["kernel"][0, 0, 0, 0] = np.nan
    state, scalars = train_step(start, make_batch())
    assert scalars["skipped"] == 1
    jax.tree.map(assert_array_equal, state.average, start.average)


def test_without_an_average_the_state_has_no_extra_arrays():
    state = fresh_state(optax.sgd(0.1))
    with_average = steps.start_average(state)
    plain = len(jax.tree.leaves(state))
    assert len(jax.tree.leaves(with_average)) == plain + len(jax.tree.leaves(with_average.average))
    assert steps.variables(state).keys() == {"params", "batch_stats"}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_photographs_on_the_device_give_the_same_step_as_a_batch(count):
    tx, batch = optax.adam(1e-3), make_batch()
    others = make_batch(first=8)["rgb"]
    stored = np.random.default_rng(0).permutation(np.concatenate([batch["rgb"], others]))
    index = [int(np.argmax((stored == one).all((1, 2, 3)))) for one in batch["rgb"]]
    places = {"index": np.int32(index), "example": batch["example"]}
    settings = {"model": MODEL, "task": TASK, "tx": tx, "augmentation": Augmentation(16)}
    devices = jax.devices()[:count]
    ordinary = make_train_step(tx, devices)(place(fresh_state(tx), devices), batch)
    resident = parallel.compile_step(
        partial(steps.resident_step, **settings),
        donate=True,
        devices=devices,
        constant=place(stored, devices),
    )(place(fresh_state(tx), devices), places)
    jax.tree.map(partial(assert_allclose, rtol=0, atol=1e-6), ordinary[1], resident[1])
    jax.tree.map(
        partial(assert_allclose, rtol=0, atol=1e-5), ordinary[0].params, resident[0].params
    )


@pytest.mark.slow
def test_a_rate_in_the_batch_scales_the_update():
    tx, batch = optax.sgd(0.1), make_batch()
    start = fresh_state(tx)
    train_step = make_train_step(tx, jax.devices()[:1])
    whole, _ = train_step(place(start, jax.devices()[:1]), batch)
    half, _ = train_step(
        place(start, jax.devices()[:1]), {**batch, "rate": np.full(8, 0.5, np.float32)}
    )
    jax.tree.map(
        lambda a, b, c: assert_allclose(b - a, 2 * (c - a), rtol=1e-3, atol=2e-7),
        start.params,
        whole.params,
        half.params,
    )


class Affine(nn.Module):
    """A network without batch norm, so that a batch has the same gradients as its parts."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, gray, train=False):
        self.variable("batch_stats", "unused", lambda: jnp.zeros(()))
        return nn.Conv(2, (1, 1))(gray / 255.0)


@pytest.mark.parametrize("clip_norm", [pytest.param(0.0, marks=pytest.mark.slow), 0.01])
def test_accumulated_batches_make_the_update_of_one_large_batch(clip_norm):
    model, objective = Affine(), regression()
    rgb = np.random.default_rng(5).integers(0, 256, (12, 8, 8, 3), np.uint8)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))

    def train(batch_size, accumulate):
        changes = {"accumulate": accumulate, "optimizer.clip_norm": clip_norm}
        tx = setup.build_optimizer(override(complete(classify.get_config()), changes))
        params = variables["params"]
        state = steps.TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params))
        for first in range(0, len(rgb), batch_size):
            places = np.arange(first, first + batch_size)
            batch = {"rgb": rgb[places], "example": places.astype(np.int32)}
            state, _ = steps.train_step(
                state, batch, None, model=model, task=objective, tx=tx, augmentation=Augmentation(8)
            )
        return state.params

    jax.tree.map(partial(assert_allclose, rtol=1e-4, atol=1e-7), train(2, 3), train(6, 1))


@pytest.mark.slow
def test_with_accumulation_the_schedule_counts_batches():
    changes = {
        "accumulate": 4,
        "num_steps": 40,
        "optimizer.schedule": "cosine",
        "optimizer.name": "nesterov",
        "optimizer.momentum": 0.0,
    }
    settings = override(complete(classify.get_config()), changes)
    tx, schedule = setup.build_optimizer(settings), setup.build_schedule(settings)
    params = {"w": jnp.ones(1)}
    state, updates = tx.init(params), []
    for _ in range(40):
        update, state = tx.update({"w": jnp.ones(1)}, state, params)
        updates.append(-float(update["w"][0]))
    assert [i for i, x in enumerate(updates) if x] == list(range(3, 40, 4))
    assert_allclose(updates[3::4], [schedule(step) for step in range(0, 40, 4)], rtol=1e-5)
