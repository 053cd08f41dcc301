"""Chroma bins: hand-computed values, comparison with numpy's histograms, and round trips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.ops import bins, color

EDGES = np.linspace(-100, 100, 51)
PAPER = bins.channel_bins()


@jax.jit
def count_and_sum(chroma):
    return bins.bin_counts_and_sums(PAPER, chroma)


def chroma_like(shape, seed=0, scale=30):
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def test_centers_are_the_middles_of_the_bins():
    middles = bins.centers()
    assert middles.dtype == jnp.float32
    np.testing.assert_array_equal(middles, np.arange(-98, 100, 4))
    np.testing.assert_array_equal(
        bins.centers(num_bins=4, low=0.0, high=1.0), [0.125, 0.375, 0.625, 0.875]
    )


def test_bins_match_hand_computed_ones():
    chroma = jnp.array([[-100.0, -96.0], [-96.1, 0.0], [3.9, 4.0], [95.9, 96.0]])
    index = bins.bin_chroma(chroma)
    assert index.dtype == jnp.int32
    np.testing.assert_array_equal(index, [[0, 1], [0, 25], [25, 26], [48, 49]])


def test_values_outside_go_to_the_end_bins():
    chroma = jnp.array([-np.inf, -1e30, -134, -100.001, -100, 99.9999, 100, 175, 1e30, np.inf])
    np.testing.assert_array_equal(bins.bin_chroma(chroma), [0] * 5 + [49] * 5)


def test_the_largest_value_below_an_edge_is_in_the_lower_bin():
    edges = EDGES[1:-1].astype(np.float32)
    # The largest float32 below 0 is denormal, and denormal numbers count as 0.
    below = np.where(edges == 0, np.float32(-1e-30), np.nextafter(edges, np.float32(-np.inf)))
    np.testing.assert_array_equal(bins.bin_chroma(below), np.arange(49))
    np.testing.assert_array_equal(bins.bin_chroma(edges), np.arange(1, 50))


@pytest.mark.parametrize("num_bins, low, high", [(50, -100, 100), (16, -128, 128), (10, 0, 1)])
def test_bins_agree_with_digitize(num_bins, low, high):
    span = high - low
    chroma = np.random.default_rng(1).uniform(low - span / 4, high + span / 4, (100, 101, 2))
    chroma = chroma.astype(np.float32)
    expected = np.digitize(chroma, np.linspace(low, high, num_bins + 1)[1:-1])
    index = jax.jit(lambda c: bins.bin_chroma(c, num_bins=num_bins, low=low, high=high))(chroma)
    np.testing.assert_array_equal(index, expected)


def test_bfloat16_is_binned_without_further_rounding():
    chroma = jnp.asarray(chroma_like((1000,)), jnp.bfloat16)
    np.testing.assert_array_equal(
        bins.bin_chroma(chroma), bins.bin_chroma(chroma.astype(jnp.float32))
    )


def test_round_trip_is_within_half_a_bin_inside_the_range():
    chroma = np.random.default_rng(2).uniform(-100, 100, (10_000, 2)).astype(np.float32)
    back = bins.unbin_chroma(bins.bin_chroma(chroma), PAPER.centers)
    assert back.dtype == jnp.float32
    assert np.abs(back - chroma).max() <= 2.0


def test_binning_inverts_unbinning():
    index = jnp.stack([jnp.arange(50), jnp.arange(50)[::-1]], axis=-1)
    np.testing.assert_array_equal(bins.bin_chroma(bins.unbin_chroma(index, PAPER.centers)), index)


def test_binning_inverts_unbinning_by_means():
    chroma = chroma_like((40_000, 2), scale=60)
    counts, sums = count_and_sum(chroma)
    means = bins.bin_means(counts, sums, PAPER.centers)
    index = jnp.stack([jnp.arange(50), jnp.arange(50)], axis=-1)
    np.testing.assert_array_equal(bins.bin_chroma(bins.unbin_chroma(index, means)), index)


def test_unbinning_takes_each_channel_from_its_own_row():
    values = jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])[..., None]
    index = jnp.array([[[0, 0], [2, 1]]], jnp.int32)
    np.testing.assert_array_equal(bins.unbin_chroma(index, values), [[[1, 10], [3, 20]]])


def test_unbinning_a_joint_bin_gives_both_channels():
    values = jnp.array([[[1.0, -1.0], [2.0, -2.0]]])
    np.testing.assert_array_equal(
        bins.unbin_chroma(jnp.array([[1], [0]]), values), [[2, -2], [1, -1]]
    )


@pytest.mark.parametrize("shape", [(1, 50, 1), (3, 50, 1), (2, 50), (50,), ()])
def test_unbinning_refuses_a_wrong_number_of_groups(unchecked_shapes, shape):
    with pytest.raises(ValueError, match="num_bins"):
        bins.unbin_chroma(jnp.zeros((4, 2), jnp.int32), jnp.zeros(shape))


def test_clipped_fraction_counts_a_pixel_once():
    chroma = jnp.array([[[0.0, 0], [101, 0], [0, -101], [175, -134]], [[100, -100], [0, 0]] * 2])
    assert bins.clipped_fraction(chroma) == 0.375
    np.testing.assert_array_equal(bins.clipped_fraction(chroma, axis=1), [0.75, 0])
    np.testing.assert_array_equal(bins.clipped_fraction(chroma, axis=(0, 1)), 0.375)
    assert bins.clipped_fraction(chroma, low=-200.0, high=200.0) == 0


def test_one_uniform_rgb_colour_in_seven_is_clipped():
    rgb_u8 = np.random.default_rng(3).integers(0, 256, (300_000, 3), dtype=np.uint8)
    chroma = jax.jit(color.rgb_u8_to_luv)(rgb_u8)[:, 1:]
    assert abs(bins.clipped_fraction(chroma) - 0.141) < 0.003


def test_counts_and_sums_match_hand_computed_ones():
    chroma = jnp.array([[0.5, 0.1], [0.75, 0.2], [-3.0, 0.9], [9.0, 0.3]])
    counts, sums = bins.bin_counts_and_sums(
        bins.channel_bins(num_bins=2, low=0.0, high=1.0), chroma
    )
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, [[1, 3], [3, 1]])
    np.testing.assert_allclose(sums[..., 0], [[-3.0, 10.25], [0.6, 0.9]], rtol=1e-6)


def test_counts_and_sums_agree_with_histogram():
    chroma = np.clip(chroma_like((3, 37, 41, 2)), -100, 100)
    counts, sums = count_and_sum(chroma)
    for channel in range(2):
        values = chroma[..., channel].ravel().astype(np.float64)
        np.testing.assert_array_equal(counts[channel], np.histogram(values, EDGES)[0])
        expected = np.histogram(values, EDGES, weights=values)[0]
        np.testing.assert_allclose(sums[channel, :, 0], expected, rtol=1e-5, atol=1e-3)


def test_counts_and_sums_add_up_over_batches():
    chroma = chroma_like((4, 16, 16, 2))
    whole = count_and_sum(chroma)
    first, second = count_and_sum(chroma[:1]), count_and_sum(chroma[1:])
    np.testing.assert_array_equal(first[0] + second[0], whole[0])
    np.testing.assert_allclose(first[1] + second[1], whole[1], rtol=1e-5, atol=1e-3)


def test_sums_of_many_equal_values_lose_no_digits():
    # One float32 sum of 2^25 ones would stop at 2^24.
    chroma = jnp.ones((2**25, 1), jnp.float32)
    counts, sums = count_and_sum(chroma)
    assert counts[0, 25] == 2**25
    assert sums[0, 25, 0] == 2**25


def test_means_match_hand_computed_ones_and_an_empty_bin_has_its_centre():
    counts = jnp.array([[2, 0], [1, 4]])
    sums = jnp.array([[-3.0, 0.0], [-0.5, 1.0]])[..., None]
    means = bins.bin_means(counts, sums, jnp.array([[[-0.5], [0.5]]] * 2))
    np.testing.assert_array_equal(means[..., 0], [[-1.5, 0.5], [-0.5, 0.25]])


def test_totals_of_a_data_set_do_not_overflow():
    counts = np.array([[2**33, 1]], np.int64)
    sums = np.array([[[2.0**34], [3.0]]])
    means = bins.bin_means(counts, sums, jnp.zeros((1, 2, 1)))
    np.testing.assert_array_equal(means, [[[2], [3]]])
    np.testing.assert_array_equal(bins.most_frequent(counts), [0])


def test_most_frequent_returns_one_bin_per_channel():
    best = bins.most_frequent(jnp.array([[1, 5, 2], [7, 0, 7]]))
    assert best.dtype == jnp.int32
    np.testing.assert_array_equal(best, [1, 0])


@pytest.mark.parametrize("num_bins, low, high", [(0, -1.0, 1.0), (5, 1.0, 1.0), (5, 2.0, 1.0)])
def test_impossible_bins_are_refused(num_bins, low, high):
    with pytest.raises(ValueError, match="bin"):
        bins.centers(num_bins=num_bins, low=low, high=high)
    with pytest.raises(ValueError, match="bin"):
        bins.bin_chroma(jnp.zeros((2, 2)), num_bins=num_bins, low=low, high=high)


# In three squares of side 10.
COLORS = np.array([[-7.0, 3.0], [-3.0, 4.9], [12.0, 5.0], [19.9, 14.0]])


def test_joint_bins_are_the_squares_that_hold_a_colour():
    binning = bins.joint_bins(COLORS, 10.0)
    np.testing.assert_array_equal(binning.centers, [[[-5, 5], [15, 5], [15, 15]]])
    np.testing.assert_array_equal(binning.low, [-10, 0])
    np.testing.assert_array_equal(binning.high, [20, 20])
    index = jax.jit(binning.encode)(jnp.asarray(COLORS, jnp.float32))
    assert index.dtype == jnp.int32
    np.testing.assert_array_equal(index, [[0], [0], [1], [2]])


def test_chroma_in_an_empty_square_gets_the_nearest_joint_bin():
    binning = bins.joint_bins(COLORS, 10.0)
    # [-10, 0) x [10, 20) touches the first bin, [0, 10) x [10, 20) the last. The rest is clipped.
    chroma = jnp.array([[-5.0, 15.0], [5.0, 19.0], [1e6, 1e6], [-1e6, 0.0]])
    np.testing.assert_array_equal(binning.encode(chroma), [[0], [2], [2], [0]])


def test_joint_binning_inverts_unbinning():
    colors = np.random.default_rng(4).uniform(-80, 90, (500, 2))
    binning = bins.joint_bins(colors, 7.0)
    index = jnp.arange(binning.centers.shape[1])[:, None]
    chroma = bins.unbin_chroma(index, binning.centers)
    np.testing.assert_array_equal(binning.encode(chroma), index)
    back = bins.unbin_chroma(binning.encode(jnp.asarray(colors)), binning.centers)
    assert np.abs(back - colors).max() <= 3.5 + 1e-4


def test_joint_counts_and_sums_match_hand_computed_ones():
    binning = bins.joint_bins(COLORS, 10.0)
    counts, sums = bins.bin_counts_and_sums(binning, jnp.asarray(COLORS, jnp.float32)[None])
    np.testing.assert_array_equal(counts, [[2, 1, 1]])
    np.testing.assert_allclose(sums, [[[-10, 7.9], [12, 5], [19.9, 14]]], rtol=1e-6)


def test_without_blur_the_prior_keeps_its_frequencies():
    prior = bins.smooth_prior(np.array([[2**33, 3 * 2**33], [0, 0]]), np.zeros((2, 2, 2)), 0)
    np.testing.assert_allclose(prior, [[0.25, 0.75], [0.5, 0.5]])


def test_blurring_a_prior_keeps_its_mass_and_reaches_empty_bins():
    centers = np.arange(9.0) * 4
    distances = (centers[:, None] - centers)[None] ** 2
    counts = np.eye(9)[[0]] * 12  # at the border, where a plain Gaussian would lose half
    prior = np.asarray(bins.smooth_prior(counts, distances, 5.0))
    weights = np.exp(-(centers**2) / 50)
    np.testing.assert_allclose(prior[0], weights / weights.sum(), rtol=1e-5)
    many = np.random.default_rng(5).integers(0, 9, (1, 9))
    assert bins.smooth_prior(many, distances, 5.0).sum() == pytest.approx(1, rel=1e-6)


def test_rebalancing_weights_match_hand_computed_ones():
    prior = jnp.array([[0.7, 0.2, 0.1, 0.0]])
    raw = 1 / (0.5 * np.array([0.7, 0.2, 0.1, 0.0]) + 0.5 / 4)
    expected = raw / np.sum(raw * np.array([0.7, 0.2, 0.1, 0.0]))
    np.testing.assert_allclose(bins.rebalancing_weights(prior, 0.5)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("uniform", [0.0, 0.25, 1.0])
def test_rebalancing_weights_are_finite_and_one_on_average(uniform):
    prior = jnp.array([[0.9, 0.1, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    weights = bins.rebalancing_weights(prior, uniform)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(np.sum(prior * weights, axis=-1), 1, rtol=1e-6)
    if uniform == 0:
        np.testing.assert_array_equal(weights[0, 2:], 0)  # never seen, so without weight
    if uniform == 1:
        np.testing.assert_allclose(weights, 1, rtol=1e-6)
