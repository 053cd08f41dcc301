"""A trained network as one file to hand on: safetensors with its config, statistics and metrics.

Kernels are kept in float16, which halves the file; biases and the norms' statistics, which may be
beyond its range and take next to no room, in float32. Nothing in such a file is ever executed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from colorjax.errors import UserError
from colorjax.models.task import Statistics
from colorjax.settings import Settings, complete
from colorjax.weights import devices, local_cache, runs
from colorjax.weights.store import check_finite, flat, nested, open_safetensors

RELEASED = Path(__file__).parent.parent / "released" / "colorjax.safetensors"
WHAT = "a model of colorjax"
FORMAT = "colorjax-model-1"  # changes with anything that an older program would misread
TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


class Network(NamedTuple):
    """A trained network and what is needed to read its outputs."""

    config: Settings  # of its training run
    statistics: Statistics  # of its training set
    variables: Any


def load(file: str | os.PathLike) -> Network:
    """Reads a file that `training.export` wrote.

    The settings are what the run had, but for the places of its data; variables are float32, in the
    structure of `models.build.init_variables`, on this process's devices.

    Raises UserError if it is no such file, if a tensor is missing, foreign, misshapen, of another
    type or not finite, or if the tensors are not those that were exported.
    """
    path = Path(file)
    with open_safetensors(path, FORMAT, WHAT, WHAT) as opened:
        metadata = opened.metadata()
        settings, statistics, wanted = _described(path, metadata)
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
    return Network(settings, statistics, devices.place(nested(wide)))


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
        from colorjax.models.build import build_model  # loads flax, for released files in vain

        settings = runs.read_settings(path)
        averaged = settings.ema > 0
        _, variables = runs.load_variables(path, build_model(settings), averaged=averaged)
        return Network(settings, runs.read_statistics(path), variables)
    if not path.exists():
        raise UserError(f"{path}: there is no such model, want a released file or a run's folder")
    return load(path)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """The sha256 of all arrays with their names, types and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return total.hexdigest()


def _described(path: Path, metadata: dict[str, str]) -> tuple[Settings, Statistics, dict]:
    """The settings, the statistics, and what shapes follow from them: {name: shape}."""
    try:
        settings = complete(json.loads(metadata["config"]))
        statistics = runs.as_statistics(json.loads(metadata["statistics"]))
        name = local_cache.name("shapes", metadata["config"], metadata["statistics"])
        content = local_cache.read(name)
        shapes = json.loads(content) if content else _checked_shapes(settings, statistics)
    except (UserError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: its config or statistics are not colorjax's ({reason})"
        ) from error
    if not content:
        local_cache.write(name, json.dumps(shapes).encode())
    return settings, statistics, {name: tuple(shape) for name, shape in shapes.items()}


def _checked_shapes(settings: Settings, statistics: Statistics) -> dict[str, tuple[int, ...]]:
    """Of the network's variables; raises ValueError or UserError for what makes no network.

    Takes longer than all else that is done to load a file, as it traces the network.
    """
    from colorjax.models.build import build_binning, build_model, build_task, variable_shapes

    centers = build_binning(settings.bins, settings.space).centers
    shapes = statistics.counts.shape, statistics.means.shape
    if shapes != (centers.shape[:2], centers.shape):
        raise ValueError(f"statistics of shapes {shapes} for bins of shape {centers.shape}")
    build_task(settings, statistics)
    return {name: x.shape for name, x in flat(variable_shapes(build_model(settings))).items()}


def check_shapes(path: Path, found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: {name} is {_shape(found.get(name))} in the file, want "
                f"{_shape(wanted.get(name))}"
            )


def _shape(shape: tuple | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
