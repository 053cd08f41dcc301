"""What a run tells while it goes on: `metrics.jsonl`, one line a measurement, and `tensorboard/`.

What it leaves behind otherwise is in `weights.runs`.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboardX import SummaryWriter

from colorjax.weights.runs import METRICS, read_metrics, write_text


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
