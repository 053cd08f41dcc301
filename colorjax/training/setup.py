"""From a config's fields to the optimizer and the state that training begins with."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from colorjax.errors import UserError, check_at_least, check_choice, check_share
from colorjax.models import colorizer, efficientnet, squeezenet, vgg16
from colorjax.models.build import encoder_name, init_variables
from colorjax.training import parallel, steps
from colorjax.training.steps import TrainState, start_average
from colorjax.weights import efficientnet as efficientnet_weights
from colorjax.weights import pretrained
from colorjax.weights import squeezenet as squeezenet_weights
from colorjax.weights import vgg16 as vgg16_weights
from colorjax.weights.released import RELEASED, check_shapes, load_network
from colorjax.weights.store import flat

SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "nesterov")
PUBLISHED = {
    "vgg16": vgg16_weights.PUBLISHED,
    "squeezenet": squeezenet_weights.PUBLISHED,
    "efficientnet-lite0": efficientnet_weights.PUBLISHED,
}
LEAST_CROP = 16  # SSIM has a window of 11


def check_config(config: ConfigDict) -> None:
    """Raises UserError for numbers that fit no data: sizes, steps, batch and intervals."""
    data, stride = config.data, colorizer.stride(encoder_name(config))
    if data.crop_size % stride or data.crop_size < LEAST_CROP:
        raise UserError(
            f"data.crop_size is {data.crop_size}, want a multiple of {stride} "
            f"of at least {LEAST_CROP}"
        )
    if data.load_size < data.crop_size:
        raise UserError(f"data.load_size is {data.load_size}, want at least {data.crop_size}")
    for name in ("num_steps", "log_every", "eval_every", "checkpoint_every", "max_skipped"):
        check_at_least(name, config[name], 1)
    check_at_least("seed", config.seed, 0)
    check_at_least("num_seconds", config.get("num_seconds", 0.0), 0)
    check_at_least("data.max_images", data.max_images, 0)
    check_at_least("data.statistics_images", data.statistics_images, 1)
    check_at_least("data.num_threads", data.num_threads, 1)
    check_at_least("model.width", config.model.width, 1 / 64)
    for name in ("ageing", "frames"):
        check_share(name, config.get(name, 0.0))
    if not 0 <= data.get("scale_jitter", 0.0) < 1:
        raise UserError(f"data.scale_jitter is {data.scale_jitter}, want a share below 1")
    check_weights(data.get("weights", ()))
    check_share("ema", config.get("ema", 0.0))
    parallel.check_batch_size("batch_size", config.batch_size)


def check_weights(weights: Sequence) -> None:
    """Raises UserError unless `data.weights` is pairs of a folder's name and a number above 0."""
    for pair in weights:
        good = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
        if not good or not isinstance(pair[1], int | float) or not 0 < pair[1] < float("inf"):
            raise UserError(
                f"data.weights has {pair!r}, want pairs of a folder's name and a number above 0, "
                "such as (('scenes', 0.5),)"
            )


def build_schedule(config: ConfigDict) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant or cosine down to zero.

    Under `num_seconds` the cosine is of the time, and not in here: see `meter.Clock`.
    """
    settings = config.optimizer
    check_choice("optimizer.schedule", settings.schedule, SCHEDULES)
    steps = max(config.num_steps - settings.warmup_steps, 1)
    schedule = (
        optax.cosine_decay_schedule(settings.learning_rate, steps)
        if settings.schedule == "cosine" and not config.get("num_seconds")
        else optax.constant_schedule(settings.learning_rate)
    )
    if not settings.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, settings.learning_rate, settings.warmup_steps)
    return optax.join_schedules([warmup, schedule], [settings.warmup_steps])


def build_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam, or Nesterov's momentum, which is tried too (the paper, section 5.2).

    The gradient is clipped by its global norm, and weights decay as in AdamW, where not 0. With
    `optimizer.encoder_rate` the encoder learns at that share of the rate.
    """
    settings = config.optimizer
    check_choice("optimizer.name", settings.name, OPTIMIZERS)
    parts = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    if settings.name == "adam":
        parts.append(optax.scale_by_adam(settings.b1, settings.b2))
    else:
        parts.append(optax.trace(settings.momentum, nesterov=True))
    if settings.weight_decay:
        # Parameters without gradient would fade away.
        light = encoder_name(config) == "efficientnet-lite0"
        mask = partial(_trained, config.model) if light else None
        parts.append(optax.add_decayed_weights(settings.weight_decay, mask))
    if settings.get("encoder_rate", 1.0) != 1.0:
        parts.append(optax.masked(optax.scale(settings.encoder_rate), _is_encoder))
    return optax.chain(*parts, optax.scale_by_learning_rate(build_schedule(config)))


def _is_encoder(params: Any) -> Any:
    return {part: jax.tree.map(lambda _, p=part: p == "encoder", params[part]) for part in params}


def _trained(settings: ConfigDict, params: Any) -> Any:
    """For every parameter of a network over EfficientNet, whether it has a gradient."""
    frozen = [
        layer
        for layer in params["encoder"]
        if efficientnet.is_frozen(layer, settings.train_depthwise, settings.frozen_stages)
    ]
    trained = jax.tree.map(lambda _: True, params)
    encoder = {
        layer: jax.tree.map(lambda _, kept=layer not in frozen: kept, part)
        for layer, part in params["encoder"].items()
    }
    return {**trained, "encoder": encoder}


def init_state(
    config: ConfigDict, model: colorizer.Colorizer, tx: optax.GradientTransformation
) -> TrainState:
    """A fresh state, the same on every process: all weights random, by `config.seed`."""
    # Optimizing this program, which runs once, would take 25 s on a CPU instead of 3.
    quickly = {"xla_backend_optimization_level": 1}
    return jax.jit(lambda: _init_state(config, model, tx), compiler_options=quickly)()


def state_shapes(
    config: ConfigDict, model: colorizer.Colorizer, tx: optax.GradientTransformation
) -> TrainState:
    """What `init_state` gives, as shapes and dtypes alone."""
    return jax.eval_shape(lambda: _init_state(config, model, tx))


def _init_state(config, model, tx) -> TrainState:
    variables = init_variables(config, model)
    params = variables["params"]
    state = TrainState(jnp.int32(0), params, variables["batch_stats"], tx.init(params))
    return start_average(state) if config.get("ema") else state


def load_encoder(
    config: ConfigDict, state: TrainState, calibration_gray: jax.Array
) -> tuple[TrainState, str]:
    """Puts the weights that `config.model.encoder_weights` names into a fresh state's encoder.

    `calibration_gray` [b, h, w, 1] in [0, 255]: what VGG16's batch norm is set on where
    `config.model.calibrate_batch_norm` says so. An average that the state keeps starts from them
    too. Returns the state and a line for the record.
    """
    settings = config.model
    if settings.width != 1.0 and settings.encoder_weights not in ("auto", "none"):
        raise UserError(
            f"model.width is {settings.width} with model.encoder_weights "
            f"{settings.encoder_weights!r}, but pretrained weights fit width 1.0 only"
        )
    if settings.width != 1.0 and settings.encoder_weights == "auto":
        logging.warning("the encoder starts from random weights: model.width is not 1.0")
        return state, f"random (width {settings.width})"
    name = encoder_name(config)
    weights, record = pretrained.resolve(PUBLISHED[name], settings.encoder_weights)
    if weights is None:
        return state, record
    if name == "squeezenet":
        params, batch_stats = squeezenet.from_pretrained(weights), {}
    elif name == "efficientnet-lite0":
        params, batch_stats = efficientnet.from_pretrained(weights), {}
    elif settings.encoder_batch_norm and settings.calibrate_batch_norm:
        params, batch_stats = vgg16.batch_norm_from_pretrained(weights, calibration_gray)
    else:
        params, batch_stats = vgg16.from_pretrained(weights, settings.encoder_batch_norm)
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
