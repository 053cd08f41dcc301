"""Reads and writes the files of a run's folder, and loads the network of its best checkpoint.

The files are `config.json`, `record.json` (data, devices and software versions) and `metrics.jsonl`
(one line per measurement). `weights.checkpoint` handles the checkpoints.
"""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colorjax.errors import UserError
from colorjax.models.task import Statistics
from colorjax.pictures import files
from colorjax.settings import Settings, as_dict, complete
from colorjax.weights import devices

if TYPE_CHECKING:
    from colorjax.models.colorizer import ColorizationNet

METRICS = "metrics.jsonl"
BEST_METRIC = "loss"  # of the hold-out; lower is better


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of `metrics.jsonl`, oldest first; skips damaged and incomplete lines."""
    path = workdir / METRICS
    rows = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def read_record(workdir: Path) -> dict[str, Any]:
    """Returns the run's `record.json`; raises UserError if there is none."""
    return read_json(workdir / "record.json")


def read_settings(workdir: Path) -> Settings:
    """Returns the run's settings; raises UserError if they are missing or invalid."""
    path = workdir / "config.json"
    config = read_json(path)
    try:
        return complete(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def write_settings(workdir: Path, settings: Settings) -> None:
    write_json(workdir / "config.json", as_dict(settings))


def read_statistics(workdir: Path) -> Statistics:
    """Returns the statistics of the run's training set; raises UserError if there are none."""
    return as_statistics(read_record(workdir)["bins"])


def as_statistics(content: dict[str, Any]) -> Statistics:
    """Converts the JSON of a record or a released file; KeyError if a part is missing."""
    counts, means = (np.asarray(content[name], np.float64) for name in ("counts", "means"))
    return Statistics(counts, means, content.get("clipped", 0.0), content.get("images", 0))


def statistics_as_json(statistics: Statistics) -> dict[str, Any]:
    """Returns the JSON data from which `as_statistics` restores the statistics."""
    content = statistics._asdict()
    return content | {name: content[name].tolist() for name in ("counts", "means")}


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises UserError if it is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, so {path.parent} is not a run's folder") from error
    except ValueError as error:  # of json, or a byte that is not UTF-8
        raise UserError(f"{path} is not JSON: {error}") from error


def as_json(content: Any) -> Any:
    """Returns `content` after a round trip through JSON: tuples become lists."""
    return json.loads(json.dumps(content))


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically, so that readers and crashes never see a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary:
        temporary.write_text(text)


def load_variables(workdir: Path, model: "ColorizationNet", *, averaged: bool) -> tuple[int, Any]:
    """Returns the step and variables of a run's best checkpoint, else of its newest.

    With `averaged`, the variables are the moving average that the run keeps of them.
    """
    from colorjax.models.build import variable_shapes
    from colorjax.weights import checkpoint  # slow to import, not needed for released files

    manager = checkpoint.open_manager(workdir, best_metric=BEST_METRIC, read_only=True)
    shapes = variable_shapes(model)
    like = {"average": shapes} if averaged else shapes
    with checkpoint.closing(manager):
        restored = checkpoint.restore_variables(manager, like, checkpoint.best_step(manager))
    return restored.step, devices.place(restored.state.get("average", restored.state))


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    from flax.traverse_util import flatten_dict

    return flatten_dict(tree, sep=".")
