import re

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_train import tiny_config

from colorjax.data import opening
from colorjax.errors import ResumableError, UserError
from colorjax.models import build
from colorjax.settings import as_dict, complete, override
from colorjax.studies import claims, reproduce, sweep
from colorjax.training import evaluate
from colorjax.weights import runs
from configs import classify
from configs import reproduce as reproduce_config

EXPERIMENTS = (
    ("regression", (("objective", "regression"),)),
    ("classification", ()),
    ("impossible", (("model.merge", "product"),)),
)
MEAN = ("mean", (("decoding.method", "mean"),))


def three_experiments(**changes):
    return override(
        tiny_config(num_steps=3, eval_every=3),
        {
            "mode": "reproduce",
            "experiments": EXPERIMENTS,
            "decodings": (MEAN,),
            "decoded": ("classification",),
            "pictured": ("regression", "classification"),
            **changes,
        },
    )


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A workdir whose second run was stopped once, both lists of rows, and the runs in order."""
    workdir, trained, train = tmp_path_factory.mktemp("reproduced"), [], sweep.train

    def counting(config, workdir):
        trained.append(workdir.name)
        return {} if len(trained) == 2 else train(config, workdir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "train", counting)
        stopped = reproduce.reproduce(three_experiments(), workdir)
        rows = reproduce.reproduce(three_experiments(), workdir)
    return workdir, stopped, rows, trained


@pytest.mark.slow
def test_a_stopped_reproduction_resumes_without_repeating_finished_runs(reproduced):
    _, stopped, rows, trained = reproduced
    assert [row["outcome"] for row in stopped] == ["step 3 of 3", "unfinished", "unfinished"]
    assert trained == ["regression", "classification", "classification", "impossible"]
    assert [row["run"] for row in rows] == ["regression", "classification", "impossible"]
    assert rows[0] == stopped[0]
    assert rows[1]["outcome"] == "step 3 of 3" and rows[1]["metrics"]["psnr"] > 0


@pytest.mark.slow
def test_a_failed_run_has_a_row_that_says_so(reproduced):
    workdir, _, rows, _ = reproduced
    assert rows[2]["outcome"].startswith("failed: model.merge is 'product', want one of")
    assert rows[2]["metrics"] == {}
    text = (workdir / "report.md").read_text()
    assert "| failed: model.merge is" in text and "| **impossible** | *failed* |" in text


@pytest.mark.slow
def test_the_report_has_all_sections_and_needs_no_other_files(reproduced):
    workdir, *_ = reproduced
    text, page = ((workdir / f"report.{kind}").read_text() for kind in ("md", "html"))
    sections = ["Data", "Findings", "All experiments", "Decodings", "Figures", "How it was run"]
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == sections
    assert all(f"<h2>{name}</h2>" in page for name in sections)
    names = re.findall(r"figures/(\w+)\.png", text)
    assert names == ["losses", "saturation", "colorfulness", "photographs"]
    assert all((workdir / "figures" / f"{name}.png").stat().st_size > 1000 for name in names)
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(references) == 4
    assert all(reference.startswith("data:image/png;base64,") for reference in references)
    assert "| sample | 12 | 11 | 1 | 0 | 0 |" in text
    assert "| **classification** | mean |" in text
    assert "2 of 3 runs have finished, on `sample`" in text and "num_steps = 3" in text
    assert "Regression has the lower L_reg | – not run" not in text


@pytest.mark.slow
def test_the_report_is_made_again_from_the_folders_of_runs_alone(reproduced, monkeypatch):
    workdir, _, rows, _ = reproduced
    (workdir / "report.html").unlink()
    for module, name in ((sweep, "run_one"), (runs, "load_variables")):
        monkeypatch.setattr(module, name, None)
    assert reproduce.reproduce(three_experiments(), workdir) == rows
    assert (workdir / "report.html").exists()


@pytest.mark.slow
def test_runs_are_measured_as_by_evaluation(reproduced):
    workdir, _, rows, _ = reproduced
    folder = workdir / "classification"
    settings = runs.read_settings(folder)
    model = build.build_model(settings)
    task = build.build_task(settings, runs.read_statistics(folder))
    _, variables = runs.load_variables(folder, model, averaged=False)
    holdout, options = opening.open_source(settings.data).holdout, evaluate.eval_options(settings)
    metrics = evaluate.compile_metrics(options, model, task, holdout, settings.decoding)(variables)
    assert rows[1]["metrics"] == pytest.approx(metrics, rel=1e-4)


@pytest.mark.slow
def test_a_decoding_that_is_added_later_is_measured_then(reproduced):
    folder = reproduced[0] / "classification"
    argmax = {"argmax": {"decoding.method": "argmax"}}
    before = (folder / "measured.json").read_text()
    reproduce.measure(folder, argmax)
    metrics = runs.read_json(folder / "measured.json")["metrics"]
    assert metrics["argmax"] == metrics["own"]
    (folder / "measured.json").write_text(before)


def test_saturation_shares_of_gray_and_of_red_lie_at_the_ends():
    rgb = np.zeros((2, 4, 4, 3), np.float32)
    rgb[0] += 0.5
    rgb[1, ..., 0] = 1.0
    shares = np.asarray(reproduce.saturation_shares(rgb))
    assert shares.shape == (2, reproduce.SATURATION_BINS)
    assert_allclose(shares[:, [0, -1]], [[1, 0], [0, 1]])


@pytest.mark.parametrize("batch_size, num_steps", [(4, 6), (8, 3), (12, 2)])
def test_runs_with_other_batch_sizes_see_the_same_number_of_photographs(batch_size, num_steps):
    settings = reproduce.same_images(three_experiments(), {"batch_size": batch_size})
    assert settings.get("num_steps", 3) == num_steps
    assert settings["batch_size"] == batch_size


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"experiments": ()}, "no experiments, want a config like configs/reproduce.py"),
        ({"decodings": ()}, "no decodings"),
        (
            {"experiments": (("a", (("spaces", "lab"),)),)},
            "'spaces' for 'a', which is not a setting",
        ),
        ({"experiments": (("a", ()), ("a", ()))}, "'a' twice"),
        ({"experiments": (("../a", ()),)}, "'../a', want letters"),
        ({"experiments": ("a", ())}, "experiments has 'a', want pairs of a name and its changes"),
        ({"experiments": (("a", 1),)}, r"experiments has \('a', 1\), want pairs"),
        ({"experiments": (("a", ("seed", 1)),)}, "in 'a', has 'seed', want pairs of a name and"),
        ({"decoded": ("b",)}, "decoded names 'b', which is none of the experiments"),
        ({"decodings": (("a", (("seed", 1),)),)}, "has 'seed' for 'a', want decoding.* alone"),
        ({"decodings": (("own", ()),)}, "decodings has the name 'own', which is reserved"),
        ({"decodings": (("saturation", ()),)}, "the name 'saturation', which is reserved"),
        (
            {"decodings": (("a", (("decoding.temperature", -1.0),)),)},
            "decodings, in 'a' for the run 'classification': decoding.temperature is -1.0, want",
        ),
    ],
)
def test_experiments_that_cannot_be_run_are_refused(changes, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        reproduce.reproduce(three_experiments(**changes), tmp_path)


def test_a_config_without_experiments_is_refused_even_if_it_is_locked(tmp_path):
    with pytest.raises(UserError, match="the config has no experiments"):
        reproduce.reproduce(classify.get_config().lock(), tmp_path)


@pytest.mark.parametrize("variant", ["sample", "scenes", "paper", "petals"])
def test_every_experiment_and_decoding_changes_real_settings_of_the_right_type(variant):
    settings = complete(reproduce_config.get_config(variant))
    assert settings.mode == "reproduce" and reproduce.named_decodings(settings)
    known = runs.flatten(as_dict(settings))
    for field in ("experiments", "decodings"):
        for changes in reproduce.named_changes(settings, field).values():
            override(settings, changes)
            assert all(
                known[name] != value
                for name, value in changes.items()
                if field == "experiments" and name != "optimizer.momentum"
            )


def test_every_claim_is_about_runs_of_the_config():
    config = reproduce_config.get_config()
    names = {name for name, _ in (*config.experiments, *reproduce_config.PAPER)}
    names |= {f"{run}, {decoding}" for run in config.decoded for decoding, _ in config.decodings}
    for claim in (*claims.PAPER_CLAIMS, *claims.OUR_CLAIMS, *claims.LATER_CLAIMS):
        for _, run, sign, other in claim.comparisons:
            assert {run, other} <= names and sign in "<>", claim.sentence
    assert set(claims.SEEDS) <= names


def test_experiments_can_be_stored_as_json():
    settings = complete(reproduce_config.get_config())
    assert complete(runs.as_json(as_dict(settings))) == settings


def test_a_reproduction_in_the_folder_of_a_run_is_refused(tmp_path):
    runs.write_settings(tmp_path, tiny_config(space="lab"))
    runs.write_json(tmp_path / "record.json", {})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match="holds a run, want another workdir for a reproduction"):
        reproduce.reproduce(three_experiments(), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_temporary_error_leaves_no_result_but_counts_the_seconds(tmp_path, monkeypatch):
    def train(config, workdir):
        raise ResumableError("photo.jpg: cannot be read")

    monkeypatch.setattr(sweep, "train", train)
    with pytest.raises(ResumableError, match="photo.jpg"):
        reproduce.reproduce(three_experiments(), tmp_path)
    assert not list(tmp_path.rglob("result.json"))
    assert runs.read_json(tmp_path / "regression" / "seconds.json") > 0


@pytest.mark.parametrize("batch_size", [0, "8"])
def test_an_experiment_with_an_invalid_batch_size_has_a_failed_row(batch_size, tmp_path):
    changes = {"batch_size": batch_size}
    assert reproduce.train(three_experiments(), changes, tmp_path)
    assert runs.read_json(tmp_path / "result.json")["status"].startswith("failed: batch_size is ")


def test_an_experiment_that_has_changed_since_it_was_trained_is_refused(tmp_path):
    folder = tmp_path / "a"
    rate = "optimizer.learning_rate"
    settings = three_experiments(experiments=(("a", ((rate, 0.5),)),), decoded=(), pictured=())
    runs.write_settings(folder, override(settings, {"mode": "train", rate: 1e-4}))
    runs.write_json(folder / "result.json", {"run": "a", "status": "finished"})
    with pytest.raises(UserError, match=r"a run with optimizer.learning_rate 0.0001, .* for 0.5"):
        reproduce.reproduce(settings, tmp_path)
    assert not (tmp_path / "config.json").exists() and not (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_outputs_smaller_than_the_picture_are_measured_at_its_size(monkeypatch):
    settings = tiny_config()
    task, small = build.build_task(settings, None), jax.numpy.zeros((1, 4, 4, 2, 50))
    example = task.prepare(np.full((1, 16, 16, 3), (200, 80, 60), np.uint8))
    monkeypatch.setattr(reproduce, "predict", lambda model, variables, gray: small)
    decodings = {reproduce.OWN: settings.decoding}
    measured = reproduce.measure_all({}, example, model=None, task=task, decodings=decodings)
    shares = measured["saturation/prediction"]
    assert shares.shape == (1, reproduce.SATURATION_BINS) and np.sum(shares) == pytest.approx(1)


@pytest.mark.slow
def test_a_reproduction_without_figures_still_draws_one_photograph(tmp_path):
    settings = tiny_config(figure_images=0)
    model, task = build.build_model(settings), build.build_task(settings, None)
    variables = model.init(jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32))
    items = opening.open_source(settings.data).holdout
    reproduce.draw(settings, model, task, items, variables, tmp_path)
    pictures = np.load(tmp_path / "pictures.npz")
    assert pictures["prediction"].shape == (1, 16, 16, 3)
