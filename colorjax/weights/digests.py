"""Detects damaged checkpoints: the sha256 of each file of a step is stored beside the files.

Steps of older versions have no digests; for those, only missing files and invalid JSON are found.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from colorjax.pictures import files
from colorjax.weights.store import file_hash

DIGESTS = "sha256.json"
_METADATA = "_CHECKPOINT_METADATA"  # Orbax writes the time into it after everything else
# Files and folders that every step has, and the JSON files among them.
_PARTS = (_METADATA, "state", "record")
_JSON = (_METADATA, "state/_METADATA", "record/metadata", "metrics/metrics")


def write(step: Path) -> None:
    """Writes the digests of all files in a step's folder, which must be complete."""
    paths = _files(step)
    digests = {path.relative_to(step).as_posix(): file_hash(path, "sha256") for path in paths}
    with files.atomic_write(step / DIGESTS) as temporary:
        temporary.write_text(json.dumps(digests, indent=0))


def fault(step: Path) -> str | None:
    """Returns what is wrong with a step's folder; None if it is undamaged."""
    missing = [part for part in _PARTS if not (step / part).exists()]
    if missing:
        return f"{missing[0]} is missing"
    if not (step / DIGESTS).exists():
        return _json_fault(step, _JSON)
    json_fault = _json_fault(step, (_METADATA, DIGESTS))
    if json_fault:
        return json_fault
    for name, digest in json.loads((step / DIGESTS).read_text()).items():
        if not (step / name).exists():
            return f"{name} is missing"
        if file_hash(step / name, "sha256") != digest:
            return f"{name} is not what was written"
    return None


def faults(folder: Path) -> dict[int, str | None]:
    """Returns `fault` of every step in a folder of checkpoints."""
    steps = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    return {int(path.name): fault(path) for path in sorted(steps)}


def _json_fault(step: Path, names: Sequence[str]) -> str | None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            try:
                json.loads((step / name).read_text())
            except ValueError:
                return f"{name} is not JSON"
    return None


def _files(step: Path) -> Iterator[Path]:
    paths = (path for path in sorted(step.rglob("*")) if path.is_file())
    return (path for path in paths if path.name not in (_METADATA, DIGESTS))
