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
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.models.build import build_binning, build_model, build_task, variable_shapes
from colorjax.weights import devices, runs
from colorjax.weights.store import check_finite, flat, open_safetensors

RELEASED = Path(__file__).parent.parent / "released" / "colorjax.safetensors"
WHAT = "a model of colorjax"
FORMAT = "colorjax-model-1"  # changes with anything that an older program would misread
TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


class Network(NamedTuple):
    """A trained network and what is needed to read its outputs."""

    config: ConfigDict
    statistics: dict[str, Any]  # of its training set, as `evaluate.measure_bins` gives them
    variables: Any


def load(file: str | os.PathLike) -> tuple[ConfigDict, dict[str, Any], dict[str, Any]]:
    """Reads a file that `training.export` wrote: (config, statistics, variables).

    The config is what the run had, but for the places of its data; statistics are as
    `evaluate.measure_bins` gives them; variables are float32, in the structure of
    `models.build.init_variables`, on this process's devices.

    Raises UserError if it is no such file, if a tensor is missing, foreign, misshapen, of another
    type or not finite, or if the tensors are not those that were exported.
    """
    path = Path(file)
    with open_safetensors(path, FORMAT, WHAT, WHAT) as opened:
        metadata = opened.metadata()
        config, statistics, wanted = _described(path, metadata)
        found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
        check_shapes(path, found, wanted)
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
        check_finite(path, name, array)
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    return config, statistics, devices.place(unflatten_dict(wide, sep="/"))


def load_network(model: str | os.PathLike | None = None) -> Network:
    """Loads a trained network.

    Args:
      model: a file that `training.export` wrote, or the folder of a training run, of which the best
        checkpoint is taken; the file that colorjax comes with unless given.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = RELEASED if model is None else Path(model)
    if path.is_dir():
        config = ConfigDict(runs.read_config(path))
        _, variables = runs.load_variables(config, build_model(config), path)
        return Network(config, runs.read_record(path)["bins"], variables)
    if not path.exists():
        raise UserError(f"{path}: there is no such model, want a released file or a run's folder")
    return Network(*load(path))


def digest(arrays: dict[str, np.ndarray]) -> str:
    """The sha256 of all arrays with their names, types and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
    return total.hexdigest()


def _described(path: Path, metadata: dict[str, str]) -> tuple[ConfigDict, dict, dict]:
    """The config, the statistics, and what shapes follow from them: {name: shape}."""
    try:
        config = ConfigDict(runs.with_tuples(json.loads(metadata["config"])))
        statistics = json.loads(metadata["statistics"])
        centers = build_binning(config).centers
        shapes = np.shape(statistics["counts"]), np.shape(statistics["means"])
        if shapes != (centers.shape[:2], centers.shape):
            raise ValueError(f"statistics of shapes {shapes} for bins of shape {centers.shape}")
        # Traced alone: computing the weights of its loss would delay every start by half a second.
        jax.eval_shape(lambda: build_task(config, statistics) and None)
        shapes = variable_shapes(config, build_model(config))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: its config or statistics are not colorjax's ({reason})"
        ) from error
    return config, statistics, {name: tuple(x.shape) for name, x in flat(shapes).items()}


def check_shapes(path: Path, found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: {name} is {_shape(found.get(name))} in the file, want "
                f"{_shape(wanted.get(name))}"
            )


def _shape(shape: tuple | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
