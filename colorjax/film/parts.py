"""The folder beside a target that stores finished segments, so that an interrupted film resumes.

`NAME.parts` holds the facts it was begun with (film, model, settings), the plan of the film, and
for each finished segment its encoded frames and the smoothing state after its last frame. Every
file is written atomically.
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

FOLDER = ".parts"  # appended to the name of the target
BEGUN = "begun.json"
FORMAT = 3  # increases with every change of the code after which old and new segments would differ
SAMPLE_BYTES = 1 << 20  # bytes at each end of a film that identify it


def folder_of(target: str | os.PathLike) -> Path:
    """Returns the path of a target's parts folder."""
    path = Path(target)
    return path.with_name(path.name + FOLDER)


def identity(path: str) -> dict[str, Any]:
    """Identifies a film by its size, modification time, and a digest of its beginning and end."""
    stat = os.stat(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, stat.st_size - SAMPLE_BYTES))
        digest.update(file.read())
    return {"bytes": stat.st_size, "changed": stat.st_mtime_ns, "sha256": digest.hexdigest()}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Creates a parts folder and locks it against other processes while the block runs.

    There is no lock where the system or file system has none, for example on Windows.

    Raises:
      UserError: another process holds the lock, or the path exists and is not a folder.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder}: exists already, and is not a folder of a film's parts")
    folder.mkdir(exist_ok=True, parents=True)
    try:
        with _lock(folder):
            yield folder
    finally:
        # Fails where parts are left to resume from.
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(
            f"{folder}: another process is colouring this film; want another --output"
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def begin(folder: Path, facts: Mapping[str, Any]) -> str:
    """Prepares a parts folder; its parts are kept if it was begun with the same facts.

    Args:
      folder: path of the folder, from `folder_of`.
      facts: everything that the parts depend on.

    Returns:
      A sentence for the user if parts with other facts were deleted; else "".

    Raises:
      UserError: the path exists and is not a parts folder.
    """
    wanted = json.loads(json.dumps({"format": FORMAT, **facts}))
    begun = _read_json(folder / BEGUN)
    if begun is None and os.path.lexists(folder) and not _is_empty(folder):
        raise UserError(f"{folder}: exists already, and is not a folder of a film's parts")
    sentence = ""
    if folder.exists() and begun != wanted:
        previous = begun or {}
        differs = sorted(
            key for key in {*previous, *wanted} if previous.get(key) != wanted.get(key)
        )
        if any(folder.glob("*.nut")):
            sentence = f"{folder}: was begun with another {' and '.join(differs)}, and starts again"
        # The folder itself stays, because the lock is on it.
        _clear(folder)
    folder.mkdir(exist_ok=True, parents=True)
    if begun != wanted:
        _write_json(folder / BEGUN, wanted)
    return sentence


def read_plan(folder: Path) -> Plan | None:
    """Reads the plan; None if there is none yet."""
    content = _read_json(folder / "plan.json")
    if content is None:
        return None
    scenes = tuple(Scene(start, Box(*box)) for start, box in content["scenes"])
    lists = {k: tuple(content[k]) for k in ("stamps", "flashes", "segments", "offsets")}
    return Plan(scenes=scenes, last=content["last"], **lists)


def write_plan(folder: Path, plan: Plan) -> None:
    _write_json(folder / "plan.json", plan._asdict())


def segment_path(folder: Path, number: int) -> Path:
    """Returns the path of a finished segment."""
    return folder / f"{number:06}.nut"


def count_finished(folder: Path, plan: Plan) -> int:
    """Counts the finished segments, up to the first that is missing."""
    count = 0
    while (
        count < len(plan.segments) - 1
        and segment_path(folder, count).exists()
        and _state_path(folder, count).exists()
    ):
        count += 1
    return count


def read_state(folder: Path, number: int) -> State:
    """Reads the smoothing state after a finished segment."""
    with np.load(_state_path(folder, number)) as arrays:
        return State(*(arrays[name] for name in State._fields))


def write_state(folder: Path, number: int, state: State) -> None:
    with (
        files.atomic_write(_state_path(folder, number)) as temporary,
        open(temporary, "wb") as file,
    ):
        np.savez(file, **state._asdict())


def remove(folder: Path, *, unless_finished: bool = False) -> None:
    """Deletes a parts folder, if it is one.

    With `unless_finished`, it stays if any segment is finished.
    """
    if (folder / BEGUN).exists() and not (unless_finished and any(folder.glob("*.nut"))):
        _clear(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _state_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.npz"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_json(path: Path, content: Any) -> None:
    with files.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content))
