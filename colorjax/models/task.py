"""The objectives, classification and regression; all other modules treat them alike."""

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

CHROMA_SCALE = FULL_SCALE  # divisor that brings chroma into about [-1, 1] for regression
LUV_BINS = bins.channel_bins()  # the bins of the accuracy metrics, for every objective


class Example(NamedTuple):
    """A batch of photographs, split into the network's input and the true chroma.

    b, h and w are those of the uint8 batch.

    Attributes:
      gray: [b, h, w, 1] in [0, 255], the network's input.
      lightness: [b, h, w, 1], L* in [0, 100], or the corresponding channel of the colour space.
      chroma: [b, h, w, 2], true U and V, or the corresponding channels of the colour space.
    """

    gray: jax.Array
    lightness: jax.Array
    chroma: jax.Array


class Statistics(NamedTuple):
    """Statistics of the bins over a training set.

    Attributes:
      counts: [G, Q] float64, number of pixels in each bin.
      means: [G, Q, D] float64, mean chroma of these pixels.
      clipped: share of pixels whose chroma is outside the range of the bins.
      images: number of images counted.
    """

    counts: np.ndarray
    means: np.ndarray
    clipped: float = 0.0
    images: int = 0


class Task(NamedTuple):
    """An objective, as pure functions of arrays. `outputs` are the outputs of the model.

    Outputs may be smaller than the pictures by an integer factor. The loss then compares them with
    the true chroma averaged over cells of factor x factor pixels, and `measure` upsamples the
    decoded chroma.

    Attributes:
      prepare: uint8 RGB [b, h, w, 3] -> example.
      loss: outputs, example -> [b].
      decode: outputs, options -> chroma [b, ., ., 2] at the resolution of the outputs. All numbers
        in the options except `vibrance` may be traced. Regression ignores the options.
      measure: outputs, example, decoding options -> metrics, {name: [b, ...]}.
      to_rgb: lightness, chroma -> sRGB in [0, 1].
      statistics: example -> the sums from which the `Statistics` of a training set are computed.
      constant: bin counts, example -> the outputs of the best constant prediction, a baseline.
      binning: the bins of `statistics`.
      confidence: outputs -> [b, ., .] in [0, 1] at the resolution of the outputs; None for
        regression.
      color_distribution: outputs, share of the class rebalancing to keep -> the probabilities
        [..., n] of all colours that the outputs can decode to, and these colours' chroma [n, 2];
        None for regression.
    """

    prepare: Callable[[AnyArray], Example]
    loss: Callable[[jax.Array, Example], jax.Array]
    decode: Callable[[jax.Array, Decoding], jax.Array]
    measure: Callable[[jax.Array, Example, Decoding], dict[str, jax.Array]]
    to_rgb: Callable[[jax.Array, jax.Array], jax.Array]
    statistics: Callable[[Example], dict[str, jax.Array]]
    constant: Callable[[jax.Array, Example], jax.Array]
    binning: Binning
    confidence: Callable[[jax.Array], jax.Array] | None = None
    color_distribution: Callable[[jax.Array, AnyArray], tuple[jax.Array, jax.Array]] | None = None


def classification(
    binning: Binning = LUV_BINS,
    space: Space = SPACES["luv"],
    *,
    values: AnyArray | None = None,
    weights: AnyArray | None = None,
    softness: float = 0.0,
) -> Task:
    """Classification of chroma into the bins of `binning`: outputs [b, h, w, G, Q] are logits.

    The loss is the cross-entropy, summed over the G groups and averaged over pixels (the paper,
    section 3.6).

    Args:
      binning: G groups of Q bins.
      space: the colour space.
      values: [G, Q, D], the chroma that each bin decodes to; the bins' centres if None.
      weights: [G, Q], class rebalancing weights of a pixel's loss by its true bin; None for equal
        weights. Training with them adds their logarithms to the logits; `Decoding.rebalance` is
        the share of this that decoding keeps.
      softness: standard deviation, in units of chroma, of the Gaussian around a pixel's chroma that
        gives its soft targets; 0 for one-hot targets. Zhang, Isola and Efros 2016 use 5 and the
        five nearest bins of width 10; the Gaussian is close to 0 beyond these.
    """
    bin_values = binning.centers if values is None else values

    def loss(logits, example):
        chroma = cell_means(example.chroma, logits.shape[-3])
        per_group = _cross_entropies(logits, chroma, binning, space, softness)
        if weights is not None:
            true_bins = binning.encode(chroma)
            per_group = per_group * jnp.asarray(weights)[jnp.arange(len(weights)), true_bins]
        return jnp.mean(jnp.sum(per_group, axis=-1), axis=(-2, -1))

    def adjusted(logits, rebalance):
        if weights is None:
            return logits
        return decoding.undo_rebalancing(logits, weights, 1.0 - rebalance)

    def color_distribution(logits, rebalance):
        return decoding.distribution(adjusted(logits, rebalance), bin_values)

    def decode(logits, options):
        chroma = decoding.decode(
            adjusted(logits, options.rebalance),
            bin_values,
            space,
            method=options.method,
            temperature=options.temperature,
            key=jax.random.key(options.seed),
        )
        if options.method in decoding.MEANS and options.vibrance:
            return decoding.add_vibrance(chroma, options.vibrance)
        return chroma

    def constant(counts, example):
        # The logits are so large that every decoding method returns this bin.
        logits = 1e4 * jax.nn.one_hot(bins.most_frequent(counts), binning.centers.shape[1])
        return jnp.broadcast_to(logits, (*example.chroma.shape[:-1], *logits.shape))

    task = _task(space, binning, loss, decode, constant)
    return task._replace(
        confidence=lambda logits: decoding.confidence(adjusted(logits, 0.0)),
        color_distribution=color_distribution,
    )


def _cross_entropies(logits, chroma, binning: Binning, space: Space, softness: float) -> jax.Array:
    """Returns the cross-entropy of each group, [b, h, w, G]; see `classification`."""
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
    """Regression of chroma (the paper, section 3.5): outputs [b, h, w, 2] are chroma / 100.

    The loss is summed over both channels and averaged over pixels.

    Args:
      loss_name: `l2` or `huber`.
      huber_m: threshold M of the Huber loss, in units of the outputs.
      binning: the bins in which the training set's statistics are counted.
      space: the colour space.
    """
    pixel_loss = {
        "l2": losses.squared_error,
        "huber": lambda predicted, target: losses.huber(predicted, target, huber_m),
    }[loss_name]

    def loss(outputs, example):
        chroma = cell_means(example.chroma, outputs.shape[-2])
        error = pixel_loss(difference(space, decode(outputs, ARGMAX), chroma) / CHROMA_SCALE, 0.0)
        return jnp.mean(jnp.sum(error, axis=-1), axis=(-2, -1))

    def decode(outputs, options):
        return outputs.astype(jnp.float32) * CHROMA_SCALE

    def constant(counts, example):
        chroma = bins.unbin_chroma(bins.most_frequent(counts), binning.centers)
        return jnp.broadcast_to(chroma / CHROMA_SCALE, example.chroma.shape)

    return _task(space, binning, loss, decode, constant)


def cell_means(x: jax.Array, width: int) -> jax.Array:
    """Downsamples by an integer factor to the given width: [b, h, w, c] -> [b, ., width, c].

    Each output pixel is the mean of a square cell. A circular channel has no such mean; spaces with
    one are only used with a factor of 1, which returns `x` unchanged.
    """
    batch, height, full_width, depth = x.shape
    factor = full_width // width
    if factor == 1:
        return x
    cells = x.reshape(batch, height // factor, factor, width, factor, depth)
    return jnp.mean(cells, axis=(2, 4))


def enlarge(chroma: jax.Array, width: int) -> jax.Array:
    """Upsamples decoded chroma bilinearly, by an integer factor, to the picture's `width`."""
    return resample.upsample(chroma, width // chroma.shape[-2], method="bilinear")


@functools.cache
def joint_binning(space_name: str, width: float) -> Binning:
    """Bins the chroma plane of a space into squares of side `width` that contain sRGB colours."""
    steps = np.linspace(0, 255, 52).astype(np.uint8)  # every fifth level
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    # The bins must be concrete numbers even if the caller is being traced.
    with jax.ensure_compile_time_eval():
        _, _, chroma = jax.jit(SPACES[space_name].split)(cube)
    return bins.joint_bins(np.asarray(chroma, np.float64), width)


def soft_targets(chroma: jax.Array, centers: np.ndarray, sigma: float, space: Space) -> jax.Array:
    """Encodes chroma [..., 2] as soft targets over bins with `centers` [G, Q, D].

    The targets are proportional to a Gaussian of standard deviation `sigma` around the chroma.
    Returns [..., G, Q], summing to 1 over each group.
    """
    groups, _, channels = centers.shape
    chroma = chroma.reshape(*chroma.shape[:-1], groups, channels)
    return jax.nn.softmax(-_squared_distances(chroma, centers, space) / (2 * sigma**2), axis=-1)


def rebalancing(
    counts: np.ndarray, binning: Binning, space: Space, uniform: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smoothed prior and the class weights for pixel `counts` [G, Q]: [G, Q] each.

    See `bins.smooth_prior` and `bins.rebalancing_weights`. It computes on the host, because a
    compiled program would take longer to compile than the computation takes.
    """
    centers = binning.centers.astype(np.float64)
    delta = centers[:, :, None] - centers[:, None]  # [G, Q, Q, D]
    circular = np.reshape(space.circular, (len(centers), 1, 1, -1))
    turns = np.round(delta / (2 * FULL_SCALE)) * circular
    squared_distances = np.sum((delta - 2 * FULL_SCALE * turns) ** 2, axis=-1)
    prior = bins.smooth_prior(counts, squared_distances, sigma)
    return prior, bins.rebalancing_weights(prior, uniform)


def _squared_distances(chroma: jax.Array, centers: np.ndarray, space: Space) -> jax.Array:
    """Returns squared distances from chroma [..., G, D] to the `centers` [G, Q, D]: [..., G, Q]."""
    circular = np.reshape(space.circular, (len(centers), 1, -1))
    # A sum over channels in Python, because XLA fuses it with its consumer; it would not fuse a
    # reduction of an axis of two.
    squares = (
        jnp.square(wrap(chroma[..., :, None, d] - centers[..., d], circular[..., d]))
        for d in range(centers.shape[-1])
    )
    return functools.reduce(operator.add, squares)


def summarize(averages: dict[str, np.ndarray]) -> dict[str, float]:
    """Computes the metrics of a set of images from the averages of `Task.measure` over the set.

    The `delta_` metrics of colorfulness (defined as by DDColor) and saturation are differences of
    the set's means: an excess in one image compensates for a deficit in another. `sat_diff` is the
    mean of the images' differences, which do not compensate each other.
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
    """Builds a task from the functions in which objectives differ, and adds those they share."""

    def prepare(rgb_u8):
        return Example(*space.split(rgb_u8))

    def measure(outputs, example, options):
        predicted = enlarge(decode(outputs, options), example.chroma.shape[-2])
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

    return Task(
        prepare=prepare,
        loss=loss,
        decode=decode,
        measure=measure,
        to_rgb=space.join,
        statistics=statistics,
        constant=constant,
        binning=binning,
    )


def _measure_pictures(rgb: jax.Array, true_rgb: jax.Array) -> dict[str, jax.Array]:
    """Returns the metrics that compare RGB pictures, [b, h, w, 3] each: {name: [b, ...]}."""
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
    """Returns the RGB picture, and its U and V, in which all spaces are compared."""
    rgb = space.join(lightness, chroma)
    if space is SPACES["luv"]:
        return rgb, chroma  # as predicted, not mapped into the gamut
    return rgb, color.rgb_to_luv(rgb)[..., 1:]
