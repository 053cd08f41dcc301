import json
import shutil
import time

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from test_build import random_weights

from colorjax.data import opening
from colorjax.errors import UserError
from colorjax.models import build
from colorjax.settings import as_dict, complete, override
from colorjax.training import evaluate, setup, start, train
from colorjax.training.meter import Clock, Meter
from colorjax.weights import checkpoint, runs, store
from colorjax.weights.published import vgg16 as vgg16_weights
from configs import classify

METRICS = {
    "loss",
    "l_reg",
    "acc_u",
    "acc_v",
    "sat_diff",
    "saturation",
    "saturation_true",
    "delta_saturation",
    "psnr",
    "ssim",
    "auc",
    "auc_rebalanced",
    "colorfulness",
    "colorfulness_true",
    "delta_colorfulness",
    "colorfulness_absolute",
    "colorfulness_absolute_true",
    "delta_colorfulness_absolute",
}


def tiny_config(**changes):
    return override(
        complete(classify.get_config()),
        {
            "batch_size": 8,
            "num_steps": 4,
            "log_every": 1,
            "eval_every": 4,
            "checkpoint_every": 100,
            "figure_images": 2,
            "data.load_size": 20,
            "data.crop_size": 16,
            "model.width": 1 / 16,
            "model.encoder_weights": "none",
            **{name.replace("__", "."): value for name, value in changes.items()},
        },
    )


def newest_state(workdir, config):
    """Every array of the newest checkpoint by name, optimizer and statistics included."""
    model, tx = build.build_model(config), setup.build_optimizer(config)
    like = setup.state_shapes(config, model, tx)
    manager = checkpoint.open_manager(workdir, read_only=True)
    restored = checkpoint.restore(manager, like)
    checkpoint.close(manager)
    return restored


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    metrics = train.train(tiny_config(), workdir)
    return workdir, metrics


def test_a_run_writes_config_record_metrics_figures_and_checkpoint(finished):
    workdir, metrics = finished
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "record.json",
        "metrics.jsonl",
        "tensorboard",
        "figures",
        "checkpoints",
    }
    assert {p.name for p in (workdir / "figures").iterdir()} == {"curves.png", "step_000004.png"}
    record = runs.read_record(workdir)
    assert record["encoder"] == "random (as configured)"
    assert record["data"]["train"] == 11 and record["data"]["holdout"] == 1
    assert set(record["constant"]) == set(metrics)
    assert [session["step"] for session in record["sessions"]] == [0]
    assert 0 < record["bins"]["clipped"] < 0.2
    rows = runs.read_metrics(workdir)
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4]
    assert rows[-1] == {"step": 4, "split": "holdout", **metrics}
    assert set(metrics) == METRICS


def test_the_figure_shows_gray_prediction_and_truth(finished):
    picture = np.asarray(Image.open(finished[0] / "figures" / "step_000004.png"))
    left, width = 84, 166
    gray, truth = picture[24:184, left : left + 160], picture[24:184, left + 2 * width :][:, :160]
    assert np.ptp(gray.astype(int), axis=-1).max() <= 1
    assert np.ptp(truth.astype(int), axis=-1).max() > 100


@pytest.fixture(scope="module")
def whole_and_parts(tmp_path_factory):
    """The folders of two runs of twenty steps, the second of which was stopped after ten."""
    whole, parts = (tmp_path_factory.mktemp(name) for name in ("whole", "parts"))
    train.train(TWENTY, whole)
    train.train(tiny_config(num_steps=10, eval_every=10), parts)
    train.train(TWENTY, parts)
    return whole, parts


TWENTY = tiny_config(num_steps=20, eval_every=20)


def test_a_run_resumed_after_ten_of_twenty_steps_has_identical_results(whole_and_parts):
    one, two = (newest_state(folder, TWENTY) for folder in whole_and_parts)
    assert one.step == two.step == 20
    meter = {"rows": [], "skipped_in_row": 0}
    assert one.position == two.position == {"examples": 160, "meter": meter}
    jax.tree.map(assert_array_equal, one.state, two.state)
    losses = [
        [row["loss"] for row in runs.read_metrics(folder) if row["split"] == "train"]
        for folder in whole_and_parts
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 20


def test_a_resumed_run_stores_the_config_it_was_last_given(whole_and_parts):
    _, parts = whole_and_parts
    assert runs.read_json(parts / "config.json")["num_steps"] == 20
    assert [s["step"] for s in runs.read_record(parts)["sessions"]] == [0, 10]


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run", finished[1]


def test_evaluation_repeats_the_metrics(copied):
    workdir, metrics = copied
    again = evaluate.evaluate(tiny_config(), workdir)
    assert again == pytest.approx(metrics, rel=1e-5)
    report = json.loads((workdir / "eval.json").read_text())
    assert report["step"] == 4 and report["model"] == again
    assert (workdir / "figures" / "eval.png").exists()


def test_a_finished_run_is_measured_and_not_changed(copied, capsys):
    workdir, metrics = copied
    before = (workdir / "metrics.jsonl").read_text()
    assert train.train(tiny_config(), workdir) == pytest.approx(metrics, rel=1e-5)
    assert "has its 4 steps already" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_text() == before


def test_a_finished_run_with_a_test_set_is_measured_on_the_hold_out(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(checkpoint, "newest_step", lambda manager: 4)
    monkeypatch.setattr(
        evaluate, "evaluate", lambda *_, on_holdout=False: asked.append(on_holdout) or {}
    )
    train.train(tiny_config(data__holdout=0.3, data__test=0.3), tmp_path)
    assert asked == [True]


def test_a_checkpoint_of_another_model_is_refused_with_both_shapes(finished):
    workdir, _ = finished
    with pytest.raises(UserError, match=r"params/final1/bias is float32 \(8,\) .* \(4,\)"):
        train.train(tiny_config(num_steps=8, model__final_features=(64, 64, 64)), workdir)


@pytest.mark.slow
def test_an_uncalibrated_encoder_and_means_as_bin_values_can_be_trained(tmp_path):
    store.save(vgg16_weights.PUBLISHED, random_weights(), tmp_path / "vgg16.safetensors")
    config = tiny_config(
        model__width=1.0,
        model__calibrate_batch_norm=False,
        bins__value="mean",
        num_steps=1,
        model__encoder_weights=str(tmp_path / "vgg16.safetensors"),
    )
    assert np.isfinite(train.train(config, tmp_path / "run")["loss"])


def test_the_meter_times_only_steps_and_leaves_out_skipped_ones():
    meter = Meter(batch_size=8)
    for loss, skipped in [(1.0, 0.0), (np.nan, 1.0), (3.0, 0.0)]:
        meter.add({"loss": np.float32(loss), "skipped": np.float32(skipped)})
    averages = meter.average()
    assert averages["loss"] == 2.0 and averages["skipped"] == pytest.approx(1 / 3)
    assert averages["images/s"] > 0
    meter.restart()
    meter.since -= 1000.0
    meter.restart()
    meter.add({"loss": np.float32(1.0), "skipped": np.float32(0.0)})
    assert meter.average()["images/s"] > 1


def test_changed_settings_are_reported_when_a_run_resumes(finished, caplog):
    config = tiny_config(optimizer__learning_rate=0.5)
    start.warn_of_changes(config, tiny_config(), {"train": 11}, {"train": 9})
    assert "optimizer.learning_rate was 0.001 in this run, is 0.5 now" in caplog.text
    assert "the photographs have changed" in caplog.text
    assert len(caplog.records) == 2


def test_a_change_of_the_loss_is_reported_as_it_affects_the_best_checkpoint(caplog):
    config = tiny_config(bins__softness=5.0)
    start.warn_of_changes(config, tiny_config(), {}, {})
    assert "the loss of the hold-out is computed differently now, so" in caplog.text


def test_bin_means_of_the_training_set_lie_in_their_bins(finished):
    record = runs.read_record(finished[0])["bins"]
    means = np.array(record["means"])
    assert means.shape == (2, 50, 1)
    means = means[..., 0]
    occupied = np.array(record["counts"]) > 0
    centers = -98.0 + 4.0 * np.arange(50)
    inner = occupied.copy()
    inner[:, [0, -1]] = False  # the outermost bins also contain values beyond them
    assert np.abs(means - centers)[inner].max() <= 2.0 + 1e-3
    assert_array_equal(means[~occupied], np.broadcast_to(centers, (2, 50))[~occupied].astype("f4"))


@pytest.mark.slow
def test_a_run_that_diverges_stops_with_its_last_good_parameters(tmp_path):
    config = tiny_config(num_steps=50, max_skipped=3, optimizer__learning_rate=1e30)
    with pytest.raises(UserError, match="not finite for 3 steps in a row: step .* lower learning"):
        train.train(config, tmp_path)
    restored = newest_state(tmp_path, config)
    assert 3 < restored.step < 50
    for leaf in jax.tree.leaves(restored.state):
        assert np.isfinite(leaf).all()
    rows = [row for row in runs.read_metrics(tmp_path) if row["split"] == "train"]
    assert [row["skipped"] for row in rows][-3:] == [1.0, 1.0, 1.0]
    assert rows[-1]["loss"] is None and rows[0]["loss"] > 0


@pytest.mark.slow
def test_regression_runs_through_the_same_loop(tmp_path):
    metrics = train.train(tiny_config(objective="regression", num_steps=2), tmp_path)
    assert set(metrics) == METRICS
    assert metrics["l_reg"] == pytest.approx(1e4 * metrics["loss"], rel=1e-4)


@pytest.mark.slow
def test_real_scenes_lower_the_loss(photo_folder, tmp_path):
    config = tiny_config(
        data__source=f"folder:{photo_folder}",
        data__statistics_images=64,
        num_steps=30,
        eval_every=30,
        log_every=10,
        optimizer__learning_rate=1e-2,
    )
    train.train(config, tmp_path)
    losses = [r["loss"] for r in runs.read_metrics(tmp_path) if r["split"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


LIGHT = {
    "model__encoder": "squeezenet",
    "model__decoder_features": (256, 128, 64),
    "ema": 0.9,
    "ageing": 1.0,
    "bins__layout": "joint",
    "bins__softness": 5.0,
    "bins__value": "mean",
    "rebalance__enabled": True,
}


@pytest.mark.slow
def test_a_light_aged_averaged_rebalanced_run_resumes_bit_for_bit(tmp_path):
    whole = tiny_config(num_steps=6, eval_every=6, **LIGHT)
    metrics = train.train(whole, tmp_path / "whole")
    assert set(metrics) == METRICS
    train.train(tiny_config(num_steps=3, eval_every=3, **LIGHT), tmp_path / "parts")
    train.train(whole, tmp_path / "parts")
    one, two = (newest_state(tmp_path / name, whole) for name in ("whole", "parts"))
    jax.tree.map(assert_array_equal, one.state, two.state)
    step, variables = runs.load_variables(
        tmp_path / "whole", build.build_model(whole), averaged=True
    )
    jax.tree.map(assert_array_equal, variables, one.state.average)
    assert step == 6


@pytest.mark.slow
def test_a_run_with_photographs_in_device_memory_resumes_bit_for_bit(tmp_path):
    changes = {
        **LIGHT,
        "model__encoder": "efficientnet-lite0",
        "model__width": 1 / 8,
        "model__train_depthwise": False,
        "model__frozen_stages": 2,
        "frames": 0.3,
        "optimizer__encoder_rate": 0.2,
        "optimizer__weight_decay": 0.1,
        "data__resident": True,
        "data__scale_jitter": 0.3,
    }
    whole = tiny_config(num_steps=4, eval_every=4, **changes)
    train.train(whole, tmp_path / "whole")
    train.train(tiny_config(num_steps=2, eval_every=2, **changes), tmp_path / "parts")
    train.train(whole, tmp_path / "parts")
    one, two = (newest_state(tmp_path / name, whole).state for name in ("whole", "parts"))
    jax.tree.map(assert_array_equal, one, two)
    start = setup.init_state(whole, build.build_model(whole), setup.build_optimizer(whole))
    moved = {
        layer: float(np.abs(part["kernel"] - start.params["encoder"][layer]["kernel"]).max())
        for layer, part in one.params["encoder"].items()
    }
    frozen_layers = ("stem", *(f"block{i}_" for i in range(3)))
    for layer, distance in moved.items():
        frozen = layer.startswith(frozen_layers) or layer.endswith("_depthwise")
        assert (distance == 0.0) == frozen, layer


def test_a_run_for_a_given_time_ends_in_time_with_its_rate_near_zero(tmp_path, monkeypatch):
    now = iter(np.arange(0.0, 1e6, 1.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock(10.0, "cosine")
    batches = clock.with_rates({"example": np.arange(4)} for _ in range(100))
    rates = []
    while not clock.is_over():
        rates.append(next(batches)["rate"])
    rates = np.stack(rates)
    assert rates.shape == (5, 4) and np.ptp(rates, axis=1).max() == 0
    assert rates[0, 0] == rates[1, 0] == 1.0  # the first step compiles and does not count
    assert (np.diff(rates[1:, 0]) < 0).all() and rates[-1, 0] < 0.1
    constant = Clock(10.0, "constant").with_rates({"example": np.arange(4)} for _ in range(3))
    assert [float(batch["rate"][0]) for batch in constant] == [1.0] * 3
    endless = Clock(0.0, "cosine")
    assert not endless.is_over() and next(endless.with_rates(iter([{"a": 1}]))) == {"a": 1}


@pytest.mark.slow
def test_a_run_for_a_given_time_ends_as_a_finished_run(tmp_path):
    metrics = train.train(tiny_config(num_steps=10**6, num_seconds=0.5), tmp_path)
    assert set(metrics) == METRICS
    assert newest_state(tmp_path, tiny_config()).step >= 1


@pytest.mark.slow
def test_runs_of_older_versions_resume_without_the_new_settings(copied):
    workdir, _ = copied
    config = as_dict(tiny_config(num_steps=5, eval_every=5))
    for field in ("ema", "ageing", "init_from", "num_seconds", "frames", "experiments"):
        del config[field]
    for field in ("holdout_folders", "weights", "scale_jitter", "resident", "cache_dir"):
        del config["data"][field]
    for field in ("encoder", "train_depthwise", "frozen_stages"):
        del config["model"][field]
    del config["optimizer"]["encoder_rate"], config["decoding"]["rebalance"]
    runs.write_json(workdir / "config.json", config)
    assert set(train.train(config, workdir)) == METRICS
    restored = newest_state(workdir, complete(config))
    assert restored.step == 5 and restored.state.average == ()


def record_of(settings, monkeypatch, record=None):
    """The record of a run that resumes with `settings`, and whether its baseline was measured."""
    measured = []
    monkeypatch.setattr(evaluate, "measure_baseline", lambda *_: measured.append(True) or {})
    source = opening.open_source(settings.data)
    bins = {"counts": [[1]], "means": [[0]]}
    if record is None:
        record = {
            "bins": bins,
            **start.measure_data(evaluate.eval_options(settings), None, source, []),
        }
        measured.clear()
    return start.measure_again(settings, source, runs.as_json(record)), bool(measured)


@pytest.mark.parametrize(
    "changes",
    [
        {"data__load_size": 24},
        {"data__crop_size": 32, "data__load_size": 40},
        {"data__fit": "scale"},
        {"data__holdout": 0.5},
    ],
)
def test_the_baseline_is_measured_again_if_it_would_be_another(changes, monkeypatch):
    before, _ = record_of(tiny_config(), monkeypatch)
    assert record_of(tiny_config(num_steps=9, data__num_threads=1), monkeypatch, before) == (
        before,
        False,
    )
    after, is_new = record_of(tiny_config(**changes), monkeypatch, before)
    assert is_new and after["measured_on"] != before["measured_on"]
    assert record_of(tiny_config(**changes), monkeypatch, after) == (after, False)
    del before["measured_on"]  # as in older versions
    assert record_of(tiny_config(), monkeypatch, before)[1]


def test_the_baseline_is_measured_again_on_as_many_other_photographs(tmp_path, monkeypatch, caplog):
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for i in range(40):
            colour = (40 + i, 200, 40 + number)
            Image.new("RGB", (24, 24), colour).save(folder / f"{i}.png")
    one, two = (opening.open_source(tiny_config(data__source=f"folder:{f}").data) for f in folders)
    assert one.fingerprint != two.fingerprint
    record, _ = record_of(tiny_config(data__source=f"folder:{folders[0]}"), monkeypatch)
    record["data"] = two.notes
    settings = tiny_config(data__source=f"folder:{folders[1]}")
    after, is_new = record_of(settings, monkeypatch, record)
    assert is_new and after["source"] == two.name
    assert "other photographs are held out than before, as many as before" in caplog.text


def test_bytes_that_are_no_text_are_a_sentence_in_settings_and_skipped_in_metrics(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"seed": \xff}')
    with pytest.raises(UserError, match="config.json is not JSON: .*0xff"):
        runs.read_settings(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff\xfe\n{"step": 2}\n')
    assert runs.read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]


def test_a_metric_that_the_baseline_of_an_older_version_lacks_has_an_empty_cell():
    lines = evaluate.comparison({"psnr": 20.0, "ssim": 0.5}, {"psnr": 10.0}).splitlines()
    assert [line.split() for line in lines[1:]] == [["psnr", "20", "10"], ["ssim", "0.5"]]


@pytest.mark.slow
def test_a_run_with_other_photographs_has_its_baseline_measured_again(copied):
    workdir, _ = copied
    before = runs.read_record(workdir)
    train.train(tiny_config(num_steps=5, eval_every=5, data__holdout=0.5), workdir)
    after = runs.read_record(workdir)
    assert after["data"]["holdout"] > before["data"]["holdout"] == 1
    assert after["constant"].keys() == before["constant"].keys()
    assert after["constant"]["psnr"] != before["constant"]["psnr"]
    assert after["bins"] == before["bins"]


def test_incompatible_settings_are_refused_before_anything_is_changed(copied):
    workdir, _ = copied
    before = {path: path.read_bytes() for path in workdir.glob("*.json*")}
    with pytest.raises(
        UserError, match="was trained with space 'luv' and cannot be resumed with 'lab'"
    ):
        train.train(tiny_config(num_steps=5, space="lab"), workdir)
    with pytest.raises(
        UserError, match="was trained with space 'luv' and cannot be resumed with 'lab'"
    ):
        evaluate.evaluate(tiny_config(num_steps=5, space="lab"), workdir)
    with pytest.raises(
        UserError, match="optimizer.clip_norm 0.0, and its optimizer cannot be resumed"
    ):
        train.train(tiny_config(num_steps=5, optimizer__clip_norm=5.0), workdir)
    with pytest.raises(
        UserError, match="was trained with bins.num_bins 50 and cannot be resumed with"
    ):
        train.train(tiny_config(num_steps=5, bins__num_bins=40), workdir)
    assert {path: path.read_bytes() for path in workdir.glob("*.json*")} == before


def test_an_older_checkpoint_without_an_average_is_restored(tmp_path):
    from typing import Any, NamedTuple

    class OlderState(NamedTuple):
        step: Any
        params: Any
        batch_stats: Any
        opt_state: Any

    config = tiny_config()
    model, tx = build.build_model(config), setup.build_optimizer(config)
    like = setup.state_shapes(config, model, tx)
    state = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), like)
    assert state.average == ()
    with checkpoint.closing(checkpoint.open_manager(tmp_path)) as manager:
        checkpoint.save(manager, 3, OlderState(*state[:4]), config={}, position={}, metrics={})
    restored = newest_state(tmp_path, config)
    jax.tree.map(assert_array_equal, restored.state, state)
    with pytest.raises(UserError, match="average/.* is absent in the checkpoint"):
        newest_state(tmp_path, tiny_config(ema=0.9))


@pytest.mark.slow
def test_the_test_set_is_measured_only_by_evaluation(tmp_path):
    settings = tiny_config(num_steps=1, eval_every=1, data__holdout=0.3, data__test=0.3)
    trained = train.train(settings, tmp_path)
    tested = evaluate.evaluate(settings, tmp_path)
    evaluated = runs.read_json(tmp_path / "eval.json")
    assert evaluated["part"] == "test" and evaluated["model"] == tested != trained
    assert train.train(settings, tmp_path) == pytest.approx(trained, rel=1e-5)
    assert runs.read_json(tmp_path / "eval.json") == evaluated
    source = opening.open_source(settings.data)
    model = build.build_model(settings)
    _, variables = runs.load_variables(tmp_path, model, averaged=False)
    task = build.build_task(settings, runs.read_statistics(tmp_path))
    measure = evaluate.compile_metrics(
        evaluate.eval_options(settings), model, task, source.test, settings.decoding
    )
    assert tested == pytest.approx(measure(variables), rel=1e-5)
