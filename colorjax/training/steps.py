"""Steps of training, evaluation and prediction: pure functions of (state, batch).

`axis_name` is the name of the mapped device axis, or None if one device holds the whole batch.
Every step starts from uint8 RGB, so that the whole step is one compiled program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from colorjax.models.build import predict
from colorjax.models.task import Example, Task, enlarge
from colorjax.settings import Decoding
from colorjax.training.augment import Augmentation, augment_batch

Batch = dict[str, jax.Array]  # inside a compiled step
HostBatch = dict[str, np.ndarray]
Pictures = TypeVar("Pictures", jax.Array, np.ndarray)


class TrainState(NamedTuple):
    """Everything that training changes."""

    step: jax.Array  # int32, number of steps done
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: Any = ()  # moving average of the variables; () if the run keeps none


def variables(state: TrainState) -> dict[str, Any]:
    """Returns the variables for evaluation and use: the moving average, if the run keeps one."""
    return state.average or {"params": state.params, "batch_stats": state.batch_stats}


def start_average(state: TrainState) -> TrainState:
    """Returns the state with a moving average that starts from its variables."""
    return state._replace(average=variables(state._replace(average=())))


def update_average(average: Any, current: Any, step: jax.Array, decay: float) -> Any:
    """Returns the exponential moving average of the variables after `step` steps.

    `step` counts the current step too. The effective decay is (1 + step) / (10 + step) until that
    reaches `decay`. The random initial values are thus forgotten quickly, and early averages span
    about the last ninth of the steps.
    """
    weight = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda mean, new: weight * mean + (1 - weight) * new, average, current)


def center_crop(rgb_u8: Pictures, crop_size: int) -> Pictures:
    """Crops the centre of each image: [b, s, s, 3] -> [b, crop, crop, 3]."""
    margin = (rgb_u8.shape[-2] - crop_size) // 2
    return rgb_u8[:, margin : margin + crop_size, margin : margin + crop_size]


def train_step(
    state: TrainState,
    batch: Batch,
    axis_name: str | None,
    *,
    model: nn.Module,
    task: Task,
    tx: optax.GradientTransformation,
    augmentation: Augmentation,
    average_decay: float = 0.0,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Makes one update on `batch` {"rgb": uint8 [b, s, s, 3], "example": int32 [b]}.

    If `batch` also has "rate", float32 [b] with equal values, the update is multiplied by that
    value. If the state has a moving average, `average_decay` is its decay. Gradients and batch
    statistics are averaged over `axis_name`.

    Returns the new state and scalars: `loss` (averaged over the whole batch), `grad_norm`, and
    `skipped`, which is 1 if the step was not finite; then only the step count has changed.
    """
    model = model.clone(axis_name=axis_name)
    example, gray = augment_batch(batch["rgb"], batch["example"], augmentation, task.prepare)

    def loss_fn(params):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            gray,
            train=True,
            mutable=["batch_stats"],
        )
        return jnp.mean(task.loss(outputs, example)), updates["batch_stats"]

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    rate = batch["rate"][0] if "rate" in batch else None
    proposed = update_state(state, tx, grads, batch_stats, rate, average_decay)
    finite = jnp.isfinite(loss) & all_finite((grads, batch_stats))
    new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), proposed, state)
    new_state = new_state._replace(step=proposed.step)
    scalars = {"loss": loss, "grad_norm": optax.tree.norm(grads), "skipped": 1.0 - finite}
    return new_state, scalars


def update_state(
    state: TrainState,
    tx: optax.GradientTransformation,
    grads: Any,
    batch_stats: Any,
    rate: jax.Array | None,
    average_decay: float,
) -> TrainState:
    """Returns the state after one step; `rate`, if given, multiplies the update made by `tx`."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    if rate is not None:
        updates = jax.tree.map(lambda x: rate * x, updates)
    params = optax.apply_updates(state.params, updates)
    new = TrainState(state.step + 1, params, batch_stats, opt_state)
    if not state.average:
        return new
    average = update_average(state.average, variables(new), new.step, average_decay)
    return new._replace(average=average)


def resident_step(
    state: TrainState, batch: Batch, axis_name: str | None, *, constant: jax.Array, **options: Any
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Runs `train_step` on photographs in device memory: `constant` is uint8 [n, s, s, 3].

    `batch` is {"index": int32 [b], "example": int32 [b]}; "index" selects from `constant`. The
    `options` are the keyword arguments of `train_step`.
    """
    batch = {**batch, "rgb": constant[batch["index"]]}
    return train_step(state, batch, axis_name, **options)


def all_finite(tree: Any) -> jax.Array:
    """Returns a boolean scalar: whether every number in `tree` is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def eval_step(
    variables: Any,
    batch: Batch,
    axis_name: str | None,
    *,
    measure: Callable[[Any, Example], dict[str, jax.Array]],
    task: Task,
    crop_size: int,
) -> dict[str, jax.Array]:
    """Sums metrics over the real images of a padded batch, and returns their `count` too.

    `batch` is {"rgb": uint8 [b, s, s, 3], "mask": float32 [b]}; the mask is 1 for real images and
    0 for padding. `measure(variables, example)` returns the metrics to sum, {name: [b, ...]}.
    """
    example = task.prepare(center_crop(batch["rgb"], crop_size))
    real = batch["mask"] > 0

    def total(x):
        # The metric of a padding image may be NaN, and NaN times a mask of 0 would still be NaN.
        return jnp.sum(jnp.where(real.reshape(-1, *[1] * (x.ndim - 1)), x, 0), axis=0)

    sums = {name: total(x) for name, x in measure(variables, example).items()}
    sums["count"] = jnp.sum(batch["mask"])
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)


def predict_step(
    variables: Any,
    batch: Batch,
    axis_name: None,
    *,
    model: nn.Module,
    task: Task,
    decoding: Decoding,
) -> dict[str, jax.Array]:
    """Returns a figure's images for {"rgb": uint8 [b, h, w, 3]}: `gray`, `prediction`, `truth`.

    Each is sRGB, float [b, h, w, 3] in [0, 1]. Runs on one device, since figures are small.
    """
    example = task.prepare(batch["rgb"])
    outputs = predict(model, variables, example.gray)
    chroma = enlarge(task.decode(outputs, decoding), example.gray.shape[-2])
    return {
        # Not computed from chroma 0, which is gray only in some colour spaces.
        "gray": jnp.repeat(example.gray / 255.0, 3, axis=-1),
        "prediction": task.to_rgb(example.lightness, chroma),
        "truth": task.to_rgb(example.lightness, example.chroma),
    }
