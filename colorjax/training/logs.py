"""What a run leaves behind besides its checkpoints: config, record, metrics, pictures.

In a run's folder: `config.json`, `record.json` (what was run on what, with which versions),
`metrics.jsonl` (one line a measurement), `tensorboard/`, `figures/`.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboardX import SummaryWriter

from colorjax.errors import UserError
from colorjax.pictures import files

METRICS = "metrics.jsonl"


class Logs(NamedTuple):
    """Where measurements go; both None on processes that do not write."""

    jsonl: Any
    tensorboard: SummaryWriter | None


@contextlib.contextmanager
def open_logs(workdir: Path, start: int, writes: bool) -> Iterator[Logs]:
    """Opens a run's logs to go on after step `start`; lines of later steps are dropped.

    Those were written by a run that was killed after its last checkpoint, and are made again.
    """
    if not writes:
        yield Logs(None, None)
        return
    rows = [row for row in read_metrics(workdir) if row["step"] <= start]
    write_text(workdir / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    with (
        open(workdir / METRICS, "a", buffering=1) as jsonl,
        SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1) as tensorboard,
    ):
        yield Logs(jsonl, tensorboard)


def write_scalars(logs: Logs, step: int, split: str, scalars: dict[str, float]) -> None:
    """One line {"step", "split", name: number ...} and a TensorBoard scalar `split/name` each.

    JSON has no NaN: what is not finite is null there, and left out of TensorBoard.
    """
    if logs.jsonl is None:
        return
    values = {name: x if math.isfinite(x) else None for name, x in scalars.items()}
    logs.jsonl.write(json.dumps({"step": step, "split": split, **values}) + "\n")
    for name, value in values.items():
        if value is not None:
            logs.tensorboard.add_scalar(f"{split}/{name}", value, step)


def write_image(logs: Logs, step: int, name: str, rgb_u8: np.ndarray) -> None:
    """A TensorBoard picture, uint8 [h, w, 3]."""
    if logs.tensorboard is not None:
        logs.tensorboard.add_image(name, rgb_u8, step, dataformats="HWC")


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
