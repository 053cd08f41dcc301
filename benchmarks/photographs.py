"""Times colouring of large photographs in a warm process, next to a lower bound and other networks.

The lower bound is the time in which OpenCV reads a photograph, converts it to CIELAB and back, and
writes it. Times are processor time, because other load on the machine affects it less than
wall-clock time.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import harness, pictures
from benchmarks.peers import pipeline
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax import Colorizer

MEGAPIXELS = (2, 12, 50, 100)
LOWER_BOUND = "OpenCV: read, convert, write"

Work = Callable[[Path, Path], object]  # from the source file to the target file


def measure(settings: Settings, megapixels: tuple[float, ...] = MEGAPIXELS) -> list[Table]:
    """Returns a table for each size."""
    peers, notes = pipeline.installed()
    lower_bound = {} if harness.optional("cv2") is None else {LOWER_BOUND: convert}
    works: dict[str, Work] = {
        **lower_bound,
        "colorjax": Colorizer().colorize_file,
        **{peer.name: partial(pipeline.colour_file, peer) for peer in peers},
    }
    with tempfile.TemporaryDirectory() as folder:
        return [_table(settings, works, Path(folder), size, notes) for size in megapixels]


def _table(
    settings: Settings, works: dict[str, Work], folder: Path, megapixels: float, notes: list[str]
) -> Table:
    source, target = folder / "photo.jpg", folder / "coloured.jpg"
    pictures.draw_mosaic(source, megapixels)
    times: harness.Times = {name: [] for name in works}
    for i in range(settings.repeats + 1):
        for name, work in works.items():
            seconds = processor_seconds(partial(work, source, target))
            if i:  # the first round compiles
                times[name].append(seconds)
    title = f"{megapixels:g} megapixels, from file to file, in seconds of processor time"
    return Table(title, harness.compare(times, megapixels, "megapixels"), notes)


def convert(source: Path, target: Path) -> None:
    """Reads, converts and writes a photograph with OpenCV: the lower bound."""
    import cv2

    lab = cv2.cvtColor(cv2.imread(str(source)), cv2.COLOR_BGR2Lab)
    cv2.imwrite(str(target), cv2.cvtColor(lab, cv2.COLOR_Lab2BGR))


def processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor seconds of all threads of this process during `work`."""
    time.sleep(harness.PAUSE_S)
    start = time.process_time()
    work()
    return time.process_time() - start
