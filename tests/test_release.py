"""Released models: exported models can be loaded, and invalid files are rejected."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import save_run, uniform_statistics
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_train import LIGHT, tiny_config

from colorjax.errors import UserError
from colorjax.models.build import build_model
from colorjax.settings import Perception, as_dict, complete, override
from colorjax.training import export, setup, steps, train
from colorjax.weights import checkpoint, released, runs
from configs import release as recipe

KERNEL = "params/final1/kernel"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an average of its weights, written without training; its folder and config."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny_config(data__cache_dir=str(workdir / "squares"), **LIGHT)
    state = setup.init_state(config, build_model(config), setup.build_optimizer(config))
    state = state._replace(average=jax.tree.map(lambda x: 1.01 * x + 0.001, state.average))
    network = released.Network(config, uniform_statistics(config), state)
    save_run(workdir, network, step=2, found=12, train=11)
    runs.write_text(workdir / "metrics.jsonl", '{"step": 2, "split": "holdout", "psnr": 20.5}\n')
    return workdir, config


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export.export(run[0], tmp_path_factory.mktemp("released") / "new" / "m.safetensors")


def flat(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def test_an_exported_model_loads_as_the_runs_average_to_half_precision(run, exported):
    workdir, config = run
    _, want = runs.load_variables(workdir, build_model(config), averaged=True)
    loaded_config, statistics, variables = released.load(exported)
    assert jax.tree.structure(variables) == jax.tree.structure(want)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    for name, x in flat(variables).items():
        exact = x.ndim == 1
        assert_allclose(x, flat(want)[name], rtol=0 if exact else 2**-10, atol=0 if exact else 1e-7)
    assert runs.statistics_as_json(statistics) == runs.read_record(workdir)["bins"]
    assert loaded_config.bins == config.bins and loaded_config.model.encoder == "squeezenet"


def test_the_average_and_not_the_last_step_is_exported(run, exported):
    workdir, config = run
    manager = checkpoint.open_manager(workdir, read_only=True)
    like = setup.state_shapes(config, build_model(config), setup.build_optimizer(config))
    with checkpoint.closing(manager):
        state = checkpoint.restore(manager, like).state
    kept = load_file(exported)[KERNEL].astype("f4")
    assert_allclose(kept, state.average["params"]["final1"]["kernel"], rtol=2**-10, atol=1e-7)
    assert np.abs(kept - state.params["final1"]["kernel"]).max() > 1e-4


def test_metadata_describes_the_model_and_not_the_machine_that_made_it(run, exported):
    with safe_open(exported, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["licence"] == "Apache-2.0"
    metrics = json.loads(metadata["metrics"])
    assert metrics["step"] == 2 and metrics["psnr"] == 20.5
    assert json.loads(metadata["trained_on"])["train"] == 11
    assert str(run[0]) not in json.dumps(metadata)


def test_a_file_names_the_run_that_it_started_from_without_its_folders(run, tmp_path):
    workdir, config = run
    started = tmp_path / "started"
    shutil.copytree(workdir, started)
    grid = (("data.source", (f"folder:{tmp_path}", "sample")),)
    runs.write_settings(started, override(config, {"init_from": str(workdir), "sweep": grid}))
    # Older versions stored the whole path.
    record = runs.read_record(workdir) | {"encoder": str(workdir)}
    runs.write_json(started / "record.json", record)
    with safe_open(export.export(started, tmp_path / "m.safetensors"), framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["trained_on"])["encoder"] == workdir.name
    assert str(tmp_path) not in json.dumps(metadata) and str(workdir) not in json.dumps(metadata)


def test_loading_needs_no_pickle_and_runs_no_code(exported):
    import pickle

    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(exported.read_bytes())


def refusal_with(exported, tmp_path, *, metadata=None, resign=True, **arrays):
    """The message that refuses the file with other metadata and arrays; None removes an array."""
    with safe_open(exported, framework="numpy") as file:
        notes = file.metadata() | (metadata or {})
    tensors = load_file(exported)
    for name, array in arrays.items():
        tensors.pop(name, None)
        if array is not None:
            tensors[name] = array
    if resign:
        notes["sha256"] = released.digest(tensors)
    path = tmp_path / "changed.safetensors"
    save_file(tensors, path, notes)
    return refusal(path)


def refusal(path):
    with pytest.raises(UserError) as caught:
        released.load(path)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence
    return sentence


def test_a_changed_value_is_refused_by_its_checksum(exported, tmp_path):
    kernel = load_file(exported)[KERNEL]
    kernel.view(np.uint16)[0, 0, 0, 0] ^= 1
    sentence = refusal_with(exported, tmp_path, resign=False, **{KERNEL: kernel})
    assert "the file was damaged or changed" in sentence
    assert "want one" in refusal_with(exported, tmp_path, resign=False, metadata={"sha256": "one"})


def test_a_missing_a_foreign_and_a_misshapen_tensor_are_named(exported, tmp_path):
    kernel = load_file(exported)[KERNEL]
    assert f"{KERNEL} is absent in the file, want of shape" in refusal_with(
        exported, tmp_path, **{KERNEL: None}
    )
    assert "params/extra is of shape (2,) in the file, want absent" in refusal_with(
        exported, tmp_path, **{"params/extra": np.zeros(2, np.float32)}
    )
    assert f"{KERNEL} is of shape {kernel[:1].shape} in the file, want of shape {kernel.shape}" in (
        refusal_with(exported, tmp_path, **{KERNEL: kernel[:1]})
    )


def test_values_of_another_type_or_not_finite_are_named(exported, tmp_path):
    kernel = load_file(exported)[KERNEL]
    assert f"{KERNEL} is I16, want F16 or F32" in refusal_with(
        exported, tmp_path, **{KERNEL: kernel.view(np.int16)}
    )
    kernel = kernel.copy()
    kernel[0, 0, 0, :2] = np.nan
    assert f"{KERNEL} has 2 values that are NaN" in refusal_with(
        exported, tmp_path, **{KERNEL: kernel}
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {"config": "{"},
        {"config": "{}"},
        {"config": "[1]"},
        {"statistics": "null"},
        {"statistics": '{"counts": [[1, 2]], "means": []}'},
    ],
    ids=str,
)
def test_an_invalid_config_or_invalid_statistics_are_refused(exported, tmp_path, metadata):
    assert "config" in refusal_with(exported, tmp_path, metadata=metadata)


def test_another_kind_of_file_is_refused(exported, tmp_path):
    assert "is of format 'other', want 'colorjax-model-1'" in refusal_with(
        exported, tmp_path, metadata={"format": "other"}
    )
    path = tmp_path / "model.safetensors"
    assert "is not a file" in refusal(path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    assert "is not a valid safetensors file" in refusal(path)
    path.write_bytes(exported.read_bytes()[:-100])
    assert "is not a valid safetensors file" in refusal(path)
    save_file({"x": np.zeros(1, np.float32)}, path)
    assert "is of format None" in refusal(path)


def test_a_model_too_large_to_release_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="would take .* bytes, want at most 1,000"):
        export.export(run[0], tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def changed(exported, path, change):
    """A copy of the file whose arrays are changed, with a new digest."""
    with safe_open(exported, framework="numpy") as file:
        notes = file.metadata()
    tensors = change(load_file(exported))
    save_file(tensors, path, notes | {"sha256": released.digest(tensors)})
    return path


def test_the_mean_of_networks_is_the_mean_of_their_weights(run, exported, tmp_path):
    def three_times(tensors):
        return {name: (3 * x).astype(x.dtype) for name, x in tensors.items()}

    other = changed(exported, tmp_path / "other.safetensors", three_times)
    mean = export.export(run[0], tmp_path / "mean.safetensors", mean_with=[other, other])
    first = flat(released.load(exported).variables)
    for name, x in flat(released.load(mean).variables).items():
        assert_allclose(x, first[name] * 7 / 3, rtol=2**-9, atol=1e-6)
    with safe_open(mean, framework="numpy") as file, safe_open(other, framework="numpy") as of:
        notes, digest = file.metadata(), of.metadata()["sha256"]
    assert json.loads(notes["trained_on"])["mean_with"] == [digest, digest]
    assert json.loads(notes["metrics"]) == {"step": 2}  # the mean has not been measured


def test_no_mean_is_taken_with_another_network(run, exported, tmp_path):
    other = released.RELEASED
    with pytest.raises(
        UserError, match=f"^{other} has model.encoder 'efficientnet-lite0' and .* 'squeezenet'"
    ):
        export.export(run[0], tmp_path / "mean.safetensors", mean_with=[other])
    assert not (tmp_path / "mean.safetensors").exists()


def test_no_mean_is_taken_with_equal_shapes_but_other_settings(run, tmp_path):
    other = shutil.copytree(run[0], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["model"]["upscaling"] = "bilinear"
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="^.*other has model.upscaling 'bilinear' and .*: their"):
        export.export(run[0], tmp_path / "mean.safetensors", mean_with=[other])


@pytest.mark.slow
def test_a_run_starts_from_a_released_file(run, exported, tmp_path):
    _, config = run
    train.train(
        tiny_config(
            num_steps=1,
            eval_every=1,
            optimizer__learning_rate=1e-30,
            init_from=str(exported),
            **LIGHT,
        ),
        tmp_path,
    )
    assert runs.read_record(tmp_path)["encoder"].startswith("m.safetensors (sha256 ")
    kernels = flat(runs.load_variables(tmp_path, build_model(config), averaged=True)[1])
    assert_array_equal(kernels[KERNEL], load_file(exported)[KERNEL].astype("f4"))


@pytest.mark.slow
def test_a_run_starts_from_another_run_or_the_bundled_model(run):
    workdir, config = run
    _, variables = runs.load_variables(workdir, build_model(config), averaged=True)
    state = setup.init_state(config, build_model(config), optax.identity())
    started, line = setup.start_from(str(workdir), state)
    assert line == workdir.name  # not the path, since exported files contain the line
    jax.tree.map(assert_array_equal, steps.variables(started), variables)
    with pytest.raises(UserError, match=r"colorjax.safetensors: params/.* in the file, want "):
        setup.start_from("release", state)


def test_starting_from_the_file_of_another_network_is_refused(exported, tmp_path):
    with pytest.raises(UserError, match=r"m.safetensors: params/.* in the file, want "):
        train.train(tiny_config(init_from=str(exported)), tmp_path)


@pytest.mark.parametrize("variant", ["classify", "regress"])
def test_the_second_stage_continues_the_first_and_ends_by_the_clock(variant):
    stages = [complete(recipe.get_config(f"{variant},{stage}")) for stage in recipe.STAGES]
    for settings in stages:
        setup.check_training(settings)
    one, two = (runs.flatten(as_dict(settings)) for settings in stages[:2])
    changed = {name for name in one if one[name] != two[name]}
    assert changed <= {"num_steps", "steps_before", "num_seconds", "optimizer.schedule"}
    assert two["steps_before"] == one["num_steps"]
    assert two["num_seconds"] > 0 and two["optimizer.schedule"] == "cosine"
    assert complete(recipe.get_config(variant)) == stages[0]


@pytest.mark.parametrize("choice", ["gpu", "gpu,larger", "gpu,seen"])
def test_a_gpu_trains_in_one_stage_until_its_time_is_up(choice):
    settings = complete(recipe.get_config(choice))
    setup.check_training(settings)
    assert settings.num_seconds > 0 and settings.steps_before == 0
    assert settings.optimizer.schedule == "cosine" and settings.data.resident
    assert (settings.perception != Perception()) == (choice == "gpu,seen")


@pytest.mark.parametrize("choice", ["best", "classify,third", "first", "gpu,first", "gpu,second"])
def test_an_unknown_recipe_is_refused(choice):
    with pytest.raises(UserError, match=f"has no '{choice}', want one of classify, regress"):
        recipe.get_config(choice)
