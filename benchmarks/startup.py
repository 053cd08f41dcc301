"""Measures the start-up time of the command and of a short script with a warm program cache.

Times are processor time, user plus system, because other load on the machine affects it less than
wall-clock time. Every measurement is a new process.
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
COLORJAX = ["-m", "colorjax"]


def measure(settings: Settings) -> list[Table]:
    """Returns a table of start-up times; the last two rows include colouring a photograph."""
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
    """Returns functions by name; each runs a process in `folder` and returns processor seconds."""
    commands = {
        "import jax": ["-c", "import jax"],
        "colorjax --help": [*COLORJAX, "--help"],
        "colorjax --version": [*COLORJAX, "--version"],
        "colorjax photo.jpg": [*COLORJAX, "photo.jpg", "--overwrite"],
        "a script of two lines": ["-c", SCRIPT],
    }
    # Each has its own cache, so that the first run of each has an empty one.
    return {
        name: partial(processor_seconds, [sys.executable, *command], folder, f"cache_{i}")
        for i, (name, command) in enumerate(commands.items())
    }


def processor_seconds(command: list[str], folder: Path, cache: str) -> float:
    """Returns the processor seconds of a command in `folder`; RuntimeError if it fails."""
    variables = {"COLORJAX_HOME": str(folder / cache), "JAX_COMPILATION_CACHE_DIR": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    harness.run(command, folder, **variables, PYTHONPATH=_path())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _path() -> str:
    """Returns a PYTHONPATH with this checkout first, since processes start in another folder."""
    return os.pathsep.join(filter(None, [str(harness.ROOT), os.environ.get("PYTHONPATH", "")]))


def _draw_photo(path: Path) -> None:
    from PIL import Image

    sample = sorted((harness.ROOT / "colorjax" / "data" / "sample").glob("*.jpg"))[0]
    with Image.open(sample) as image:
        image.convert("L").resize(SIZE).save(path)
