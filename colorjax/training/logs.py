"""What a run tells while it goes on: `metrics.jsonl`, one line a measurement, and `tensorboard/`.

What it leaves behind otherwise is in `weights.runs`. All is written by the thread that calls, so
that a disk that cannot be written is an error there: the writing thread of tensorboardX's own
SummaryWriter dies of it, and its caller then waits for ever.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from colorjax.weights.runs import METRICS, read_metrics, write_text


class Logs(NamedTuple):
    """Where measurements go; both None on processes that do not write."""

    jsonl: Any
    tensorboard: EventsWriter | None


@contextlib.contextmanager
def open_logs(workdir: Path, start: int, writes: bool) -> Iterator[Logs]:
    """Opens a run's logs to go on after step `start`; lines of later steps are dropped.

    Those were written by a run that was killed after its last checkpoint, and are made again.
    Raises OSError, here and on the way out, if the disk cannot be written.
    """
    if not writes:
        yield Logs(None, None)
        return
    rows = [row for row in read_metrics(workdir) if row["step"] <= start]
    write_text(workdir / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    folder = workdir / "tensorboard"
    folder.mkdir(exist_ok=True)
    with (
        _closed(open(workdir / METRICS, "a", buffering=1)) as jsonl,
        # The name has the second in it: a run that is started again within it has another suffix.
        _closed(EventsWriter(str(folder / "events"), f".{os.getpid()}")) as tensorboard,
    ):
        # TensorBoard then leaves out what an earlier start had written of later steps.
        _write_event(tensorboard, start + 1, session_log=SessionLog(status=SessionLog.START))
        yield Logs(jsonl, tensorboard)


def write_scalars(logs: Logs, step: int, split: str, scalars: dict[str, float]) -> None:
    """One line {"step", "split", name: number ...} and a TensorBoard scalar `split/name` each.

    JSON has no NaN: what is not finite is null there, and left out of TensorBoard. Raises OSError
    if the disk cannot be written.
    """
    if logs.jsonl is None:
        return
    values = {name: x if math.isfinite(x) else None for name, x in scalars.items()}
    logs.jsonl.write(json.dumps({"step": step, "split": split, **values}) + "\n")
    for name, value in values.items():
        if value is not None:
            _write_event(
                logs.tensorboard, step, summary=summary.scalar(f"{split}/{name}", float(value))
            )


def write_image(logs: Logs, step: int, name: str, rgb_u8: np.ndarray) -> None:
    """A TensorBoard picture, uint8 [h, w, 3]. Raises OSError if the disk cannot be written."""
    if logs.tensorboard is not None:
        picture = summary.image(name, rgb_u8, dataformats="HWC")
        _write_event(logs.tensorboard, step, summary=picture)


def flush(logs: Logs) -> None:
    """Leaves nothing in memory alone. Raises OSError if the disk cannot be written."""
    if logs.jsonl is not None:
        logs.jsonl.flush()
    if logs.tensorboard is not None:
        logs.tensorboard.flush()


@contextlib.contextmanager
def _closed(file: Any) -> Iterator[Any]:
    """Closes `file` on the way out; what could not be written is told once."""
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    file.close()


def _write_event(tensorboard: EventsWriter, step: int, **content: Any) -> None:
    tensorboard.write_event(Event(wall_time=time.time(), step=step, **content))
