import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.models import task
from colorjax.ops import bins, decoding, metrics
from colorjax.ops.spaces import SPACES
from colorjax.settings import ARGMAX, Decoding

TASK = task.classification()
RGB = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def perfect_logits(example):
    bins = jnp.clip(jnp.floor((example.chroma + 100) / 4), 0, 49).astype(jnp.int32)
    return 1000.0 * jax.nn.one_hot(bins, 50)


def test_a_colour_photograph_and_its_gray_print_have_the_same_input():
    example = TASK.prepare(RGB)
    gray_print = np.repeat(np.uint8(np.round(example.gray)), 3, -1)
    assert_allclose(TASK.prepare(gray_print).gray, example.gray, atol=0.51)


def test_perfect_logits_have_no_loss_and_full_accuracy():
    example = TASK.prepare(RGB)
    measured = TASK.measure(perfect_logits(example), example, ARGMAX)
    assert_allclose(measured["loss"], 0, atol=1e-6)
    assert_array_equal(measured["acc_u"], 1.0)
    assert_array_equal(measured["acc_v"], 1.0)


def test_the_loss_of_equal_logits_is_the_sum_of_both_channels():
    example = TASK.prepare(RGB)
    loss = TASK.loss(jnp.zeros((2, 16, 16, 2, 50)), example)
    assert_allclose(loss, 2 * np.log(50), rtol=1e-5)


def test_decoding_perfect_logits_errs_by_at_most_half_a_bin_unless_clipped():
    example = TASK.prepare(RGB)
    inside = np.abs(example.chroma) < 100
    error = np.abs(TASK.decode(perfect_logits(example), ARGMAX) - example.chroma)
    assert error[inside].max() <= 2.0 + 1e-4


def test_decoding_returns_the_given_bin_values():
    values = jnp.stack([jnp.arange(50.0), -jnp.arange(50.0)])[..., None]
    logits = jax.nn.one_hot(jnp.array([[[[3, 7]]]]), 50)
    decoded = task.classification(values=values).decode(logits, ARGMAX)
    assert_array_equal(decoded, [[[[3.0, -7.0]]]])


@pytest.mark.parametrize("method", ["argmax", "mean", "annealed", "sample"])
def test_vibrance_changes_only_methods_that_average(method):
    logits = np.random.default_rng(1).normal(0, 3, (1, 4, 4, 2, 50)).astype(np.float32)
    plain, lively = (TASK.decode(logits, Decoding(method=method, vibrance=v)) for v in (0.0, 6.0))
    want = decoding.add_vibrance(plain, 6.0) if method in ("mean", "annealed") else plain
    assert_allclose(lively, want, rtol=1e-6)


def test_the_constant_predictor_predicts_the_most_frequent_bins_everywhere():
    example = TASK.prepare(RGB)
    counts = np.zeros((2, 50), np.float32)
    counts[0, 11], counts[1, 30] = 5, 9
    bins = jnp.argmax(TASK.constant(counts, example), -1)
    assert bins.shape == (2, 16, 16, 2)
    assert_array_equal(bins[..., 0], 11)
    assert_array_equal(bins[..., 1], 30)


def test_statistics_count_every_pixel_of_each_channel():
    statistics = TASK.statistics(TASK.prepare(RGB))
    assert_array_equal(statistics["counts"].sum(-1), 256)
    assert statistics["clipped"].shape == (2,)


def test_perfect_regression_has_no_loss_and_full_accuracy():
    regression = task.regression()
    example = regression.prepare(RGB)
    measured = regression.measure(example.chroma / 100, example, ARGMAX)
    for name in ("loss", "l_reg", "sat_diff"):
        assert_allclose(measured[name], 0, atol=1e-4)
    assert_allclose(
        measured["acc_u"], 1.0, atol=0.02
    )  # a value on a bin's edge may be rounded into the next


def test_l2_and_huber_regression_sum_over_channels_and_average_over_pixels():
    example = task.Example(None, None, jnp.array([[[[50.0, -100.0], [0.0, 0.0]]]]))
    l2 = task.regression("l2").loss(jnp.zeros((1, 1, 2, 2)), example)
    assert_allclose(l2, [(0.25 + 1.0) / 2])
    huber = task.regression("huber", 0.5).loss(jnp.zeros((1, 1, 2, 2)), example)
    assert_allclose(huber, [(0.25 + 0.5 * (2 - 0.5)) / 2])


def test_the_constant_predictor_is_the_same_for_both_objectives():
    counts = np.zeros((2, 50), np.float32)
    counts[:, [11, 30]] = 5, 9
    chromas = []
    for objective in (TASK, task.regression()):
        example = objective.prepare(RGB)
        chromas.append(objective.decode(objective.constant(counts, example), ARGMAX))
    assert_allclose(chromas[0], chromas[1], rtol=1e-6)


each_layout = pytest.mark.parametrize(
    "binning, space",
    [
        (bins.channel_bins(), SPACES["luv"]),
        (task.joint_binning("luv", 10.0), SPACES["luv"]),
        (task.joint_binning("lab", 10.0), SPACES["lab"]),
        (bins.channel_bins(num_bins=20), SPACES["hsv"]),
        (task.joint_binning("hsv", 10.0), SPACES["hsv"]),
    ],
    ids=["channels", "joint luv", "joint lab", "channels hsv", "joint hsv"],
)


def confident_logits(index, binning):
    return 1000.0 * jax.nn.one_hot(index, binning.centers.shape[1])


@pytest.mark.parametrize("name", SPACES)
def test_joint_bins_cover_the_8_bit_colours(name):
    binning = task.joint_binning(name, 10.0)
    rgb = np.random.default_rng(1).integers(0, 256, (100_000, 3), dtype=np.uint8)
    _, _, chroma = SPACES[name].split(rgb)
    back = bins.unbin_chroma(binning.encode(chroma), binning.centers)
    error = np.abs(back - chroma).max(axis=-1)
    assert np.mean(error > 5 + 1e-3) < 1e-3  # a corner of the gamut between the sampled colours
    assert error.max() < 15


def test_lab_has_about_as_many_joint_bins_as_the_published_313():
    assert 240 < task.joint_binning("lab", 10.0).centers.shape[1] < 340


def test_joint_bins_may_be_created_while_a_program_is_traced():
    task.joint_binning.cache_clear()
    traced = jax.jit(lambda x: x + task.joint_binning("luv", 20.0).centers)(0.0)
    task.joint_binning.cache_clear()
    assert np.array_equal(traced, task.joint_binning("luv", 20.0).centers)


@each_layout
def test_perfect_logits_are_decoded_alike_by_every_method(binning, space):
    example = task.classification(binning, space).prepare(RGB)
    index = binning.encode(example.chroma)
    expected = bins.unbin_chroma(index, binning.centers)
    for method in ("argmax", "mean", "annealed", "sample"):
        options, objective = Decoding(method=method), task.classification(binning, space)
        assert_allclose(
            objective.decode(confident_logits(index, binning), options), expected, atol=1e-3
        )


@each_layout
def test_decoding_undoes_the_requested_share_of_rebalancing(binning, space):
    groups, num_bins, _ = binning.centers.shape
    rng = np.random.default_rng(3)
    weights = jnp.asarray(rng.uniform(0.2, 5.0, (groups, num_bins)), jnp.float32)
    logits = jnp.asarray(rng.normal(0, 2, (1, 4, 4, groups, num_bins)), jnp.float32)
    plain = task.classification(binning, space).decode(logits, Decoding(method="mean"))
    weighted = task.classification(binning, space, weights=weights)
    for share in (0.0, 0.3, 1.0):
        learned = logits + (1 - share) * jnp.log(weights)
        options = Decoding(method="mean", rebalance=share)
        assert_allclose(weighted.decode(learned, options), plain, atol=1e-3)


@each_layout
def test_soft_targets_are_greatest_at_the_true_bin_and_centred_on_the_chroma(binning, space):
    chroma = np.random.default_rng(2).uniform(-25, 25, (500, 2)).astype(np.float32)
    targets = np.asarray(task.soft_targets(chroma, binning.centers, 5.0, space))
    assert_allclose(targets.sum(-1), 1, rtol=1e-5)
    index = np.asarray(binning.encode(chroma))
    true_bin = np.take_along_axis(targets, index[..., None], -1)[..., 0]
    assert np.all(true_bin >= targets.max(-1) * 0.999)
    mean = np.einsum("ngq,gqd->ngd", targets, binning.centers).reshape(-1, 2)
    assert np.abs(mean - chroma).max() < 4.0


def test_soft_targets_go_the_short_way_round_the_circle_of_hues():
    binning = bins.channel_bins(num_bins=20)  # of width 10
    targets = task.soft_targets(jnp.array([99.0, 0.0]), binning.centers, 5.0, SPACES["hsv"])
    assert targets[0, 0] > 0.1 and targets[0, 10] < 1e-6
    targets = task.soft_targets(jnp.array([0.0, 99.0]), binning.centers, 5.0, SPACES["hsv"])
    assert targets[1, 0] < 1e-6


def test_hard_targets_are_the_limit_of_soft_ones():
    example = TASK.prepare(RGB)
    example = example._replace(chroma=jnp.clip(jnp.round(example.chroma / 4) * 4 + 2, -98, 98))
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(2, 16, 16, 2, 50)), jnp.float32)
    soft = task.classification(softness=0.1)
    assert_allclose(soft.loss(logits, example), TASK.loss(logits, example), rtol=1e-5)


def test_the_loss_against_soft_targets_is_the_cross_entropy_computed_by_hand():
    binning = bins.channel_bins(num_bins=4)  # centres at -75, -25, 25, 75
    logits = np.random.default_rng(4).normal(size=(1, 1, 1, 2, 4)).astype(np.float32)
    example = task.Example(None, None, jnp.array([[[[10.0, -60.0]]]]))
    expected = 0
    for channel, value in enumerate((10.0, -60.0)):
        target = np.exp(-((np.array([-75.0, -25, 25, 75]) - value) ** 2) / (2 * 30.0**2))
        score = logits[0, 0, 0, channel]
        log_p = score - np.log(np.exp(score).sum())
        expected -= np.sum(target / target.sum() * log_p)
    loss = task.classification(binning, softness=30.0).loss(logits, example)
    assert_allclose(loss, [expected], rtol=1e-5)


def test_a_weight_multiplies_the_loss_of_its_true_bin():
    weights = np.ones((2, 50), np.float32)
    weights[0, 25], weights[1, 20] = 3.0, 5.0
    chroma = jnp.array([[[[1.0, -18.0], [50.0, 50.0]]]])  # bins 25 and 20; 37 and 37
    example = task.Example(None, None, chroma)
    loss = task.classification(weights=weights).loss(jnp.zeros((1, 1, 2, 2, 50)), example)
    assert_allclose(loss, [np.log(50) * (3 + 5 + 1 + 1) / 2], rtol=1e-6)


def test_rare_colours_weigh_more_and_the_average_weight_is_one():
    binning = task.joint_binning("luv", 10.0)
    counts = np.zeros((1, binning.centers.shape[1]))
    common, rare = (int(binning.encode(jnp.array(c))[0]) for c in ([5.0, 5.0], [85.0, 35.0]))
    counts[0, common], counts[0, rare] = 1e6, 10
    prior, weights = task.rebalancing(counts, binning, SPACES["luv"], 0.5, 5.0)
    assert_allclose(np.sum(prior), 1, rtol=1e-5)
    assert np.isfinite(weights).all() and weights[0, rare] > 20 * weights[0, common] > 0


def test_gradients_are_finite_with_soft_targets_weights_and_joint_bins():
    binning = task.joint_binning("luv", 10.0)
    _, weights = task.rebalancing(
        np.eye(1, binning.centers.shape[1]), binning, SPACES["luv"], 0.5, 5.0
    )
    objective = task.classification(binning, weights=weights, softness=5.0)
    example = objective.prepare(RGB)
    logits = jnp.zeros((2, 16, 16, 1, binning.centers.shape[1]))
    gradient = jax.grad(lambda x: objective.loss(x, example).sum())(logits)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_differences_of_colorfulness_and_saturation_compare_set_means():
    averages = {
        name: np.float64(value)
        for name, value in {
            "loss": 1.0,
            "colorfulness": 20.0,
            "colorfulness_true": 33.0,
            "colorfulness_absolute": 25.0,
            "colorfulness_absolute_true": 24.0,
            "saturation": 0.3,
            "saturation_true": 0.4,
        }.items()
    }
    shares = {"color_pixels": np.array([4.0, 0, 12]), "color_areas": np.array([2.0, 0, 9])}
    summary = task.summarize({**averages, **shares})
    assert summary["delta_colorfulness"] == 13 and summary["delta_colorfulness_absolute"] == 1
    assert summary["delta_saturation"] == pytest.approx(0.25)
    assert summary["auc_rebalanced"] == (0.5 + 0.75) / 2
    assert "color_pixels" not in summary and summary["loss"] == 1


def test_every_objective_has_the_same_metrics():
    rgb = np.random.default_rng(6).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    joint = task.joint_binning("lab", 20.0)
    for objective in (TASK, task.classification(joint, SPACES["lab"]), task.regression()):
        example = objective.prepare(rgb)
        counts = objective.statistics(example)["counts"].sum(axis=0)
        outputs = objective.constant(counts, example)
        measured = objective.measure(outputs, example, ARGMAX)
        assert set(measured) == {
            "loss",
            "l_reg",
            "acc_u",
            "acc_v",
            "sat_diff",
            "psnr",
            "ssim",
            "auc",
            "colorfulness",
            "colorfulness_true",
            "colorfulness_absolute",
            "colorfulness_absolute_true",
            "color_pixels",
            "color_areas",
            "saturation",
            "saturation_true",
        }
        assert_allclose(measured["color_pixels"].sum(-1), 256)
        assert_allclose(measured["color_areas"].sum(-1) / 256, measured["auc"], rtol=1e-5)
        rgb_out = objective.to_rgb(example.lightness, objective.decode(outputs, ARGMAX))
        assert_allclose(measured["psnr"], metrics.psnr(rgb_out, rgb / 255.0), rtol=1e-3)


@pytest.mark.parametrize("objective", [task.classification, task.regression])
def test_smaller_outputs_are_compared_with_the_mean_colour_of_their_cells(objective):
    small, large = objective(), objective()
    blocks = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    rgb = blocks.repeat(4, 1).repeat(4, 2)
    coarse, fine = (one.prepare(x) for one, x in ((small, blocks), (large, rgb)))
    shape = (2, 4, 4, 2) if objective is task.regression else (2, 4, 4, 2, 50)
    outputs = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    assert_allclose(large.loss(outputs, fine), small.loss(outputs, coarse), rtol=1e-4)


def test_cell_means_are_those_of_skimage():
    from skimage.measure import block_reduce

    x = np.random.default_rng(0).normal(size=(2, 8, 12, 2)).astype(np.float32)
    assert_allclose(
        task.cell_means(x, 3), block_reduce(x, (1, 4, 4, 1), np.mean), rtol=1e-5, atol=1e-6
    )
    assert task.cell_means(x, 12) is x


@pytest.mark.slow
def test_smaller_outputs_are_measured_at_the_size_of_the_picture():
    regression = task.regression()
    rgb = np.full((1, 16, 16, 3), (200, 100, 50), np.uint8)
    example = regression.prepare(rgb)
    outputs = task.cell_means(example.chroma, 4) / task.CHROMA_SCALE
    assert regression.decode(outputs, ARGMAX).shape == (1, 4, 4, 2)
    measured = regression.measure(outputs, example, ARGMAX)
    assert float(measured["psnr"][0]) > 45 and float(measured["acc_u"][0]) == 1.0
