"""The metrics (the paper, section 5.1) and those of later work on colorization, one number an
image. What follows `psnr` is here to be compared with published figures: each docstring gives the
protocol of its source.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Num

from colorjax.ops import color
from colorjax.ops.arrays import AnyArray, widen

_PIXELS = (-3, -2)  # height and width of a channel-last image

# Wang et al. 2004: the window of 11 taps, and the two constants for values in [0, 1].
_SSIM_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_SSIM_WINDOW /= _SSIM_WINDOW.sum()
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2

# Zhang et al. 2016, section 2.1: squares of 10; [-110, 110] holds a* and b* of all of sRGB.
_LAB_REACH, _LAB_BIN, _LAB_BINS = 110.0, 10.0, 22


def l_reg(
    chroma: Float[AnyArray, "*batch h w 2"], true_chroma: Float[AnyArray, "*batch h w 2"]
) -> Float[Array, "*batch"]:
    """Squared distance in the U, V plane, averaged over pixels: [..., h, w, 2] -> [...].

    The paper's L_reg sums the squared differences of both channels; its mean over pixels makes
    images of different sizes comparable.
    """
    error = widen(chroma) - widen(true_chroma)
    return jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=(-2, -1))


def bin_accuracy(
    bins: Int[AnyArray, "*batch h w c"], true_bins: Int[AnyArray, "*batch h w c"]
) -> Float[Array, "*batch c"]:
    """Share of pixels in the right bin by channel: int [..., h, w, c] -> [..., c] in [0, 1].

    Its two channels are the paper's Acc.U and Acc.V.
    """
    right = jnp.asarray(bins) == true_bins
    return jnp.mean(right.astype(jnp.float32), axis=_PIXELS)


def saturation_difference(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """The paper's Sat. diff: |sum S - sum S_true| / sum S_true, [..., h, w, 3] in [0, 1] -> [...].

    S is HSV saturation, summed over the image's pixels. A true image without any colour would
    divide by zero: its mean saturation counts as at least one 8-bit step, 1/255.
    """
    true_saturation = saturation(true_rgb)
    return jnp.abs(saturation(rgb) - true_saturation) / jnp.maximum(true_saturation, 1 / 255)


def saturation(rgb: Float[AnyArray, "*batch h w 3"]) -> Float[Array, "*batch"]:
    """The mean HSV saturation of each image [..., h, w, 3] in [0, 1]: [...] in [0, 1]."""
    return jnp.mean(color.rgb_to_hsv(rgb)[..., 1], axis=(-2, -1))


def psnr(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """Peak signal-to-noise ratio in dB over all three channels, [..., h, w, 3] in [0, 1] -> [...].

    An image that is exactly right has 100 dB instead of infinity, so that means stay finite.
    """
    error = jnp.mean(jnp.square(widen(rgb) - widen(true_rgb)), axis=(-3, -2, -1))
    return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def ssim(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """Structural similarity (Wang et al. 2004), [..., h, w, 3] in [0, 1] -> [...] in [-1, 1].

    Means and population (co)variances under a Gaussian window of 11x11 pixels and sigma 1.5,
    K1 = 0.01, K2 = 0.03, range 1; averaged over the windows that lie wholly inside the image, then
    over R, G and B. That is scikit-image's `structural_similarity(true_rgb, rgb, data_range=1.0,
    channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`; its defaults
    (7x7, unweighted), and SSIM of luma alone, give other numbers.

    Raises:
        ValueError: for an image of fewer than 11 pixels in height or width.
        TypeError: for integers, whose range nobody can know.
    """
    rgb, true_rgb = _as_float(rgb), _as_float(true_rgb)
    if min(rgb.shape[-3:-1]) < len(_SSIM_WINDOW):
        raise ValueError(f"SSIM needs at least 11x11 pixels, found shape {rgb.shape}")
    # The moments of the sum and the difference hold those of the two images, in four maps instead
    # of five, and an image against itself has exactly 1. Variance does not care for a shift, and
    # has more of its digits left in float32 when the values lie around 0.
    total, difference = rgb + true_rgb, rgb - true_rgb
    offset = jnp.mean(total, axis=_PIXELS, keepdims=True)
    total = total - offset
    maps = jnp.stack([total, difference, jnp.square(total), jnp.square(difference)])
    mean_t, mean_d, square_t, square_d = _window_means(maps)
    var_t, var_d = square_t - jnp.square(mean_t), square_d - jnp.square(mean_d)
    bright_t, bright_d = jnp.square(mean_t + offset), jnp.square(mean_d)
    # With x and y the images: 4xy = t^2 - d^2 and 2(x^2 + y^2) = t^2 + d^2.
    luminance = (bright_t - bright_d + 2 * _SSIM_C1) / (bright_t + bright_d + 2 * _SSIM_C1)
    structure = (var_t - var_d + 2 * _SSIM_C2) / (var_t + var_d + 2 * _SSIM_C2)
    return jnp.mean(luminance * structure, axis=(-3, -2, -1))


def colorfulness(rgb: Float[AnyArray, "*batch h w 3"]) -> Float[Array, "*batch"]:
    """Hasler and Suesstrunk's M3 (2003), [..., h, w, 3] in [0, 1] -> [...], on the 8-bit scale.

    With rg = R - G and yb = (R + G) / 2 - B of values in [0, 255]: sqrt(var rg + var yb)
    + 0.3 sqrt(mean(rg)^2 + mean(yb)^2), variances being divided by the number of pixels. 0 is gray,
    33 moderately, 59 quite and 109 extremely colorful (their table). Values are not rounded to
    8 bits here.

    Raises:
        TypeError: for integers, whose range nobody can know.
    """
    return _colorfulness(*_opponent_channels(rgb))


def colorfulness_absolute(rgb: Float[AnyArray, "*batch h w 3"]) -> Float[Array, "*batch"]:
    """The colorfulness (CF) of CT2, ColorFormer and DDColor: [..., h, w, 3] in [0, 1] -> [...].

    As `colorfulness`, but rg = |R - G| and yb = |(R + G) / 2 - B|. Hasler and Suesstrunk take no
    absolute values: with them opposite colours count as one, and most images get less. The papers'
    published code (CT2 `segm/eval_colorfullness.py`, ColorFormer `metric/colorful.py`, DDColor
    `basicsr/metrics/colorfulness.py`) reads 8-bit images and uses `np.std` (ddof 0); to do as it
    does, round first, with `color.to_u8(rgb) / 255`.

    A set's CF is the mean over its images (ColorFormer leaves out those of CF <= 1, gray ones).
    DDColor's delta CF is the difference of two such means, |mean CF(predicted) - mean CF(true)|:
    every row of its tables 2 and 3 lies its delta away from the same 38.21. The mean of the images'
    own differences is another quantity, and never smaller.

    Raises:
        TypeError: for integers, whose range nobody can know.
    """
    rg, yb = _opponent_channels(rgb)
    return _colorfulness(jnp.abs(rg), jnp.abs(yb))


def auc(
    chroma: Float[AnyArray, "*batch h w 2"],
    true_chroma: Float[AnyArray, "*batch h w 2"],
    *,
    weights: Float[AnyArray, "*batch h w"] | None = None,
    max_threshold: int = 150,
) -> Float[Array, "*batch"]:
    """Zhang, Isola and Efros's raw accuracy (AuC, 2016, section 3.1): [..., h, w, 2] -> [...].

    The share of pixels whose chroma is off by at most t (Euclidean distance, <=), as a function of
    t = 0, 1, ..., `max_threshold`; the area under it by the trapezoidal rule, divided by
    `max_threshold`: in [0, 1]. The published figures are for a*, b* of CIELAB, times 100. The
    authors' code for it is not public; where others take the mean over the 151 thresholds instead,
    the value differs by up to 0.0034.

    Their class-balanced variant has `weights` [..., h, w] >= 0: one over the probability of the
    bin of the pixel's true chroma (their equation 4 with lambda 0; the scale does not matter). Its
    value for a set of images is not the mean of theirs, but the mean weighted by each image's sum
    of weights. An image without any weight has 0.
    """
    area = pixel_auc(chroma, true_chroma, max_threshold=max_threshold)
    if weights is None:
        return jnp.mean(area, axis=(-2, -1))
    weights = widen(weights)
    total = jnp.sum(weights, axis=(-2, -1))
    return jnp.sum(weights * area, axis=(-2, -1)) / jnp.where(total > 0, total, 1.0)


def pixel_auc(
    chroma: Float[AnyArray, "*batch 2"],
    true_chroma: Float[AnyArray, "*batch 2"],
    *,
    max_threshold: int = 150,
) -> Float[Array, "*batch"]:
    """`auc` of every pixel by itself, whose mean is that of the image: [..., 2] -> [...]."""
    distance = jnp.linalg.norm(widen(chroma) - widen(true_chroma), axis=-1)
    # A pixel counts at the thresholds from ceil(distance) on, of which the last weighs half, and
    # so does the first if it is 0.
    return jnp.clip(1 - (jnp.ceil(distance) - 0.5) / max_threshold, 0.0, 1.0)


def auc_by_color(
    chroma: Float[AnyArray, "*batch h w 2"], true_chroma: Float[AnyArray, "*batch h w 2"]
) -> tuple[Float[Array, "*batch classes"], Float[Array, "*batch classes"]]:
    """Images' shares in a set's `balanced_auc`: a*, b* [..., h, w, 2] -> two of [..., 484].

    The plane of a* and b* is cut into squares of 10, which are Zhang, Isola and Efros's colour
    classes: how many pixels have their true colour in each, and the sum of their `pixel_auc`.
    """
    index = jnp.clip(jnp.floor((true_chroma + _LAB_REACH) / _LAB_BIN), 0, _LAB_BINS - 1)
    cell = (index[..., 0] * _LAB_BINS + index[..., 1]).astype(jnp.int32)
    batch = cell.shape[:-2]
    image = jnp.arange(np.prod(batch, dtype=int))[:, None]
    cell = cell.reshape(len(image), -1)
    zeros = jnp.zeros((len(image), _LAB_BINS**2))
    areas = zeros.at[image, cell].add(pixel_auc(chroma, true_chroma).reshape(cell.shape))
    pixels = zeros.at[image, cell].add(1.0)
    return pixels.reshape(*batch, -1), areas.reshape(*batch, -1)


def balanced_auc(pixels: Float[AnyArray, " classes"], areas: Float[AnyArray, " classes"]) -> float:
    """AuC rebalanced, of a whole set: every colour class that occurs in it counts alike.

    It is `auc` over all pixels with the weight one over the probability of the pixel's true colour
    class, that probability being its share in the measured set itself: no colour of the set is
    without weight, and rare ones, which a training set may not know, do not outweigh all others.
    The published figures take the probabilities of ImageNet's training set.

    Args:
        pixels: [484], the sum of the first of `auc_by_color` over the set.
        areas: [484], likewise of the second, at the same scale.
    """
    pixels, areas = np.asarray(pixels), np.asarray(areas)
    seen = pixels > 0
    return float(np.mean(areas[seen] / pixels[seen]))


def frechet_distance(
    features: Float[AnyArray, "n d"], true_features: Float[AnyArray, "m d"]
) -> float:
    """How far two sets of features lie apart, as Gaussians of their mean and covariance.

    [n, d] and [m, d] -> a number >= 0 in squared units of the features, computed in float64:
    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Dowson and Landau 1982. It is what FID (Heusel et
    al. 2017) takes of features of Inception; of those of another network the number is another, and
    not FID. It depends on n: compare results for the same pictures only.

    Raises ValueError for fewer than two features of a kind, or for widths that differ.
    """
    sets = [np.asarray(x, np.float64) for x in (features, true_features)]
    shapes = [x.shape for x in sets]
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"want [n >= 2, d] and [m >= 2, d], got {shapes[0]} and {shapes[1]}")
    means = [x.mean(axis=0) for x in sets]
    # C = R'R, so that tr (C1 C2)^(1/2) is the sum of the singular values of R1 R2': no root of
    # a matrix, of which few pictures make a singular one.
    roots = [
        np.asarray(np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r"))
        for x, mean in zip(sets, means, strict=True)
    ]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(np.square(root).sum() for root in roots)
    distance = np.square(means[0] - means[1]).sum() + traces - 2.0 * shared
    return float(max(distance, 0.0))  # of equal sets it may round to below


def _as_float(rgb: Num[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    rgb = jnp.asarray(rgb)
    if not jnp.issubdtype(rgb.dtype, jnp.floating):
        raise TypeError(f"rgb must be floating point in [0, 1], found {rgb.dtype}")
    return widen(rgb)


def _window_means(maps: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h-10 w-10 c"]:
    """[..., h, w, c] -> [..., h - 10, w - 10, c], weighted by SSIM's window."""
    # Shifted sums: XLA's CPU convolutions are ten times slower here, and a GPU's may use tf32.
    for axis in (maps.ndim - 3, maps.ndim - 2):
        size = maps.shape[axis] - len(_SSIM_WINDOW) + 1
        maps = sum(
            weight * jax.lax.slice_in_dim(maps, shift, shift + size, axis=axis)
            for shift, weight in enumerate(_SSIM_WINDOW.tolist())
        )
        # Else a GPU's compiler would write out the second sum over all terms of the first.
        maps = jax.lax.optimization_barrier(maps)
    return maps


def _opponent_channels(
    rgb: Float[AnyArray, "*batch h w 3"],
) -> tuple[Float[Array, "*batch h w"], Float[Array, "*batch h w"]]:
    """Red-green and yellow-blue, each [..., h, w] in [-255, 255]; exactly 0 for gray."""
    rgb = 255.0 * _as_float(rgb)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return r - g, 0.5 * (r + g) - b


def _colorfulness(
    rg: Float[Array, "*batch h w"], yb: Float[Array, "*batch h w"]
) -> Float[Array, "*batch"]:
    planes = jnp.stack([rg, yb])
    spread = jnp.sqrt(jnp.sum(jnp.var(planes, axis=(-2, -1)), axis=0))
    return spread + 0.3 * jnp.sqrt(jnp.sum(jnp.square(jnp.mean(planes, axis=(-2, -1))), axis=0))
