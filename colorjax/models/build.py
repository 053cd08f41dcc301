"""From a config's fields to the network, its bins and its objective."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax.errors import UserError, check_at_least, check_choice, check_share
from colorjax.models import colorizer, task
from colorjax.ops import decoding, resample
from colorjax.ops.bins import Binning, channel_bins
from colorjax.ops.spaces import SPACES

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
OBJECTIVES = ("classification", "regression")
BIN_LAYOUTS = ("channels", "joint")
BIN_VALUES = ("center", "mean")


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


def init_variables(config: ConfigDict, model: colorizer.Colorizer) -> dict[str, Any]:
    """Random weights by `config.seed`; `batch_stats` is empty where nothing is normalized so."""
    side = 2 * colorizer.stride(encoder_name(config))  # any will do
    variables = model.init(jax.random.key(config.seed), jnp.zeros((1, side, side, 1)))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def variable_shapes(config: ConfigDict, model: colorizer.Colorizer) -> dict[str, Any]:
    """What `init_variables` gives, as shapes and dtypes alone."""
    return jax.eval_shape(lambda: init_variables(config, model))


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
    config: ConfigDict, statistics: dict[str, Any] | None, decode_by: task.Decoding | None = None
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
        binning,
        space,
        values=values,
        weights=weights,
        softness=settings.softness,
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
