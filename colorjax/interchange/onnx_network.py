"""Builds EfficientNet-Lite0, the decoder and the decoding of its logits as an ONNX graph.

Pictures are [1, channels, height, width] here. The parameters are those of `models.colorizer`;
batch norms are folded into the convolutions before them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from colorjax.errors import UserError
from colorjax.interchange.graph import Value
from colorjax.models import build, colorizer, efficientnet
from colorjax.models.vgg16 import BATCH_NORM
from colorjax.ops import decoding
from colorjax.settings import Settings
from colorjax.weights.released import Network
from colorjax.weights.store import flat

Parameters = Mapping[str, np.ndarray]


class Choices(NamedTuple):
    """The encoders and decoding methods that can be exported: name -> builder of the graph."""

    encoder: Mapping[str, Callable[[Parameters, Settings, Value], dict[str, Value]]]
    decoding: Mapping[str, Callable[[Value, np.ndarray], Value]]  # logits, [Q, D] -> [1, D, h, w]


def check_network(config: Settings) -> None:
    """Raises UserError for a network that cannot be exported to ONNX."""
    model = config.model
    supported: list[tuple[str, Any, tuple]] = [
        ("objective", config.objective, ("classification",)),
        ("space", config.space, ("luv",)),
        ("decoding.method", config.decoding.method, tuple(CHOICES.decoding)),
        ("model.encoder", model.encoder, tuple(CHOICES.encoder)),
        ("model.merge", model.merge, ("concat",)),
        ("model.upscaling", model.upscaling, ("nearest",)),
        ("model.residual_units", model.residual_units, (True,)),
        ("model.skip_batch_norm", model.skip_batch_norm, (True,)),
    ]
    for name, value, choices in supported:
        if value not in choices:
            raise UserError(
                f"{name} of the model is {value!r}, want {' or '.join(map(repr, choices))} for "
                "ONNX; --format jax-export takes every model"
            )


def chroma(network: Network, gray: Value) -> Value:
    """Predicts CIELUV chroma [1, 2, h', w'] from gray [1, 1, h, w] in [0, 255].

    Height and width of the gray must be multiples of 16.
    """
    config, parameters = network.config, _parameters(network)
    taps = CHOICES.encoder[config.model.encoder](parameters, config, gray)
    x = _merged(parameters, config, _maps(parameters, config, taps), gray)
    binning = build.build_binning(config.bins, config.space)
    values, weights = build.values_and_weights(config, network.statistics, binning)
    options = config.decoding
    temperature = options.temperature if options.method == "annealed" else 1.0
    heads = ("uv",) if config.bins.layout == "joint" else ("u", "v")
    channels = []
    for i, head in enumerate(heads):
        kernel, bias = _layer(parameters, f"{head}_logits")
        if weights is not None:
            log_weights = np.log(np.where(weights[i] > 0, weights[i], 1.0))
            bias = bias - (1.0 - options.rebalance) * log_weights
        logits = _conv(x, kernel / temperature, bias / temperature)
        channels.append(CHOICES.decoding[options.method](logits, values[i]))
    decoded = channels[0] if len(channels) == 1 else gray.graph("Concat", *channels, axis=1)
    if options.method in decoding.MEANS and options.vibrance:
        return _with_vibrance(decoded, options.vibrance)
    return decoded


def _parameters(network: Network) -> Parameters:
    """Returns all parameters and statistics by name, without the name of their collection."""
    variables = flat(network.variables)
    return {name.partition("/")[2]: np.asarray(x, np.float64) for name, x in variables.items()}


def _layer(parameters: Parameters, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a layer's kernel and bias; zeros if it has no bias."""
    kernel = parameters[f"{name}/kernel"]
    return kernel, parameters.get(f"{name}/bias", np.zeros(kernel.shape[-1]))


def _norm(parameters: Parameters, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a batch norm as a scale and a shift."""
    mean, variance = (parameters[f"{name}/{part}"] for part in ("mean", "var"))
    scale = parameters[f"{name}/scale"] / np.sqrt(variance + BATCH_NORM["epsilon"])
    return scale, parameters.get(f"{name}/bias", 0.0) - mean * scale


def _conv(x: Value, kernel: np.ndarray, bias: np.ndarray, stride: int = 1) -> Value:
    """Convolves with a kernel [n, n, in, out], padded as in `models.layers.same_padding`.

    A kernel [n, n, 1, c] with n > 1 is a depthwise convolution.
    """
    side, before = len(kernel), (len(kernel) - stride) // 2
    pads = [before, before, side - 1 - before, side - 1 - before]
    depthwise = kernel.shape[2] == 1 and side > 1
    weights = kernel.transpose(3, 2, 0, 1).astype(np.float32)
    return x.graph(
        "Conv",
        x,
        weights,
        bias.astype(np.float32),
        pads=pads,
        strides=[stride, stride],
        group=kernel.shape[3] if depthwise else 1,
    )


def _efficientnet(parameters: Parameters, config: Settings, gray: Value) -> dict[str, Value]:
    """Returns the named activations of `models.efficientnet`: stage1 to stage7."""

    def relu6(x):
        return x.graph("Clip", x, 0.0, 6.0)

    def layer(name, x, stride=1):
        return _conv(x, *_layer(parameters, f"encoder/{name}"), stride)

    rgb = gray.graph("Concat", *[(gray - 127.0) / 128.0] * 3, axis=1)
    x, taps = relu6(layer("stem", rgb, 2)), {}
    for block in efficientnet.blocks(config.model.width):
        y = x
        if block.expanded_channels != block.in_channels:
            y = relu6(layer(f"{block.name}_expand", y))
        y = relu6(layer(f"{block.name}_depthwise", y, block.stride))
        y = layer(f"{block.name}_project", y)
        x = x + y if block.stride == 1 and block.in_channels == block.out_channels else y
        if block.is_last:
            taps[f"stage{block.stage}"] = x
    return taps


def _maps(
    parameters: Parameters, config: Settings, taps: Mapping[str, Value]
) -> list[tuple[Value, int]]:
    """Returns the feature map of each residual unit, with its downscaling factor."""
    encoder = colorizer.ENCODERS[config.model.encoder]
    units = encoder.residual[: len(config.model.decoder_features)]
    maps: list[tuple[Value, int]] = []
    for i, (tap, factor) in enumerate(units, start=1):
        scale, shift = _norm(parameters, f"{tap}_norm")
        x = taps[tap] * _per_channel(scale) + _per_channel(shift)
        if f"{tap}_project/kernel" in parameters:
            x = _conv(x, *_layer(parameters, f"{tap}_project"))
        if maps:
            coarser, coarser_factor = maps[-1]
            x = _enlarged(coarser, coarser_factor // factor) + x
        x = _normed_conv(parameters, f"unit{i}", x)
        if factor > encoder.stride:
            like = next(taps[name] for name, f in encoder.residual if f == encoder.stride)
            x, factor = _cropped(_enlarged(x, factor // encoder.stride), like), encoder.stride
        maps.append((x, factor))
    return maps


def _merged(
    parameters: Parameters, config: Settings, maps: list[tuple[Value, int]], gray: Value
) -> Value:
    """Concatenates the maps at the size of the finest and applies the final convolutions."""
    finest = maps[-1][1]
    joined = [_enlarged(x, factor // finest) for x, factor in maps]
    x = gray.graph("Concat", *joined, axis=1)
    for i in range(1, len(config.model.final_features) + 1):
        if config.model.final_batch_norm:
            x = _normed_conv(parameters, f"final{i}", x)
        else:
            x = x.graph("Relu", _conv(x, *_layer(parameters, f"final{i}")))
    return x


def _normed_conv(parameters: Parameters, name: str, x: Value) -> Value:
    """Applies convolution, batch norm and ReLU."""
    scale, shift = _norm(parameters, f"{name}_bn")
    return x.graph("Relu", _conv(x, parameters[f"{name}/kernel"] * scale, shift))


def _per_channel(x: np.ndarray) -> np.ndarray:
    """Reshapes a vector to broadcast over [1, channels, height, width]."""
    return x.astype(np.float32).reshape(1, -1, 1, 1)


def _enlarged(x: Value, factor: int) -> Value:
    if factor == 1:
        return x
    scales = np.array([1, 1, factor, factor], np.float32)
    mode: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return x.graph("Resize", x, None, scales, mode="nearest", **mode)


def _cropped(x: Value, like: Value) -> Value:
    """Crops the upper left of `x` to the height and width of `like`."""
    sides = x.graph("Shape", like, dtype=np.int64, start=2)
    axes = np.array([2, 3])
    return x.graph("Slice", x, np.zeros(2, np.int64), sides, axes)


def _expected(logits: Value, values: np.ndarray) -> Value:
    probabilities = logits.graph("Softmax", logits, axis=1)
    return _conv(probabilities, values[None, None], np.zeros(values.shape[1]))


def _with_vibrance(chroma: Value, vibrance: float) -> Value:
    """Like `decoding.add_vibrance`."""
    length = chroma.graph("ReduceL2", chroma, np.array([1]), keepdims=1)
    return chroma * (1.0 + vibrance / (length + decoding.MUTED_CHROMA))


def _likeliest(logits: Value, values: np.ndarray) -> Value:
    best = logits.graph("ArgMax", logits, axis=1, keepdims=0, dtype=np.int64)
    chosen = logits.graph("Gather", values.astype(np.float32), best, dtype=np.float32)
    return logits.graph("Transpose", chosen, perm=[0, 3, 1, 2])


CHOICES = Choices(
    encoder={"efficientnet-lite0": _efficientnet},
    decoding={"annealed": _expected, "mean": _expected, "argmax": _likeliest},
)
