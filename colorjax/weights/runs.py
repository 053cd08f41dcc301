"""What a run's folder holds, read and written again, and the network of its best checkpoint.

`config.json`, `record.json` (what was run on what, with which versions) and `metrics.jsonl` (one
line a measurement); the checkpoints are those of `weights.checkpoint`.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.models.build import variable_shapes
from colorjax.models.colorizer import Colorizer
from colorjax.pictures import files
from colorjax.weights import devices

METRICS = "metrics.jsonl"
BEST_METRIC = "loss"  # of the hold-out, the lower the better


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, oldest first; a last line cut short is left out."""
    path = workdir / METRICS
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def read_record(workdir: Path) -> dict[str, Any]:
    """The run's `record.json`; raises UserError where there is none."""
    return read_json(workdir / "record.json")


def read_config(workdir: Path) -> dict[str, Any]:
    """The run's `config.json`, lists made tuples again; raises UserError where there is none."""
    return with_tuples(read_json(workdir / "config.json"))


def read_json(path: Path) -> Any:
    """Raises UserError where the file is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, so {path.parent} is no run's folder") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def as_json(content: Any) -> Any:
    """What `content` is after a way through JSON: tuples become lists."""
    return json.loads(json.dumps(content))


def with_tuples(tree: Any) -> Any:
    """JSON's lists back to the tuples that a config holds, which may then be overridden."""
    if isinstance(tree, dict):
        return {name: with_tuples(value) for name, value in tree.items()}
    return tuple(map(with_tuples, tree)) if isinstance(tree, list) else tree


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Written aside and then renamed, so that no reader and no crash sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.written_aside(path) as aside:
        aside.write_text(text)


def load_variables(config: ConfigDict, model: Colorizer, workdir: Path) -> tuple[int, Any]:
    """The step and the model's variables of a run's best checkpoint, else of its newest.

    They are the average where the run keeps one.
    """
    from colorjax.weights import checkpoint  # takes a second to import, for released files in vain

    manager = checkpoint.open_manager(workdir, best_metric=BEST_METRIC, read_only=True)
    shapes = variable_shapes(config, model)
    like = {"average": shapes} if config.get("ema") else shapes
    with checkpoint.closing(manager):
        restored = checkpoint.restore_variables(manager, like, checkpoint.best_step(manager))
    return restored.step, devices.place(restored.state.get("average", restored.state))


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    return flatten_dict(tree, sep=".")
