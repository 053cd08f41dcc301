import numpy as np
from numpy.testing import assert_array_equal

from colorjax.training import figures

LEFT, TOP, GAP = 84, 24, 6


def flat(value, rows=2, side=40):
    return np.full((rows, side, side, 3), value, np.float32)


def test_every_picture_is_in_its_column_and_row():
    columns = {"gray": flat(0.5), "truth": np.stack([flat(1.0)[0], flat(0.0)[0]])}
    sheet = figures.image_grid(columns, ["hold-out", "training"], min_side=40)
    assert sheet.shape == (TOP + 2 * (40 + GAP), LEFT + 2 * (40 + GAP), 3)
    assert sheet.dtype == np.uint8
    second = LEFT + 40 + GAP
    assert_array_equal(sheet[TOP : TOP + 40, LEFT : LEFT + 40], 128)
    assert_array_equal(sheet[TOP : TOP + 40, second : second + 40], 255)
    assert_array_equal(sheet[TOP + 46 : TOP + 86, second : second + 40], 0)


def test_small_pictures_are_enlarged_by_a_whole_factor():
    sheet = figures.image_grid({"gray": flat(0.0, rows=1, side=64)}, ["training"], min_side=160)
    assert sheet.shape == (TOP + 192 + GAP, LEFT + 192 + GAP, 3)


def test_a_repeated_row_name_is_written_once():
    def ink(names):
        sheet = figures.image_grid({"gray": flat(1.0, rows=len(names))}, names, min_side=40)
        return (sheet[TOP:, :LEFT] < 128).sum()

    assert ink(["training"]) == ink(["training", "training"]) > 0


def test_curves_have_a_line_for_the_baseline_but_none_for_its_loss():
    measured = {"loss": 1.0, "acc_u": 0.1, "acc_v": 0.2, "sat_diff": 1.0}
    rows = [
        {"step": step, "split": split, **measured}
        for step in (1, 2, 3)
        for split in ("train", "holdout")
    ]

    def curves(baseline):
        return figures.plot_curves(rows, baseline)

    assert_array_equal(curves({}), curves({"loss": 0.5}))
    assert (curves({}) != curves({"acc_u": 0.5})).any()
    assert len(np.unique(curves({}).reshape(-1, 3), axis=0)) > 50  # lines in colour


def test_a_sweep_is_drawn_with_a_line_for_each_choice_of_the_other_settings():
    def rows(spaces):
        return [
            {
                "rate": rate,
                "space": space,
                "loss": i + rate,
                "acc_u": 0.1,
                "acc_v": 0.2,
                "sat_diff": 0.5,
            }
            for rate in (1e-4, 1e-2)
            for i, space in enumerate(spaces)
        ]

    one, two = (figures.plot_sweep(rows(s), "rate", ["space"]) for s in (["luv"], ["luv", "hsv"]))
    assert one.shape == two.shape and one.dtype == np.uint8 and (one != two).any()


def test_without_row_names_the_grid_has_no_left_margin():
    sheet = figures.image_grid({"gray": flat(0.0)}, [], min_side=40)
    assert sheet.shape == (TOP + 2 * (40 + GAP), GAP + 40 + GAP, 3)


def test_losses_have_a_row_of_plots_per_panel_even_for_interrupted_runs():
    curves = {"train": [(8, 2.0), (16, 1.0)], "holdout": [(16, 1.5)]}
    one = figures.plot_losses({"structure": {"base": curves}})
    two = figures.plot_losses(
        {
            "structure": {"base": curves},
            "space": {"base": curves, "lab": {"train": [(8, 0.0)], "holdout": []}},
        }
    )
    assert two.shape == (2 * one.shape[0], one.shape[1], 3) and one.dtype == np.uint8
    assert figures.plot_losses({}).shape == one.shape


def test_saturation_is_drawn_for_any_number_of_networks():
    share = np.full(40, 1 / 40)
    none, truth, both = (
        figures.plot_saturation(shares)
        for shares in ({}, {"truth": share}, {"truth": share, "regression": share[::2] * 2})
    )
    assert none.shape == truth.shape == both.shape
    assert (none != truth).any() and (truth != both).any()


def test_colorfulness_is_drawn_for_one_run_no_run_and_coinciding_runs():
    point = (30.0, 20.0)
    none = figures.plot_colorfulness({}, {}, None)
    one = figures.plot_colorfulness({"structure": {"sum": point}}, {}, None)
    with_truth = figures.plot_colorfulness({"structure": {"sum": point}}, {}, 40.0)
    many = {"structure": {f"run {i}": point for i in range(20)}}
    crowded = figures.plot_colorfulness(many, {"run": {"mean": point}}, 40.0)
    assert none.shape == one.shape == with_truth.shape == crowded.shape
    assert (none != one).any() and (one != with_truth).any()
