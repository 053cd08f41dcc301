import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm
from skimage.color import rgb2hsv
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorjax.ops import metrics


def random_rgb(seed, shape=(3, 8, 10, 3)):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_l_reg_sums_over_channels_and_averages_over_pixels():
    chroma = jnp.zeros((1, 1, 2, 2)).at[0, 0, 0].set(jnp.array([3.0, 4.0]))
    assert_allclose(metrics.l_reg(chroma, jnp.zeros((1, 1, 2, 2))), [12.5])


def test_bin_accuracy_keeps_the_channels_apart():
    bins = jnp.array([[[[1, 2], [3, 4]]]])
    true_bins = jnp.array([[[[1, 0], [3, 4]]]])
    assert_allclose(metrics.bin_accuracy(bins, true_bins), [[1.0, 0.5]])


def test_saturation_difference_agrees_with_skimage():
    rgb, true_rgb = random_rgb(0), random_rgb(1) ** 2
    s, true_s = (rgb2hsv(x)[..., 1].sum((1, 2)) for x in (rgb, true_rgb))
    assert_allclose(
        metrics.saturation_difference(rgb, true_rgb), np.abs(s - true_s) / true_s, rtol=1e-5
    )


def test_a_gray_prediction_has_a_saturation_difference_of_one():
    gray = np.repeat(random_rgb(0)[..., :1], 3, -1)
    assert_allclose(metrics.saturation_difference(gray, random_rgb(1)), 1.0, atol=1e-6)


def test_saturation_difference_of_a_gray_truth_is_finite():
    gray = jnp.full((1, 4, 4, 3), 0.5)
    assert_allclose(metrics.saturation_difference(gray, gray), 0.0)


def test_psnr_agrees_with_skimage():
    rgb, true_rgb = random_rgb(0), random_rgb(1)
    expected = [
        peak_signal_noise_ratio(t, p, data_range=1.0) for p, t in zip(rgb, true_rgb, strict=True)
    ]
    assert_allclose(metrics.psnr(rgb, true_rgb), expected, rtol=1e-5)


def test_psnr_of_a_perfect_image_is_100_dB():
    assert_allclose(metrics.psnr(random_rgb(0), random_rgb(0)), 100.0, rtol=1e-6)


ssim = jax.jit(metrics.ssim)  # one program per shape instead of about a hundred operations


def skimage_ssim(rgb, true_rgb):
    return structural_similarity(
        np.float64(true_rgb),
        np.float64(rgb),
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def smooth_rgb(low, high):
    y, x = np.mgrid[:17, :23] / 22
    rgb = np.stack([x, 1 - y, np.sin(3 * x) * y], axis=-1)
    return (low + (high - low) * rgb).astype(np.float32)


@pytest.mark.parametrize(
    "rgb, true_rgb",
    [
        (random_rgb(0, (17, 23, 3)), random_rgb(1, (17, 23, 3))),
        (random_rgb(0, (17, 23, 3)), 1 - random_rgb(0, (17, 23, 3))),
        (random_rgb(0, (11, 11, 3)), random_rgb(0, (11, 11, 3)) ** 1.2),
        (smooth_rgb(0.0, 1.0), smooth_rgb(0.1, 0.8)),
        (smooth_rgb(0.99, 1.0), smooth_rgb(0.98, 1.0)),  # float32 has few digits for this variance
        (smooth_rgb(0.0, 0.01), smooth_rgb(0.0, 0.02)),
    ],
    ids=["noise", "negative", "one window", "smooth", "nearly white", "nearly black"],
)
def test_ssim_agrees_with_skimage(rgb, true_rgb):
    assert_allclose(ssim(rgb, true_rgb), skimage_ssim(rgb, true_rgb), rtol=1e-5)


def test_ssim_keeps_the_images_of_a_batch_apart():
    rgb, true_rgb = random_rgb(0, (2, 2, 12, 13, 3)), random_rgb(1, (2, 2, 12, 13, 3)) ** 2
    expected = [[skimage_ssim(rgb[i, j], true_rgb[i, j]) for j in (0, 1)] for i in (0, 1)]
    assert_allclose(ssim(rgb, true_rgb), expected, rtol=1e-5)


def test_ssim_of_an_image_with_itself_is_exactly_one():
    for rgb in (random_rgb(0, (17, 23, 3)), np.zeros((17, 23, 3), np.float32)):
        assert float(ssim(rgb, rgb)) == 1.0


def test_ssim_of_black_and_white_is_the_luminance_constant_alone():
    black, white = jnp.zeros((17, 23, 3)), jnp.ones((17, 23, 3))
    assert_allclose(ssim(black, white), 1e-4 / 1.0001, rtol=1e-5)


def test_ssim_of_bfloat16_is_measured_in_float32():
    rgb, true_rgb = (jnp.asarray(random_rgb(i, (17, 23, 3)), jnp.bfloat16) for i in (0, 1))
    assert_allclose(ssim(rgb, true_rgb), skimage_ssim(rgb, true_rgb), rtol=1e-5)


@pytest.mark.parametrize("shape", [(10, 20, 3), (20, 10, 3)])
def test_ssim_refuses_an_image_smaller_than_its_window(shape):
    with pytest.raises(ValueError, match="11x11 pixels, found shape"):
        metrics.ssim(jnp.zeros(shape), jnp.zeros(shape))


@pytest.mark.parametrize(
    "metric",
    [lambda x: metrics.ssim(x, x), metrics.colorfulness, metrics.colorfulness_absolute],
    ids=["ssim", "colorfulness", "colorfulness_absolute"],
)
def test_8_bit_integers_are_refused(unchecked_shapes, metric):
    with pytest.raises(TypeError, match="floating point in .0, 1., found uint8"):
        metric(jnp.zeros((12, 12, 3), jnp.uint8))


def test_colorfulness_of_red_beside_blue_is_the_hand_computed_one():
    rgb = jnp.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    # rg is 255 and 0; yb is 127.5 and -255
    spread, mean = np.hypot(127.5, 191.25), np.hypot(127.5, -63.75)
    assert_allclose(metrics.colorfulness(rgb), spread + 0.3 * mean, rtol=1e-6)
    # |yb| is 127.5 and 255
    spread, mean = np.hypot(127.5, 63.75), np.hypot(127.5, 191.25)
    assert_allclose(metrics.colorfulness_absolute(rgb), spread + 0.3 * mean, rtol=1e-6)


def test_absolute_colorfulness_does_not_distinguish_opposite_colours():
    red_and_cyan = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])
    distance = np.hypot(255.0, 127.5)
    assert_allclose(metrics.colorfulness(red_and_cyan), distance, rtol=1e-6)
    assert_allclose(metrics.colorfulness_absolute(red_and_cyan), 0.3 * distance, rtol=1e-6)


@pytest.mark.parametrize(
    "metric, change",
    [(metrics.colorfulness, np.asarray), (metrics.colorfulness_absolute, np.abs)],
    ids=["signed", "absolute"],
)
def test_colorfulness_agrees_with_numpy_image_by_image(metric, change):
    rgb = random_rgb(0, (2, 3, 8, 10, 3)) * np.float32([1.0, 0.7, 0.4])

    def expected(image):
        r, g, b = np.moveaxis(np.float64(image) * 255, -1, 0)
        rg, yb = change(r - g), change((r + g) / 2 - b)
        return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())

    assert_allclose(metric(rgb), [[expected(x) for x in row] for row in rgb], rtol=1e-5)


@pytest.mark.parametrize("metric", [metrics.colorfulness, metrics.colorfulness_absolute])
def test_gray_black_and_white_have_no_colorfulness(metric):
    gray = np.repeat(random_rgb(0)[..., :1], 3, -1)
    gray[1], gray[2] = 0.0, 1.0
    assert np.all(np.asarray(metric(gray)) == 0.0)


def naive_auc(distance, weights=None, thresholds=range(151)):
    """Returns the area under the cumulative curve, computed one threshold after the other."""
    share = np.array([np.average(distance <= t, weights=weights) for t in thresholds])
    return np.sum((share[1:] + share[:-1]) / 2) / (len(share) - 1)


def test_auc_of_single_pixels_is_the_hand_computed_one():
    chroma = jnp.array([[0, 0], [3, 4], [3, 4.01], [90, -120], [-90.5, 120]])[:, None, None]
    areas = [1.0, 145.5 / 150, 144.5 / 150, 0.5 / 150, 0.0]
    assert_allclose(metrics.auc(chroma, jnp.zeros_like(chroma)), areas, rtol=1e-5)


@pytest.mark.parametrize("last", [150, 40])
def test_auc_is_the_area_under_the_curve_of_all_thresholds(last):
    chroma = np.random.default_rng(0).normal(0, 60, (2, 3, 7, 9, 2)).astype(np.float32)
    true_chroma = np.random.default_rng(1).normal(0, 40, chroma.shape).astype(np.float32)
    true_chroma[..., 0, :, :] = chroma[..., 0, :, :]
    distance = np.hypot(*np.moveaxis(chroma - true_chroma, -1, 0))
    expected = [[naive_auc(d, thresholds=range(last + 1)) for d in row] for row in distance]
    assert_allclose(metrics.auc(chroma, true_chroma, max_threshold=last), expected, rtol=1e-5)


def test_auc_differs_little_from_the_mean_over_the_thresholds():
    distance = jnp.arange(0.0, 160.0, 0.25)[:, None, None]
    chroma = jnp.stack([distance, jnp.zeros_like(distance)], axis=-1)
    mean = np.mean(np.asarray(distance) <= np.arange(151), axis=(-2, -1))
    difference = np.abs(metrics.auc(chroma, jnp.zeros_like(chroma)) - mean)
    assert 0.003 < difference.max() < 0.0034


def test_balanced_auc_of_a_set_is_the_mean_weighted_by_the_images_weights():
    rng = np.random.default_rng(2)
    chroma = rng.normal(0, 50, (3, 6, 8, 2)).astype(np.float32)
    weights = rng.uniform(size=(3, 6, 8)).astype(np.float32) ** 4 * [[[1]], [[5]], [[0.1]]]
    aucs = metrics.auc(chroma, np.zeros_like(chroma), weights=weights)
    distance = np.hypot(*np.moveaxis(chroma, -1, 0))
    expected = [naive_auc(*pair) for pair in zip(distance, weights, strict=True)]
    assert_allclose(aucs, expected, rtol=1e-5)
    over_set = np.average(aucs, weights=weights.sum((1, 2)))
    assert_allclose(over_set, naive_auc(distance, weights), rtol=1e-5)
    assert abs(over_set - np.mean(aucs)) > 1e-3


def test_auc_ignores_the_scale_of_the_weights():
    chroma = jnp.array([[[3.0, 4.0], [60.0, 80.0]]])
    for weight in (1e-6, 1.0, 1e6):
        weights = weight * jnp.array([[3.0, 1.0]])
        value = metrics.auc(chroma, jnp.zeros_like(chroma), weights=weights)
        assert_allclose(value, (3 * 145.5 + 50.5) / 4 / 150, rtol=1e-5)


def test_auc_of_an_image_without_weight_is_zero():
    chroma = jnp.ones((2, 4, 4, 2))
    assert np.all(np.asarray(metrics.auc(chroma, chroma, weights=jnp.zeros((2, 4, 4)))) == 0.0)


def test_balanced_auc_is_the_mean_over_the_colour_classes_of_the_set():
    rng = np.random.default_rng(3)
    true_ab = rng.uniform(-60, 60, (3, 6, 8, 2)).astype(np.float32)
    ab = true_ab + rng.normal(0, 30, true_ab.shape).astype(np.float32)
    pixels, areas = metrics.auc_by_color(ab, true_ab)
    assert pixels.shape == areas.shape == (3, 484)
    classes = np.floor(true_ab / 10) @ [1000, 1]
    distance = np.hypot(*np.moveaxis(ab - true_ab, -1, 0))
    expected = np.mean([naive_auc(distance[classes == c]) for c in np.unique(classes)])
    assert len(np.unique(classes)) > 50
    found = metrics.balanced_auc(np.float64(pixels).mean(0), np.float64(areas).mean(0))
    assert_allclose(found, expected, rtol=1e-5)


def test_balanced_auc_is_auc_weighted_by_inverse_class_counts():
    rng = np.random.default_rng(4)
    true_ab = rng.normal(0, 15, (2, 9, 8, 2)).astype(np.float32)
    ab = np.zeros_like(true_ab)
    classes = np.floor(true_ab / 10) @ [1000, 1]
    values, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    weights = (1 / counts)[inverse].reshape(classes.shape).astype(np.float32)
    whole = [x.reshape(1, 18, 8, -1) for x in (ab, true_ab, weights)]
    expected = metrics.auc(whole[0], whole[1], weights=whole[2][..., 0])[0]
    pixels, areas = metrics.auc_by_color(ab, true_ab)
    assert_allclose(metrics.balanced_auc(pixels.sum(0), areas.sum(0)), expected, rtol=1e-5)
    # Otherwise the balance would have no effect.
    assert abs(expected - metrics.auc(*whole[:2])[0]) > 0.01


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (40, 50, 30), (31, 31, 30)])
def test_the_frechet_distance_agrees_with_scipys_matrix_square_root(n, m, d):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 1.0
    b = rng.normal(size=(m, d)) @ rng.normal(size=(d, d))
    c1, c2 = np.cov(a.T), np.cov(b.T)
    between_means = np.square(a.mean(0) - b.mean(0)).sum()
    expected = between_means + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert_allclose(metrics.frechet_distance(a, b), expected, rtol=1e-6)
    assert_allclose(metrics.frechet_distance(b, a), expected, rtol=1e-6)


def test_the_frechet_distance_of_one_feature_follows_from_mean_and_deviation():
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0]])
    deviations = np.std(a, ddof=1) - np.std(b, ddof=1)
    assert_allclose(metrics.frechet_distance(a, b), (2 - 10.5) ** 2 + deviations**2)


def test_the_frechet_distance_of_few_shifted_features_is_the_squared_shift():
    few = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    assert_allclose(metrics.frechet_distance(few, few), 0.0, atol=1e-9)
    assert_allclose(metrics.frechet_distance(few + 2.0, few), 64 * 4.0, rtol=1e-6)
    # For doubled features: the squared distance of the means plus that of the deviations.
    widened = metrics.frechet_distance(2 * few, few)
    spread = np.var(few, axis=0, ddof=1).sum()
    assert_allclose(widened, np.square(few.mean(0)).sum() + spread, rtol=1e-5)


def test_a_frechet_distance_of_one_picture_or_unequal_features_is_refused(unchecked_shapes):
    for a, b in (((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5, 3))):
        with pytest.raises(ValueError, match="want .n >= 2, d. and .m >= 2, d., got"):
            metrics.frechet_distance(np.ones(a), np.ones(b))


def test_the_metrics_may_be_vmapped():
    rgb, true_rgb = random_rgb(0, (2, 17, 23, 3)), random_rgb(1, (2, 17, 23, 3))

    def measure(rgb, true_rgb):
        cf = metrics.colorfulness(rgb), metrics.colorfulness_absolute(rgb)
        return metrics.ssim(rgb, true_rgb), *cf, metrics.auc(rgb[..., :2], true_rgb[..., :2])

    mapped = jax.jit(jax.vmap(measure))(rgb, true_rgb)
    for a, b in zip(mapped, jax.jit(measure)(rgb, true_rgb), strict=True):
        assert_allclose(a, b, rtol=1e-5)
