"""Reads released files: a trained network as safetensors with its config, statistics and metrics.

Kernels are stored in float16, which halves the file. Biases and statistics of norms are stored in
float32, because they may exceed the range of float16 and take little space. Loading never executes
anything from such a file.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from colorjax.errors import UserError, first_line
from colorjax.models.task import Statistics
from colorjax.settings import Settings, complete
from colorjax.weights import devices, local_cache, runs
from colorjax.weights.store import check_finite, flat, nested, open_safetensors

RELEASED = Path(__file__).parent.parent / "released" / "colorjax.safetensors"
KIND = "a model of colorjax"
FORMAT = "colorjax-model-1"  # changes whenever older versions would misread new files
TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


class Network(NamedTuple):
    """A trained network and what is needed to read its outputs."""

    config: Settings  # of its training run
    statistics: Statistics  # of its training set
    variables: Any


def load(file: str | os.PathLike) -> Network:
    """Loads a file that `training.export` wrote.

    The settings are those of the run, without the paths of its data. Variables are float32, in the
    structure of `models.build.init_variables`, on this process's devices.

    Raises UserError if the file is of another format, if a tensor is missing, unexpected, of a
    wrong shape or type or not finite, or if the tensors differ from the exported ones.
    """
    path = Path(file)
    with open_safetensors(path, FORMAT, KIND, KIND) as opened:
        metadata = opened.metadata()
        settings, statistics, wanted = _parse_metadata(path, metadata)
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
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Network(settings, statistics, devices.place(nested(arrays)))


def load_network(model: str | os.PathLike | None = None) -> Network:
    """Loads a trained network.

    Args:
      model: a file that `training.export` wrote, or the folder of a training run, whose best
        checkpoint is loaded. Default: the file bundled with colorjax.

    Raises:
      UserError: there is no such model, or it is damaged.
    """
    path = RELEASED if model is None else Path(model)
    if path.is_dir():
        from colorjax.models.build import build_model  # imports flax, which a file needs only once

        settings = runs.read_settings(path)
        averaged = settings.ema > 0
        _, variables = runs.load_variables(path, build_model(settings), averaged=averaged)
        return Network(settings, runs.read_statistics(path), variables)
    if not path.exists():
        raise UserError(f"{path}: there is no such model, want a released file or a run's folder")
    return load(path)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Returns the sha256 of all arrays with their names, types and shapes, sorted by name."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return total.hexdigest()


def _parse_metadata(path: Path, metadata: dict[str, str]) -> tuple[Settings, Statistics, dict]:
    """Returns the settings, the statistics, and the tensor shapes {name: shape} they imply."""
    try:
        settings = complete(json.loads(metadata["config"]))
        statistics = runs.as_statistics(json.loads(metadata["statistics"]))
        key = local_cache.key("shapes", metadata["config"], metadata["statistics"])
        content = local_cache.read(key)
        shapes = json.loads(content) if content else _variable_shapes(settings, statistics)
    except (UserError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = first_line(error)
        raise UserError(
            f"{path}: its config or statistics are not colorjax's ({reason})"
        ) from error
    if not content:
        local_cache.write(key, json.dumps(shapes).encode())
    return settings, statistics, {name: tuple(shape) for name, shape in shapes.items()}


def _variable_shapes(settings: Settings, statistics: Statistics) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the network's variables.

    This traces the network, and so takes longer than the rest of loading a file. Raises ValueError
    or UserError if no network can be built from the settings and statistics.
    """
    from colorjax.models.build import build_binning, build_model, build_task, variable_shapes

    centers = build_binning(settings.bins, settings.space).centers
    shapes = statistics.counts.shape, statistics.means.shape
    if shapes != (centers.shape[:2], centers.shape):
        raise ValueError(f"statistics of shapes {shapes} for bins of shape {centers.shape}")
    build_task(settings, statistics)
    return {name: x.shape for name, x in flat(variable_shapes(build_model(settings))).items()}


def check_shapes(path: Path, found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    """Raises UserError if a name is missing or unexpected, or has another shape than wanted."""
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: {name} is {_shape(found.get(name))} in the file, want "
                f"{_shape(wanted.get(name))}"
            )


def _shape(shape: tuple | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
