"""Exports a run's best checkpoint to one file to share, which `weights.released` reads.

It can also export the mean of the weights of several runs. For networks fine-tuned from the same
weights, the mean is often better than each of them (Wortsman et al. 2022, "Model soups").
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save as to_safetensors

from colorjax.errors import UserError
from colorjax.models.build import build_model
from colorjax.ops.arrays import AnyArray
from colorjax.pictures import files
from colorjax.settings import Settings, as_dict
from colorjax.training import resume
from colorjax.weights import runs
from colorjax.weights.released import FORMAT, check_shapes, digest, load_network
from colorjax.weights.store import check_finite, flat

LICENCE = "Apache-2.0"
MAX_BYTES = 25_000_000

# Settings that must agree for weights to be averaged. The shapes of the arrays would not show a
# difference in some of them, or would report it less clearly.
_MEANING = (
    "objective",
    *resume.TARGETS,
    "model.encoder",
    "model.residual_units",
    "model.merge",
    "model.upscaling",
)
# Settings that may hold paths of the training machine, and the values that replace them in a file.
_PATH_DEFAULTS = {
    "data.source": "sample",
    "data.cache_dir": "",
    "data.tfds_dir": "",
    "model.encoder_weights": "auto",
    "init_from": "",
    "sweep": (),  # of a run in a sweep, maybe over sources
    "experiments": (),
}


def export(
    workdir: str | os.PathLike,
    file: str | os.PathLike,
    licence: str = LICENCE,
    mean_with: Sequence[str | os.PathLike] = (),
) -> Path:
    """Exports a run's best checkpoint to `file`, and returns the path of the file.

    If the run keeps a moving average of its weights, the average is exported. `mean_with` lists
    runs or released files of the same network; the exported weights are then the mean of the run's
    and theirs, and one listed twice counts twice. The config and statistics are those of the run.

    Raises UserError if a run has no checkpoint, if the networks differ, if a value is not finite,
    or if the file would be larger than MAX_BYTES or cannot be written.
    """
    workdir, file = Path(workdir), Path(file)
    settings, record = runs.read_settings(workdir), runs.read_record(workdir)
    averaged = settings.ema > 0
    step, variables = runs.load_variables(workdir, build_model(settings), averaged=averaged)
    networks = {Path(other): load_network(other) for other in mean_with}
    for path, network in networks.items():
        _check_same_meaning(path, network.config, workdir, settings)
    others = [(Path(other), networks[Path(other)].variables) for other in mean_with]
    mean, digests = _mean(flat(variables), others)
    arrays = {name: _to_half(workdir, name, x) for name, x in mean.items()}
    rows = [row for row in runs.read_metrics(workdir) if row["split"] == "holdout"]
    # The metrics were measured for the run's own network, not for the mean.
    measured = {} if digests else {row["step"]: row for row in rows}.get(step, {})
    trained_on = {**record["data"], "encoder": _without_folders(record["encoder"], settings)}
    metadata = {
        "format": FORMAT,
        "licence": licence,
        "config": json.dumps(_config_without_paths(settings)),
        "statistics": json.dumps(record["bins"]),
        "metrics": json.dumps({**measured, "step": step}),
        "trained_on": json.dumps(trained_on | ({"mean_with": digests} if digests else {})),
        "sha256": digest(arrays),
    }
    content = to_safetensors(arrays, metadata)
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{workdir}: the model would take {len(content):,} bytes, want at most {MAX_BYTES:,}"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(file) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}") from error
    return file


def _check_same_meaning(path: Path, theirs: Settings, workdir: Path, ours: Settings) -> None:
    """Raises UserError if equal arrays would mean other networks or colours in the two models."""
    other, own = (runs.flatten(as_dict(settings)) for settings in (theirs, ours))
    for name in _MEANING:
        if other[name] != own[name]:
            raise UserError(
                f"{path} has {name} {other[name]!r} and {workdir} {own[name]!r}: "
                "their weights cannot be averaged"
            )


def _mean(
    variables: dict[str, Any], others: Sequence[tuple[Path, dict[str, Any]]]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the mean over all networks, and the digests that the others have when exported."""
    total = {name: np.asarray(x, np.float64) for name, x in variables.items()}
    wanted = {name: x.shape for name, x in total.items()}
    digests = []
    for path, theirs in others:
        other = {name: np.asarray(x) for name, x in flat(theirs).items()}
        check_shapes(path, {name: x.shape for name, x in other.items()}, wanted)
        digests.append(digest({name: _to_half(path, name, x) for name, x in other.items()}))
        total = {name: x + other[name] for name, x in total.items()}
    return {name: x / (1 + len(others)) for name, x in total.items()}, digests


def _to_half(path: Path, name: str, x: AnyArray) -> np.ndarray:
    """Converts kernels to float16 if in its range, and other arrays to float32.

    Raises UserError if a value is not finite.
    """
    array = np.asarray(x, np.float32)
    check_finite(path, name, array)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if array.ndim > 1 and np.isfinite(half).all() else array


def _without_folders(encoder: str, settings: Settings) -> str:
    """Returns a record's line on the encoder; older versions stored the whole path of a run."""
    is_path = settings.init_from and encoder == str(Path(settings.init_from))
    return Path(encoder).resolve().name if is_path else encoder


def _config_without_paths(settings: Settings) -> dict[str, Any]:
    """Returns the config without the paths of the training machine."""
    return runs.as_json(unflatten_dict(runs.flatten(as_dict(settings)) | _PATH_DEFAULTS, sep="."))
