"""Writes a run's best checkpoint as one file to hand on, which `weights.released` reads.

Or the mean of its weights with those of other runs: of networks that were trained on from the same
one, it is often better than each (Wortsman et al. 2022, "Model soups").
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

# What shapes do not tell, or tell in words of arrays.
_MEANING = (
    "objective",
    *resume.TARGETS,
    "model.encoder",
    "model.residual_units",
    "model.merge",
    "model.upscaling",
)
# Settings that name places of the machine that trained, and what stands in the file for them.
_PLACES = {
    "data.source": "sample",
    "data.cache_dir": "",
    "data.tfds_dir": "",
    "model.encoder_weights": "auto",
    "init_from": "",
}


def export(
    workdir: str | os.PathLike,
    file: str | os.PathLike,
    licence: str = LICENCE,
    mean_with: Sequence[str | os.PathLike] = (),
) -> Path:
    """Writes a run's best checkpoint, its average where it keeps one, to `file`; returns its path.

    With `mean_with`, runs or released files of the same network, it is the mean of the weights of
    all of them; one named twice counts twice. The config and the statistics are those of the run.

    Raises UserError if a run has no checkpoint, if one is another network, if a value is not
    finite, or if the file would be larger than MAX_BYTES or cannot be written.
    """
    workdir, file = Path(workdir), Path(file)
    settings, record = runs.read_settings(workdir), runs.read_record(workdir)
    averaged = settings.ema > 0
    step, variables = runs.load_variables(workdir, build_model(settings), averaged=averaged)
    networks = {Path(other): load_network(other) for other in mean_with}
    for path, network in networks.items():
        _check_same_meaning(path, network.config, workdir, settings)
    named = [(Path(other), networks[Path(other)].variables) for other in mean_with]
    mean, others = _mean(flat(variables), named)
    arrays = {name: _narrowed(workdir, name, x) for name, x in mean.items()}
    rows = [row for row in runs.read_metrics(workdir) if row["split"] == "holdout"]
    # What was measured was the run's network, not the mean.
    measured = {} if others else {row["step"]: row for row in rows}.get(step, {})
    trained_on = {**record["data"], "encoder": record["encoder"]}
    metadata = {
        "format": FORMAT,
        "licence": licence,
        "config": json.dumps(_without_places(settings)),
        "statistics": json.dumps(record["bins"]),
        "metrics": json.dumps({**measured, "step": step}),
        "trained_on": json.dumps(trained_on | ({"mean_with": others} if others else {})),
        "sha256": digest(arrays),
    }
    content = to_safetensors(arrays, metadata)
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{workdir}: the model would take {len(content):,} bytes, want at most {MAX_BYTES:,}"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(file) as aside:
            aside.write_bytes(content)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}") from error
    return file


def _check_same_meaning(path: Path, theirs: Settings, workdir: Path, ours: Settings) -> None:
    """Raises UserError if equal arrays would be other networks, or mean other colours."""
    told, want = (runs.flatten(as_dict(settings)) for settings in (theirs, ours))
    for name in _MEANING:
        if told[name] != want[name]:
            raise UserError(
                f"{path} has {name} {told[name]!r} and {workdir} {want[name]!r}: "
                "there is no mean of the two"
            )


def _mean(
    variables: dict[str, Any], others: Sequence[tuple[Path, dict[str, Any]]]
) -> tuple[dict[str, Any], list[str]]:
    """The mean with the variables of other networks, and the digests of those as exported."""
    total = {name: np.asarray(x, np.float64) for name, x in variables.items()}
    wanted = {name: x.shape for name, x in total.items()}
    digests = []
    for path, theirs in others:
        other = {name: np.asarray(x) for name, x in flat(theirs).items()}
        check_shapes(path, {name: x.shape for name, x in other.items()}, wanted)
        digests.append(digest({name: _narrowed(path, name, x) for name, x in other.items()}))
        total = {name: x + other[name] for name, x in total.items()}
    return {name: x / (1 + len(others)) for name, x in total.items()}, digests


def _narrowed(path: Path, name: str, x: AnyArray) -> np.ndarray:
    array = np.asarray(x, np.float32)
    check_finite(path, name, array)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if array.ndim > 1 and np.isfinite(half).all() else array


def _without_places(settings: Settings) -> dict[str, Any]:
    """The config without the names of the machine's folders."""
    return runs.as_json(unflatten_dict(runs.flatten(as_dict(settings)) | _PLACES, sep="."))
