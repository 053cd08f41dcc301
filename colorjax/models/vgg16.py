"""The paper's encoder: VGG16 (Simonyan & Zhou, arXiv:1409.1556) with named activations.

The paper uses "a portion of the VGG16 network" with batch norm before every ReLU. Weights,
activations and parameters share Keras's layer names.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float32, Num

from colorjax.errors import UserError
from colorjax.models.layers import Conv, scale_width, three_channels
from colorjax.ops.arrays import AnyArray
from colorjax.ops.resample import conv_same

# Channel means of the ImageNet training set, which are subtracted from the network's input.
IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)

# Defaults of Lasagne, which the paper used (its alpha of 0.1 is a momentum of 0.9).
BATCH_NORM: dict[str, Any] = {"momentum": 0.9, "epsilon": 1e-4}

# Block number -> (number of convolutions, their channels); every block ends in a max-pool.
_BLOCKS = {1: (2, 64), 2: (2, 128), 3: (3, 256), 4: (3, 512), 5: (3, 512)}


def layers_up_to(last_layer: str) -> tuple[str, ...]:
    """Returns the names of VGG16's convolutions and pools in order, up to and with `last_layer`.

    Raises UserError if `last_layer` is not one of them.
    """
    names = []
    for block, (convs, _) in _BLOCKS.items():
        names += [f"block{block}_conv{i}" for i in range(1, convs + 1)] + [f"block{block}_pool"]
    if last_layer not in names:
        raise UserError(
            f"{last_layer!r} is not a layer of the VGG16 encoder, want one of {', '.join(names)}"
        )
    return tuple(names[: names.index(last_layer) + 1])


def _is_pool(name: str) -> bool:
    return name.endswith("_pool")


def layer_shapes(
    last_layer: str = "block5_conv3", width: float = 1.0
) -> dict[str, tuple[int, int, int, int]]:
    """Returns name -> kernel shape (height, width, in, out) of the convolutions up to `last_layer`.

    `width` scales the channels as `scale_width` does; 1.0 is the published network.
    Raises UserError if `last_layer` is not a layer of VGG16.
    """
    shapes = {}
    channels_in = 3
    for name in layers_up_to(last_layer):
        if not _is_pool(name):
            channels_out = scale_width(_BLOCKS[int(name[5])][1], width)
            shapes[name] = (3, 3, channels_in, channels_out)
            channels_in = channels_out
    return shapes


def max_pool(x: jax.Array) -> jax.Array:
    """Max-pools 2x2 windows with stride 2: [b, h, w, c] -> [b, h // 2, w // 2, c].

    An odd last row or column is dropped, as by Keras's "valid" pooling. The maxima are taken over
    strided slices, because the gradient of XLA's windowed reduction is slow on a CPU. Tied values
    share the gradient (`jnp.maximum` splits it in halves), whereas `flax.linen.max_pool` gives it
    to the first. After a ReLU ties are almost always zeros, whose gradient the ReLU blocks anyway.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    left = jnp.maximum(x[:, ::2, ::2], x[:, 1::2, ::2])
    right = jnp.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2])
    return jnp.maximum(left, right)


def subtract_mean(gray_or_rgb: Num[AnyArray, "b h w _"]) -> Float32[jax.Array, "b h w 3"]:
    """Subtracts the ImageNet mean: [b, h, w, 1 or 3] in [0, 255] -> float32 [b, h, w, 3]."""
    return three_channels(gray_or_rgb) - jnp.asarray(IMAGENET_MEAN_RGB, jnp.float32)


class VGG16(nn.Module):
    """VGG16 up to `last_layer`; layers after it are not built.

    Kernels are initialized Glorot-uniform (the paper's Xavier) and biases to zero. With
    `batch_norm` the convolutions have no bias, and each is followed by a batch norm named after it
    (`block1_conv1_bn`), by default with the settings of `BATCH_NORM`. The layers compute in
    `dtype`; parameters and statistics are float32. Batch statistics are averaged over the pmap or
    shard_map axis `axis_name`, if there is one.

    Parameters: `block1_conv1/kernel` [3, 3, in, out], with inputs in RGB order; `bias` [out]
    without batch norm; `block1_conv1_bn/scale` and `bias` [out] with batch norm. Statistics:
    `block1_conv1_bn/mean` and `var` [out].
    """

    last_layer: str = "block4_conv3"
    batch_norm: bool = True
    dtype: Any = jnp.float32
    width: float = 1.0
    axis_name: str | None = None
    momentum: float = BATCH_NORM["momentum"]
    epsilon: float = BATCH_NORM["epsilon"]

    @nn.compact
    def __call__(self, gray_or_rgb: Num[AnyArray, "b h w _"], train: bool) -> dict[str, jax.Array]:
        """Computes the activations of all layers, for convolutions after the ReLU.

        Args:
          gray_or_rgb: [b, h, w, 1] or [b, h, w, 3], sRGB in [0, 255], before the mean is
            subtracted; gray counts as three equal channels.
          train: whether batch norm uses the batch's statistics and updates the running statistics.
        Returns:
          Layer name -> [b, h', w', c] in `dtype`; each pool halves h' and w', rounding down.
        Raises:
          UserError: if `last_layer` is unknown.
          ValueError: for another number of channels.
        """
        shapes = layer_shapes(self.last_layer, self.width)
        x = subtract_mean(gray_or_rgb).astype(self.dtype)
        activations = {}
        for name in layers_up_to(self.last_layer):
            x = max_pool(x) if _is_pool(name) else self._conv(name, shapes[name][-1], x, train)
            activations[name] = x
        return activations

    def _conv(self, name: str, features: int, x: jax.Array, train: bool) -> jax.Array:
        x = Conv(features, (3, 3), not self.batch_norm, self.dtype, name=name)(x)
        if self.batch_norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=self.epsilon,
                dtype=self.dtype,
                axis_name=self.axis_name,
                name=f"{name}_bn",
            )(x)
        return nn.relu(x)


Weights = Mapping[str, Mapping[str, Any]]


def from_pretrained(
    weights: Weights, batch_norm: bool = True, last_layer: str = "block4_conv3"
) -> tuple[dict, dict]:
    """Converts the published weights to the variables of `VGG16(last_layer, batch_norm)`.

    With batch norm, the published biases are dropped and the norms are initialized (scale 1, bias
    0, mean 0, variance 1), as Lasagne's `batch_norm()` does for a pretrained layer. Subtracting the
    batch's mean would cancel the biases, and their scale has no meaning for normalized activations.
    Such an encoder keeps VGG16's filters but not its activations; `batch_norm_from_pretrained`
    keeps both.

    Args:
      weights: layer name -> {"kernel": [3, 3, in, out], "bias": [out]}, with block1_conv1's inputs
        in RGB order.
      batch_norm: as for `VGG16`.
      last_layer: as for `VGG16`.
    Returns:
      (params, batch_stats), shaped as by `VGG16.init`; batch_stats is {} without batch norm.
    """
    params, stats = {}, {}
    for name in layer_shapes(last_layer):
        params[name] = {"kernel": jnp.asarray(weights[name]["kernel"])}
        bias = jnp.asarray(weights[name]["bias"])
        if batch_norm:
            zeros, ones = jnp.zeros_like(bias), jnp.ones_like(bias)
            params[f"{name}_bn"] = {"scale": ones, "bias": zeros}
            stats[f"{name}_bn"] = {"mean": zeros, "var": ones}
        else:
            params[name]["bias"] = bias
    return params, stats


def batch_norm_from_pretrained(
    weights: Weights,
    gray_or_rgb: jax.Array,
    last_layer: str = "block4_conv3",
    epsilon: float = BATCH_NORM["epsilon"],
) -> tuple[dict, dict]:
    """Returns variables with which `VGG16(last_layer, batch_norm=True)` computes the same as VGG16.

    The running statistics of the norms are those of the pretrained network's pre-activations
    (without bias) on a calibration batch. Scale and bias of the norms undo the normalization and
    add the published bias. With running statistics the encoder equals VGG16 with its biases on any
    input, up to rounding; with the batch's statistics it does so on the calibration batch.

    Args:
      weights: as for `from_pretrained`.
      gray_or_rgb: the calibration batch, [b, h, w, 1 or 3], sRGB in [0, 255].
      last_layer: as for `VGG16`.
      epsilon: must equal that of the module.
    Returns:
      (params, batch_stats), shaped as by `VGG16.init`.
    """
    params, stats = {}, {}
    x = subtract_mean(jnp.asarray(gray_or_rgb))
    for name in layers_up_to(last_layer):
        if _is_pool(name):
            x = max_pool(x)
            continue
        kernel, bias = (jnp.asarray(weights[name][part]) for part in ("kernel", "bias"))
        x = conv_same(x, kernel)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        params[name] = {"kernel": kernel}
        params[f"{name}_bn"] = {"scale": jnp.sqrt(var + epsilon), "bias": mean + bias}
        stats[f"{name}_bn"] = {"mean": mean, "var": var}
        x = nn.relu(x + bias)
    return params, stats
