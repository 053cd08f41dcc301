"""From settings to the optimizer and the state that training begins with."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging

from colorjax.errors import UserError
from colorjax.models import colorizer, efficientnet
from colorjax.models.build import check_network, init_variables
from colorjax.models.perception import perceptual_loss
from colorjax.models.task import Task
from colorjax.settings import Model, Perception, Settings
from colorjax.training import parallel, steps
from colorjax.training.steps import TrainState, start_average
from colorjax.weights.published import efficientnet as efficientnet_weights
from colorjax.weights.published import pretrained
from colorjax.weights.published import squeezenet as squeezenet_weights
from colorjax.weights.published import vgg16 as vgg16_weights
from colorjax.weights.released import RELEASED, check_shapes, load_network
from colorjax.weights.store import flat

PUBLISHED = {
    "vgg16": vgg16_weights.PUBLISHED,
    "squeezenet": squeezenet_weights.PUBLISHED,
    "efficientnet-lite0": efficientnet_weights.PUBLISHED,
}
LEAST_CROP = 16  # SSIM has a window of 11


def check_training(settings: Settings) -> None:
    """Raises UserError for sizes that do not fit the encoder, or a batch that does not the devices.

    All else that can be wrong with settings is found where they are made.
    """
    check_network(settings)
    data, stride = settings.data, colorizer.stride(settings.model.encoder)
    if data.crop_size % stride or data.crop_size < LEAST_CROP:
        raise UserError(
            f"data.crop_size is {data.crop_size}, want a multiple of {stride} "
            f"of at least {LEAST_CROP}"
        )
    if data.load_size < data.crop_size:
        raise UserError(f"data.load_size is {data.load_size}, want at least {data.crop_size}")
    if settings.perception != Perception() and data.crop_size % efficientnet.STRIDE:
        raise UserError(
            f"data.crop_size is {data.crop_size} with perception, "
            f"want a multiple of {efficientnet.STRIDE}"
        )
    parallel.check_batch_size("batch_size", settings.batch_size)


def load_classifier(settings: Settings) -> dict[str, Any] | None:
    """The params that `with_perception` wants, None without any perception.

    Raises UserError if the classifier's weights are not cached and cannot be fetched.
    """
    if settings.perception == Perception():
        return None
    return efficientnet_weights.classifier_params()


def with_perception(settings: Settings, task: Task, params: dict[str, Any] | None) -> Task:
    """The objective with what `settings.perception` adds to its loss, if anything.

    `params` are those of `load_classifier`.
    """
    if params is None:
        return task
    dtype = jnp.dtype(settings.model.dtype)
    return perceptual_loss(task, params, settings.decoding, settings.perception, dtype)


def build_schedule(settings: Settings) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant or cosine down to zero.

    A step is a batch, as everywhere in the settings. Under `num_seconds` the cosine is of the time,
    and not in here: see `meter.Clock`.
    """
    optimizer = settings.optimizer
    steps = max(settings.num_steps - optimizer.warmup_steps, 1)
    schedule = (
        optax.cosine_decay_schedule(optimizer.learning_rate, steps)
        if optimizer.schedule == "cosine" and not settings.num_seconds
        else optax.constant_schedule(optimizer.learning_rate)
    )
    if not optimizer.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, optimizer.learning_rate, optimizer.warmup_steps)
    return optax.join_schedules([warmup, schedule], [optimizer.warmup_steps])


def build_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Adam, or Nesterov's momentum, which is tried too (the paper, section 5.2).

    The gradient is clipped by its global norm, and weights decay as in AdamW, where not 0. With
    `optimizer.encoder_rate` the encoder learns at that share of the rate. With `accumulate`, the
    gradients of so many batches are averaged and make one update, as those of one large batch do;
    only batch norm sees one batch at a time.
    """
    optimizer, model = settings.optimizer, settings.model
    parts = [optax.clip_by_global_norm(optimizer.clip_norm)] if optimizer.clip_norm else []
    if optimizer.name == "adam":
        parts.append(optax.scale_by_adam(optimizer.b1, optimizer.b2))
    else:
        parts.append(optax.trace(optimizer.momentum, nesterov=True))
    if optimizer.weight_decay:
        # Parameters without gradient would fade away.
        mask = partial(_trained, model) if colorizer.ENCODERS[model.encoder].is_frozen else None
        parts.append(optax.add_decayed_weights(optimizer.weight_decay, mask))
    if optimizer.encoder_rate != 1.0:
        parts.append(optax.masked(optax.scale(optimizer.encoder_rate), _is_encoder))
    schedule, every = build_schedule(settings), settings.accumulate
    parts.append(optax.scale_by_learning_rate(lambda update: schedule(update * every)))
    if every == 1:
        return optax.chain(*parts)
    return optax.MultiSteps(optax.chain(*parts), every).gradient_transformation()


def _is_encoder(params: Any) -> Any:
    return {part: jax.tree.map(lambda _, p=part: p == "encoder", params[part]) for part in params}


def _trained(model: Model, params: Any) -> Any:
    """For every parameter of a network, whether it has a gradient."""
    is_frozen = colorizer.ENCODERS[model.encoder].is_frozen
    frozen = [
        layer
        for layer in params["encoder"]
        if is_frozen is not None and is_frozen(layer, model.train_depthwise, model.frozen_stages)
    ]
    trained = jax.tree.map(lambda _: True, params)
    encoder = {
        layer: jax.tree.map(lambda _, kept=layer not in frozen: kept, part)
        for layer, part in params["encoder"].items()
    }
    return {**trained, "encoder": encoder}


def init_state(
    settings: Settings, model: colorizer.Colorizer, tx: optax.GradientTransformation
) -> TrainState:
    """A fresh state, the same on every process: all weights random, by the seed."""
    # Optimizing this program, which runs once, would take 25 s on a CPU instead of 3.
    quickly = {"xla_backend_optimization_level": 1}
    return jax.jit(lambda: _init_state(settings, model, tx), compiler_options=quickly)()


def state_shapes(
    settings: Settings, model: colorizer.Colorizer, tx: optax.GradientTransformation
) -> TrainState:
    """What `init_state` gives, as shapes and dtypes alone."""
    return jax.eval_shape(lambda: _init_state(settings, model, tx))


def _init_state(settings: Settings, model, tx) -> TrainState:
    variables = init_variables(model, settings.seed)
    params = variables["params"]
    state = TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params))
    return start_average(state) if settings.ema else state


def load_encoder(
    settings: Model, state: TrainState, calibration_gray: jax.Array
) -> tuple[TrainState, str]:
    """Puts the weights that `encoder_weights` names into a fresh state's encoder.

    `calibration_gray` [b, h, w, 1] in [0, 255]: what VGG16's batch norm is set on where
    `calibrate_batch_norm` says so. An average that the state keeps starts from them too. Returns
    the state and a line for the record.
    """
    if settings.width != 1.0 and settings.encoder_weights not in ("auto", "none"):
        raise UserError(
            f"model.width is {settings.width} with model.encoder_weights "
            f"{settings.encoder_weights!r}, but pretrained weights fit width 1.0 only"
        )
    if settings.width != 1.0 and settings.encoder_weights == "auto":
        logging.warning("the encoder starts from random weights: model.width is not 1.0")
        return state, f"random (width {settings.width})"
    weights, record = pretrained.resolve(PUBLISHED[settings.encoder], settings.encoder_weights)
    if weights is None:
        return state, record
    encoder = colorizer.ENCODERS[settings.encoder]
    params, batch_stats = encoder.from_pretrained(weights, settings, calibration_gray)
    state = state._replace(params={**state.params, "encoder": params})
    if batch_stats:
        state = state._replace(batch_stats={**state.batch_stats, "encoder": batch_stats})
    return start_average(state) if state.average else state, record


def start_from(place: str, state: TrainState) -> tuple[TrainState, str]:
    """A fresh state with the variables of another model, and a line for the record.

    `place` is a released file, the folder of a run, or `release`: the model that colorjax comes
    with. Raises UserError, besides those of `load_network`, if it is another network.
    """
    path = RELEASED if place == "release" else Path(place)
    variables = load_network(path).variables
    wanted = flat(steps.variables(state._replace(average=())))
    check_shapes(
        path,
        {name: x.shape for name, x in flat(variables).items()},
        {name: x.shape for name, x in wanted.items()},
    )
    state = state._replace(**variables)
    if path.is_dir():
        line = str(path)
    else:
        line = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
    return start_average(state) if state.average else state, line
