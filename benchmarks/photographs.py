"""Large photographs in a process that is warm, and how much of their time is reading and writing.

The floor is what OpenCV takes to read a photograph, to convert it to CIELAB and back, and to write
it. In seconds of processor time, which other work on the machine changes less than those of a
clock.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import harness, pictures
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax import Colorizer

MEGAPIXELS = (2, 12, 50, 100)


def measure(settings: Settings, megapixels: tuple[float, ...] = MEGAPIXELS) -> list[Table]:
    """A table for each size."""
    colorizer = Colorizer()
    with tempfile.TemporaryDirectory() as folder:
        return [_table(settings, colorizer, Path(folder), size) for size in megapixels]


def _table(settings: Settings, colorizer: Colorizer, folder: Path, megapixels: float) -> Table:
    source = folder / "photo.jpg"
    pictures.draw_mosaic(source, megapixels)
    ours = partial(colorizer.colorize_file, source, folder / "ours.jpg")
    works = {"OpenCV: read, convert, write": floor(source, folder), "colorjax": ours}
    notes = [] if works["OpenCV: read, convert, write"] else [harness.absent("OpenCV")]
    found = {name: work for name, work in works.items() if work is not None}
    times: harness.Times = {name: [] for name in found}
    for i in range(settings.repeats + 1):
        for name, work in found.items():
            seconds = processor_seconds(work)
            if i:  # what is compiled is compiled in the first round
                times[name].append(seconds)
    title = f"{megapixels:g} megapixels, from file to file, in seconds of processor time"
    return Table(title, harness.compare(times, megapixels, "megapixels"), notes)


def floor(source: Path, folder: Path) -> Callable[[], object] | None:
    """OpenCV's work; None where it is not installed."""
    cv2 = harness.optional("cv2")
    if cv2 is None:
        return None

    def work() -> bool:
        lab = cv2.cvtColor(cv2.imread(str(source)), cv2.COLOR_BGR2Lab)
        return cv2.imwrite(str(folder / "floor.jpg"), cv2.cvtColor(lab, cv2.COLOR_Lab2BGR))

    return work


def processor_seconds(work: Callable[[], object]) -> float:
    """What all threads of this process took."""
    time.sleep(harness.PAUSE_S)
    start = time.process_time()
    work()
    return time.process_time() - start
