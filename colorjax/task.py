"""What the network predicts: the one place that knows one objective from another."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax import bins, color, losses, metrics


class Example(NamedTuple):
    """A batch of photographs as the network sees them; b, h, w as in the uint8 batch."""

    gray: jax.Array  # [b, h, w, 1] sRGB gray in [0, 255], the network's input
    lightness: jax.Array  # [b, h, w, 1] L* in [0, 100]
    chroma: jax.Array  # [b, h, w, 2] U and V, the truth


class Task(NamedTuple):
    """An objective as pure functions of arrays."""

    prepare: Callable[[jax.Array], Example]  # uint8 RGB [b, h, w, 3] -> Example
    loss: Callable[[jax.Array, Example], jax.Array]  # outputs, example -> [b]
    decode: Callable[[jax.Array], jax.Array]  # outputs -> chroma [b, h, w, 2]
    measure: Callable[[jax.Array, Example], dict[str, jax.Array]]  # outputs, example -> {name: [b]}
    colors: Callable[[jax.Array, jax.Array], jax.Array]  # lightness, chroma -> sRGB in [0, 1]
    statistics: Callable[[Example], dict[str, jax.Array]]  # what is counted over a training set
    constant: Callable[[jax.Array, Example], jax.Array]  # counts, example -> outputs: the baseline


def classification(num_bins: int, low: float, high: float, bin_values=None) -> Task:
    """U and V of CIELUV, each classified into `num_bins` equal bins on [low, high].

    Loss: the sum of both channels' cross-entropies, averaged over pixels. Decoding: the most
    probable bin, un-binned by `bin_values` [num_bins] or [2, num_bins], the bins' centres if
    None (the paper, section 3.2).
    """
    if bin_values is None:
        bin_values = bins.centers(num_bins, low, high)

    def to_bins(chroma):
        return bins.bin_chroma(chroma, num_bins, low, high)

    def loss(logits, example):
        per_channel = losses.cross_entropy(logits, to_bins(example.chroma))
        return jnp.mean(jnp.sum(per_channel, axis=-1), axis=(-2, -1))

    def decode(logits):
        return bins.unbin_chroma(jnp.argmax(logits, axis=-1), bin_values)

    def measure(logits, example):
        chroma = decode(logits)
        accuracy = metrics.bin_accuracy(jnp.argmax(logits, axis=-1), to_bins(example.chroma))
        return {
            "loss": loss(logits, example),
            "l_reg": metrics.l_reg(chroma, example.chroma),
            "acc_u": accuracy[..., 0],
            "acc_v": accuracy[..., 1],
            **_image_metrics(chroma, example),
        }

    def statistics(example):
        counts, sums = jax.vmap(lambda c: bins.bin_counts_and_sums(c, num_bins, low, high))(
            example.chroma
        )
        clipped = bins.clipped_fraction(example.chroma, low, high, axis=(-2, -1))
        return {"counts": counts, "sums": sums, "clipped": clipped}

    def constant(counts, example):
        logits = jax.nn.one_hot(bins.most_frequent(counts), num_bins)
        return jnp.broadcast_to(logits, (*example.chroma.shape, num_bins))

    return Task(prepare_luv, loss, decode, measure, luv_colors, statistics, constant)


def prepare_luv(rgb_u8: jax.Array) -> Example:
    """uint8 RGB [b, h, w, 3] -> L*, U, V and the gray that has the same L*."""
    luv = color.rgb_u8_to_luv(rgb_u8)
    lightness = luv[..., :1]
    return Example(color.gray_from_lightness(lightness), lightness, luv[..., 1:])


def luv_colors(lightness: jax.Array, chroma: jax.Array) -> jax.Array:
    """L* [..., 1] joined with U, V [..., 2] -> sRGB [..., 3] in [0, 1].

    Chroma outside the gamut is reduced at constant lightness and hue.
    """
    luv = color.fit_chroma(jnp.concatenate([lightness, chroma], axis=-1))
    return jnp.clip(color.luv_to_rgb(luv), 0.0, 1.0)


def _image_metrics(chroma: jax.Array, example: Example) -> dict[str, jax.Array]:
    rgb = luv_colors(example.lightness, chroma)
    true_rgb = luv_colors(example.lightness, example.chroma)
    return {
        "sat_diff": metrics.saturation_difference(rgb, true_rgb),
        "psnr": metrics.psnr(rgb, true_rgb),
    }
