import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose
from skimage.color import rgb2hsv
from skimage.metrics import peak_signal_noise_ratio

from colorjax import metrics


def random_rgb(seed, shape=(3, 8, 10, 3)):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_l_reg_sums_over_channels_and_averages_over_pixels():
    chroma = jnp.zeros((1, 1, 2, 2)).at[0, 0, 0].set(jnp.array([3.0, 4.0]))
    assert_allclose(metrics.l_reg(chroma, jnp.zeros((1, 1, 2, 2))), [12.5])


def test_bin_accuracy_keeps_the_channels_apart():
    bins = jnp.array([[[[1, 2], [3, 4]]]])
    true_bins = jnp.array([[[[1, 0], [3, 4]]]])
    assert_allclose(metrics.bin_accuracy(bins, true_bins), [[1.0, 0.5]])


def test_saturation_difference_is_that_of_skimages_saturations():
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
