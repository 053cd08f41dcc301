"""What is found out before a film is coloured: its frames, its scenes, and its segments."""

from collections.abc import Iterable, Iterator
from itertools import tee
from typing import NamedTuple

import numpy as np

from colorjax.coloring.network import borders
from colorjax.coloring.network.borders import Box
from colorjax.film import scenes
from colorjax.film.files.reading import Film, Frame
from colorjax.pictures import image_io

# Seconds of a segment: at a scene's beginning it may end from the first on, and must at the second.
LEAST_SECONDS, MOST_SECONDS = 2, 5


class Scene(NamedTuple):
    """Frames that belong together, from `start` on."""

    start: int
    box: Box  # what of them is coloured, within black bars


class Plan(NamedTuple):
    """A film's frames.

    Attributes:
      stamps: time stamps of all frames.
      flashes: the numbers of frames that are of flashes.
      scenes: in their order; the first starts at 0.
      segments: numbers of the frames with which segments begin, and of all frames.
      offsets: what was added to the film's own time stamps, each time that they begin.
    """

    stamps: tuple[int, ...]
    flashes: tuple[int, ...]
    scenes: tuple[Scene, ...]
    segments: tuple[int, ...]
    offsets: tuple[int, ...] = (0,)


def plan(film: Film, frames: Iterable[Frame]) -> Plan:
    """Looks through a film; the memory it takes is that of a few frames.

    Args:
      frames: all of them.
    """
    stamps: list[int] = []
    offsets = [0]
    flashes: list[int] = []
    found: list[Scene] = []
    brightest: np.ndarray | None = None
    seen, shown = tee(_noted(frames, stamps, offsets))
    marks = scenes.marks(scenes.signature(image_io.eight_bits(gray)) for gray in seen)
    for number, (mark, gray) in enumerate(zip(marks, shown, strict=True)):
        if mark.begins:
            found = _ended(found, brightest)
            found.append(Scene(number, borders.whole(gray)))
            brightest = gray
        else:
            assert brightest is not None  # the first frame begins a scene
            brightest = np.maximum(brightest, gray)
        if mark.flash:
            flashes.append(number)
    found = _ended(found, brightest)
    starts = [scene.start for scene in found]
    ends = segments(starts, len(stamps), float(film.rate))
    return Plan(tuple(stamps), tuple(flashes), tuple(found), tuple(ends), tuple(offsets))


def segments(starts: list[int], count: int, rate: float) -> list[int]:
    """The first frames of segments, of scenes that start there, and `count`, of all frames."""
    least, most = (max(1, round(seconds * rate)) for seconds in (LEAST_SECONDS, MOST_SECONDS))
    found = [0]
    for start in [*starts[1:], count]:
        while start - found[-1] > most:
            found.append(found[-1] + most)
        if start - found[-1] >= least:
            found.append(start)
    if found[-1] < count:
        found.append(count)
    return found


def _noted(frames: Iterable[Frame], stamps: list[int], offsets: list[int]) -> Iterator[np.ndarray]:
    for frame in frames:
        stamps.append(frame.pts)
        if frame.offset != offsets[-1]:
            offsets.append(frame.offset)
        yield frame.gray


def _ended(found: list[Scene], brightest: np.ndarray | None) -> list[Scene]:
    """Scenes of which the last has its bars: where not one of its frames is bright."""
    if brightest is None:
        return found
    rgb = np.repeat(image_io.eight_bits(brightest)[..., None], 3, axis=-1)
    box = borders.without_borders(rgb)
    around = [rgb[strip].mean() for strip in borders.strips(rgb, box)]
    bars = box if max(around, default=0.0) <= borders.BLACK else borders.whole(rgb)
    return [*found[:-1], found[-1]._replace(box=bars)]
