"""Times the command on folders of photographs of mixed shapes, with a cold and a warm cache.

Each run is a new process, timed from its start to its end. The first run has an empty cache of
compiled programs.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import harness, pictures, startup
from benchmarks.report import Table
from benchmarks.settings import Settings

COUNTS = (60, 150)


def measure(settings: Settings, counts: tuple[int, ...] = COUNTS) -> list[Table]:
    """Returns a table for each number of photographs."""
    return [_table(settings, count) for count in counts]


def _table(settings: Settings, count: int) -> Table:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        pictures.draw_folder(folder / "photos", count)
        first = [_run(folder)]
        warm = [_run(folder) for _ in range(settings.repeats)]
    rows = [_row("the first time", first, count), _row("warm", warm, count)]
    return Table(f"{count} photographs of mixed shapes, by the command", rows)


def _run(folder: Path) -> tuple[float, float]:
    """Colours the folder; returns its wall-clock and processor seconds."""
    command = [sys.executable, *startup.COLORJAX, "photos", "-o", "coloured", "--overwrite"]
    return harness.seconds(lambda: startup.processor_seconds(command, folder, "cache"))


def _row(name: str, runs: list[tuple[float, float]], count: int) -> harness.Row:
    clock, processor = (statistics.median(column) for column in zip(*runs, strict=True))
    return {
        "run": name,
        "processor_s": processor,
        "processor_ms_a_photograph": 1e3 * processor / count,
        "clock_s": clock,
        "photographs_per_s": count / clock,
        "times_s": [list(one) for one in runs],
    }
