"""Names the files of results, and checks that none replaces another file."""

import os
from collections.abc import Sequence
from itertools import count as numbers
from pathlib import Path, PurePath
from typing import NamedTuple

from colorjax.coloring.folders.finding import STDIN, Found, is_stream
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, scan, writing
from colorjax.pictures.formats import PHOTO_SUFFIXES

MARK = "_color"  # default mark in the name of a result


class Job(NamedTuple):
    """A photo and the targets of its results, one for each of the settings."""

    source: str
    targets: tuple[str, ...]  # paths, or STDIN for the standard output
    format: str | None  # suffix of the format; None if the path has it
    page: int | None = None  # of a TIFF, from 1 on; None is the first, with a notice about others
    confidence: str | None = None  # path of the confidence map, if it is wanted
    existing: tuple[str, ...] = ()  # targets that exist and are left as they are

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the targets and of the confidence map."""
        paths = [target for target in self.targets if target != STDIN]
        return (*paths, *([self.confidence] if self.confidence else []))


class Rules(NamedTuple):
    """How results are named.

    Attributes:
      output: a folder, a file (`is_file`), or STDIN for the standard output; None for the photo's
        own folder.
      format: suffix without the dot; None for the photo's own format.
      results: number of results per photo.
      mark: follows the photo's name in the name of a result.
      replace: results replace their photos.
      pages: pages of a TIFF to colour: `first`, `all`, or a number from 1 on.
      confidence: whether the confidence map is written too.
    """

    output: str | None = None
    format: str | None = None
    results: int = 1
    mark: str = MARK
    replace: bool = False
    pages: str = "first"
    confidence: bool = False


def jobs_of(found: Sequence[Found], rules: Rules) -> list[Job]:
    """Returns the jobs of photos, with distinct names for all results.

    If two photos would have results of the same name, such as photos of the same name in different
    formats or folders, the later one's get a number: a_color.png and a_2_color.png.
    """
    used: set[str] = set()
    jobs = []
    photos = [(one, page) for one in found for page in pages_of(one.source, rules.pages)]
    for one, page in photos:
        for number in numbers(1):
            targets = target_names(one, rules, number, page)
            format = rules.format or ("png" if STDIN in targets else None)
            job = Job(one.source, targets, format, page)
            if rules.confidence:
                (target,) = target_names(one, rules._replace(results=1), number, page)
                path = Path(target)
                job = job._replace(confidence=str(path.with_name(f"{path.stem}_confidence.png")))
            names = {_normalized(file) for file in job.files}
            if not names & used:
                break
        used |= names
        jobs.append(job)
    return jobs


def pages_of(source: str, pages: str) -> list[int | None]:
    """Returns the pages of a photo to colour: `all` of a TIFF, the `first`, or a page number.

    A stream can be read only once, when it is coloured. `all` is thus not possible for a stream,
    and a page number is checked when it is read.
    """
    if pages == "first":
        return [None]
    if is_stream(source):
        return [int(pages)]
    count = scan.count_pages(source)
    if pages != "all" and count:
        return [int(pages)]
    return list(range(1, count + 1)) if count > 1 else [None]


def _normalized(target: str) -> str:
    # On many file systems A.jpg and a.jpg are one file.
    return os.path.abspath(target).casefold()


def target_names(
    found: Found, rules: Rules, number: int = 1, page: int | None = None
) -> tuple[str, ...]:
    """Returns the paths of a photo's results.

    They are in the photo's folder, or in the same relative folder below the output folder. Their
    name is the photo's, the mark and, if there are several results, a number. A photo in a format
    that is not supported for writing becomes .png.

    Args:
      found: the photo.
      rules: how results are named.
      number: number among photos of the same name; it is part of the names, except for 1.
      page: page of the photo; it is part of the names, unless `rules` name a file for this page
        alone.
    """
    output, several = rules.output, rules.results > 1
    counts = [f"_{i + 1}" for i in range(rules.results)] if several else [""]
    stream = is_stream(found.source)
    if output == STDIN or (output is None and stream):
        return (STDIN,) * rules.results
    if rules.replace:
        return (os.path.realpath(found.source),)
    page_mark = "" if page is None else f"_page{page}"
    if output is not None and is_file(output):
        path = Path(output)
        stem = path.stem + (page_mark if rules.pages == "all" else "")
        return tuple(str(path.with_name(f"{stem}{n}{path.suffix}")) for n in counts)
    source = Path("stdin.png" if stream else found.source)
    suffix = written_suffix(source, rules.format)
    folder = source.parent if output is None else Path(output) / found.folder
    stem = source.stem + page_mark + ("" if number == 1 else f"_{number}")
    return tuple(str(folder / f"{stem}{rules.mark}{n}{suffix}") for n in counts)


def written_suffix(source: PurePath, format: str | None) -> str:
    """Returns the suffix of a result: the format's, the photo's own if writable, or else .png."""
    suffix = f".{format}" if format else source.suffix
    return suffix if suffix.lower() in writing.SUFFIXES else ".png"


def is_file(output: str) -> bool:
    """Returns whether `--output` names a file and not a folder.

    The name of a folder that does not exist yet may contain a dot. If only one to four letters
    follow the dot, it must end with a slash, or it is taken for a file.

    Raises:
      UserError: it names a file of a format that is not supported for writing.
    """
    suffix = Path(output).suffix.lower()
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    if suffix in writing.SUFFIXES:
        return True
    if suffix in PHOTO_SUFFIXES or (suffix[1:].isalpha() and len(suffix) <= 5):
        *others, last = writing.SUFFIXES
        raise UserError(
            f"{output}: results are written as {', '.join(others)} or {last}, not {suffix!r}; for "
            f"a folder want {output}/"
        )
    return False


def check_targets(
    jobs: Sequence[Job], *, overwrite: bool, skip_existing: bool
) -> tuple[list[Job], list[str], list[tuple[str, str]]]:
    """Checks, before the work starts, whether results would replace existing files.

    With `skip_existing`, a job is skipped only if all its files exist. A job of which only some
    exist, as after an interruption, is run and leaves these as they are.

    Returns:
      The jobs to run; the sources of jobs that are skipped because their results exist; and
      (source, error message) of jobs whose results would replace a file.
    """
    todo, skipped, faults = [], [], []
    photos = {os.path.realpath(job.source) for job in jobs if not is_stream(job.source)}
    for job in jobs:
        existing = [t for t in job.files if os.path.lexists(t)]
        all_exist = len(existing) == len(job.files)
        own = [t for t in existing if os.path.realpath(t) == os.path.realpath(job.source)]
        if own and not is_stream(job.source):
            fault = f"{job.source}: would replace itself; --replace keeps the original as .orig"
            faults.append((job.source, fault))
        elif existing and skip_existing and all_exist:
            skipped.append(job.source)
        elif existing and skip_existing:
            todo.append(_without(job, existing))
        elif existing and not overwrite:
            effect = "skips the photo" if all_exist else "writes only what is missing"
            fault = (
                f"{job.source}: {existing[0]} exists already; --overwrite replaces it, "
                f"--skip-existing {effect}"
            )
            faults.append((job.source, fault))
        elif others := [t for t in existing if os.path.realpath(t) in photos]:
            faults.append((job.source, f"{job.source}: would replace the photo {others[0]}"))
        else:
            todo.append(job)
    return todo, skipped, faults


def _without(job: Job, existing: Sequence[str]) -> Job:
    """Returns a job that leaves existing files as they are."""
    confidence = None if job.confidence in existing else job.confidence
    return job._replace(existing=tuple(existing), confidence=confidence)


def check_replaced(
    jobs: Sequence[Job], *, keep_original: bool = True
) -> tuple[list[Job], list[tuple[str, str]]]:
    """Returns jobs whose results can replace their photos; (source, message) of the others."""
    todo, faults = [], []
    for job in jobs:
        if fault := _replacement_fault(job.source, keep_original):
            faults.append((job.source, f"{job.source}: {fault}"))
        else:
            todo.append(job)
    return todo, faults


def _replacement_fault(source: str, keep_original: bool) -> str:
    """Returns why a result cannot replace its photo, or an empty string."""
    suffix = Path(source).suffix
    if suffix.lower() not in writing.SUFFIXES:
        return f"cannot be replaced, as {suffix!r} files cannot be written"
    # A result has only one picture; the others would be lost with the original.
    count = 1 if keep_original else count_pictures(source)
    if count > 1:
        return (
            f"has {count} pages or frames, of which one would be left; want it without "
            "--discard-original, which keeps the file as .orig"
        )
    return ""


def count_pictures(source: str) -> int:
    """Counts the pages or frames of a file, without thumbnails; 1 if it cannot be read."""
    if pages := scan.count_pages(source):
        return pages
    try:
        with image_io.open_image(source, wanted=photo.FORMATS) as image:
            return photo.count_frames(image)
    except UserError:
        return 1
