"""EfficientNet-Lite0, the decoder and the decoding of its scores, as an ONNX graph.

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
    """The settings of a network that have a graph, by name, and what is known of each."""

    encoder: Mapping[str, Callable[[Parameters, Settings, Value], dict[str, Value]]]
    decoding: Mapping[str, Callable[[Value, np.ndarray], Value]]  # scores, [Q, D] -> [1, D, h, w]


def check_network(config: Settings) -> None:
    """Raises UserError for a network that has no graph here."""
    model = config.model
    wanted: list[tuple[str, Any, tuple]] = [
        ("objective", config.objective, ("classification",)),
        ("space", config.space, ("luv",)),
        ("decoding.method", config.decoding.method, tuple(CHOICES.decoding)),
        ("model.encoder", model.encoder, tuple(CHOICES.encoder)),
        ("model.merge", model.merge, ("concat",)),
        ("model.upscaling", model.upscaling, ("nearest",)),
        ("model.residual_units", model.residual_units, (True,)),
        ("model.skip_batch_norm", model.skip_batch_norm, (True,)),
    ]
    for name, found, choices in wanted:
        if found not in choices:
            raise UserError(
                f"{name} of the model is {found!r}, want {' or '.join(map(repr, choices))} for "
                "ONNX; --format jax-export takes every model"
            )


def chroma(network: Network, gray: Value) -> Value:
    """CIELUV chroma [1, 2, h', w'] of gray [1, 1, h, w] in [0, 255], whose sides divide by 16."""
    config, parameters = network.config, _numbers(network)
    taps = CHOICES.encoder[config.model.encoder](parameters, config, gray)
    x = _merged(parameters, config, _maps(parameters, config, taps), gray)
    binning = build.build_binning(config.bins, config.space)
    values, weights = build.values_and_weights(config, network.statistics, binning)
    own = config.decoding
    temperature = own.temperature if own.method == "annealed" else 1.0
    heads = ("uv",) if config.bins.layout == "joint" else ("u", "v")
    found = []
    for i, head in enumerate(heads):
        kernel, bias = _layer(parameters, f"{head}_logits")
        if weights is not None:
            learned = np.log(np.where(weights[i] > 0, weights[i], 1.0))
            bias = bias - (1.0 - own.rebalance) * learned
        scores = _conv(x, kernel / temperature, bias / temperature)
        found.append(CHOICES.decoding[own.method](scores, values[i]))
    decoded = found[0] if len(found) == 1 else gray.graph("Concat", *found, axis=1)
    if own.method in decoding.MEANS and own.vibrance:
        return _with_vibrance(decoded, own.vibrance)
    return decoded


def _numbers(network: Network) -> Parameters:
    """All parameters and statistics, by their names without what group they are of."""
    found = flat(network.variables)
    return {name.partition("/")[2]: np.asarray(x, np.float64) for name, x in found.items()}


def _layer(parameters: Parameters, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias, zeros where the layer has none."""
    kernel = parameters[f"{name}/kernel"]
    return kernel, parameters.get(f"{name}/bias", np.zeros(kernel.shape[-1]))


def _norm(parameters: Parameters, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Of a batch norm, what is multiplied with and what is added."""
    mean, variance = (parameters[f"{name}/{part}"] for part in ("mean", "var"))
    scale = parameters[f"{name}/scale"] / np.sqrt(variance + BATCH_NORM["epsilon"])
    return scale, parameters.get(f"{name}/bias", 0.0) - mean * scale


def _conv(x: Value, kernel: np.ndarray, bias: np.ndarray, stride: int = 1) -> Value:
    """A convolution with kernel [n, n, in, out], zero-padded as `layers.extents` says.

    Kernels [n, n, 1, c] of more than one pixel filter each channel by itself.
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
    """The activations that `models.efficientnet` names."""

    def relu6(x):
        return x.graph("Clip", x, 0.0, 6.0)

    def layer(name, x, stride=1):
        return _conv(x, *_layer(parameters, f"encoder/{name}"), stride)

    rgb = gray.graph("Concat", *[(gray - 127.0) / 128.0] * 3, axis=1)
    x, taps = relu6(layer("stem", rgb, 2)), {}
    for block in efficientnet.blocks(config.model.width):
        y = x
        if block.expanded != block.depth:
            y = relu6(layer(f"{block.name}_expand", y))
        y = relu6(layer(f"{block.name}_depthwise", y, block.stride))
        y = layer(f"{block.name}_project", y)
        x = x + y if block.stride == 1 and block.depth == block.features else y
        if block.last:
            taps[f"stage{block.stage}"] = x
    return taps


def _maps(
    parameters: Parameters, config: Settings, taps: Mapping[str, Value]
) -> list[tuple[Value, int]]:
    """The decoder's residual units: maps, and by how much each is smaller than the picture."""
    encoder = colorizer.ENCODERS[config.model.encoder]
    units = encoder.residual[: len(config.model.decoder_features)]
    maps: list[tuple[Value, int]] = []
    for i, (tap, factor) in enumerate(units, start=1):
        scale, shift = _norm(parameters, f"{tap}_norm")
        x = taps[tap] * _column(scale) + _column(shift)
        if f"{tap}_project/kernel" in parameters:
            x = _conv(x, *_layer(parameters, f"{tap}_project"))
        if maps:
            coarser, by = maps[-1]
            x = _enlarged(coarser, by // factor) + x
        x = _normed_conv(parameters, f"unit{i}", x)
        if factor > encoder.stride:
            like = next(taps[name] for name, f in encoder.residual if f == encoder.stride)
            x, factor = _cropped(_enlarged(x, factor // encoder.stride), like), encoder.stride
        maps.append((x, factor))
    return maps


def _merged(
    parameters: Parameters, config: Settings, maps: list[tuple[Value, int]], gray: Value
) -> Value:
    """The maps joined at the size of the finest, and the convolutions after that."""
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
    """Convolution, batch norm and ReLU."""
    scale, shift = _norm(parameters, f"{name}_bn")
    return x.graph("Relu", _conv(x, parameters[f"{name}/kernel"] * scale, shift))


def _column(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32).reshape(1, -1, 1, 1)


def _enlarged(x: Value, factor: int) -> Value:
    if factor == 1:
        return x
    scales = np.array([1, 1, factor, factor], np.float32)
    how: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return x.graph("Resize", x, None, scales, mode="nearest", **how)


def _cropped(x: Value, like: Value) -> Value:
    """The upper left of `x`, of the height and width of `like`."""
    sides = x.graph("Shape", like, dtype=np.int64, start=2)
    axes = np.array([2, 3])
    return x.graph("Slice", x, np.zeros(2, np.int64), sides, axes)


def _expected(scores: Value, values: np.ndarray) -> Value:
    probabilities = scores.graph("Softmax", scores, axis=1)
    return _conv(probabilities, values[None, None], np.zeros(values.shape[1]))


def _with_vibrance(chroma: Value, vibrance: float) -> Value:
    """As `decoding.add_vibrance`."""
    length = chroma.graph("ReduceL2", chroma, np.array([1]), keepdims=1)
    return chroma * (1.0 + vibrance / (length + decoding.MUTED))


def _likeliest(scores: Value, values: np.ndarray) -> Value:
    best = scores.graph("ArgMax", scores, axis=1, keepdims=0, dtype=np.int64)
    chosen = scores.graph("Gather", values.astype(np.float32), best, dtype=np.float32)
    return scores.graph("Transpose", chosen, perm=[0, 3, 1, 2])


CHOICES = Choices(
    encoder={"efficientnet-lite0": _efficientnet},
    decoding={"annealed": _expected, "mean": _expected, "argmax": _likeliest},
)
