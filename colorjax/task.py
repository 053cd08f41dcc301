"""What the network predicts: the one place that knows one objective from another."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax import bins, color, losses, metrics
from colorjax.spaces import SPACES, Space, difference

REGRESSION_LOSSES = ("l2", "huber")
CHROMA_SCALE = 100.0  # brings chroma into about [-1, 1] for regression


class Example(NamedTuple):
    """A batch of photographs as the network sees them; b, h, w as in the uint8 batch."""

    gray: jax.Array  # [b, h, w, 1] gray in [0, 255], the network's input
    lightness: jax.Array  # [b, h, w, 1] L* in [0, 100], or what the space has instead
    chroma: jax.Array  # [b, h, w, 2] U and V, or their like: the truth


class Task(NamedTuple):
    """An objective as pure functions of arrays; `outputs` are the model's."""

    prepare: Callable[[jax.Array], Example]  # uint8 RGB [b, h, w, 3] -> Example
    loss: Callable[[jax.Array, Example], jax.Array]  # outputs, example -> [b]
    decode: Callable[[jax.Array], jax.Array]  # outputs -> chroma [b, h, w, 2]
    measure: Callable[[jax.Array, Example], dict[str, jax.Array]]  # outputs, example -> {name: [b]}
    colors: Callable[[jax.Array, jax.Array], jax.Array]  # lightness, chroma -> sRGB in [0, 1]
    statistics: Callable[[Example], dict[str, jax.Array]]  # what is counted over a training set
    constant: Callable[[jax.Array, Example], jax.Array]  # counts, example -> outputs: the baseline


class Bins(NamedTuple):
    """`num` equal bins on [low, high] for each chroma channel (the paper, section 3.2)."""

    num: int = 50
    low: float = -100.0
    high: float = 100.0


LUV_BINS = Bins()  # in which the accuracies are counted, whatever the objective


def classification(
    grid: Bins, bin_values: jax.Array | None = None, space: Space = SPACES["luv"]
) -> Task:
    """Both chroma channels classified into the bins of `grid`: outputs [b, h, w, 2, num].

    Loss: the sum of both channels' cross-entropies, averaged over pixels. Decoding: the most
    probable bin, un-binned by `bin_values` [num] or [2, num], the bins' centres if None (the
    paper, section 3.2).
    """
    if bin_values is None:
        bin_values = bins.centers(*grid)

    def loss(logits, example):
        per_channel = losses.cross_entropy(logits, bins.bin_chroma(example.chroma, *grid))
        return jnp.mean(jnp.sum(per_channel, axis=-1), axis=(-2, -1))

    def decode(logits):
        return bins.unbin_chroma(jnp.argmax(logits, axis=-1), bin_values)

    def constant(counts, example):
        logits = jax.nn.one_hot(bins.most_frequent(counts), grid.num)
        return jnp.broadcast_to(logits, (*example.chroma.shape, grid.num))

    return _task(space, grid, loss, decode, constant)


def regression(
    grid: Bins, loss_name: str = "l2", huber_m: float = 1.0, space: Space = SPACES["luv"]
) -> Task:
    """Both chroma channels themselves, divided by 100: outputs [b, h, w, 2] (the paper, 3.1).

    Loss: `l2`, or `huber` with its M in the same units, summed over both channels and averaged
    over pixels. `grid` is what the training set's statistics are counted in.
    """
    pointwise = {
        "l2": losses.squared_error,
        "huber": lambda predicted, target: losses.huber(predicted, target, huber_m),
    }[loss_name]

    def loss(outputs, example):
        error = pointwise(difference(space, decode(outputs), example.chroma) / CHROMA_SCALE, 0.0)
        return jnp.mean(jnp.sum(error, axis=-1), axis=(-2, -1))

    def decode(outputs):
        return outputs.astype(jnp.float32) * CHROMA_SCALE

    def constant(counts, example):
        chroma = bins.unbin_chroma(bins.most_frequent(counts), bins.centers(*grid))
        return jnp.broadcast_to(chroma / CHROMA_SCALE, example.chroma.shape)

    return _task(space, grid, loss, decode, constant)


def _task(space: Space, grid: Bins, loss: Callable, decode: Callable, constant: Callable) -> Task:
    """What every objective shares: preparation, metrics and statistics."""

    def prepare(rgb_u8):
        return Example(*space.split(rgb_u8))

    def measure(outputs, example):
        rgb, chroma = _in_luv(space, example.lightness, decode(outputs))
        true_rgb, true_chroma = _in_luv(space, example.lightness, example.chroma)
        accuracy = metrics.bin_accuracy(
            bins.bin_chroma(chroma, *LUV_BINS), bins.bin_chroma(true_chroma, *LUV_BINS)
        )
        return {
            "loss": loss(outputs, example),
            "l_reg": metrics.l_reg(chroma, true_chroma),
            "acc_u": accuracy[..., 0],
            "acc_v": accuracy[..., 1],
            "sat_diff": metrics.saturation_difference(rgb, true_rgb),
            "psnr": metrics.psnr(rgb, true_rgb),
        }

    def statistics(example):
        counts, sums = jax.vmap(lambda c: bins.bin_counts_and_sums(c, *grid))(example.chroma)
        clipped = bins.clipped_fraction(example.chroma, grid.low, grid.high, axis=(-2, -1))
        return {"counts": counts, "sums": sums, "clipped": clipped}

    return Task(prepare, loss, decode, measure, space.join, statistics, constant)


def _in_luv(space: Space, lightness: jax.Array, chroma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The picture, and its U and V, in which all spaces are measured."""
    rgb = space.join(lightness, chroma)
    if space is SPACES["luv"]:
        return rgb, chroma  # as predicted, before it is brought into the gamut
    return rgb, color.rgb_to_luv(rgb)[..., 1:]
