"""Plans the colouring of a film in a first pass: its frames, scenes and segments."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import NamedTuple

import numpy as np

from colorjax.coloring.network import borders
from colorjax.coloring.network.borders import Box
from colorjax.film import scenes
from colorjax.film.files.reading import Film, Frame
from colorjax.pictures import image_io

# Length of a segment, in seconds: it ends at the first cut after the minimum, else at the maximum.
MIN_SECONDS, MAX_SECONDS = 2, 5


class Scene(NamedTuple):
    """Consecutive frames between two cuts."""

    start: int  # index of the first frame
    box: Box  # the part that is coloured, without black bars


class Plan(NamedTuple):
    """The frames, scenes and segments of a film; its fields are the keys of the plan's file.

    Attributes:
      stamps: time stamps of all frames.
      flashes: indices of the frames that belong to flashes.
      scenes: in order; the first starts at 0.
      segments: index of the first frame of each segment, then the number of frames.
      offsets: offsets added to the film's own time stamps, one for each run of increasing stamps
        (they may start again where files were joined).
      last: how long the last frame is shown, in units of time stamps; 0 if unknown.
    """

    stamps: tuple[int, ...]
    flashes: tuple[int, ...]
    scenes: tuple[Scene, ...]
    segments: tuple[int, ...]
    offsets: tuple[int, ...] = (0,)
    last: int = 0


def plan(film: Film, frames: Iterable[Frame]) -> Plan:
    """Plans a film in one pass over all its frames, with only a few of them in memory."""
    stamps: list[int] = []
    offsets = [0]
    durations = deque([0], maxlen=1)  # only of the last frame
    flashes: list[int] = []
    scene_list: list[Scene] = []
    brightest: np.ndarray | None = None
    for_marks, grays = tee(_record_stamps(frames, stamps, offsets, durations))
    marks = scenes.marks(scenes.signature(image_io.eight_bits(gray)) for gray in for_marks)
    for number, (mark, gray) in enumerate(zip(marks, grays, strict=True)):
        if mark.begins:
            scene_list = _close_last(scene_list, brightest)
            scene_list.append(Scene(number, borders.whole(gray)))
            brightest = gray
        else:
            assert brightest is not None  # the first frame begins a scene
            brightest = np.maximum(brightest, gray)
        if mark.flash:
            flashes.append(number)
    scene_list = _close_last(scene_list, brightest)
    starts = [scene.start for scene in scene_list]
    bounds = segments(starts, len(stamps), float(film.rate))
    last = max(durations[-1], _until_end(film, stamps))
    return Plan(
        tuple(stamps), tuple(flashes), tuple(scene_list), tuple(bounds), tuple(offsets), last
    )


def _until_end(film: Film, stamps: list[int]) -> int:
    """Returns how long the last frame is shown by the header, 0 if unknown or frames are missing.

    In MP4 and MOV, a decoded frame's duration is that until the next one is decoded.
    """
    if film.end is None or film.expected != len(stamps):
        return 0
    return film.end - stamps[-1]


def segments(starts: list[int], count: int, rate: float) -> list[int]:
    """Divides a film into segments.

    Args:
      starts: index of the first frame of each scene.
      count: number of frames.
      rate: frames per second.

    Returns:
      Index of the first frame of each segment, then `count`.
    """
    shortest, longest = (max(1, round(seconds * rate)) for seconds in (MIN_SECONDS, MAX_SECONDS))
    bounds = [0]
    for start in [*starts[1:], count]:
        while start - bounds[-1] > longest:
            bounds.append(bounds[-1] + longest)
        if start - bounds[-1] >= shortest:
            bounds.append(start)
    if bounds[-1] < count:
        bounds.append(count)
    return bounds


def _record_stamps(
    frames: Iterable[Frame], stamps: list[int], offsets: list[int], durations: deque[int]
) -> Iterator[np.ndarray]:
    for frame in frames:
        stamps.append(frame.pts)
        durations.append(frame.duration)
        if frame.offset != offsets[-1]:
            offsets.append(frame.offset)
        yield frame.gray


def _close_last(scene_list: list[Scene], brightest: np.ndarray | None) -> list[Scene]:
    """Finds the black bars of the last scene: the margins that are dark in all its frames.

    `brightest` is the pixelwise maximum of the scene's frames; None if there is no scene yet.
    """
    if brightest is None:
        return scene_list
    rgb = np.repeat(image_io.eight_bits(brightest)[..., None], 3, axis=-1)
    box = borders.without_borders(rgb)
    around = [rgb[strip].mean() for strip in borders.strips(rgb, box)]
    bars = box if max(around, default=0.0) <= borders.BLACK else borders.whole(rgb)
    return [*scene_list[:-1], scene_list[-1]._replace(box=bars)]
