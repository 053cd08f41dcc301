import io
import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from processes import xla_flags

from colorjax.data import loader, opening, petals, places, sources
from colorjax.errors import UserError
from colorjax.models import build
from colorjax.ops import bins, color
from colorjax.training import evaluate
from colorjax.weights import runs
from configs import petals as config_file

ROOT = Path(__file__).parent.parent
SEEDS = (0, 1, 2)
each_seed = pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS]
)
COLORS = np.array(petals.RGB_U8, np.uint8)


# The colours


def test_all_petals_have_one_lightness_within_the_rounding_to_8_bits():
    lightness = np.asarray(color.rgb_u8_to_luv(COLORS))[:, 0]
    assert_allclose(lightness, petals.LIGHTNESS, atol=0.05)


def test_all_petals_have_one_saturation_within_the_rounding_to_8_bits():
    saturation = np.asarray(color.rgb_to_hsv(COLORS / 255.0))[:, 1]
    assert_allclose(saturation, petals.SATURATION, atol=1 / COLORS.max(axis=-1).min())


def test_the_hues_lie_around_the_circle_and_their_mean_is_nearly_gray():
    hues = np.sort(petals.HUES)
    assert np.diff([*hues, hues[0] + 360]).max() < 125
    chroma = petals.petal_chroma()
    mean = np.linalg.norm(np.array(petals.PROBABILITIES) @ chroma)
    assert mean < 0.15 * np.linalg.norm(chroma, axis=-1).min()


def test_no_petal_leaves_the_range_of_the_bins():
    assert np.abs(petals.petal_chroma()).max() < 100


def test_a_colour_outside_srgb_is_an_error():
    with pytest.raises(ValueError, match="hue 240 does not reach"):
        petals.petal_rgb_u8(240)


# The best predictions


def test_the_best_regression_has_the_least_squared_error_of_all():
    chroma, weights = petals.petal_chroma(), np.array(petals.PROBABILITIES)
    grid = np.stack(np.meshgrid(*2 * [np.arange(-100, 100, 0.5)], indexing="ij"), axis=-1)
    errors = np.square(grid[..., None, :] - chroma).sum(axis=-1) @ weights
    best = grid[np.unravel_index(errors.argmin(), errors.shape)]
    assert_allclose(petals.optimum(chroma, weights).regression, best, atol=0.25)


def test_the_best_classification_is_the_bins_of_the_most_frequent_colour():
    chroma, weights = petals.petal_chroma(), np.array(petals.PROBABILITIES)
    true_bins = np.asarray(bins.bin_chroma(chroma))
    right = [[weights[true_bins[:, c] == b].sum() for b in range(50)] for c in (0, 1)]
    assert np.max(right, axis=1) == pytest.approx(weights.max())
    best = np.asarray(bins.centers())[np.argmax(right, axis=1)]
    assert_array_equal(petals.optimum(chroma, weights).classification, best)
    assert np.abs(best - chroma[weights.argmax()]).max() <= 2


def test_probabilities_of_colours_that_share_a_bin_add_up():
    chroma = np.array([[10.0, 10.0], [50.0, 50.0], [50.5, -50.0]])
    best = petals.optimum(chroma, [0.4, 0.3, 0.3])
    assert best.classification.tolist() == [50.0, 10.0]
    assert_allclose(best.regression, [34.15, 4.0])


# The pictures


def test_a_flower_is_painted_the_same_every_time_and_no_two_are_alike():
    painted = [petals.paint(petals.flower(i)) for i in range(50)]
    assert all(one.shape == (petals.SIZE, petals.SIZE, 3) for one in painted)
    for i, one in enumerate(painted):
        assert_array_equal(petals.paint(petals.flower(i)), one)
        assert_array_equal(np.asarray(Image.open(io.BytesIO(petals.png(i)))), one)
    lightness = [np.asarray(color.rgb_u8_to_luv(one))[..., 0] for one in painted]
    assert all(np.abs(a - b).max() > 5 for a, b in itertools.combinations(lightness, 2))


def test_the_first_flowers_have_the_same_colours_on_every_machine():
    drawn = [petals.NAMES[petals.flower(i).color] for i in range(6)]
    assert drawn == ["gold", "teal", "pink", "violet", "pink", "blue"]


def test_the_gray_picture_is_the_same_whatever_the_colour():
    for index in range(5):
        one = petals.flower(index)
        gray = [
            color.gray_from_rgb(petals.paint(one._replace(color=c)) / 255.0)
            for c in range(len(COLORS))
        ]
        assert np.ptp(gray, axis=0).max() < 1  # of 255: each channel is rounded


def test_petals_heart_and_ground_have_their_specified_colours():
    one = petals.flower(3)
    picture, (petal, heart) = petals.paint(one), petals.coverage(one)
    assert (picture[petal == 1] == petals.RGB_U8[one.color]).all()
    assert (picture[heart == 1] == petals.HEART).all()
    assert (picture[petal + heart == 0] == petals.GROUND).all()
    assert 0.25 < petal.mean() < 0.5


def test_outlines_are_mixed_in_linear_light():
    one = petals.flower(3)
    petal, heart = petals.coverage(one)
    edge = (heart == 0) & (petal > 0) & (petal < 1)
    linear = np.asarray(color.linearize(np.array([petals.RGB_U8[one.color], petals.GROUND]) / 255))
    mixed = petal[edge][:, None] * linear[0] + (1 - petal[edge][:, None]) * linear[1]
    expected = 255 * np.asarray(color.delinearize(mixed))
    assert np.abs(petals.paint(one)[edge] - expected).max() < 0.6


def test_colours_are_as_frequent_as_their_probabilities():
    drawn = [petals.flower(i).color for i in range(20_000)]
    shares = np.bincount(drawn, minlength=len(COLORS)) / len(drawn)
    assert_allclose(shares, petals.PROBABILITIES, atol=0.015)  # four standard deviations


def test_the_colour_is_independent_of_position_size_and_rotation():
    flowers = np.array([petals.flower(i) for i in range(20_000)])
    for c in range(len(COLORS)):
        chosen = flowers[flowers[:, 0] == c][:, 1:]
        error = flowers[:, 1:].std(axis=0) / np.sqrt(len(chosen))
        assert (np.abs(chosen.mean(axis=0) - flowers[:, 1:].mean(axis=0)) < 4.5 * error).all()


# The source


def test_the_source_splits_by_name_and_index_and_feeds_the_loader():
    opened = sources.open_source("petals")
    keys = [f"petals#{i}" for i in range(petals.COUNT)]
    held_out = [key for key in keys if places.hash_fraction(key.encode()) < 0.1]
    assert [item.key for item in opened.holdout] == held_out
    assert len(opened.train) + len(held_out) == opened.notes["found"] == petals.COUNT
    batch = next(loader.train_batches(opened.train, size=petals.SIZE, batch_size=8, seed=0))
    assert batch["rgb"].shape == (8, petals.SIZE, petals.SIZE, 3)
    first = next(loader.eval_batches(opened.holdout, size=petals.SIZE, batch_size=1))["rgb"][0]
    index = int(held_out[0].removeprefix("petals#"))
    assert_array_equal(first, petals.paint(petals.flower(index)))


def test_flowers_may_be_left_out_by_their_chroma():
    opened = sources.open_source("petals", min_chroma=75)
    assert 0 < opened.notes["near_gray"] < petals.COUNT


def test_the_experiment_uses_the_pictures_at_their_original_size():
    assert config_file.get_config().data.load_size == petals.SIZE


def test_both_variants_differ_only_in_the_objective():
    one, two = config_file.get_config("classify"), config_file.get_config("regress")
    assert (one.objective, two.objective) == ("classification", "regression")
    two.objective = one.objective
    assert one.to_dict() == two.to_dict()
    with pytest.raises(UserError, match="no variant 'huber', want classify or regress"):
        config_file.get_config("huber")


# The experiment

TRAIN = """
    import sys
    from pathlib import Path
    from colorjax.training import train
    from configs import petals

    folder, variant, *seeds = sys.argv[1:]
    for seed in map(int, seeds):
        config = petals.get_config(variant)
        config.seed = seed
        train.train(config, Path(folder) / f"{variant}{seed}")
"""


class Outcome(NamedTuple):
    """The results of a run on the hold-out set."""

    sat_diff: float
    chroma: np.ndarray  # [pixels, 2], of the pixels that lie entirely in petals


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[tuple[str, int], Outcome]:
    """Trains each variant in a process of its own, because compilation uses only one core."""
    folder = tmp_path_factory.mktemp("petals")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # Such small convolutions are slower if they are spread over devices.
        "XLA_FLAGS": xla_flags(devices=1),
    }
    code = [sys.executable, "-c", textwrap.dedent(TRAIN), str(folder)]
    processes = [
        subprocess.Popen(
            [*code, variant, *map(str, SEEDS)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for variant in config_file.OBJECTIVES
    ]
    for process in processes:
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
    return {
        (variant, seed): outcome(folder / f"{variant}{seed}")
        for variant in config_file.OBJECTIVES
        for seed in SEEDS
    }


def outcome(workdir: Path) -> Outcome:
    settings = runs.read_settings(workdir)
    model, task = build.build_model(settings), build.build_task(settings, None)
    _, variables = runs.load_variables(workdir, model, averaged=False)
    holdout = opening.open_source(settings.data).holdout
    margin = (settings.data.load_size - settings.data.crop_size) // 2
    inside = slice(margin, margin + settings.data.crop_size)
    flowers = [petals.flower(int(item.key.removeprefix("petals#"))) for item in holdout]
    whole = np.stack([petals.coverage(one)[0][inside, inside] == 1 for one in flowers])
    gray = task.prepare(evaluate.load_rgb(evaluate.eval_options(settings), holdout)).gray
    outputs = jax.jit(model.apply)(variables, gray)
    last = runs.read_metrics(workdir)[-1]
    return Outcome(last["sat_diff"], np.asarray(task.decode(outputs, settings.decoding))[whole])


@each_seed
def test_regression_desaturates_at_least_three_times_as_much_as_classification(outcomes, seed):
    regress, classify = (outcomes[name, seed].sat_diff for name in ("regress", "classify"))
    assert regress > 0.2
    assert regress >= 3 * classify


@each_seed
def test_regression_paints_petals_in_the_mean_of_the_colours(outcomes, seed):
    chroma = petals.petal_chroma()
    truth = petals.optimum(chroma, petals.PROBABILITIES).regression
    painted = outcomes["regress", seed].chroma.mean(axis=0)
    assert np.linalg.norm(painted - truth) < 10
    assert np.linalg.norm(painted - chroma, axis=-1).min() > 25


@each_seed
def test_classification_paints_petals_in_the_most_frequent_colour(outcomes, seed):
    truth = petals.optimum(petals.petal_chroma(), petals.PROBABILITIES).classification
    painted = outcomes["classify", seed].chroma
    assert_allclose(np.median(painted, axis=0), truth, atol=0.01)
    assert np.mean((painted == truth).all(axis=-1)) > 0.75
