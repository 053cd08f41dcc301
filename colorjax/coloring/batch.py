"""Files in, files out: which photographs are meant, where results go, and the work itself."""

import contextlib
import glob
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from colorjax.coloring.colorize import Painter, colorize
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, scan, writing
from colorjax.pictures.formats import PHOTO_SUFFIXES
from colorjax.pictures.metadata import Metadata
from colorjax.pictures.photo import Photo

STDIN = "-"
MARK = "_color"  # in the name of a result
# Photos are read ahead, and taken together, up to so many and so many pixels.
AHEAD, TOGETHER, TOGETHER_PIXELS = 2, 16, 32_000_000


class Found(NamedTuple):
    """A photo to colour, or a name that is none."""

    source: str  # a path, or STDIN
    folder: Path = Path()  # below the folder that was searched, for the same place in the output
    fault: str = ""  # the sentence, where there is nothing to read


class Job(NamedTuple):
    """A photo, and where its results go: as many targets as settings."""

    source: str
    targets: tuple[str, ...]  # paths, or STDIN for the standard output
    format: str | None  # suffix of the format, where the path does not say
    page: int | None = None  # of a TIFF, from 1 on; None is the first, and tells of others


class Outcome(NamedTuple):
    """What became of a photo."""

    source: str
    targets: tuple[str, ...] = ()
    fault: str = ""  # the sentence, where it failed
    notices: tuple[str, ...] = ()


def find(names: Sequence[str], recursive: bool = False) -> Iterator[Found]:
    """The photos that names of files, folders and patterns stand for, each once.

    Folders give their pictures, by suffix and in the order of their names, but for results of
    ours; with `recursive` those of all folders below too. A name that is no picture is told.
    """
    seen = set()
    for name in names:
        for found in _find(name, recursive):
            key = found.source if found.source == STDIN else os.path.realpath(found.source)
            if found.fault or key not in seen:
                seen.add(key)
                yield found


def _find(name: str, recursive: bool) -> Iterator[Found]:
    if name == STDIN:
        yield Found(STDIN)
    elif os.path.isdir(name):
        yield from _search(Path(name), recursive)
    elif os.path.lexists(name):
        yield Found(name)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=recursive))
        for match in matches:
            yield from _find(match, recursive)
        if not matches:
            yield Found(name, fault=f"{name}: nothing matches")
    else:
        yield Found(name, fault=f"{name}: there is no such file")


def _search(folder: Path, recursive: bool) -> Iterator[Found]:
    count = 0
    for path in _files(folder, recursive):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            count += 1
            yield Found(str(path), path.parent.relative_to(folder))
    if not count:
        hint = "" if recursive else "; --recursive looks into the folders in it"
        yield Found(str(folder), fault=f"{folder}: holds no pictures{hint}")


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    """The files of a folder by name, but for hidden ones and results of ours."""
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and not _is_result(path):
            yield path


def left_out(names: Sequence[str], recursive: bool = False) -> Counter[str]:
    """How many files of the named folders are no photo by their suffix: count by suffix.

    Hidden files and results of ours are not counted; a file without a suffix is "no suffix".
    """
    folders = {os.path.realpath(name) for name in names if name != STDIN and os.path.isdir(name)}
    files = {file for folder in folders for file in _files(Path(folder), recursive)}
    suffixes = (file.suffix.lower() for file in files)
    return Counter(one or "no suffix" for one in suffixes if one not in PHOTO_SUFFIXES)


def _is_result(path: Path) -> bool:
    """Whether a file of a searched folder is one that we have made there."""
    before, mark, number = path.stem.rpartition(MARK)
    return bool(mark and before) and (not number or number.removeprefix("_").isdigit())


def target_names(
    found: Found, output: str | None, format: str | None, count: int
) -> tuple[str, ...]:
    """Where the `count` results of a photo go.

    Beside the photo, or into the folder `output` in the same place below it, under the photo's name
    with `_color` and, of several, a number. A photo of a format that is not written becomes .png.

    Args:
      found: the photo.
      output: a folder, or a file (`is_file`); None for neither.
      format: suffix without the dot; None for the photo's own.
      count: how many results there are.
    """
    numbers = [""] if count == 1 else [f"_{i + 1}" for i in range(count)]
    if output == STDIN or (output is None and found.source == STDIN):
        return (STDIN,) * count
    if output is not None and is_file(output):
        path = Path(output)
        return tuple(str(path.with_name(f"{path.stem}{n}{path.suffix}")) for n in numbers)
    source = Path("stdin.png" if found.source == STDIN else found.source)
    suffix = f".{format}" if format else source.suffix
    if suffix.lower() not in writing.SUFFIXES:
        suffix = ".png"
    folder = source.parent if output is None else Path(output) / found.folder
    return tuple(str(folder / f"{source.stem}{MARK}{n}{suffix}") for n in numbers)


def pages_of(source: str, pages: str) -> list[int | None]:
    """The pages of a photo that are meant: `all` of a TIFF, the `first`, or that of a number."""
    if pages == "first" or source == STDIN:
        return [None]
    count = scan.count_pages(source)
    if pages != "all" and count:
        return [int(pages)]
    return list(range(1, count + 1)) if count > 1 else [None]


def with_page(name: str, page: int | None) -> str:
    """The name of a file with that of a page, before its suffix."""
    path = Path(name)
    return name if page is None else str(path.with_name(f"{path.stem}_page{page}{path.suffix}"))


def is_file(output: str) -> bool:
    """Whether `--output` names one file, and not a folder."""
    return Path(output).suffix.lower() in writing.SUFFIXES and not os.path.isdir(output)


def run(
    painter: Painter,
    jobs: Sequence[Job],
    settings: Sequence[Settings],
    *,
    allow_truncated: bool = False,
    most_side: int | None = None,
    arrange: Callable[[np.ndarray, list[np.ndarray]], list[np.ndarray]] | None = None,
    bits: int = 16,
) -> Iterator[Outcome]:
    """Colours photos and writes them, telling of each as soon as it is done.

    Reading, colouring and writing go on at the same time. What is wrong with one photo does not
    concern the others, and a file is there whole or not at all, however the work ends.

    Args:
      painter: from `colorize.open_painter`.
      jobs: the photos.
      settings: of the results of each.
      allow_truncated: take what there is of files that were cut short.
      most_side: larger photos are made this small in pixels, and lose their transparency.
      arrange: makes the pictures that are written of a photo and its results; they may be of
        another size, and are written without transparency and of the metadata with the profile
        alone.
      bits: most bits a channel; a photo of 16 is coloured in 8 where the format of its result, or
        `arrange`, has no more.
    """
    bits = 8 if arrange is not None or most_side is not None else bits
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
        reads = _ahead(readers, jobs, lambda job: _read(job, allow_truncated, most_side, bits))
        for chunk in _together(reads):
            writes = []
            good = [(job, one) for job, one in chunk if isinstance(one, Photo)]
            for job, fault in chunk:
                if not isinstance(fault, Photo):
                    yield Outcome(job.source, fault=fault)
            for i, results in colorize(painter, [one.rgb for _, one in good], settings):
                job, one = good[i]
                if arrange is not None:
                    results = arrange(one.rgb, results)
                    # What describes the photograph's pixels is not true of theirs.
                    kept = Metadata(icc_profile=one.metadata.icc_profile)
                    one = one._replace(alpha=None, metadata=kept)
                writes.append(writers.submit(_write, job, one, results))
                # Memory holds the results of two photos, and no more.
                if len(writes) > 1:
                    yield writes.pop(0).result()
            yield from (write.result() for write in writes)


def _read(job: Job, allow_truncated: bool, most_side: int | None, bits: int) -> Photo | str:
    """The photo, or the sentence that says why there is none."""
    source, name = job.source, None
    if source == STDIN:
        source, name = sys.stdin.buffer.read(), "standard input"
    is_deep = any(writing.holds_16_bits(target, job.format) for target in job.targets)
    bits = bits if is_deep else 8
    try:
        one = photo.read_photo(
            source, allow_truncated=allow_truncated, name=name, bits=bits, page=job.page
        )
    except UserError as error:
        return str(error)
    if most_side is not None and max(one.rgb.shape) > most_side:
        one = one._replace(rgb=image_io.fitted(one.rgb, most_side), alpha=None)
    return one


def _write(job: Job, one: Photo, results: Sequence[np.ndarray]) -> Outcome:
    notices = list(one.notices)
    for target, rgb in zip(job.targets, results, strict=True):
        try:
            place: str | BinaryIO = sys.stdout.buffer if target == STDIN else target
            if target != STDIN:
                os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            notices += writing.write_photo(place, rgb, one, format=job.format)
        except UserError as error:
            return Outcome(job.source, fault=str(error), notices=tuple(notices))
        except OSError as error:
            fault = f"{target}: cannot be written: {error.strerror or error}"
            return Outcome(job.source, fault=fault, notices=tuple(notices))
    return Outcome(job.source, job.targets, notices=tuple(notices))


def _ahead(
    pool: ThreadPoolExecutor, jobs: Iterable[Job], read: Callable[[Job], Photo | str]
) -> Iterator[tuple[Job, Photo | str]]:
    """The jobs and what was read for them, some of it read before it is asked for."""
    pending: deque[tuple[Job, Future]] = deque()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [future.cancel() for _, future in pending])
        for job in jobs:
            pending.append((job, pool.submit(read, job)))
            if len(pending) > AHEAD:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()


def _together(reads: Iterator[tuple[Job, Photo | str]]) -> Iterator[list[tuple[Job, Photo | str]]]:
    """Groups of photos that are coloured together: many small ones, or one large one."""
    group, pixels = [], 0
    for job, one in reads:
        group.append((job, one))
        pixels += one.rgb.size // 3 if isinstance(one, Photo) else 0
        if len(group) == TOGETHER or pixels >= TOGETHER_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def check_targets(
    jobs: Iterable[Job], *, overwrite: bool, skip_existing: bool
) -> tuple[list[Job], list[str], list[Outcome]]:
    """Looks before the work begins whether results would take the place of something.

    Returns:
      The jobs to do; the sources of those that are left out, as their results are there; faults of
      those whose results would replace a file or one another.
    """
    todo, skipped, faults, taken = [], [], [], set()
    for job in jobs:
        places = [os.path.abspath(t) for t in job.targets if t != STDIN]
        there = [t for t in job.targets if t != STDIN and os.path.lexists(t)]
        twice = [t for t, place in zip(job.targets, places, strict=False) if place in taken]
        own = [p for p in places if os.path.realpath(p) == os.path.realpath(job.source)]
        if own and job.source != STDIN:
            faults.append(Outcome(job.source, fault=f"{job.source}: would replace itself"))
        elif twice:
            fault = f"{job.source}: its result {twice[0]} is another photo's already"
            faults.append(Outcome(job.source, fault=fault))
        elif there and skip_existing:
            skipped.append(job.source)
        elif there and not overwrite:
            fault = (
                f"{job.source}: {there[0]} is there already; "
                "--overwrite replaces it, --skip-existing leaves the photo out"
            )
            faults.append(Outcome(job.source, fault=fault))
        else:
            taken.update(places)
            todo.append(job)
    return todo, skipped, faults
