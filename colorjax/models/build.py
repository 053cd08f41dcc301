"""Builds the network, its bins and its objective from the settings."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from colorjax.errors import UserError, check_choice
from colorjax.models import colorizer, task
from colorjax.models.task import Statistics
from colorjax.ops.bins import Binning, channel_bins
from colorjax.ops.spaces import SPACES
from colorjax.settings import Bins, Settings


def check_network(settings: Settings) -> None:
    """Raises UserError if the encoder is unknown or the decoder does not fit it."""
    model = settings.model
    check_choice("model.encoder", model.encoder, tuple(colorizer.ENCODERS))
    check_choice("model.merge", model.merge, colorizer.MERGES)
    units = len(model.decoder_features)
    max_units = len(colorizer.ENCODERS[model.encoder].residual)
    if not colorizer.MIN_UNITS <= units <= max_units:
        raise UserError(
            f"model.decoder_features is {model.decoder_features}, want {max_units} depths, "
            f"coarse to fine, or fewer, down to {colorizer.MIN_UNITS}, for smaller outputs"
        )
    smaller = colorizer.output_factor(model.encoder, units) > 1
    if smaller and any(SPACES[settings.space].circular):
        raise UserError(
            f"space is {settings.space!r} with model.encoder {model.encoder!r} and {units} "
            "model.decoder_features, whose outputs are smaller than the picture; hue cannot be "
            "averaged, want luv, lab or yuv"
        )


def build_model(settings: Settings) -> colorizer.ColorizationNet:
    """Builds the network that the settings describe; raises UserError like `check_network`."""
    check_network(settings)
    model, classifies = settings.model, settings.objective == "classification"
    binning = build_binning(settings.bins, settings.space)
    return colorizer.ColorizationNet(
        encoder=model.encoder,
        num_bins=binning.centers.shape[1] if classifies else None,
        heads=("uv",) if settings.bins.layout == "joint" else ("u", "v"),
        merge=model.merge,
        residual_units=model.residual_units,
        decoder_features=model.decoder_features,
        final_features=model.final_features,
        upscaling=model.upscaling,
        encoder_batch_norm=model.encoder_batch_norm,
        train_depthwise=model.train_depthwise,
        frozen_stages=model.frozen_stages,
        final_batch_norm=model.final_batch_norm,
        skip_batch_norm=model.skip_batch_norm,
        width=model.width,
        dtype=jnp.dtype(model.dtype),
    )


def predict(model: nn.Module, variables: Any, gray: jax.Array) -> jax.Array:
    """Applies a network in inference mode and returns the outputs of its `__call__`."""
    return cast(jax.Array, model.apply(variables, gray))


def init_variables(model: colorizer.ColorizationNet, seed: int) -> dict[str, Any]:
    """Initializes random weights; `batch_stats` is empty if the network has no batch norm."""
    side = 2 * colorizer.stride(model.encoder)  # the weights do not depend on the size
    variables = model.init(jax.random.key(seed), jnp.zeros((1, side, side, 1)))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def variable_shapes(model: colorizer.ColorizationNet) -> dict[str, Any]:
    """Returns the shapes and dtypes of `init_variables`, without computing its values."""
    return jax.eval_shape(lambda: init_variables(model, 0))


def build_binning(settings: Bins, space: str) -> Binning:
    """Builds the bins for the chroma of the colour space named `space`."""
    if settings.layout == "joint":
        return task.joint_binning(space, settings.joint_width)
    return channel_bins(num_bins=settings.num_bins, low=settings.low, high=settings.high)


def build_task(settings: Settings, statistics: Statistics | None) -> task.Task:
    """Builds the objective.

    Args:
      settings: of the run.
      statistics: of the training set, None if not counted yet. If the settings say so, their means
        are the values that bins decode to, and their counts give the class rebalancing weights.
    """
    binning, space = build_binning(settings.bins, settings.space), SPACES[settings.space]
    if settings.objective == "regression":
        return task.regression(
            settings.regression.loss, settings.regression.huber_m, binning, space
        )
    values, weights = values_and_weights(settings, statistics, binning)
    return task.classification(
        binning, space, values=values, weights=weights, softness=settings.bins.softness
    )


def values_and_weights(
    settings: Settings, statistics: Statistics | None, binning: Binning
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the value that each bin decodes to, [G, Q, D], and the class weights of the loss.

    The weights are [G, Q], or None if the loss is not rebalanced.
    """
    values, weights = binning.centers, None
    if statistics and settings.bins.value == "mean":
        values = np.reshape(np.asarray(statistics.means, np.float32), binning.centers.shape)
    if statistics and settings.rebalance.enabled:
        options, space = settings.rebalance, SPACES[settings.space]
        _, weights = task.rebalancing(
            statistics.counts, binning, space, options.uniform, options.sigma
        )
    return values, weights
