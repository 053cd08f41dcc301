"""Where results go, and that none takes the place of anything."""

import os
from collections.abc import Sequence
from itertools import count as numbers
from pathlib import Path, PurePath
from typing import NamedTuple

from colorjax.coloring.folders.finding import STDIN, Found, is_stream
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, scan, writing
from colorjax.pictures.formats import PHOTO_SUFFIXES

MARK = "_color"  # in the name of a result, unless told


class Job(NamedTuple):
    """A photo, and where its results go: as many targets as settings."""

    source: str
    targets: tuple[str, ...]  # paths, or STDIN for the standard output
    format: str | None  # suffix of the format, where the path does not say
    page: int | None = None  # of a TIFF, from 1 on; None is the first, and tells of others
    confidence: str | None = None  # where the network's confidence goes, if that is wanted

    @property
    def files(self) -> tuple[str, ...]:
        """All that is written."""
        named = [target for target in self.targets if target != STDIN]
        return (*named, *([self.confidence] if self.confidence else []))


class Rules(NamedTuple):
    """How results are named.

    Attributes:
      output: a folder, or a file (`is_file`), or STDIN; None for beside the photo.
      format: suffix without the dot; None for the photo's own.
      results: how many results a photo has.
      mark: what follows the photo's name in that of a result.
      replace: results go into the place of their photos.
      pages: which pages of a TIFF are meant: `first`, `all`, or a number from 1 on.
      confidence: whether the network's confidence is written too.
    """

    output: str | None = None
    format: str | None = None
    results: int = 1
    mark: str = MARK
    replace: bool = False
    pages: str = "first"
    confidence: bool = False


def jobs_of(found: Sequence[Found], rules: Rules) -> list[Job]:
    """The photos with the names of their results, of which no two are the same.

    A photo whose results would have the names of another's, as of the same name in another format
    or folder, has them with a number: a_color.png and a_2_color.png.
    """
    taken: set[str] = set()
    jobs = []
    meant = [(one, page) for one in found for page in pages_of(one.source, rules.pages)]
    for one, page in meant:
        for number in numbers(1):
            targets = target_names(one, rules, number, page)
            format = rules.format or ("png" if STDIN in targets else None)
            job = Job(one.source, targets, format, page)
            if rules.confidence:
                (only,) = target_names(one, rules._replace(results=1), number, page)
                path = Path(only)
                job = job._replace(confidence=str(path.with_name(f"{path.stem}_confidence.png")))
            places = {_place(file) for file in job.files}
            if not places & taken:
                break
        taken |= places
        jobs.append(job)
    return jobs


def pages_of(source: str, pages: str) -> list[int | None]:
    """The pages of a photo that are meant: `all` of a TIFF, the `first`, or that of a number.

    A stream is read once, when it is coloured: whether it has the page of a number is told then,
    and not `all` of it can be meant.
    """
    if pages == "first":
        return [None]
    if is_stream(source):
        return [int(pages)]
    count = scan.count_pages(source)
    if pages != "all" and count:
        return [int(pages)]
    return list(range(1, count + 1)) if count > 1 else [None]


def _place(target: str) -> str:
    # On many file systems A.jpg and a.jpg are one file.
    return os.path.abspath(target).casefold()


def target_names(
    found: Found, rules: Rules, number: int = 1, page: int | None = None
) -> tuple[str, ...]:
    """Where the results of a photo go.

    Beside the photo, or into the output folder in the same place below it, under the photo's name
    with the mark and, of several, a number. A photo of a format that is not written becomes .png.

    Args:
      found: the photo.
      rules: how results are named.
      number: of the photo among those of one name; the first has none in its results' names.
      page: of the photo, which is in the names, unless a name was given for that page alone.
    """
    output, several = rules.output, rules.results > 1
    counts = [f"_{i + 1}" for i in range(rules.results)] if several else [""]
    stream = is_stream(found.source)
    if output == STDIN or (output is None and stream):
        return (STDIN,) * rules.results
    if rules.replace:
        return (os.path.realpath(found.source),)
    of_page = "" if page is None else f"_page{page}"
    if output is not None and is_file(output):
        path = Path(output)
        stem = path.stem + (of_page if rules.pages == "all" else "")
        return tuple(str(path.with_name(f"{stem}{n}{path.suffix}")) for n in counts)
    source = Path("stdin.png" if stream else found.source)
    suffix = written_suffix(source, rules.format)
    folder = source.parent if output is None else Path(output) / found.folder
    stem = source.stem + of_page + ("" if number == 1 else f"_{number}")
    return tuple(str(folder / f"{stem}{rules.mark}{n}{suffix}") for n in counts)


def written_suffix(source: PurePath, format: str | None) -> str:
    """The suffix of a photo's result: of the format, the photo's own, or .png for what is none."""
    suffix = f".{format}" if format else source.suffix
    return suffix if suffix.lower() in writing.SUFFIXES else ".png"


def is_file(output: str) -> bool:
    """Whether `--output` names one file, and not a folder.

    A folder that is not there yet may have a dot in its name, but no letters alone after it, unless
    the name ends with a slash.

    Raises:
      UserError: the name is that of a file, but of none that is written.
    """
    suffix = Path(output).suffix.lower()
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    if suffix in writing.SUFFIXES:
        return True
    if suffix in PHOTO_SUFFIXES or (suffix[1:].isalpha() and len(suffix) <= 5):
        *others, last = writing.SUFFIXES
        raise UserError(
            f"{output}: results are written as {', '.join(others)} or {last}, not {suffix!r}; of a "
            f"folder want {output}/"
        )
    return False


def check_targets(
    jobs: Sequence[Job], *, overwrite: bool, skip_existing: bool
) -> tuple[list[Job], list[str], list[tuple[str, str]]]:
    """Looks before the work begins whether results would take the place of something.

    Returns:
      The jobs to do; the sources of those that are left out, as their results are there; sources
      and sentences of those whose results would replace a file.
    """
    todo, skipped, faults = [], [], []
    photos = {os.path.realpath(job.source) for job in jobs if not is_stream(job.source)}
    for job in jobs:
        there = [t for t in job.files if os.path.lexists(t)]
        own = [t for t in there if os.path.realpath(t) == os.path.realpath(job.source)]
        if own and not is_stream(job.source):
            fault = f"{job.source}: would replace itself; --replace keeps the original as .orig"
            faults.append((job.source, fault))
        elif there and skip_existing:
            skipped.append(job.source)
        elif there and not overwrite:
            fault = (
                f"{job.source}: {there[0]} is there already; "
                "--overwrite replaces it, --skip-existing leaves the photo out"
            )
            faults.append((job.source, fault))
        elif others := [t for t in there if os.path.realpath(t) in photos]:
            faults.append((job.source, f"{job.source}: would replace the photo {others[0]}"))
        else:
            todo.append(job)
    return todo, skipped, faults


def check_replaced(
    jobs: Sequence[Job], *, keep_original: bool = True
) -> tuple[list[Job], list[tuple[str, str]]]:
    """The jobs whose results can replace their photos; sources and sentences of the others."""
    todo, faults = [], []
    for job in jobs:
        if fault := _why_not_replaced(job.source, keep_original):
            faults.append((job.source, f"{job.source}: {fault}"))
        else:
            todo.append(job)
    return todo, faults


def _why_not_replaced(source: str, keep_original: bool) -> str:
    suffix = Path(source).suffix
    if suffix.lower() not in writing.SUFFIXES:
        return f"no {suffix!r} is written, so that it cannot be replaced"
    # A result has one, and no others are to be had once the original is gone.
    count = 1 if keep_original else count_pictures(source)
    if count > 1:
        return (
            f"has {count} pages or frames, of which one would be left; want it without "
            "--discard-original, which keeps the file as .orig"
        )
    return ""


def count_pictures(source: str) -> int:
    """How many pages or frames a file has, thumbnails not counted; 1 for what cannot be read."""
    if pages := scan.count_pages(source):
        return pages
    try:
        with image_io.opened(source, wanted=photo.FORMATS) as image:
            return photo.count_frames(image)
    except UserError:
        return 1
