import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from colorjax import task

TASK = task.classification(task.Bins())
RGB = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def perfect_logits(example):
    bins = jnp.clip(jnp.floor((example.chroma + 100) / 4), 0, 49).astype(jnp.int32)
    return 1000.0 * jax.nn.one_hot(bins, 50)


def test_the_gray_input_of_a_colour_photograph_is_that_of_its_gray_print():
    example = TASK.prepare(RGB)
    gray_print = np.repeat(np.uint8(np.round(example.gray)), 3, -1)
    assert_allclose(TASK.prepare(gray_print).gray, example.gray, atol=0.51)


def test_perfect_scores_have_no_loss_and_full_accuracy():
    example = TASK.prepare(RGB)
    measured = TASK.measure(perfect_logits(example), example)
    assert_allclose(measured["loss"], 0, atol=1e-6)
    assert_array_equal(measured["acc_u"], 1.0)
    assert_array_equal(measured["acc_v"], 1.0)


def test_the_loss_of_equal_scores_is_the_sum_of_both_channels():
    example = TASK.prepare(RGB)
    loss = TASK.loss(jnp.zeros((2, 8, 8, 2, 50)), example)
    assert_allclose(loss, 2 * np.log(50), rtol=1e-5)


def test_decoding_perfect_scores_is_within_half_a_bin_where_nothing_is_clipped():
    example = TASK.prepare(RGB)
    inside = np.abs(example.chroma) < 100
    error = np.abs(TASK.decode(perfect_logits(example)) - example.chroma)
    assert error[inside].max() <= 2.0 + 1e-4


def test_given_bin_values_are_what_decoding_returns():
    values = jnp.stack([jnp.arange(50.0), -jnp.arange(50.0)])
    decoded = task.classification(task.Bins(), values).decode(
        jax.nn.one_hot(jnp.array([[[[3, 7]]]]), 50)
    )
    assert_array_equal(decoded, [[[[3.0, -7.0]]]])


def test_the_constant_predictor_says_the_most_frequent_bins_everywhere():
    example = TASK.prepare(RGB)
    counts = np.zeros((2, 50), np.float32)
    counts[0, 11], counts[1, 30] = 5, 9
    bins = jnp.argmax(TASK.constant(counts, example), -1)
    assert bins.shape == (2, 8, 8, 2)
    assert_array_equal(bins[..., 0], 11)
    assert_array_equal(bins[..., 1], 30)


def test_statistics_count_every_pixel_of_each_channel():
    statistics = TASK.statistics(TASK.prepare(RGB))
    assert_array_equal(statistics["counts"].sum(-1), 64)
    assert statistics["clipped"].shape == (2,)


def test_perfect_regression_has_no_loss_and_full_accuracy():
    regression = task.regression(task.Bins())
    example = regression.prepare(RGB)
    measured = regression.measure(example.chroma / 100, example)
    for name in ("loss", "l_reg", "sat_diff"):
        assert_allclose(measured[name], 0, atol=1e-4)
    assert_allclose(measured["acc_u"], 1.0, atol=0.02)  # a value on a bin's edge may round over


def test_l2_and_huber_regression_sum_over_channels_and_average_over_pixels():
    example = task.Example(None, None, jnp.array([[[[50.0, -100.0], [0.0, 0.0]]]]))
    l2 = task.regression(task.Bins(), "l2").loss(jnp.zeros((1, 1, 2, 2)), example)
    assert_allclose(l2, [(0.25 + 1.0) / 2])
    huber = task.regression(task.Bins(), "huber", 0.5).loss(jnp.zeros((1, 1, 2, 2)), example)
    assert_allclose(huber, [(0.25 + 0.5 * (2 - 0.5)) / 2])


def test_the_constant_predictor_is_the_same_for_both_objectives():
    counts = np.zeros((2, 50), np.float32)
    counts[:, [11, 30]] = 5, 9
    chromas = []
    for objective in (TASK, task.regression(task.Bins())):
        example = objective.prepare(RGB)
        chromas.append(objective.decode(objective.constant(counts, example)))
    assert_allclose(chromas[0], chromas[1], rtol=1e-6)
