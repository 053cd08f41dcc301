"""Metrics (the paper, section 5.1), and those of later work on colorization: one number per image.

The metrics from `psnr` on are for comparison with published figures; each docstring states the
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

# Wang et al. 2004: an 11-tap window, and the two stabilizing constants for values in [0, 1].
_SSIM_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_SSIM_WINDOW /= _SSIM_WINDOW.sum()
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2

# Zhang et al. 2016, section 2.1: squares of side 10; [-110, 110] contains a* and b* of all sRGB
# colours.
_LAB_LIMIT, _LAB_BIN, _LAB_BINS = 110.0, 10.0, 22


def l_reg(
    chroma: Float[AnyArray, "*batch h w 2"], true_chroma: Float[AnyArray, "*batch h w 2"]
) -> Float[Array, "*batch"]:
    """Returns the mean squared distance in the U, V plane: [..., h, w, 2] -> [...].

    The paper's L_reg sums the squared differences of both channels. The mean over pixels makes
    images of different sizes comparable.
    """
    error = widen(chroma) - widen(true_chroma)
    return jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=(-2, -1))


def bin_accuracy(
    bins: Int[AnyArray, "*batch h w c"], true_bins: Int[AnyArray, "*batch h w c"]
) -> Float[Array, "*batch c"]:
    """Returns the share of pixels in the right bin: int [..., h, w, c] -> [..., c] in [0, 1].

    For U and V these are the paper's Acc.U and Acc.V.
    """
    correct = jnp.asarray(bins) == true_bins
    return jnp.mean(correct.astype(jnp.float32), axis=_PIXELS)


def saturation_difference(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """Returns the paper's Sat. diff: [..., h, w, 3] in [0, 1] -> [...].

    It is |sum S - sum S_true| / sum S_true, where S is HSV saturation and the sums are over the
    image's pixels. The true mean saturation counts as at least one 8-bit step, 1/255, so that a
    gray image does not cause a division by zero.
    """
    true_saturation = saturation(true_rgb)
    return jnp.abs(saturation(rgb) - true_saturation) / jnp.maximum(true_saturation, 1 / 255)


def saturation(rgb: Float[AnyArray, "*batch h w 3"]) -> Float[Array, "*batch"]:
    """Returns the mean HSV saturation: [..., h, w, 3] in [0, 1] -> [...] in [0, 1]."""
    return jnp.mean(color.rgb_to_hsv(rgb)[..., 1], axis=(-2, -1))


def psnr(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """Returns the peak signal-to-noise ratio in dB: [..., h, w, 3] in [0, 1] -> [...].

    The squared error is averaged over all three channels. Identical images get 100 dB instead of
    infinity, so that averages over images stay finite.
    """
    error = jnp.mean(jnp.square(widen(rgb) - widen(true_rgb)), axis=(-3, -2, -1))
    return -10 * jnp.log10(jnp.maximum(error, 1e-10))


def ssim(
    rgb: Float[AnyArray, "*batch h w 3"], true_rgb: Float[AnyArray, "*batch h w 3"]
) -> Float[Array, "*batch"]:
    """Returns the structural similarity (Wang et al. 2004): [..., h, w, 3] in [0, 1] -> [...].

    The result is in [-1, 1]. Means and population (co)variances use a Gaussian window of 11x11
    pixels and sigma 1.5, K1 = 0.01, K2 = 0.03 and range 1. The result is averaged over the windows
    that lie wholly inside the image, then over R, G and B. This equals scikit-image's
    `structural_similarity(true_rgb, rgb, data_range=1.0, channel_axis=-1, gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False)`. Its defaults (7x7, unweighted) and the SSIM of luma
    give other numbers.

    Raises:
      ValueError: if height or width is below 11 pixels.
      TypeError: if the dtype is an integer, because its range is ambiguous.
    """
    rgb, true_rgb = _as_float(rgb), _as_float(true_rgb)
    if min(rgb.shape[-3:-1]) < len(_SSIM_WINDOW):
        raise ValueError(f"SSIM needs at least 11x11 pixels, found shape {rgb.shape}")
    # The moments of the two images follow from those of their sum and difference. These need four
    # maps instead of five, and give exactly 1 for identical images. The mean is subtracted because
    # a float32 variance is more precise for values around 0.
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
    """Returns Hasler and Suesstrunk's M3 (2003): [..., h, w, 3] in [0, 1] -> [...].

    M3 is defined on the 8-bit scale. With rg = R - G and yb = (R + G) / 2 - B for values in
    [0, 255], it is sqrt(var rg + var yb) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2), where the variances
    are divided by the number of pixels. 0 is gray, 33 moderately, 59 quite and 109 extremely
    colorful (their table). This function does not round values to 8 bits.

    Raises:
      TypeError: if the dtype is an integer, because its range is ambiguous.
    """
    return _colorfulness(*_opponent_channels(rgb))


def colorfulness_absolute(rgb: Float[AnyArray, "*batch h w 3"]) -> Float[Array, "*batch"]:
    """Returns the colorfulness (CF) of CT2, ColorFormer and DDColor: [..., h, w, 3] -> [...].

    `rgb` is in [0, 1]. The definition is that of `colorfulness`, but with rg = |R - G| and
    yb = |(R + G) / 2 - B|. Hasler and Suesstrunk take no absolute values. Absolute values make
    opposite colours count as one, and most images score lower. The papers' published code (CT2
    `segm/eval_colorfullness.py`, ColorFormer `metric/colorful.py`, DDColor
    `basicsr/metrics/colorfulness.py`) reads 8-bit images and uses `np.std` (ddof 0). To reproduce
    it, round first with `color.to_u8(rgb) / 255`.

    The CF of a set is the mean over its images (ColorFormer excludes images with CF <= 1, which are
    gray). DDColor's delta CF is the difference of two such means, |mean CF(predicted) - mean
    CF(true)|: in its tables 2 and 3 the CF of every row differs from 38.21 by the delta of that
    row. The mean of the per-image differences is another quantity, and is never smaller.

    Raises:
      TypeError: if the dtype is an integer, because its range is ambiguous.
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
    """Returns the raw accuracy (AuC) of Zhang, Isola and Efros: [..., h, w, 2] -> [...] in [0, 1].

    The accuracy is the share of pixels whose chroma error is at most t (Euclidean distance, <=), as
    a function of t = 0, 1, ..., `max_threshold`. The AuC is the area under this curve by the
    trapezoidal rule, divided by `max_threshold` (Zhang et al. 2016, section 3.1). The published
    figures are for a*, b* of CIELAB, times 100. The authors' code for it is not public. Other
    implementations take the mean over the 151 thresholds instead, which differs by up to 0.0034.

    Their class-balanced variant uses `weights` [..., h, w] >= 0: the reciprocal of the probability
    of the bin of each pixel's true chroma (their equation 4 with lambda 0; the scale does not
    matter). Its value for a set of images is the mean of the images' values weighted by each
    image's sum of weights, not their plain mean. An image whose weights are all 0 gets 0.
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
    """Returns each pixel's contribution to `auc`, which is their mean: [..., 2] -> [...]."""
    distance = jnp.linalg.norm(widen(chroma) - widen(true_chroma), axis=-1)
    # A pixel counts at all thresholds from ceil(distance) on. In the trapezoidal rule the last
    # threshold has half the weight, and so has threshold 0.
    return jnp.clip(1 - (jnp.ceil(distance) - 0.5) / max_threshold, 0.0, 1.0)


def auc_by_color(
    chroma: Float[AnyArray, "*batch h w 2"], true_chroma: Float[AnyArray, "*batch h w 2"]
) -> tuple[Float[Array, "*batch classes"], Float[Array, "*batch classes"]]:
    """Returns the sums over each image from which `balanced_auc` of a set is computed.

    The colour classes are those of Zhang, Isola and Efros: squares of side 10 in the plane of a*
    and b*.

    Args:
      chroma: [..., h, w, 2], predicted a* and b*.
      true_chroma: [..., h, w, 2], true a* and b*.
    Returns:
      pixels: [..., 484], the number of pixels whose true colour is in each class.
      areas: [..., 484], the sum of the `pixel_auc` of these pixels.
    """
    index = jnp.clip(jnp.floor((true_chroma + _LAB_LIMIT) / _LAB_BIN), 0, _LAB_BINS - 1)
    cell = (index[..., 0] * _LAB_BINS + index[..., 1]).astype(jnp.int32)
    batch = cell.shape[:-2]
    image = jnp.arange(np.prod(batch, dtype=int))[:, None]
    cell = cell.reshape(len(image), -1)
    zeros = jnp.zeros((len(image), _LAB_BINS**2))
    areas = zeros.at[image, cell].add(pixel_auc(chroma, true_chroma).reshape(cell.shape))
    pixels = zeros.at[image, cell].add(1.0)
    return pixels.reshape(*batch, -1), areas.reshape(*batch, -1)


def balanced_auc(pixels: Float[AnyArray, " classes"], areas: Float[AnyArray, " classes"]) -> float:
    """Returns the class-balanced AuC of a set: the mean over the colour classes that occur in it.

    It is `auc` over all pixels, with the reciprocal of the probability of the pixel's true colour
    class as weight. The probabilities are the frequencies in the measured set itself: every colour
    of the set then has a weight, and colours that are rare in a training set, or missing from it,
    do not outweigh all others. The published figures use the probabilities of ImageNet's training
    set.

    Args:
      pixels: [484], the `pixels` of `auc_by_color`, summed over the set.
      areas: [484], the `areas` of `auc_by_color`, summed over the set at the same scale.
    """
    pixels, areas = np.asarray(pixels), np.asarray(areas)
    occurs = pixels > 0
    return float(np.mean(areas[occurs] / pixels[occurs]))


def frechet_distance(
    features: Float[AnyArray, "n d"], true_features: Float[AnyArray, "m d"]
) -> float:
    """Returns the Frechet distance between Gaussians fitted to two sets of features.

    The distance is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the means and covariances (Dowson
    and Landau 1982), computed in float64. FID (Heusel et al. 2017) is this distance for features of
    Inception; with features of another network the number differs and is not FID. The distance
    depends on the number of features: compare only results for the same pictures.

    Args:
      features: [n, d], n >= 2.
      true_features: [m, d], m >= 2.
    Returns:
      A number >= 0 in squared units of the features.
    Raises:
      ValueError: if a set has fewer than two features, or the widths d differ.
    """
    sets = [np.asarray(x, np.float64) for x in (features, true_features)]
    shapes = [x.shape for x in sets]
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"want [n >= 2, d] and [m >= 2, d], got {shapes[0]} and {shapes[1]}")
    means = [x.mean(axis=0) for x in sets]
    # With C = R'R, tr (C1 C2)^(1/2) is the sum of the singular values of R1 R2'. This avoids the
    # square root of a matrix, which is singular when there are fewer pictures than features.
    roots = [
        np.asarray(np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r"))
        for x, mean in zip(sets, means, strict=True)
    ]
    cross_trace = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(np.square(root).sum() for root in roots)
    distance = np.square(means[0] - means[1]).sum() + traces - 2.0 * cross_trace
    return float(max(distance, 0.0))  # rounding may make it negative for equal sets


def _as_float(rgb: Num[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    rgb = jnp.asarray(rgb)
    if not jnp.issubdtype(rgb.dtype, jnp.floating):
        raise TypeError(f"rgb must be floating point in [0, 1], found {rgb.dtype}")
    return widen(rgb)


def _window_means(maps: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h-10 w-10 c"]:
    """Filters with SSIM's window, without padding: [..., h, w, c] -> [..., h - 10, w - 10, c]."""
    # Sums of shifted slices, because XLA's convolutions are ten times slower here on a CPU, and
    # may use tf32 on a GPU.
    for axis in (maps.ndim - 3, maps.ndim - 2):
        size = maps.shape[axis] - len(_SSIM_WINDOW) + 1
        maps = sum(
            weight * jax.lax.slice_in_dim(maps, shift, shift + size, axis=axis)
            for shift, weight in enumerate(_SSIM_WINDOW.tolist())
        )
        # Without the barrier, XLA on a GPU fuses both passes: the second sum then recomputes every
        # term of the first.
        maps = jax.lax.optimization_barrier(maps)
    return maps


def _opponent_channels(
    rgb: Float[AnyArray, "*batch h w 3"],
) -> tuple[Float[Array, "*batch h w"], Float[Array, "*batch h w"]]:
    """Returns red-green and yellow-blue, each [..., h, w] in [-255, 255]; exactly 0 for gray."""
    rgb = 255.0 * _as_float(rgb)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return r - g, 0.5 * (r + g) - b


def _colorfulness(
    rg: Float[Array, "*batch h w"], yb: Float[Array, "*batch h w"]
) -> Float[Array, "*batch"]:
    """Combines the opponent channels, as `colorfulness` describes."""
    planes = jnp.stack([rg, yb])
    spread = jnp.sqrt(jnp.sum(jnp.var(planes, axis=(-2, -1)), axis=0))
    return spread + 0.3 * jnp.sqrt(jnp.sum(jnp.square(jnp.mean(planes, axis=(-2, -1))), axis=0))
