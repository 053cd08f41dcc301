"""Whether the files of a saved step are still what was written: a sha256 of each lies beside them.

Steps of older versions have none; of those only what is missing or no JSON is found.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from colorjax.pictures import files
from colorjax.weights.store import file_hash

DIGESTS = "sha256.json"
_TABLE = "_CHECKPOINT_METADATA"  # into which Orbax puts the time when all else is done
# What Orbax writes for every step, and as JSON.
_PARTS = (_TABLE, "state", "record")
_JSON = (_TABLE, "state/_METADATA", "record/metadata", "metrics/metrics")


def sign(step: Path) -> None:
    """Writes the digests of all files in a step's folder, once they are all there."""
    digests = {path.relative_to(step).as_posix(): file_hash(path, "sha256") for path in _all(step)}
    with files.atomic_write(step / DIGESTS) as aside:
        aside.write_text(json.dumps(digests, indent=0))


def fault(step: Path) -> str | None:
    """What is wrong with a step's folder; None if it is whole."""
    missing = [part for part in _PARTS if not (step / part).exists()]
    if missing:
        return f"{missing[0]} is missing"
    if not (step / DIGESTS).exists():
        return _no_json(step, _JSON)
    found = _no_json(step, (_TABLE, DIGESTS))
    if found:
        return found
    for name, digest in json.loads((step / DIGESTS).read_text()).items():
        if not (step / name).exists():
            return f"{name} is missing"
        if file_hash(step / name, "sha256") != digest:
            return f"{name} is not what was written"
    return None


def faults(folder: Path) -> dict[int, str | None]:
    """`fault` of every step in a folder of checkpoints."""
    steps = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    return {int(path.name): fault(path) for path in sorted(steps)}


def _no_json(step: Path, names: Sequence[str]) -> str | None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            try:
                json.loads((step / name).read_text())
            except ValueError:
                return f"{name} is no JSON"
    return None


def _all(step: Path) -> Iterator[Path]:
    named = (path for path in sorted(step.rglob("*")) if path.is_file())
    return (path for path in named if path.name not in (_TABLE, DIGESTS))
