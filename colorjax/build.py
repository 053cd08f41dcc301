"""From a config's fields to the plain objects that the steps are made of."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from colorjax import parallel, resample, task, vgg16_weights
from colorjax.errors import UserError
from colorjax.models import colorizer, vgg16
from colorjax.spaces import SPACES
from colorjax.steps import TrainState

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SCHEDULES = ("constant", "cosine")
OBJECTIVES = ("classification", "regression")
BIN_VALUES = ("center", "mean")
OPTIMIZERS = ("adam", "nesterov")


def check_config(config: ConfigDict) -> None:
    """Raises UserError for numbers that fit no data: sizes, steps, batch and intervals."""
    data = config.data
    if data.crop_size % colorizer.STRIDE or data.crop_size < colorizer.STRIDE:
        raise UserError(
            f"data.crop_size is {data.crop_size}, want a multiple of {colorizer.STRIDE}"
        )
    if data.load_size < data.crop_size:
        raise UserError(f"data.load_size is {data.load_size}, want at least {data.crop_size}")
    for name in ("num_steps", "log_every", "eval_every", "checkpoint_every", "max_skipped"):
        check_at_least(name, config[name], 1)
    check_at_least("seed", config.seed, 0)
    check_at_least("data.statistics_images", data.statistics_images, 1)
    check_at_least("data.num_threads", data.num_threads, 1)
    check_at_least("model.width", config.model.width, 1 / 64)
    parallel.check_batch_size("batch_size", config.batch_size)


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises UserError if `value`, the setting called `name`, is below `least`."""
    if value < least:
        raise UserError(f"{name} is {value}, want at least {least}")


def build_model(config: ConfigDict) -> colorizer.Colorizer:
    """The network that `config.model` and `config.bins` describe."""
    settings = config.model
    check_choice("model.merge", settings.merge, colorizer.MERGES)
    check_choice("model.upscaling", settings.upscaling, resample.METHODS)
    check_choice("model.dtype", settings.dtype, tuple(DTYPES))
    if len(settings.decoder_features) != len(colorizer.RESIDUAL_TAPS):
        raise UserError(
            f"model.decoder_features is {tuple(settings.decoder_features)}, "
            f"want {len(colorizer.RESIDUAL_TAPS)} depths, coarse to fine"
        )
    return colorizer.Colorizer(
        num_bins=config.bins.num_bins if config.objective == "classification" else None,
        merge=settings.merge,
        residual_units=settings.residual_units,
        decoder_features=tuple(settings.decoder_features),
        final_features=tuple(settings.final_features),
        upscaling=settings.upscaling,
        encoder_batch_norm=settings.encoder_batch_norm,
        final_batch_norm=settings.final_batch_norm,
        width=settings.width,
        dtype=DTYPES[settings.dtype],
    )


def build_task(config: ConfigDict, bin_means: Any) -> task.Task:
    """The objective; `bin_means` [2, num_bins] are the training set's, used if so configured."""
    settings = config.bins
    if not settings.low < settings.high or settings.num_bins < 1:
        raise UserError(
            f"bins are {settings.num_bins} on [{settings.low}, {settings.high}], "
            "want at least one, and bins.low below bins.high"
        )
    grid = task.Bins(settings.num_bins, settings.low, settings.high)
    check_choice("objective", config.objective, OBJECTIVES)
    check_choice("space", config.space, tuple(SPACES))
    space = SPACES[config.space]
    if config.objective == "regression":
        check_choice("regression.loss", config.regression.loss, task.REGRESSION_LOSSES)
        return task.regression(grid, config.regression.loss, config.regression.huber_m, space)
    check_choice("bins.value", settings.value, BIN_VALUES)
    values = jnp.asarray(bin_means) if settings.value == "mean" and bin_means else None
    return task.classification(grid, values, space)


def build_schedule(config: ConfigDict) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant or cosine down to zero."""
    settings = config.optimizer
    check_choice("optimizer.schedule", settings.schedule, SCHEDULES)
    steps = max(config.num_steps - settings.warmup_steps, 1)
    schedule = (
        optax.cosine_decay_schedule(settings.learning_rate, steps)
        if settings.schedule == "cosine"
        else optax.constant_schedule(settings.learning_rate)
    )
    if not settings.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, settings.learning_rate, settings.warmup_steps)
    return optax.join_schedules([warmup, schedule], [settings.warmup_steps])


def build_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam, or Nesterov's momentum, which the paper tries too (section 4).

    The gradient is clipped by its global norm, and weights decay as in AdamW, where not 0.
    """
    settings = config.optimizer
    check_choice("optimizer.name", settings.name, OPTIMIZERS)
    parts = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    if settings.name == "adam":
        parts.append(optax.scale_by_adam(settings.b1, settings.b2))
    else:
        parts.append(optax.trace(settings.momentum, nesterov=True))
    if settings.weight_decay:
        parts.append(optax.add_decayed_weights(settings.weight_decay))
    return optax.chain(*parts, optax.scale_by_learning_rate(build_schedule(config)))


def init_state(
    config: ConfigDict, model: colorizer.Colorizer, tx: optax.GradientTransformation
) -> TrainState:
    """A fresh state, the same on every process: all weights random, by `config.seed`."""
    sample = jnp.zeros((1, 2 * colorizer.STRIDE, 2 * colorizer.STRIDE, 1))  # any size will do
    variables = jax.jit(model.init)(jax.random.key(config.seed), sample)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(jnp.int32(0), params, batch_stats, tx.init(params))


def load_encoder(
    config: ConfigDict, state: TrainState, calibration_gray: jax.Array
) -> tuple[TrainState, str]:
    """Puts the weights that `config.model.encoder_weights` names into a fresh state's encoder.

    `calibration_gray` [b, h, w, 1] in [0, 255]: what the encoder's batch norm is set on where
    `config.model.calibrate_batch_norm` says so. Returns the state and a line for the record.
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
    weights, record = vgg16_weights.resolve(settings.encoder_weights)
    if weights is None:
        return state, record
    if settings.encoder_batch_norm and settings.calibrate_batch_norm:
        params, batch_stats = vgg16.batch_norm_from_pretrained(weights, calibration_gray)
    else:
        params, batch_stats = vgg16.from_pretrained(weights, settings.encoder_batch_norm)
    state = state._replace(params={**state.params, "encoder": params})
    if batch_stats:
        state = state._replace(batch_stats={**state.batch_stats, "encoder": batch_stats})
    return state, record


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises UserError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}, want one of {', '.join(map(repr, choices))}")
