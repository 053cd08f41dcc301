"""From a config's fields to the plain objects that the steps are made of."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.models import colorizer, efficientnet, squeezenet, task, vgg16
from colorjax.ops import decoding, resample
from colorjax.ops.bins import Binning, channel_bins
from colorjax.ops.spaces import SPACES
from colorjax.training import parallel
from colorjax.training.steps import TrainState, start_average
from colorjax.weights import (
    efficientnet as efficientnet_weights,
)
from colorjax.weights import (
    pretrained,
)
from colorjax.weights import (
    squeezenet as squeezenet_weights,
)
from colorjax.weights import (
    vgg16 as vgg16_weights,
)

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SCHEDULES = ("constant", "cosine")
OBJECTIVES = ("classification", "regression")
BIN_LAYOUTS = ("channels", "joint")
BIN_VALUES = ("center", "mean")
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


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises UserError if `value`, the setting called `name`, is below `least`."""
    if value < least:
        raise UserError(f"{name} is {value}, want at least {least}")


def check_share(name: str, value: float) -> None:
    """Raises UserError unless `value`, the setting called `name`, is in [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}, want a share from 0 to 1")


def encoder_name(config: ConfigDict) -> str:
    """`config.model.encoder`; runs of older versions, which lack it, have the paper's."""
    name = config.model.get("encoder", "vgg16")
    check_choice("model.encoder", name, tuple(colorizer.ENCODERS))
    return name


def build_model(config: ConfigDict) -> colorizer.Colorizer:
    """The network that `config.model` and `config.bins` describe."""
    binning = build_binning(config)
    settings, encoder = config.model, encoder_name(config)
    check_choice("model.merge", settings.merge, colorizer.MERGES)
    check_choice("model.upscaling", settings.upscaling, resample.METHODS)
    check_choice("model.dtype", settings.dtype, tuple(DTYPES))
    units = len(settings.decoder_features)
    most = len(colorizer.ENCODERS[encoder].residual)
    if not colorizer.LEAST_UNITS <= units <= most:
        raise UserError(
            f"model.decoder_features is {tuple(settings.decoder_features)}, want {most} depths, "
            f"coarse to fine, or fewer, down to {colorizer.LEAST_UNITS}, for smaller outputs"
        )
    if colorizer.output_factor(encoder, units) > 1 and any(SPACES[config.space].circular):
        raise UserError(
            f"space is {config.space!r} with model.encoder {encoder!r} and {units} "
            "model.decoder_features, whose outputs are smaller than the picture; hue has no mean, "
            "want luv, lab or yuv"
        )
    return colorizer.Colorizer(
        encoder=encoder,
        num_bins=binning.centers.shape[1] if config.objective == "classification" else None,
        heads=("uv",) if config.bins.layout == "joint" else ("u", "v"),
        merge=settings.merge,
        residual_units=settings.residual_units,
        decoder_features=tuple(settings.decoder_features),
        final_features=tuple(settings.final_features),
        upscaling=settings.upscaling,
        encoder_batch_norm=settings.encoder_batch_norm,
        # Runs of older versions lack these.
        train_depthwise=settings.get("train_depthwise", True),
        frozen_stages=settings.get("frozen_stages", 0),
        final_batch_norm=settings.final_batch_norm,
        width=settings.width,
        dtype=DTYPES[settings.dtype],
    )


def build_binning(config: ConfigDict) -> Binning:
    """The bins that `config.bins` describes, for chroma of `config.space`."""
    settings = config.bins
    check_choice("space", config.space, tuple(SPACES))
    check_choice("bins.layout", settings.layout, BIN_LAYOUTS)
    if settings.layout == "joint":
        check_at_least("bins.joint_width", settings.joint_width, 1.0)
        return task.joint_binning(config.space, settings.joint_width)
    if not settings.low < settings.high or settings.num_bins < 1:
        raise UserError(
            f"bins are {settings.num_bins} on [{settings.low}, {settings.high}], "
            "want at least one, and bins.low below bins.high"
        )
    return channel_bins(settings.num_bins, settings.low, settings.high)


def build_task(
    config: ConfigDict,
    statistics: dict[str, Any] | None,
    decode_by: task.Decoding | None = None,
) -> task.Task:
    """The objective.

    `statistics` are the training set's, as `evaluate.measure_bins` gives them: their `means` are
    what bins stand for, and their `counts` what the loss is rebalanced by, if so configured.
    None where there are none yet. `decode_by` goes before what `config.decoding` says; its
    temperature, seed and rebalance may be traced.
    """
    binning, space = build_binning(config), SPACES[config.space]
    check_choice("objective", config.objective, OBJECTIVES)
    if config.objective == "regression":
        check_choice("regression.loss", config.regression.loss, task.REGRESSION_LOSSES)
        return task.regression(config.regression.loss, config.regression.huber_m, binning, space)
    settings, rebalance = config.bins, config.rebalance
    check_choice("bins.value", settings.value, BIN_VALUES)
    check_at_least("bins.softness", settings.softness, 0)
    values = weights = None
    if statistics and settings.value == "mean":
        values = jnp.reshape(jnp.asarray(statistics["means"]), binning.centers.shape)
    if statistics and rebalance.enabled:
        check_rebalance(rebalance)
        _, weights = task.rebalancing(
            statistics["counts"], binning, space, rebalance.uniform, rebalance.sigma
        )
    return task.classification(
        binning, space, values=values, weights=weights, softness=settings.softness,
        decode_by=decode_by or build_decoding(config),
    )


def build_decoding(config: ConfigDict) -> task.Decoding:
    """How `config.decoding` has scores become chroma."""
    settings = config.decoding
    check_choice("decoding.method", settings.method, decoding.METHODS)
    check_at_least("decoding.temperature", settings.temperature, 1e-3)
    check_at_least("decoding.seed", settings.seed, 0)
    share = settings.get("rebalance", 1.0)  # runs of older versions lack it
    check_share("decoding.rebalance", share)
    return task.Decoding(settings.method, settings.temperature, settings.seed, share)


def check_rebalance(settings: ConfigDict) -> None:
    """Raises UserError unless `config.rebalance` is a mixture and a width."""
    check_at_least("rebalance.sigma", settings.sigma, 0)
    check_share("rebalance.uniform", settings.uniform)


def build_schedule(config: ConfigDict) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant or cosine down to zero.

    Under `num_seconds` the cosine is of the time, and not in here: see `train.Clock`.
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
    """Adam, or Nesterov's momentum, which the paper tries too (section 4).

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
    side = 2 * colorizer.stride(encoder_name(config))  # any will do
    sample = jnp.zeros((1, side, side, 1))
    variables = model.init(jax.random.key(config.seed), sample)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    state = TrainState(jnp.int32(0), params, batch_stats, tx.init(params))
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


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises UserError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}, want one of {', '.join(map(repr, choices))}")
