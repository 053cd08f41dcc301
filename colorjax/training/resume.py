"""What must hold of a run's folder before the run goes on in it."""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from colorjax.errors import UserError
from colorjax.settings import Settings, as_dict
from colorjax.training import parallel
from colorjax.weights import runs

LOCK = ".lock"
# What a network's outputs mean: with others, its numbers would be read as other colours.
TARGETS = ("space", "bins.layout", "bins.num_bins", "bins.low", "bins.high", "bins.joint_width")

# What there is a part of the training state for, or none; what of a setting decides on it.
_STATE: dict[str, Callable[[Any], Any]] = {
    "optimizer.name": str,
    "optimizer.clip_norm": bool,
    "optimizer.weight_decay": bool,
    "optimizer.encoder_rate": lambda rate: rate != 1.0,
    "accumulate": lambda batches: batches > 1,
    "ema": bool,
}

_logger = logging.getLogger(__name__)


class InUse(UserError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes `workdir`, and keeps it to this run alone, on all of its processes together.

    The system gives the lock back when the process ends, however it ends. Raises InUse where
    another run has it, and OSError if the folder cannot be written.
    """
    file, error = None, None
    if parallel.is_writer():
        try:
            file = _lock(workdir)
        except InUse as raised:
            error = raised
    if parallel.from_writer({"refused": int(error is not None)})["refused"]:
        raise error or InUse(f"{workdir} is in use: see what process 0 says")
    try:
        if file is not None:
            remove_parts(workdir)
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                os.unlink(workdir / LOCK)
            file.close()


def _lock(workdir: Path) -> Any:
    """The open file that has the lock, with the number of this process in it."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / LOCK
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InUse(
                f"{workdir} is being trained in by process {file.read().strip() or 'unknown'}, "
                "want another workdir, or that to end first"
            ) from error
        except OSError as error:
            _logger.warning(
                "%s cannot be locked (%s): start no second run in it", path, error.strerror
            )
        # The file may have been removed by a run that ended between opening and locking.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            print(os.getpid(), file=file, flush=True)
            return file
        file.close()


def remove_parts(workdir: Path) -> None:
    """Removes what `pictures.files.atomic_write` left behind where a process was killed."""
    for folder in (workdir, workdir / "figures", *workdir.glob("checkpoints/*")):
        for path in folder.glob(".*.part"):
            if re.fullmatch(r"\.[0-9a-f]{32}\.part", path.name):
                path.unlink(missing_ok=True)


def check_same_targets(workdir: Path, old: Settings, new: Settings) -> None:
    """Raises UserError if the settings `new` give outputs another meaning than `old` did."""
    before, now = (runs.flatten(as_dict(settings)) for settings in (old, new))
    for name in TARGETS:
        if before[name] != now[name]:
            raise UserError(
                f"{workdir} was trained with {name} {before[name]!r} and cannot go on with "
                f"{now[name]!r}: want {before[name]!r}, or another workdir"
            )


def check_same_optimizer(workdir: Path, old: Settings, new: Settings) -> None:
    """Raises UserError if the state of `old`'s optimizer is of no use to that of `new`."""
    before, now = (runs.flatten(as_dict(settings)) for settings in (old, new))
    for name, part_of in _STATE.items():
        if part_of(before[name]) != part_of(now[name]):
            raise UserError(
                f"{workdir} was trained with {name} {before[name]!r}, and its optimizer cannot go "
                f"on with {now[name]!r}: want {before[name]!r}, or another workdir with init_from "
                f"{workdir}"
            )


def check_steps_before(workdir: Path, done: int | None, wanted: int) -> None:
    """Raises UserError if a run is to go on from `wanted` steps and has `done` fewer."""
    if (done or 0) < wanted:
        raise UserError(
            f"{workdir} has {done or 0} steps, want the {wanted} of the stage before "
            "(steps_before): finish that first"
        )
