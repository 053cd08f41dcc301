"""Checks the settings of training, and builds the optimizer and the initial state from them."""

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
from colorjax.models.perception import add_perceptual_loss
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
MIN_CROP = 16  # pixels; the window of SSIM has 11


def check_training(settings: Settings) -> None:
    """Raises UserError unless image sizes fit the encoder and the batch size fits the devices.

    All other faults of settings are found when the settings are made (`settings.complete`).
    """
    check_network(settings)
    data, stride = settings.data, colorizer.stride(settings.model.encoder)
    if data.crop_size % stride or data.crop_size < MIN_CROP:
        raise UserError(
            f"data.crop_size is {data.crop_size}, want a multiple of {stride} "
            f"of at least {MIN_CROP}"
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
    """Returns the params for `with_perception`, or None without a perceptual loss.

    Raises UserError if the classifier's weights are not cached and cannot be fetched.
    """
    if settings.perception == Perception():
        return None
    return efficientnet_weights.classifier_params()


def with_perception(settings: Settings, task: Task, params: dict[str, Any] | None) -> Task:
    """Returns the task with the perceptual loss that `settings.perception` asks for, if any.

    `params` is the result of `load_classifier`.
    """
    if params is None:
        return task
    dtype = jnp.dtype(settings.model.dtype)
    return add_perceptual_loss(task, params, settings.decoding, settings.perception, dtype)


def build_schedule(settings: Settings) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up, then constant or cosine decay to zero.

    A step is one batch, as everywhere in the settings. With `num_seconds`, the cosine follows the
    elapsed time and is applied by `meter.Clock` instead.
    """
    optimizer = settings.optimizer
    decay_steps = max(settings.num_steps - optimizer.warmup_steps, 1)
    schedule = (
        optax.cosine_decay_schedule(optimizer.learning_rate, decay_steps)
        if optimizer.schedule == "cosine" and not settings.num_seconds
        else optax.constant_schedule(optimizer.learning_rate)
    )
    if not optimizer.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, optimizer.learning_rate, optimizer.warmup_steps)
    return optax.join_schedules([warmup, schedule], [optimizer.warmup_steps])


def build_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Builds Adam, or Nesterov momentum, which was tried too (the paper, section 5.2).

    If not 0, `clip_norm` clips the gradient by its global norm, and `weight_decay` decays weights
    as in AdamW. The learning rate of the encoder is multiplied by `encoder_rate`. With
    `accumulate`, the gradients of that many batches are averaged into one update, as for one large
    batch; only batch norm still sees one batch at a time.
    """
    optimizer, model = settings.optimizer, settings.model
    parts = [optax.clip_by_global_norm(optimizer.clip_norm)] if optimizer.clip_norm else []
    if optimizer.name == "adam":
        parts.append(optax.scale_by_adam(optimizer.b1, optimizer.b2))
    else:
        parts.append(optax.trace(optimizer.momentum, nesterov=True))
    if optimizer.weight_decay:
        # Without the mask, frozen parameters would decay to zero.
        mask = partial(_trainable, model) if colorizer.ENCODERS[model.encoder].is_frozen else None
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


def _trainable(model: Model, params: Any) -> Any:
    """Returns a tree of booleans: whether each parameter of a network is trained."""
    is_frozen = colorizer.ENCODERS[model.encoder].is_frozen
    frozen = [
        layer
        for layer in params["encoder"]
        if is_frozen is not None and is_frozen(layer, model.train_depthwise, model.frozen_stages)
    ]
    trainable = jax.tree.map(lambda _: True, params)
    encoder = {
        layer: jax.tree.map(lambda _, is_trained=layer not in frozen: is_trained, part)
        for layer, part in params["encoder"].items()
    }
    return {**trainable, "encoder": encoder}


def init_state(
    settings: Settings, model: colorizer.ColorizationNet, tx: optax.GradientTransformation
) -> TrainState:
    """Returns a state with random weights from the seed, the same on every process."""
    # The program runs only once, and compiling it with full optimization would take 25 s instead of
    # 3 s on a CPU.
    options = {"xla_backend_optimization_level": 1}
    return jax.jit(lambda: _init_state(settings, model, tx), compiler_options=options)()


def state_shapes(
    settings: Settings, model: colorizer.ColorizationNet, tx: optax.GradientTransformation
) -> TrainState:
    """Returns the shapes and dtypes of the state that `init_state` makes."""
    return jax.eval_shape(lambda: _init_state(settings, model, tx))


def _init_state(settings: Settings, model, tx) -> TrainState:
    variables = init_variables(model, settings.seed)
    params = variables["params"]
    state = TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params))
    return start_average(state) if settings.ema else state


def load_encoder(
    settings: Model, state: TrainState, calibration_gray: jax.Array
) -> tuple[TrainState, str]:
    """Loads the pretrained weights `encoder_weights` into the encoder of a fresh state.

    `calibration_gray` [b, h, w, 1] in [0, 255] are the images on which VGG16's batch norm is
    calibrated if `calibrate_batch_norm` is set. If the state has a moving average, the average
    starts from the loaded weights too. Returns the state and a line for the run's record.
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


def start_from(model: str, state: TrainState) -> tuple[TrainState, str]:
    """Loads the variables of another model into a fresh state.

    `model` is a released file, the folder of a run, or `release` for the model bundled with
    colorjax. Returns the state and a line for the run's record. Raises UserError if the model's
    network differs from the state's, or if `load_network` cannot load it.
    """
    path = RELEASED if model == "release" else Path(model)
    variables = load_network(path).variables
    wanted = flat(steps.variables(state._replace(average=())))
    check_shapes(
        path,
        {name: x.shape for name, x in flat(variables).items()},
        {name: x.shape for name, x in wanted.items()},
    )
    state = state._replace(**variables)
    if path.is_dir():
        line = path.resolve().name  # without its folders, since exported files contain the line
    else:
        line = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
    return start_average(state) if state.average else state, line
