"""Large photographs in a process that is warm, beside a floor and beside other networks.

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
from benchmarks.peers import pipeline
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax import Colorizer

MEGAPIXELS = (2, 12, 50, 100)
FLOOR = "OpenCV: read, convert, write"

Work = Callable[[Path, Path], object]  # from one file to the other


def measure(settings: Settings, megapixels: tuple[float, ...] = MEGAPIXELS) -> list[Table]:
    """A table for each size."""
    peers, notes = pipeline.installed()
    floor = {} if harness.optional("cv2") is None else {FLOOR: convert}
    works: dict[str, Work] = {
        **floor,
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
            if i:  # what is compiled is compiled in the first round
                times[name].append(seconds)
    title = f"{megapixels:g} megapixels, from file to file, in seconds of processor time"
    return Table(title, harness.compare(times, megapixels, "megapixels"), notes)


def convert(source: Path, target: Path) -> None:
    """OpenCV's work, which is the floor."""
    import cv2

    lab = cv2.cvtColor(cv2.imread(str(source)), cv2.COLOR_BGR2Lab)
    cv2.imwrite(str(target), cv2.cvtColor(lab, cv2.COLOR_Lab2BGR))


def processor_seconds(work: Callable[[], object]) -> float:
    """What all threads of this process took."""
    time.sleep(harness.PAUSE_S)
    start = time.process_time()
    work()
    return time.process_time() - start
