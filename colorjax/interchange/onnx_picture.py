"""Builds the steps before and after the network as an ONNX graph.

The graph downscales the photograph for the network, and joins the network's chroma with the
photograph's luminance, like `coloring.colorize`, `ops.resample` and `ops.color`. Pictures are
[1, channels, height, width] here.
"""

import math
from typing import Any

import numpy as np

from colorjax.coloring.network import shapes
from colorjax.interchange import onnx_network
from colorjax.interchange.graph import Value
from colorjax.models.colorizer import output_factor
from colorjax.ops import color
from colorjax.weights.released import Network

# CIE 15 and IEC 61966-2-1, as in `ops.color`; the least lightness avoids a division by zero.
_LUMINANCE_KNEE, _KAPPA = (6 / 29) ** 3, (29 / 3) ** 3
_LINEAR_KNEE, _MIN_LIGHTNESS = 0.0031308, 1e-4
_RADIUS, _SMOOTHNESS = 2, 1.0  # the defaults of `resample.fit_guided_filter`


def coloured(network: Network, photo: Value) -> Value:
    """Colours a photo: uint8 [1, h, w, 1 or 3] -> uint8 [1, h, w, 3]."""
    model = network.config.model
    rgb = photo.graph("Expand", photo, np.array([1, 1, 1, 3]))
    rgb = photo.graph("Transpose", rgb, perm=[0, 3, 1, 2])
    sides = photo.graph("Shape", rgb, dtype=np.int64, start=2)
    small = _resized(
        rgb,
        network_sides(sides, network.config.data.load_size),
        mode="cubic",
        antialias=1,
        cubic_coeff_a=-0.5,
        exclude_outside=1,
    )
    luminance = _luminance(small)
    chroma = onnx_network.chroma(network, _encoded(luminance) * 255.0)
    factor = output_factor(model.encoder, len(model.decoder_features))
    window: dict[str, Any] = {"kernel_shape": [factor] * 2, "strides": [factor] * 2}
    lightness = photo.graph("AveragePool", _lightness(luminance), **window)
    fits = _resized(_fits(chroma, lightness), sides, mode="linear")
    return photo.graph("Transpose", _joined(_luminance(rgb), fits), perm=[0, 2, 3, 1])


def network_sides(sides: Value, size: int) -> Value:
    """Like `shapes.network_shape`, for height and width as an int64 [2]."""
    graph, quantum = sides.graph, float(shapes.QUANTUM)
    # float64, as in `shapes.network_shape`, so that both round alike.
    height, width = (graph("Gather", sides, np.array(i, np.int64)).cast(np.float64) for i in (0, 1))
    stretch = height / width
    ratio = graph("Max", stretch, 1.0 / stretch)
    is_long = ratio > shapes.PLAIN_RATIO
    doubled = graph("Log", graph("Min", ratio, shapes.MAX_RATIO) / shapes.PLAIN_RATIO)
    steps = graph("Round", doubled * (shapes.RATIO_STEPS / math.log(2)))
    # The ratio is rounded to whole steps to limit the number of shapes.
    longer = graph("Exp", steps * (math.log(2) / shapes.RATIO_STEPS))
    stepped = longer * shapes.PLAIN_RATIO
    stretch = is_long.where((height > width).where(stepped, 1.0 / stepped), stretch)
    pixels = graph("Max", graph("Min", longer * size**2, shapes.LONG_PIXELS), size**2)
    pixels = is_long.where(pixels, size**2)
    rows = graph("Round", graph("Sqrt", pixels) * graph("Sqrt", stretch) / quantum)
    rows = graph("Max", rows, 1)
    columns = graph("Max", graph("Round", pixels / (rows * quantum * quantum)), 1)
    ends = [graph("Reshape", side * quantum, np.array([1], np.int64)) for side in (rows, columns)]
    return graph("Concat", *ends, axis=0).cast(np.int64)


def _resized(x: Value, sides: Value, **attributes) -> Value:
    """Resizes `x` to `sides`, int64 [2], with half-pixel centres and a repeated border."""
    depth = x.graph("Shape", x, dtype=np.int64, end=2)
    shape = x.graph("Concat", depth, sides, axis=0)
    return x.graph("Resize", x, None, None, shape, dtype=x.dtype, **attributes)


def _luminance(rgb: Value) -> Value:
    """Returns Y in [0, 1], [1, 1, h, w], of sRGB uint8 [1, 3, h, w]."""
    table = color.linear_from_u8
    linear = rgb.graph("Gather", table, rgb.cast(np.int32), dtype=np.float32)
    weights = color.relative_xyz_from_linear_rgb[1].astype(np.float32).reshape(1, 3, 1, 1)
    return rgb.graph("Conv", linear, weights)


def _lightness(luminance: Value) -> Value:
    """Returns L* in [0, 100] of Y."""
    curved = luminance > _LUMINANCE_KNEE
    return curved.where(116.0 * luminance ** (1 / 3) - 16.0, luminance * _KAPPA)


def _encoded(linear: Value) -> Value:
    """Applies the sRGB transfer curve; input and output are in [0, 1]."""
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return (linear > _LINEAR_KNEE).where(curved, linear * 12.92)


def _fits(chroma: Value, lightness: Value) -> Value:
    """Like `resample.fit_guided_filter`: chroma [1, 2, h, w], L* [1, 1, h, w] -> [1, 6, h, w]."""
    graph = chroma.graph
    window: dict[str, Any] = {"kernel_shape": [2 * _RADIUS + 1] * 2, "pads": [_RADIUS] * 4}

    def mean(x):
        return graph("AveragePool", x, **window)

    light = lightness - 50.0
    mean_l, mean_c = mean(light), mean(chroma)
    variance = graph("Max", mean(light * light) - mean_l * mean_l, 0.0)
    slope = (mean(light * chroma) - mean_l * mean_c) / (variance + _SMOOTHNESS**2)
    offset = mean_c - slope * mean_l
    slope, offset = mean(slope), mean(offset)
    low = -graph("MaxPool", -lightness, **window)
    high = graph("MaxPool", lightness, **window)
    return graph("Concat", slope, offset - 50.0 * slope, low, high, axis=1)


def _joined(luminance: Value, fits: Value) -> Value:
    """Joins luminance with the chroma of `fits`: uint8 [1, 3, h, w], like `functions.color_tile`.

    Linear R, G and B are Y (1 + t k) / (1 + t dv), where t is as great as the gamut allows, at most
    1, and k is linear in the chroma (`color.fit_chroma`).
    """
    graph = luminance.graph
    lightness = _lightness(luminance)
    slope, offset, low, high = (_channels(fits, *ends) for ends in ((0, 2), (2, 4), (4, 5), (5, 6)))
    clipped = graph("Min", graph("Max", lightness, low), graph("Max", low, high))
    positive = graph("Max", lightness, _MIN_LIGHTNESS)
    x, y, z = color.white_xyz.tolist()
    white = np.array([4 * x, 9 * y]) / (x + 15 * y + 3 * z)
    per_lightness = (1 / (13 * white)).astype(np.float32).reshape(1, 2, 1, 1)
    offsets = (slope * clipped + offset) / positive * per_lightness
    weights = color.linear_rgb_from_chromaticity.astype(np.float32).reshape(3, 2, 1, 1)
    k, dv = graph("Conv", offsets, weights), _channels(offsets, 1, 2)
    room = graph("Max", 1.0 - luminance, 1e-6)
    excess = graph("Max", -k, (luminance * k - dv) / room)
    excess = graph("ReduceMax", excess, np.array([1], np.int64), keepdims=1)
    t = 1.0 / graph("Max", excess, 1.0)
    linear = luminance * (1.0 + t * k) / (1.0 + t * dv)
    rgb = graph("Round", _encoded(graph("Clip", linear, 0.0, 1.0)) * 255.0)
    return rgb.cast(np.uint8)


def _channels(x: Value, start: int, stop: int) -> Value:
    ends = (np.array([n], np.int64) for n in (start, stop, 1))
    return x.graph("Slice", x, *ends)
