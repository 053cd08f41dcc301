"""What the network predicts: the one place that knows one objective from another."""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.ops import bins, color, decoding, losses, metrics, resample
from colorjax.ops.arrays import AnyArray
from colorjax.ops.bins import Binning
from colorjax.ops.spaces import FULL_SCALE, SPACES, Space, difference, wrap
from colorjax.settings import ARGMAX, Decoding

CHROMA_SCALE = FULL_SCALE  # brings chroma into about [-1, 1] for regression
LUV_BINS = bins.channel_bins()  # in which the accuracies are counted, whatever the objective


class Example(NamedTuple):
    """A batch of photographs as the network sees them; b, h, w as in the uint8 batch."""

    gray: jax.Array  # [b, h, w, 1] gray in [0, 255], the network's input
    lightness: jax.Array  # [b, h, w, 1] L* in [0, 100], or what the space has instead
    chroma: jax.Array  # [b, h, w, 2] U and V, or their like: the truth


class Statistics(NamedTuple):
    """How often each bin occurs in a training set, and what it stands for there."""

    counts: np.ndarray  # [G, Q] float64, of pixels
    means: np.ndarray  # [G, Q, D] float64, of their chroma
    clipped: float = 0.0  # share of pixels outside the bins' range
    images: int = 0


class Task(NamedTuple):
    """An objective as pure functions of arrays; `outputs` are the model's.

    They may be smaller than the pictures by a whole factor: the loss then compares them with the
    mean of the true chroma over the cells of factor x factor pixels, and `measure` enlarges what
    they decode to.
    """

    prepare: Callable[[AnyArray], Example]  # uint8 RGB [b, h, w, 3] -> Example
    loss: Callable[[jax.Array, Example], jax.Array]  # outputs, example -> [b]
    # outputs, how -> chroma [b, ., ., 2], of the outputs' own size. Numbers of `how` but vibrance
    # may be traced; outputs that are chroma themselves take no notice of it.
    decode: Callable[[jax.Array, Decoding], jax.Array]
    # outputs, example, how to decode them -> {name: [b, ...]}
    measure: Callable[[jax.Array, Example, Decoding], dict[str, jax.Array]]
    colors: Callable[[jax.Array, jax.Array], jax.Array]  # lightness, chroma -> sRGB in [0, 1]
    statistics: Callable[[Example], dict[str, jax.Array]]  # what is counted over a training set
    constant: Callable[[jax.Array, Example], jax.Array]  # counts, example -> outputs: the baseline
    binning: Binning  # in which the statistics are counted
    # outputs -> [b, ., .] in [0, 1], of the outputs' own size; None where there are no scores
    confidence: Callable[[jax.Array], jax.Array] | None = None
    # Outputs, how much of rebalanced training stays -> the probabilities [..., n] of all colours
    # that they may become, and these, [n, 2]; None likewise
    likely: Callable[[jax.Array, AnyArray], tuple[jax.Array, jax.Array]] | None = None


def classification(
    binning: Binning = LUV_BINS,
    space: Space = SPACES["luv"],
    *,
    values: AnyArray | None = None,
    weights: AnyArray | None = None,
    softness: float = 0.0,
) -> Task:
    """Chroma classified into the bins of `binning`, G groups of Q: outputs [b, h, w, G, Q].

    Loss: the groups' cross-entropies, summed and averaged over pixels (the paper, section 3.6).

    Args:
      values: [G, Q, D], what each bin is un-binned to; the bins' centres if None.
      weights: [G, Q], by which the loss of a pixel is multiplied according to its true bin. Scores
        learn to be higher by their logarithms; `Decoding.rebalance` says how much is kept.
      softness: sigma of the Gaussian by which a pixel's target is spread over the bins around its
        chroma, in units of chroma; 0 is the true bin alone. Zhang, Isola and Efros 2016 spread it
        by 5 over the five nearest bins of width 10, outside of which it has next to nothing.
    """
    unbinned = binning.centers if values is None else values

    def loss(logits, example):
        chroma = cell_means(example.chroma, logits.shape[-3])
        per_group = _entropies(logits, chroma, binning, space, softness)
        if weights is not None:
            true_bins = binning.encode(chroma)
            per_group = per_group * jnp.asarray(weights)[jnp.arange(len(weights)), true_bins]
        return jnp.mean(jnp.sum(per_group, axis=-1), axis=(-2, -1))

    def restored(logits, rebalance):
        if weights is None:
            return logits
        return decoding.undo_rebalancing(logits, weights, 1.0 - rebalance)

    def likely(logits, rebalance):
        return decoding.distribution(restored(logits, rebalance), unbinned)

    def decode(logits, how):
        key = jax.random.key(how.seed)
        logits = restored(logits, how.rebalance)
        chroma = decoding.decode(
            logits, unbinned, space, method=how.method, temperature=how.temperature, key=key
        )
        if how.method in decoding.MEANS and how.vibrance:
            return decoding.add_vibrance(chroma, how.vibrance)
        return chroma

    def constant(counts, example):
        # So sure of one bin that every decoding says that one.
        logits = 1e4 * jax.nn.one_hot(bins.most_frequent(counts), binning.centers.shape[1])
        return jnp.broadcast_to(logits, (*example.chroma.shape[:-1], *logits.shape))

    task = _task(space, binning, loss, decode, constant)
    return task._replace(
        confidence=lambda logits: decoding.confidence(restored(logits, 0.0)), likely=likely
    )


def _entropies(logits, chroma, binning: Binning, space: Space, softness: float) -> jax.Array:
    """The cross-entropies of the groups: [b, h, w, G]; see `classification`."""
    if not softness:
        return losses.cross_entropy(logits, binning.encode(chroma))
    targets = soft_targets(chroma, binning.centers, softness, space)
    return losses.soft_cross_entropy(logits, targets)


def regression(
    loss_name: str = "l2",
    huber_m: float = 1.0,
    binning: Binning = LUV_BINS,
    space: Space = SPACES["luv"],
) -> Task:
    """Regression of chroma, divided by 100: outputs [b, h, w, 2] (the paper, section 3.5).

    Loss: `l2`, or `huber` with its M in the same units, summed over both channels and averaged
    over pixels. `binning` is what the training set's statistics are counted in.
    """
    pointwise = {
        "l2": losses.squared_error,
        "huber": lambda predicted, target: losses.huber(predicted, target, huber_m),
    }[loss_name]

    def loss(outputs, example):
        chroma = cell_means(example.chroma, outputs.shape[-2])
        error = pointwise(difference(space, decode(outputs, ARGMAX), chroma) / CHROMA_SCALE, 0.0)
        return jnp.mean(jnp.sum(error, axis=-1), axis=(-2, -1))

    def decode(outputs, how):
        return outputs.astype(jnp.float32) * CHROMA_SCALE

    def constant(counts, example):
        chroma = bins.unbin_chroma(bins.most_frequent(counts), binning.centers)
        return jnp.broadcast_to(chroma / CHROMA_SCALE, example.chroma.shape)

    return _task(space, binning, loss, decode, constant)


def cell_means(x: jax.Array, width: int) -> jax.Array:
    """Means over square cells, of which `width` lie side by side: [b, h, w, c] -> [b, ., width, c].

    Chroma that goes round in a circle has no such mean, and is left as it is by a factor of 1.
    """
    batch, height, full, depth = x.shape
    factor = full // width
    if factor == 1:
        return x
    cells = x.reshape(batch, height // factor, factor, width, factor, depth)
    return jnp.mean(cells, axis=(2, 4))


def enlarge(chroma: jax.Array, width: int) -> jax.Array:
    """Decoded chroma, smaller than its picture by a whole factor, at the picture's `width`."""
    return resample.upsample(chroma, width // chroma.shape[-2], method="bilinear")


@functools.cache
def joint_binning(space_name: str, width: float) -> Binning:
    """Squares of side `width` in the chroma plane of a space, wherever sRGB has a colour."""
    steps = np.linspace(0, 255, 52).astype(np.uint8)  # every fifth level
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    # Numbers are wanted here, also where what asks for the bins is being traced itself.
    with jax.ensure_compile_time_eval():
        _, _, chroma = jax.jit(SPACES[space_name].split)(cube)
    return bins.joint_bins(np.asarray(chroma, np.float64), width)


def soft_targets(chroma: jax.Array, centers: np.ndarray, sigma: float, space: Space) -> jax.Array:
    """Chroma [..., 2] as a distribution over bins: a Gaussian around it, at `centers` [G, Q, D].

    Returns [..., G, Q], each group adding up to 1.
    """
    groups, _, channels = centers.shape
    chroma = chroma.reshape(*chroma.shape[:-1], groups, channels)
    return jax.nn.softmax(-_squared_distances(chroma, centers, space) / (2 * sigma**2), axis=-1)


def rebalancing(
    counts: np.ndarray, binning: Binning, space: Space, uniform: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """The prior and the weights of the loss that follow from pixel `counts` [G, Q]: [G, Q] each.

    See `bins.smooth_prior` and `bins.rebalancing_weights`. On the host: a program for this would
    take longer to compile than all of it takes.
    """
    centers = binning.centers.astype(np.float64)
    straight = centers[:, :, None] - centers[:, None]  # [G, Q, Q, D]
    circular = np.reshape(space.circular, (len(centers), 1, 1, -1))
    turns = np.round(straight / (2 * FULL_SCALE)) * circular
    distances = np.sum((straight - 2 * FULL_SCALE * turns) ** 2, axis=-1)
    prior = bins.smooth_prior(counts, distances, sigma)
    return prior, bins.rebalancing_weights(prior, uniform)


def _squared_distances(chroma: jax.Array, centers: np.ndarray, space: Space) -> jax.Array:
    """From chroma [..., G, D] to every bin's centre [G, Q, D]: [..., G, Q]."""
    circular = np.reshape(space.circular, (len(centers), 1, -1))
    # A sum of channels, each of which is folded into what uses it; an axis of two would not be.
    squares = (
        jnp.square(wrap(chroma[..., :, None, d] - centers[..., d], circular[..., d]))
        for d in range(centers.shape[-1])
    )
    return functools.reduce(operator.add, squares)


def summarize(averages: dict[str, np.ndarray]) -> dict[str, float]:
    """From the averages of `Task.measure` over a set of images to the set's metrics.

    The differences in colorfulness (as DDColor has it) and saturation are those of the set's means,
    where too much in one image makes up for too little in another. `sat_diff` is a mean of
    differences, where it does not.
    """
    numbers = dict(averages)
    pixels, areas = numbers.pop("color_pixels"), numbers.pop("color_areas")
    result = {name: float(value) for name, value in numbers.items()}
    for name in ("colorfulness", "colorfulness_absolute"):
        result[f"delta_{name}"] = abs(result[name] - result[f"{name}_true"])
    excess = abs(result["saturation"] - result["saturation_true"])
    result["delta_saturation"] = excess / max(result["saturation_true"], 1 / 255)
    return {**result, "auc_rebalanced": metrics.balanced_auc(pixels, areas)}


def _task(
    space: Space, binning: Binning, loss: Callable, decode: Callable, constant: Callable
) -> Task:
    """What every objective shares: preparation, metrics and statistics."""

    def prepare(rgb_u8):
        return Example(*space.split(rgb_u8))

    def measure(outputs, example, how):
        predicted = enlarge(decode(outputs, how), example.chroma.shape[-2])
        rgb, chroma = _in_luv(space, example.lightness, predicted)
        true_rgb, true_chroma = _in_luv(space, example.lightness, example.chroma)
        accuracy = metrics.bin_accuracy(LUV_BINS.encode(chroma), LUV_BINS.encode(true_chroma))
        return {
            "loss": loss(outputs, example),
            "l_reg": metrics.l_reg(chroma, true_chroma),
            "acc_u": accuracy[..., 0],
            "acc_v": accuracy[..., 1],
            **_measure_pictures(rgb, true_rgb),
        }

    def statistics(example):
        counts, sums = jax.vmap(lambda c: bins.bin_counts_and_sums(binning, c))(example.chroma)
        clipped = bins.clipped_fraction(
            example.chroma, low=binning.low, high=binning.high, axis=(-2, -1)
        )
        return {"counts": counts, "sums": sums, "clipped": clipped}

    return Task(prepare, loss, decode, measure, space.join, statistics, constant, binning)


def _measure_pictures(rgb: jax.Array, true_rgb: jax.Array) -> dict[str, jax.Array]:
    """The metrics of finished pictures, [b, h, w, 3] each: {name: [b, ...]}."""
    ab, true_ab = (color.rgb_to_lab(x)[..., 1:] for x in (rgb, true_rgb))
    color_pixels, color_areas = metrics.auc_by_color(ab, true_ab)
    return {
        "sat_diff": metrics.saturation_difference(rgb, true_rgb),
        "saturation": metrics.saturation(rgb),
        "saturation_true": metrics.saturation(true_rgb),
        "psnr": metrics.psnr(rgb, true_rgb),
        "ssim": metrics.ssim(rgb, true_rgb),
        "colorfulness": metrics.colorfulness(rgb),
        "colorfulness_true": metrics.colorfulness(true_rgb),
        "colorfulness_absolute": metrics.colorfulness_absolute(rgb),
        "colorfulness_absolute_true": metrics.colorfulness_absolute(true_rgb),
        "auc": metrics.auc(ab, true_ab),
        "color_pixels": color_pixels,
        "color_areas": color_areas,
    }


def _in_luv(space: Space, lightness: jax.Array, chroma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The picture, and its U and V, in which all spaces are measured."""
    rgb = space.join(lightness, chroma)
    if space is SPACES["luv"]:
        return rgb, chroma  # as predicted, before it is brought into the gamut
    return rgb, color.rgb_to_luv(rgb)[..., 1:]
