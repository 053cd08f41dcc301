"""How long a user of the command, or of a script of two lines, waits once programs are kept.

In seconds of processor time, user and system together, which other work on the machine changes
less than those of a clock; every measurement is a process of its own.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import harness
from benchmarks.report import Table
from benchmarks.settings import Settings

SIZE = (1632, 1224)  # 2 megapixels
SCRIPT = "from colorjax import Colorizer; Colorizer().colorize_file('photo.jpg', 'result.jpg')"
HERE = ["-m", "colorjax"]


def measure(settings: Settings) -> list[Table]:
    """A table of starts, of which the last two colour a photograph."""
    with tempfile.TemporaryDirectory() as folder:
        _draw_photo(Path(folder) / "photo.jpg")
        works = contenders(Path(folder))
        first = {name: work() for name, work in works.items()}
        times: harness.Times = {name: [] for name in works}
        for _ in range(settings.repeats):
            for name, work in works.items():
                times[name].append(work())
    title = f"a process, in seconds of processor time; photos have {SIZE[0]} x {SIZE[1]} pixels"
    return [Table(title, harness.compare(times, first_s=first))]


def contenders(folder: Path) -> dict[str, Callable[[], float]]:
    """Processes that begin with an empty cache in `folder`, by name: each gives its seconds."""
    commands = {
        "import jax": ["-c", "import jax"],
        "colorjax --help": [*HERE, "--help"],
        "colorjax --version": [*HERE, "--version"],
        "colorjax photo.jpg": [*HERE, "photo.jpg", "--overwrite"],
        "a script of two lines": ["-c", SCRIPT],
    }
    # Each with a cache of its own, so that the first time of each is that of an empty one.
    return {
        name: partial(processor_seconds, [sys.executable, *command], folder, f"cache_{i}")
        for i, (name, command) in enumerate(commands.items())
    }


def processor_seconds(command: list[str], folder: Path, cache: str) -> float:
    """What a command that is run in `folder` takes; RuntimeError if it fails."""
    here = {"COLORJAX_HOME": str(folder / cache), "JAX_COMPILATION_CACHE_DIR": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    harness.run(command, folder, **here, PYTHONPATH=_path())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _path() -> str:
    """This checkout first, as processes start elsewhere."""
    return os.pathsep.join(filter(None, [str(harness.ROOT), os.environ.get("PYTHONPATH", "")]))


def _draw_photo(path: Path) -> None:
    from PIL import Image

    sample = sorted((harness.ROOT / "colorjax" / "data" / "sample").glob("*.jpg"))[0]
    with Image.open(sample) as image:
        image.convert("L").resize(SIZE).save(path)
