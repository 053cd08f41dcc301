import json

import pytest
from test_train import tiny_config

from colorjax.errors import ResumableError, UserError
from colorjax.settings import complete
from colorjax.studies import sweep
from colorjax.weights.runs import read_json, write_json, write_settings
from configs import learning_rate

RATES = ("optimizer.learning_rate", (1e-3, 1e30))
SPACES = ("space", ("luv", "hsv"))


def sweep_config(*grid, **changes):
    return tiny_config(num_steps=6, max_skipped=2, sweep=grid, **changes)


def test_the_grid_is_every_combination_and_the_last_varies_fastest():
    rows = sweep.grid(sweep_config(RATES, SPACES))
    assert [tuple(row.values()) for row in rows] == [
        (1e-3, "luv"),
        (1e-3, "hsv"),
        (1e30, "luv"),
        (1e30, "hsv"),
    ]
    assert sweep.run_name(rows[1]) == "learning_rate=0.001,space=hsv"


def test_the_papers_rates_are_a_grid_on_a_logarithmic_scale():
    rates = [
        row["optimizer.learning_rate"] for row in sweep.grid(complete(learning_rate.get_config()))
    ]
    assert rates == sorted(rates) and rates[-1] / rates[0] == pytest.approx(1000)
    assert {1e-3, 3e-4} <= set(rates)


@pytest.mark.parametrize(
    "grid, sentence",
    [
        ([], "sweep is empty"),
        ([("learning_rate", (1,))], "'learning_rate', which is not a setting"),
        ([("batch_size", ())], "no values for 'batch_size'"),
        ([("seed", (1,)), ("seed", (2,))], "twice in seed, seed, want each once"),
        (["batch_size", (4, 8)], "sweep has 'batch_size', want pairs of a name and its values"),
        ([("batch_size", 4)], r"sweep has \('batch_size', 4\), want pairs of a name and its val"),
        ([("space", "luv")], "want pairs of a name and its values, such as"),
        ([(4, (8,))], "want pairs"),
        (
            [("data.source", ("folder:a/b", "folder:a b"))],
            "whose folders would both be 'source=folder_a_b': want values that differ in more than",
        ),
        ([("seed", (1, 2, 1))], "whose folders would both be 'seed=1'"),
    ],
)
def test_an_invalid_grid_is_refused(grid, sentence):
    with pytest.raises(UserError, match=sentence):
        sweep.grid(sweep_config(*grid))


@pytest.mark.slow
def test_a_stopped_sweep_resumes_and_a_failed_run_gets_a_row(tmp_path, monkeypatch):
    config = sweep_config(RATES)
    trained, train = [], sweep.train

    def counting(config, workdir):
        trained.append(workdir.name)
        return {} if len(trained) == 1 else train(config, workdir)

    monkeypatch.setattr(sweep, "train", counting)
    rows = sweep.sweep(config, tmp_path)  # stopped by a signal in its first run
    assert [row["status"] for row in rows] == ["unfinished", "unfinished"]
    rows = sweep.sweep(config, tmp_path)
    assert trained == ["learning_rate=0.001"] * 2 + ["learning_rate=1e+30"]
    assert rows[0]["status"] == "finished" and rows[0]["loss"] > 0
    assert rows[1]["status"].startswith("failed: the loss was not finite for 2 steps")
    assert sweep.sweep(config, tmp_path) == rows and len(trained) == 3
    assert json.loads((tmp_path / "sweep.json").read_text()) == rows
    assert read_json(tmp_path / "learning_rate=0.001" / "config.json")["mode"] == "train"
    table = (tmp_path / "sweep.md").read_text()
    assert "| 0.001 | finished |" in table and "Best loss: `learning_rate=0.001`" in table
    assert (tmp_path / "sweep.png").stat().st_size > 5000


def test_a_sweep_is_judged_by_the_metric_that_its_config_names(tmp_path):
    runs = [{"seed": seed} for seed in (0, 1)]
    for seed, loss, l_reg in ((0, 1.0, 900.0), (1, 2.0, 400.0)):
        row = {
            "run": f"seed={seed}",
            "seed": seed,
            "status": "finished",
            "loss": loss,
            "l_reg": l_reg,
            "acc_u": 0.1,
            "acc_v": 0.1,
            "sat_diff": 0.5,
        }
        write_json(tmp_path / f"seed={seed}" / "result.json", row)
    for by, best in (("loss", "seed=0"), ("l_reg", "seed=1")):
        sweep.report(tmp_path, runs, by)
        assert f"Best {by}: `{best}`" in (tmp_path / "sweep.md").read_text()
    config = sweep_config(SPACES, sweep_by="psnr")
    with pytest.raises(UserError, match="sweep_by is 'psnr', want one of 'loss', 'l_reg'"):
        sweep.sweep(config, tmp_path)


def test_a_run_whose_metric_is_not_a_number_is_not_the_best(tmp_path):
    runs = [{"seed": seed} for seed in (0, 1)]
    others = {"l_reg": 1.0, "acc_u": 0.1, "acc_v": 0.1, "sat_diff": 0.5}
    for seed, loss in ((0, float("nan")), (1, 2.0)):
        row = {"run": f"seed={seed}", "seed": seed, "status": "finished", "loss": loss, **others}
        write_json(tmp_path / f"seed={seed}" / "result.json", row)
    sweep.report(tmp_path, runs, "loss")
    assert "Best loss: `seed=1`, 2" in (tmp_path / "sweep.md").read_text()
    sweep.report(tmp_path, runs[:1], "loss")
    assert "Best" not in (tmp_path / "sweep.md").read_text()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"num_steps": 9},
            "a run with num_steps 6, and the config asks for 9: want another workdi",
        ),
        ({"data__crop_size": 32, "data__load_size": 32}, "data.load_size 20, and the config asks"),
        ({"sweep": (SPACES,), "space": "lab"}, None),  # replaced by the grid's value
        (
            {"log_every": 3, "data__cache_dir": "x", "data__num_threads": 1, "figure_images": 0},
            None,
        ),
    ],
)
def test_results_of_other_settings_are_not_taken_for_those_of_the_config(
    changes, sentence, tmp_path, monkeypatch
):
    metrics = {"loss": 1.0, "l_reg": 1.0, "acc_u": 0.1, "acc_v": 0.1, "sat_diff": 0.5}

    def train(config, workdir):
        write_settings(workdir, config)
        return metrics

    monkeypatch.setattr(sweep, "train", train)
    rows = sweep.sweep(sweep_config(SPACES), tmp_path)
    monkeypatch.setattr(sweep, "train", None)
    changed = tiny_config(**{"num_steps": 6, "max_skipped": 2, "sweep": (SPACES,), **changes})
    if sentence is None:
        assert sweep.sweep(changed, tmp_path) == rows
    else:
        before = (tmp_path / "sweep.json").read_bytes()
        with pytest.raises(UserError, match=sentence):
            sweep.sweep(changed, tmp_path)
        assert (tmp_path / "sweep.json").read_bytes() == before


@pytest.mark.slow
def test_sweep_index_runs_one_combination_of_the_grid(tmp_path):
    rows = sweep.sweep(sweep_config(SPACES, sweep_index=1), tmp_path)
    assert [row["status"] for row in rows] == ["unfinished", "finished"]
    with pytest.raises(UserError, match="sweep_index is 2, want 0 to 1"):
        sweep.sweep(sweep_config(SPACES, sweep_index=2), tmp_path)


def test_a_resumable_error_ends_a_sweep_without_a_row_and_it_can_resume(tmp_path, monkeypatch):
    config, calls = sweep_config(("seed", (0, 1))), []
    metrics = {"loss": 1.0, "l_reg": 1.0, "acc_u": 0.1, "acc_v": 0.1, "sat_diff": 0.5}

    def train(config, workdir):
        calls.append(workdir.name)
        if len(calls) == 1:
            raise ResumableError("disk full; step 3 is saved, and the same command resumes from it")
        return metrics

    monkeypatch.setattr(sweep, "train", train)
    with pytest.raises(ResumableError, match="step 3 is saved"):
        sweep.sweep(config, tmp_path)
    assert not list(tmp_path.rglob("result.json"))
    rows = sweep.sweep(config, tmp_path)
    assert calls == ["seed=0", "seed=0", "seed=1"]
    assert [row["status"] for row in rows] == ["finished", "finished"]
