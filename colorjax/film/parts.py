"""The folder beside a result in which its segments wait until all are there.

`NAME.parts` holds what it was begun with, the plan of the film, and of each finished segment the
pictures and what the next one goes on from. Each file is there whole or not at all.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from colorjax.coloring.network.borders import Box
from colorjax.errors import UserError
from colorjax.film.planning import Plan, Scene
from colorjax.film.smoothing import State
from colorjax.pictures import files

FOLDER = ".parts"  # after the name of the result
BEGUN = "begun.json"
FORMAT = 2  # changes with anything that would make a segment differ from the next one
ENDS = 1 << 20  # bytes at both ends of a film by which it is known


def folder_of(target: str | os.PathLike) -> Path:
    path = Path(target)
    return path.with_name(path.name + FOLDER)


def identity(path: str) -> dict[str, Any]:
    """What a film is known by: its size, when it was changed, and how it begins and ends."""
    found = os.stat(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(ENDS))
        file.seek(max(0, found.st_size - ENDS))
        digest.update(file.read())
    return {"bytes": found.st_size, "changed": found.st_mtime_ns, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Makes a folder of parts, and keeps other processes off it while the block runs.

    Where the system has no such locks, as on Windows, nobody is kept off.

    Raises:
      UserError: another process colours into it, or something else has its name.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder}: is there already, and is no folder of a film's parts")
    folder.mkdir(exist_ok=True, parents=True)
    try:
        with _locked(folder):
            yield folder
    finally:
        # Empty unless there are parts to go on with.
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(opened)
        raise UserError(
            f"{folder}: another process colours this film just now; want another --output"
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(opened)


def begin(folder: Path, facts: Mapping[str, Any]) -> str:
    """Opens a folder of parts, which goes on if it was begun with the same facts.

    Returns:
      A sentence for the user if parts of other facts were thrown away; else nothing.

    Raises:
      UserError: something else has its name.
    """
    wanted = json.loads(json.dumps({"format": FORMAT, **facts}))
    begun = _read(folder / BEGUN)
    if begun is None and os.path.lexists(folder) and not _is_empty(folder):
        raise UserError(f"{folder}: is there already, and is no folder of a film's parts")
    sentence = ""
    if folder.exists() and begun != wanted:
        had = begun or {}
        differs = sorted(key for key in {*had, *wanted} if had.get(key) != wanted.get(key))
        if any(folder.glob("*.nut")):
            sentence = f"{folder}: was begun with another {' and '.join(differs)}, and begins anew"
        # The folder itself stays, as it is what others are kept off.
        _empty(folder)
    folder.mkdir(exist_ok=True, parents=True)
    if begun != wanted:
        _write(folder / BEGUN, wanted)
    return sentence


def read_plan(folder: Path) -> Plan | None:
    """The plan that was written; None without one."""
    found = _read(folder / "plan.json")
    if found is None:
        return None
    scenes = tuple(Scene(start, Box(*box)) for start, box in found["scenes"])
    lists = {k: tuple(found[k]) for k in ("stamps", "flashes", "segments", "offsets")}
    return Plan(scenes=scenes, **lists)


def write_plan(folder: Path, plan: Plan) -> None:
    _write(folder / "plan.json", plan._asdict())


def segment(folder: Path, number: int) -> Path:
    """Where a segment is, once it is finished."""
    return folder / f"{number:06}.nut"


def finished(folder: Path, plan: Plan) -> int:
    """How many segments are there, without a gap."""
    count = 0
    while (
        count < len(plan.segments) - 1
        and segment(folder, count).exists()
        and _state(folder, count).exists()
    ):
        count += 1
    return count


def read_state(folder: Path, number: int) -> State:
    """What is taken along from a finished segment."""
    with np.load(_state(folder, number)) as found:
        return State(*(found[name] for name in State._fields))


def write_state(folder: Path, number: int, state: State) -> None:
    with files.atomic_write(_state(folder, number)) as aside, open(aside, "wb") as file:
        np.savez(file, **state._asdict())


def end(folder: Path, *, unless_finished: bool = False) -> None:
    """Takes a folder of parts away, if it is one; if asked, not where some are finished."""
    if (folder / BEGUN).exists() and not (unless_finished and any(folder.glob("*.nut"))):
        _empty(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _state(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.npz"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, content: Any) -> None:
    with files.atomic_write(path) as aside:
        aside.write_text(json.dumps(content))
