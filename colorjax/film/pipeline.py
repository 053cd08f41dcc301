"""Colours a film segment by segment, so that an interrupted film resumes."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import jax
import numpy as np

from colorjax.coloring.colorize import Painter
from colorjax.coloring.settings import ColorSettings, check_settings
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

# Share of the length in a file's header below which the file counts as cut short.
COMPLETE_SHARE = 0.9
# Called with the stage ("looked through" or "coloured"), frames done, frames in all (0 if unknown).
Progress = Callable[[str, int, int], None]


class FilmOptions(NamedTuple):
    """How a film is coloured and encoded.

    Attributes:
      settings: how the frames are coloured.
      codec: one of `encoding.CODECS`; None to choose by the film and the container.
      crf: constant rate factor, lower is better; None for the codec's default.
    """

    settings: ColorSettings = ColorSettings()
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

    Segments are written to the folder `TARGET.parts`. If the call is interrupted, by an error or
    KeyboardInterrupt, the finished segments stay there, and the same call resumes. At the end the
    segments are joined and the folder is deleted.

    Returns:
      Sentences for the user about everything that could not be read or preserved.

    Raises:
      UserError: the film cannot be read, the target cannot be written or cannot hold the codec,
        the sound, the rotation or a pause, or a setting is invalid.
    """
    check_settings(options.settings, painter.network)
    suffix = check_target(target)
    check_source(source, target)
    if not overwrite and os.path.lexists(target):
        raise UserError(f"{source}: {target} exists already")
    if os.path.isdir(target):
        raise UserError(f"{target}: is a folder, want the name of a film")
    film = reading.probe(source)
    choice = encoding.choose(film, suffix, options.codec, options.crf)
    joining.check_rotation(film, choice)
    try:
        with parts.locked(parts.folder_of(target)) as folder:
            return _run(painter, film, target, folder, options, choice, overwrite, progress)
    except FileExistsError as error:
        raise UserError(f"{source}: {target} exists already") from error
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
    """Like `run`, with a parts folder that is locked."""
    try:
        restart = parts.begin(folder, _facts(painter, film.path, options, choice))
        others = joining.find_other_streams(film, choice, folder)
        plan = _read_or_make_plan(folder, film, progress)
        joining.check_pauses(film, choice, plan.stamps, folder)
        _make_segments(
            folder,
            plan,
            film,
            choice,
            colour.open_film_painter(painter, options.settings),
            progress,
        )
        segments = [parts.segment_path(folder, i) for i in range(len(plan.segments) - 1)]
        with files.atomic_write(target, overwrite=overwrite) as temporary:
            joining.join(
                temporary,
                film,
                choice,
                segments,
                others.copied,
                plan.stamps,
                plan.offsets,
                plan.last,
            )
    finally:
        parts.remove(folder, unless_finished=True)
    parts.remove(folder)
    return tuple(
        filter(None, (restart, *film.notices, *others.notices, *_notices(film, plan, choice)))
    )


def check_source(source: str, target: str) -> None:
    """Raises UserError if the source is not a file, or is the target itself."""
    if not os.path.exists(source):
        raise UserError(f"{source}: there is no such file")
    if not os.path.isfile(source):
        raise UserError(f"{source}: is not a file: films are read twice, want one in a file")
    if os.path.realpath(target) == os.path.realpath(source):
        raise UserError(f"{source}: would replace itself, want another target")


def check_target(target: str) -> str:
    """Returns a target's suffix in lower case; raises UserError if it is not of `CONTAINERS`."""
    suffix = Path(target).suffix.lower()
    if suffix not in CONTAINERS:
        *most, last = CONTAINERS
        raise UserError(
            f"{target}: films are written as {', '.join(most)} or {last}, not {suffix!r}"
        )
    return suffix


def _facts(painter: Painter, source: str, options: FilmOptions, choice: Choice) -> dict[str, Any]:
    """Returns everything that a segment depends on; messages show the keys to the user."""
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


def _read_or_make_plan(folder: Path, film: Film, progress: Progress) -> Plan:
    if (plan := parts.read_plan(folder)) is not None:
        return plan
    plan = planning.plan(film, _frames_with_progress(film, progress))
    parts.write_plan(folder, plan)
    return plan


def _frames_with_progress(film: Film, progress: Progress) -> Iterator[Frame]:
    expected = film.expected or round(film.seconds * film.rate)
    for number, frame in enumerate(reading.frames(film), 1):
        yield frame
        progress("looked through", number, expected)


def _make_segments(
    folder: Path,
    plan: Plan,
    film: Film,
    choice: Choice,
    film_painter: FilmPainter,
    progress: Progress,
) -> None:
    """Writes the segments that are not finished yet."""
    first = parts.count_finished(folder, plan)
    if first == len(plan.segments) - 1:
        return
    state = parts.read_state(folder, first - 1) if first else None
    frames = reading.frames(film, skip=plan.segments[first])
    progress("coloured", plan.segments[first], len(plan.stamps))
    for number in range(first, len(plan.segments) - 1):
        start, stop = plan.segments[number : number + 2]
        last: list[State | None] = [state]
        coloured = _colour_frames(film_painter, plan, film, frames, (start, stop), last, progress)
        with files.atomic_write(parts.segment_path(folder, number)) as temporary:
            encoding.write(temporary, film, choice, coloured)
            # Before the segment is renamed into place: resuming needs both files.
            assert last[0] is not None
            parts.write_state(folder, number, last[0])
        state = last[0]


def _colour_frames(
    film_painter: FilmPainter,
    plan: Plan,
    film: Film,
    frames: Iterator[Frame],
    span: tuple[int, int],
    last: list[State | None],
    progress: Progress,
) -> Iterator[tuple[int, np.ndarray]]:
    """Colours the frames of a segment.

    Args:
      span: indices of its first frame and of the next segment's first frame.
      last: one element, the smoothing state, which is replaced after every frame.

    Yields:
      The time stamp and the colours, uint8 or uint16 [height, width, 3], of each frame.
    """
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
        for result in colour.run(film_painter, grays, view, state, marks):
            last[0] = result.state
            yield plan.stamps[number], result.rgb
            number += 1
            progress("coloured", number, len(plan.stamps))
    if number != span[1]:
        raise UserError(f"{film.path}: has changed while it was coloured")


def _notices(film: Film, plan: Plan, choice: Choice) -> Iterator[str]:
    """Yields sentences about differences between the film and its result."""
    if coloured := _shortfall(film, plan):
        yield f"{film.path}: is cut short or damaged: only {coloured} could be coloured"
    if film.width % 2 or film.height % 2:
        yield (
            f"{film.path}: has {film.width} x {film.height} pixels; encoders need even sides, so "
            "the result repeats the last row or column"
        )
    if choice.bits < film.coding.bits:
        yield f"{film.path}: has {film.coding.bits} bits per channel, its result {choice.bits}"


def _shortfall(film: Film, plan: Plan) -> str:
    """Says how much of a film was read, if that is clearly less than its header says; else "".

    Frames are compared only if the header has their number: in films of variable rate it does not
    follow from the rate and the duration. The header of a trimmed film also counts hidden frames,
    more than fit into its duration; then seconds are compared.
    """
    count = len(plan.stamps)
    is_trimmed = 0 < film.seconds * film.rate < COMPLETE_SHARE * film.expected
    if film.expected and not is_trimmed:
        text = f"{count:,} frames of {film.expected:,}"
        return text if count < COMPLETE_SHARE * film.expected else ""
    last = plan.last * film.time_base or 1 / film.rate
    seconds = (plan.stamps[-1] - plan.stamps[0]) * film.time_base + last
    text = f"{count:,} frames, {float(seconds):,.1f} seconds of {float(film.seconds):,.1f},"
    return text if seconds < COMPLETE_SHARE * film.seconds else ""
