"""A trained network as one file to hand on: safetensors with its config, statistics and metrics.

Kernels are kept in float16, which halves the file; biases and the norms' statistics, which may be
beyond its range and take next to no room, in float32. Nothing in such a file is ever executed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import save as to_safetensors

from colorjax.errors import UserError
from colorjax.models.build import build_binning, build_model, build_task, state_shapes
from colorjax.pictures import files
from colorjax.training import evaluate, logs, parallel, steps
from colorjax.training.steps import TrainState, start_average
from colorjax.weights.store import open_safetensors

RELEASED = Path(__file__).parent.parent / "released" / "colorjax.safetensors"
WHAT = "a model of colorjax"
FORMAT = "colorjax-model-1"  # changes with anything that an older program would misread
LICENCE = "Apache-2.0"
MAX_BYTES = 25_000_000
TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

# Settings that name places of the machine that trained, and what stands in the file for them.
_PLACES = {
    "data.source": "sample", "data.cache_dir": "", "data.tfds_dir": "",
    "model.encoder_weights": "auto", "init_from": "",
}  # fmt: skip


class Network(NamedTuple):
    """A trained network and what is needed to read its outputs."""

    config: ConfigDict
    statistics: dict[str, Any]  # of its training set, as `evaluate.measure_bins` gives them
    variables: Any


def export(workdir: str | os.PathLike, file: str | os.PathLike, licence: str = LICENCE) -> Path:
    """Writes a run's best checkpoint, its average where it keeps one, to `file`; returns its path.

    Raises UserError if the run has no checkpoint, if a value is not finite, or if the file would be
    larger than MAX_BYTES or cannot be written.
    """
    workdir, file = Path(workdir), Path(file)
    config, record = ConfigDict(logs.read_config(workdir)), logs.read_record(workdir)
    step, variables = evaluate.load_variables(config, build_model(config), workdir)
    arrays = {name: _narrowed(workdir, name, x) for name, x in _flat(variables).items()}
    rows = [row for row in logs.read_metrics(workdir) if row["split"] == "holdout"]
    measured = {row["step"]: row for row in rows}.get(step, {})
    metadata = {
        "format": FORMAT,
        "licence": licence,
        "config": json.dumps(_without_places(config)),
        "statistics": json.dumps(record["bins"]),
        "metrics": json.dumps({**measured, "step": step}),
        "trained_on": json.dumps({**record["data"], "encoder": record["encoder"]}),
        "sha256": digest(arrays),
    }
    content = to_safetensors(arrays, metadata)
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{workdir}: the model would take {len(content):,} bytes, want at most {MAX_BYTES:,}"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.written_aside(file) as aside:
            aside.write_bytes(content)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}") from error
    return file


def load(file: str | os.PathLike) -> tuple[ConfigDict, dict[str, Any], dict[str, Any]]:
    """Reads a file that `export` wrote: (config, statistics, variables).

    The config is what the run had, but for the places of its data; statistics are as
    `evaluate.measure_bins` gives them; variables are float32, in the structure of
    `steps.variables`, on this process's devices.

    Raises UserError if it is no such file, if a tensor is missing, foreign, misshapen, of another
    type or not finite, or if the tensors are not those that were exported.
    """
    path = Path(file)
    with open_safetensors(path, FORMAT, WHAT, WHAT) as opened:
        metadata = opened.metadata()
        config, statistics, wanted = _described(path, metadata)
        found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
        _check_shapes(path, found, wanted)
        for name in found:
            if (kind := opened.get_slice(name).get_dtype()) not in TYPES:
                raise UserError(f"{path}: {name} is {kind}, want {' or '.join(TYPES)}")
        arrays = {name: opened.get_tensor(name) for name in found}
    if digest(arrays) != metadata.get("sha256"):
        raise UserError(
            f"{path}: its tensors have the sha256 {digest(arrays)[:12]}..., want "
            f"{metadata.get('sha256', 'one')[:12]}...: the file was damaged or changed"
        )
    for name, array in arrays.items():
        _check_finite(path, name, array)
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    return config, statistics, parallel.place(unflatten_dict(wide, sep="/"))


def load_network(model: str | os.PathLike | None = None) -> Network:
    """Loads a trained network.

    Args:
      model: a file that `export` wrote, or the folder of a training run, of which the best
        checkpoint is taken; the file that colorjax comes with unless given.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = RELEASED if model is None else Path(model)
    if path.is_dir():
        config = ConfigDict(logs.read_config(path))
        _, variables = evaluate.load_variables(config, build_model(config), path)
        return Network(config, logs.read_record(path)["bins"], variables)
    if not path.exists():
        raise UserError(f"{path}: there is no such model, want a released file or a run's folder")
    return Network(*load(path))


def start_from(place: str, state: TrainState) -> tuple[TrainState, str]:
    """A fresh state with the variables of another model, and a line for the record.

    `place` is a released file, the folder of a run, or `release`: the model that colorjax comes
    with. Raises UserError, besides those of `load_network`, if it is another network.
    """
    path = RELEASED if place == "release" else Path(place)
    variables = load_network(path).variables
    wanted = _flat(steps.variables(state._replace(average=())))
    _check_shapes(
        path,
        {name: x.shape for name, x in _flat(variables).items()},
        {name: x.shape for name, x in wanted.items()},
    )
    state = state._replace(**variables)
    if path.is_dir():
        line = str(path)
    else:
        line = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
    return start_average(state) if state.average else state, line


def digest(arrays: dict[str, np.ndarray]) -> str:
    """The sha256 of all arrays with their names, types and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
    return total.hexdigest()


def _flat(variables: dict[str, Any]) -> dict[str, Any]:
    return flatten_dict(variables, sep="/")


def _narrowed(path: Path, name: str, x: jax.Array) -> np.ndarray:
    array = np.asarray(x, np.float32)
    _check_finite(path, name, array)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if array.ndim > 1 and np.isfinite(half).all() else array


def _check_finite(path: Path, name: str, array: np.ndarray) -> None:
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise UserError(f"{path}: {name} has {bad} values that are NaN or infinite")


def _without_places(config: ConfigDict) -> dict[str, Any]:
    flat = flatten_dict(config.to_dict(), sep=".")
    flat |= {name: value for name, value in _PLACES.items() if name in flat}
    return logs.as_json(unflatten_dict(flat, sep="."))


def _described(path: Path, metadata: dict[str, str]) -> tuple[ConfigDict, dict, dict]:
    """The config, the statistics, and what shapes follow from them: {name: shape}."""
    try:
        config = ConfigDict(logs.with_tuples(json.loads(metadata["config"])))
        statistics = json.loads(metadata["statistics"])
        centers = build_binning(config).centers
        shapes = np.shape(statistics["counts"]), np.shape(statistics["means"])
        if shapes != (centers.shape[:2], centers.shape):
            raise ValueError(f"statistics of shapes {shapes} for bins of shape {centers.shape}")
        # Traced alone: computing the weights of its loss would delay every start by half a second.
        jax.eval_shape(lambda: build_task(config, statistics) and None)
        shapes = state_shapes(config, build_model(config), optax.identity())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: its config or statistics are not colorjax's ({reason})"
        ) from error
    wanted = _flat(steps.variables(shapes._replace(average=())))
    return config, statistics, {name: tuple(x.shape) for name, x in wanted.items()}


def _check_shapes(path: Path, found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: {name} is {_shape(found.get(name))} in the file, want "
                f"{_shape(wanted.get(name))}"
            )


def _shape(shape: tuple | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
