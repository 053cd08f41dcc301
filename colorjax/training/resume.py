"""Locks a run's folder, and checks that the run can resume in it."""

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
# Settings that define the meaning of a network's outputs. If one changed, the outputs would be
# decoded to wrong colours.
TARGETS = ("space", "bins.layout", "bins.num_bins", "bins.low", "bins.high", "bins.joint_width")

# Setting -> function of its value; if the results differ, so does the structure of the optimizer
# state.
_STATE_STRUCTURE: dict[str, Callable[[Any], Any]] = {
    "optimizer.name": str,
    "optimizer.clip_norm": bool,
    "optimizer.weight_decay": bool,
    "optimizer.encoder_rate": lambda rate: rate != 1.0,
    "accumulate": lambda batches: batches > 1,
    "ema": bool,
}

_logger = logging.getLogger(__name__)


class InUse(UserError):
    """Another process is training in the folder."""


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Creates `workdir` and locks it for this run, for all of the run's processes together.

    The operating system releases the lock when the process ends, even if it is killed. Raises
    InUse if another run holds the lock, and OSError if the folder cannot be written.
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
            remove_partial_files(workdir)
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                os.unlink(workdir / LOCK)
            file.close()


def _lock(workdir: Path) -> Any:
    """Opens and locks the lock file, and writes the process id to it; returns the open file."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / LOCK
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InUse(
                f"process {file.read().strip() or 'unknown'} is training in {workdir}: "
                "want another workdir, or wait until that process ends"
            ) from error
        except OSError as error:
            _logger.warning(
                "%s cannot be locked (%s): start no second run in it", path, error.strerror
            )
        # Another run that ended between opening and locking may have removed the file.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            print(os.getpid(), file=file, flush=True)
            return file
        file.close()


def remove_partial_files(workdir: Path) -> None:
    """Removes files that `pictures.files.atomic_write` left behind in a killed process."""
    for folder in (workdir, workdir / "figures", *workdir.glob("checkpoints/*")):
        for path in folder.glob(".*.part"):
            if re.fullmatch(r"\.[0-9a-f]{32}\.part", path.name):
                path.unlink(missing_ok=True)


def check_same_targets(workdir: Path, old: Settings, new: Settings) -> None:
    """Raises UserError if outputs have another meaning with settings `new` than with `old`."""
    before, now = (runs.flatten(as_dict(settings)) for settings in (old, new))
    for name in TARGETS:
        if before[name] != now[name]:
            raise UserError(
                f"{workdir} was trained with {name} {before[name]!r} and cannot be resumed with "
                f"{now[name]!r}: want {before[name]!r}, or another workdir"
            )


def check_same_optimizer(workdir: Path, old: Settings, new: Settings) -> None:
    """Raises UserError if the optimizer of settings `new` cannot use the state of `old`'s."""
    before, now = (runs.flatten(as_dict(settings)) for settings in (old, new))
    for name, structure in _STATE_STRUCTURE.items():
        if structure(before[name]) != structure(now[name]):
            raise UserError(
                f"{workdir} was trained with {name} {before[name]!r}, and its optimizer cannot be "
                f"resumed with {now[name]!r}: want {before[name]!r}, or another workdir with "
                f"init_from {workdir}"
            )


def check_steps_before(workdir: Path, done: int | None, wanted: int) -> None:
    """Raises UserError if fewer steps are `done` than are `wanted` of the previous stage."""
    if (done or 0) < wanted:
        raise UserError(
            f"{workdir} has {done or 0} steps, want the {wanted} of the stage before "
            "(steps_before): finish that first"
        )
