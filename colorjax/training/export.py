"""Writes a run's best checkpoint as one file to hand on, which `weights.released` reads."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save as to_safetensors

from colorjax.errors import UserError
from colorjax.models.build import build_model
from colorjax.pictures import files
from colorjax.settings import Settings, as_dict
from colorjax.weights import runs
from colorjax.weights.released import FORMAT, digest
from colorjax.weights.store import check_finite, flat

LICENCE = "Apache-2.0"
MAX_BYTES = 25_000_000

# Settings that name places of the machine that trained, and what stands in the file for them.
_PLACES = {
    "data.source": "sample",
    "data.cache_dir": "",
    "data.tfds_dir": "",
    "model.encoder_weights": "auto",
    "init_from": "",
}


def export(workdir: str | os.PathLike, file: str | os.PathLike, licence: str = LICENCE) -> Path:
    """Writes a run's best checkpoint, its average where it keeps one, to `file`; returns its path.

    Raises UserError if the run has no checkpoint, if a value is not finite, or if the file would be
    larger than MAX_BYTES or cannot be written.
    """
    workdir, file = Path(workdir), Path(file)
    settings, record = runs.read_settings(workdir), runs.read_record(workdir)
    averaged = settings.ema > 0
    step, variables = runs.load_variables(workdir, build_model(settings), averaged=averaged)
    arrays = {name: _narrowed(workdir, name, x) for name, x in flat(variables).items()}
    rows = [row for row in runs.read_metrics(workdir) if row["split"] == "holdout"]
    measured = {row["step"]: row for row in rows}.get(step, {})
    metadata = {
        "format": FORMAT,
        "licence": licence,
        "config": json.dumps(_without_places(settings)),
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


def _narrowed(path: Path, name: str, x: jax.Array) -> np.ndarray:
    array = np.asarray(x, np.float32)
    check_finite(path, name, array)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if array.ndim > 1 and np.isfinite(half).all() else array


def _without_places(settings: Settings) -> dict[str, Any]:
    """The config without the names of the machine's folders."""
    return runs.as_json(unflatten_dict(runs.flatten(as_dict(settings)) | _PLACES, sep="."))
