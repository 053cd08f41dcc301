"""Reads, colours and writes many photographs, several of them concurrently."""

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import numpy as np

from colorjax.coloring import confidence
from colorjax.coloring.colorize import Painter, colorings
from colorjax.coloring.folders.compare import Arrange
from colorjax.coloring.folders.finding import STDIN, path_or_bytes
from colorjax.coloring.folders.naming import Job
from colorjax.coloring.network import memory
from colorjax.coloring.prefetch import prefetched
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import files, image_io, photo, tint, writing
from colorjax.pictures.metadata import Metadata
from colorjax.pictures.photo import Photo

ORIGINAL_SUFFIX = ".orig"  # appended to the name of an original that its result replaces
# Photos read ahead; most photos in a group, and pixels at which a group is closed.
READ_AHEAD, GROUP_SIZE, GROUP_PIXELS = 2, 16, 32_000_000


class Outcome(NamedTuple):
    """The outcome of one job."""

    source: str
    targets: tuple[str, ...] = ()
    fault: str = ""  # the error message if it failed
    notices: tuple[str, ...] = ()
    in_colour: bool = False  # the photo has colours
    skipped: bool = False  # not coloured, because it has colours


class ReadOptions(NamedTuple):
    """How photos are read.

    Attributes:
      allow_truncated: read the available part of truncated files.
      max_side: photos with a longer side are reduced to this many pixels, and lose their
        transparency.
      skip_colour: skip photos that have colours.
      bits: most bits per channel, 8 or 16. A 16-bit photo is coloured in 8 bits if the format of
        its result has no more.
      load: returns the path or content of a source, and its name in messages; for sources that are
        not local files.
    """

    allow_truncated: bool = False
    max_side: int | None = None
    skip_colour: bool = False
    bits: int = 16
    load: Callable[[str], tuple[str | bytes, str | None]] | None = None


class WriteOptions(NamedTuple):
    """How results are written.

    Attributes:
      overwrite: whether existing files are replaced.
      quality: of JPEG and WebP, from 1 to 100.
      keep_original: a file that is replaced by its own result is kept, with `.orig` appended to its
        name.
      store: called as store(target, rgb, photo, quality), writes a result and returns notices; for
        targets that are not local files.
    """

    overwrite: bool = True
    quality: int = writing.QUALITY
    keep_original: bool = True
    store: Callable[[str, np.ndarray, Photo, int], tuple[str, ...]] | None = None


DEFAULT_READ_OPTIONS, DEFAULT_WRITE_OPTIONS = ReadOptions(), WriteOptions()


def run(
    painter: Painter,
    jobs: Sequence[Job],
    settings: Sequence[ColorSettings],
    *,
    read_options: ReadOptions = DEFAULT_READ_OPTIONS,
    write_options: WriteOptions = DEFAULT_WRITE_OPTIONS,
    arrange: Arrange | None = None,
) -> Generator[Outcome, None, None]:
    """Colours photos and writes their results; yields an outcome as soon as a photo is done.

    Reading, colouring and writing run concurrently. An error in one photo does not affect the
    others. Files are written atomically: an interruption leaves no partial files.

    Args:
      painter: from `colorize.open_painter`.
      jobs: the photos.
      settings: the settings of each photo's results, in the order of `Job.targets`.
      read_options: how photos are read.
      write_options: how results are written.
      arrange: makes the pictures that are written from a photo and its results. They may have
        another size, and are written in 8 bits, without transparency, and with the colour profile
        as their only metadata.
    """
    if arrange is not None or read_options.max_side is not None:
        read_options = read_options._replace(bits=8)
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
        reads = prefetched(readers, jobs, lambda job: _read(job, read_options), READ_AHEAD)
        for group in _groups(reads):
            yield from (one for _, one in group if isinstance(one, Outcome))
            photos = [(job, one) for job, one in group if isinstance(one, Photo)]
            # Drops the references, so that memory holds only photos in progress.
            group.clear()
            yield from _color_group(painter, photos, settings, writers, write_options, arrange)
            memory.trim()


def _color_group(
    painter: Painter,
    photos: list[tuple[Job, Photo]],
    settings: Sequence[ColorSettings],
    writers: ThreadPoolExecutor,
    write_options: WriteOptions,
    arrange: Arrange | None,
) -> Iterator[Outcome]:
    """Colours the photos of a group and has them written; empties the list of photos."""
    writes: list[Future] = []
    if any(job.confidence for job, _ in photos):
        confidence.check_confidence(painter)
    for i, analysis, results in colorings(painter, [one.rgb for _, one in photos], settings):
        job, one = photos[i]
        if arrange is not None:
            results = arrange(one.rgb, results)
            # The other metadata describes the photograph's pixels, not those of the arrangement.
            metadata = Metadata(icc_profile=one.metadata.icc_profile)
            one = one._replace(alpha=None, metadata=metadata)
        confidence_map = (
            confidence.of_analysis(painter, analysis, one.rgb) if job.confidence else None
        )
        job, results = _missing(job, results)
        writes.append(writers.submit(_write, job, one, results, write_options, confidence_map))
        # Limits memory to the results of two photos.
        if len(writes) > 1:
            yield writes.pop(0).result()
    photos.clear()
    yield from (write.result() for write in writes)


def _missing(job: Job, results: Sequence[np.ndarray]) -> tuple[Job, list[np.ndarray]]:
    """Returns a job and its results without the targets that exist and are left as they are."""
    pairs = zip(job.targets, results, strict=True)
    missing = [(target, rgb) for target, rgb in pairs if target not in job.existing]
    return job._replace(targets=tuple(target for target, _ in missing)), [rgb for _, rgb in missing]


def _read(job: Job, read_options: ReadOptions) -> Photo | Outcome:
    """Reads the photo of a job; returns its outcome instead if it is skipped or cannot be read."""
    is_deep = any(writing.holds_16_bits(target, job.format) for target in job.targets)
    try:
        source, name = (read_options.load or _load)(job.source)
        one = photo.read_photo(
            source,
            allow_truncated=read_options.allow_truncated,
            name=name,
            bits=read_options.bits if is_deep else 8,
            page=job.page,
        )
    except UserError as error:
        return Outcome(job.source, fault=str(error))
    if read_options.skip_colour and tint.has_colours(one.rgb):
        return Outcome(job.source, in_colour=True, skipped=True)
    if read_options.max_side is not None and max(one.rgb.shape) > read_options.max_side:
        one = one._replace(rgb=image_io.fitted(one.rgb, read_options.max_side), alpha=None)
    return one


def _load(source: str) -> tuple[str | bytes, str | None]:
    """Returns the path or content of a source, and its name in messages (None for a path).

    Raises:
      UserError: the source is a pipe or device and cannot be read.
    """
    if source == STDIN:
        if sys.stdin is None:
            raise UserError("standard input: is closed, want a photo in it")
        return sys.stdin.buffer.read(), "standard input"
    content = path_or_bytes(source)
    return content, source if isinstance(content, bytes) else None


def _write(
    job: Job,
    one: Photo,
    results: Sequence[np.ndarray],
    options: WriteOptions,
    confidence_map: np.ndarray | None,
) -> Outcome:
    """Writes the results of a photo, and its confidence map if there is one."""
    notices = list(one.notices)
    one = photo.marked(one)
    writes: dict[str, Callable[[], tuple[str, ...]]] = {
        target: functools.partial(_write_result, job, target, rgb, one, options)
        for target, rgb in zip(job.targets, results, strict=True)
    }
    if confidence_map is not None and job.confidence is not None:
        writes[job.confidence] = functools.partial(
            confidence.write, job.confidence, confidence_map, overwrite=options.overwrite
        )
    for target, write in writes.items():
        try:
            notices += write()
        except UserError as error:
            return Outcome(job.source, fault=str(error), notices=tuple(notices))
        except OSError as error:
            fault = f"{target}: cannot be written: {error.strerror or error}"
            return Outcome(job.source, fault=fault, notices=tuple(notices))
        # Whatever the cause, the other photos of the batch are still written.
        except Exception as error:
            reason = f"{type(error).__name__}: {image_io.reason_of(error)}"
            fault = f"{target}: cannot be written: {reason}"
            return Outcome(job.source, fault=fault, notices=tuple(notices))
    return Outcome(
        job.source, tuple(writes), notices=tuple(notices), in_colour=tint.has_colours(one.rgb)
    )


def _write_result(
    job: Job, target: str, rgb: np.ndarray, one: Photo, options: WriteOptions
) -> tuple[str, ...]:
    """Writes one result; returns notices of what the format could not keep."""
    if options.store is not None:
        return options.store(target, rgb, one, options.quality)
    write = functools.partial(
        writing.write_photo, rgb=rgb, photo=one, format=job.format, quality=options.quality
    )
    if target == STDIN:
        stdout: BinaryIO = sys.stdout.buffer
        return write(stdout)
    if target == os.path.realpath(job.source):
        with _kept_original(target) if options.keep_original else contextlib.nullcontext():
            return write(target)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    return write(target, overwrite=options.overwrite)


@contextlib.contextmanager
def _kept_original(path: str) -> Iterator[None]:
    """Copies a file that the block replaces; if the block fails, the copy is deleted again."""
    copy = path + ORIGINAL_SUFFIX
    try:
        with files.atomic_write(copy, overwrite=False) as temporary:
            shutil.copy2(path, temporary)
    except FileExistsError as error:
        raise UserError(f"{path}: {copy} exists already, from an earlier --replace") from error
    try:
        yield
    except BaseException:
        os.unlink(copy)
        raise


def _groups(
    reads: Iterator[tuple[Job, Photo | Outcome]],
) -> Iterator[list[tuple[Job, Photo | Outcome]]]:
    """Yields groups of photos that are coloured together: many small ones, or one large one."""
    group, pixels = [], 0
    for job, one in reads:
        group.append((job, one))
        pixels += one.rgb.size // 3 if isinstance(one, Photo) else 0
        if len(group) == GROUP_SIZE or pixels >= GROUP_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group
