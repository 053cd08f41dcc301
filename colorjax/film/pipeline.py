"""A film in, a coloured film out, by segments: what is finished is not done again after a stop."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import jax
import numpy as np

from colorjax.coloring.colorize import Painter
from colorjax.coloring.settings import Settings, check_settings
from colorjax.errors import UserError
from colorjax.film import colour, parts, planning
from colorjax.film.colour import FilmPainter, View
from colorjax.film.files import encoding, joining, reading
from colorjax.film.files.encoding import Choice
from colorjax.film.files.formats import CONTAINERS
from colorjax.film.files.reading import Film, Frame
from colorjax.film.planning import Plan
from colorjax.film.smoothing import State
from colorjax.pictures import files
from colorjax.weights import released
from colorjax.weights.store import flat

NEARLY = 0.9  # share of what a file is said to hold, below which it was cut short
# Says how many frames are looked through or coloured of how many (0 where that is not known).
Progress = Callable[[str, int, int], None]


class FilmOptions(NamedTuple):
    """FilmOptions a film is coloured and written.

    Attributes:
      settings: of the colours.
      codec: of `encoding.CODECS`; None leaves it to the film and the file.
      crf: of the codec, less is better; None for its usual one.
    """

    settings: Settings = Settings()
    codec: str | None = None
    crf: int | None = None


def run(
    painter: Painter,
    source: str,
    target: str,
    options: FilmOptions,
    *,
    overwrite: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> tuple[str, ...]:
    """Colours a film.

    Segments are written into the folder `TARGET.parts`; if the work ends before its end, by an
    error or KeyboardInterrupt too, those that are finished stay there, and the same call goes on.
    At the end they are joined, and the folder goes.

    Returns:
      Sentences for the user: what could not be taken or kept as it was.

    Raises:
      UserError: the film cannot be read, the target cannot be written or cannot hold what it
        should, or a setting is wrong.
    """
    check_settings(options.settings, painter.network)
    suffix = check_target(target)
    check_source(source, target)
    if not overwrite and os.path.lexists(target):
        raise UserError(f"{source}: {target} is there already")
    if os.path.isdir(target):
        raise UserError(f"{target}: is a folder, want the name of a film")
    film = reading.look(source)
    choice = encoding.choose(film, suffix, options.codec, options.crf)
    try:
        with parts.alone(parts.folder_of(target)) as folder:
            return _run(painter, film, target, folder, options, choice, overwrite, progress)
    except FileExistsError as error:
        raise UserError(f"{source}: {target} is there already") from error
    except (OSError, av.error.FFmpegError) as error:
        reason = error.strerror or error
        raise UserError(f"{target}: cannot be written: {reason}") from error


def _run(
    painter: Painter,
    film: Film,
    target: str,
    folder: Path,
    options: FilmOptions,
    choice: Choice,
    overwrite: bool,
    progress: Progress,
) -> tuple[str, ...]:
    """As `run`, with a folder of parts that no other process has."""
    try:
        begun = parts.begin(folder, _facts(painter, film.path, options, choice))
        other = joining.others(film, choice, folder)
        plan = _planned(folder, film, progress)
        _make_segments(
            folder, plan, film, choice, colour.brush(painter, options.settings), progress
        )
        segments = [parts.segment(folder, i) for i in range(len(plan.segments) - 1)]
        with files.atomic_write(target, overwrite=overwrite) as aside:
            joining.join(aside, film, choice, segments, other.kept, plan.stamps, plan.offsets)
    finally:
        parts.end(folder, unless_finished=True)
    parts.end(folder)
    return tuple(filter(None, (begun, *film.notices, *other.notices, *_told(film, plan, choice))))


def check_source(source: str, target: str) -> None:
    """Raises UserError for what is no file, or is what the target would replace."""
    if not os.path.exists(source):
        raise UserError(f"{source}: there is no such file")
    if not os.path.isfile(source):
        raise UserError(f"{source}: is no file: films are read twice, want one in a file")
    if os.path.realpath(target) == os.path.realpath(source):
        raise UserError(f"{source}: would replace itself, want another target")


def check_target(target: str) -> str:
    """The suffix of a result, in small letters; raises UserError if no such film is written."""
    suffix = Path(target).suffix.lower()
    if suffix not in CONTAINERS:
        *most, last = CONTAINERS
        raise UserError(
            f"{target}: films are written as {', '.join(most)} or {last}, not {suffix!r}"
        )
    return suffix


def _facts(painter: Painter, source: str, options: FilmOptions, choice: Choice) -> dict[str, Any]:
    """All that a segment depends on, by the name that the user knows it by."""
    network = painter.network
    variables = {name: np.asarray(x) for name, x in flat(jax.device_get(network.variables)).items()}
    return {
        "film": parts.identity(source),
        "model": released.digest(variables),
        "size": painter.size,
        **{k: v for k, v in options.settings._asdict().items() if k != "hints"},
        "codec": choice.codec,
        "crf": choice.crf,
        "kind of file": choice.suffix,
        "device": jax.default_backend(),
        "version of PyAV or OpenCV": [av.__version__, cv2.__version__],
    }


def _planned(folder: Path, film: Film, progress: Progress) -> Plan:
    if (plan := parts.read_plan(folder)) is not None:
        return plan
    found = planning.plan(film, _told_frames(film, progress))
    parts.write_plan(folder, found)
    return found


def _told_frames(film: Film, progress: Progress) -> Iterator[Frame]:
    expected = film.expected or round(film.seconds * film.rate)
    for number, frame in enumerate(reading.frames(film), 1):
        yield frame
        progress("looked through", number, expected)


def _make_segments(
    folder: Path, plan: Plan, film: Film, choice: Choice, brush: FilmPainter, progress: Progress
) -> None:
    """Writes the segments that are not there yet."""
    first = parts.finished(folder, plan)
    if first == len(plan.segments) - 1:
        return
    state = parts.read_state(folder, first - 1) if first else None
    frames = reading.frames(film, skip=plan.segments[first])
    progress("coloured", plan.segments[first], len(plan.stamps))
    for number in range(first, len(plan.segments) - 1):
        start, stop = plan.segments[number : number + 2]
        last: list[State | None] = [state]
        coloured = _coloured(brush, plan, film, frames, (start, stop), last, progress)
        with files.atomic_write(parts.segment(folder, number)) as aside:
            encoding.write(aside, film, choice, coloured)
            # Before the segment has its name, as both are wanted to go on.
            assert last[0] is not None
            parts.write_state(folder, number, last[0])
        state = last[0]


def _coloured(
    brush: FilmPainter,
    plan: Plan,
    film: Film,
    frames: Iterator[Frame],
    span: tuple[int, int],
    last: list[State | None],
    progress: Progress,
) -> Iterator[tuple[int, np.ndarray]]:
    """Time stamps and colours of the frames of a segment; `last` holds the state after each."""
    flashes = set(plan.flashes)
    number = span[0]
    for i, scene in enumerate(plan.scenes):
        end = plan.scenes[i + 1].start if i + 1 < len(plan.scenes) else len(plan.stamps)
        start, stop = max(scene.start, span[0]), min(end, span[1])
        if start >= stop:
            continue
        view = View(scene.box, float(film.aspect), film.turns)
        state = None if start == scene.start else last[0]
        grays = (frame.gray for frame in islice(frames, stop - start))
        marks = [k in flashes for k in range(start, stop)]
        for found in colour.run(brush, grays, view, state, marks):
            last[0] = found.state
            yield plan.stamps[number], found.rgb
            number += 1
            progress("coloured", number, len(plan.stamps))
    if number != span[1]:
        raise UserError(f"{film.path}: has changed while it was coloured")


def _told(film: Film, plan: Plan, choice: Choice) -> Iterator[str]:
    """Sentences about what is not as it was."""
    if lack := _lack(film, plan.stamps):
        yield f"{film.path}: is cut short or damaged: coloured are {lack}"
    if film.width % 2 or film.height % 2:
        yield (
            f"{film.path}: has {film.width} x {film.height} pixels, and its result an even number "
            "of each, as encoders want: the last ones are there twice"
        )
    if choice.bits < film.coding.bits:
        yield f"{film.path}: has {film.coding.bits} bits a channel, and its result {choice.bits}"


def _lack(film: Film, stamps: Sequence[int]) -> str:
    """FilmOptions much of a film is there, if it is less than the film says; else nothing.

    Frames are counted only where the file says their number, as in films of variable rate that is
    not what their rate makes of their length.
    """
    count = len(stamps)
    if film.expected:
        told = f"{count:,} frames of the {film.expected:,} that it says to hold"
        return told if count < NEARLY * film.expected else ""
    seconds = (stamps[-1] - stamps[0]) * film.time_base + 1 / film.rate
    told = (
        f"{count:,} frames, {float(seconds):,.1f} seconds of the {float(film.seconds):,.1f} that "
        "it says to last"
    )
    return told if seconds < NEARLY * film.seconds else ""
