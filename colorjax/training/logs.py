"""The logs of a training run: `metrics.jsonl`, one line per measurement, and `tensorboard/`.

The other files of a run are in `weights.runs`. All logs are written by the calling thread, so that
it gets the error if the disk cannot be written. In tensorboardX's own SummaryWriter such an error
ends the writer thread, and the caller then waits forever.
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
    """The open log files; both are None on processes that do not write."""

    jsonl: Any
    tensorboard: EventsWriter | None


@contextlib.contextmanager
def open_logs(workdir: Path, start: int, writes: bool) -> Iterator[Logs]:
    """Opens a run's logs to continue after step `start`, and drops the lines of later steps.

    Such lines exist if the run was killed some steps after its last checkpoint; these steps are
    now repeated. Raises OSError, here and on exit, if the disk cannot be written.
    """
    if not writes:
        yield Logs(None, None)
        return
    rows = [row for row in read_metrics(workdir) if row["step"] <= start]
    write_text(workdir / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
    folder = workdir / "tensorboard"
    folder.mkdir(exist_ok=True)
    with (
        _closing(open(workdir / METRICS, "a", buffering=1)) as jsonl,
        # The file name has the time in seconds; the suffix distinguishes starts in the same second.
        _closing(EventsWriter(str(folder / "events"), f".{os.getpid()}")) as tensorboard,
    ):
        # This makes TensorBoard ignore what an earlier start has written for later steps.
        _write_event(tensorboard, start + 1, session_log=SessionLog(status=SessionLog.START))
        yield Logs(jsonl, tensorboard)


def write_scalars(logs: Logs, step: int, split: str, scalars: dict[str, float]) -> None:
    """Writes one line {"step", "split", name: number ...} and TensorBoard scalars `split/name`.

    Numbers that are not finite become null, since JSON has no NaN, and are not written to
    TensorBoard. Raises OSError if the disk cannot be written.
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
    """Writes an image, uint8 [h, w, 3], to TensorBoard; OSError if the disk cannot be written."""
    if logs.tensorboard is not None:
        picture = summary.image(name, rgb_u8, dataformats="HWC")
        _write_event(logs.tensorboard, step, summary=picture)


def flush(logs: Logs) -> None:
    """Writes all buffered data to disk. Raises OSError if the disk cannot be written."""
    if logs.jsonl is not None:
        logs.jsonl.flush()
    if logs.tensorboard is not None:
        logs.tensorboard.flush()


@contextlib.contextmanager
def _closing(file: Any) -> Iterator[Any]:
    """Closes `file` on exit; if the block has already failed, errors of closing are ignored."""
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    file.close()


def _write_event(tensorboard: EventsWriter, step: int, **content: Any) -> None:
    tensorboard.write_event(Event(wall_time=time.time(), step=step, **content))
