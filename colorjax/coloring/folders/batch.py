"""The work on many photographs: read, coloured and written, several of them at a time."""

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
from colorjax.coloring.folders.finding import STDIN, opened
from colorjax.coloring.folders.naming import Job
from colorjax.coloring.network import memory
from colorjax.coloring.prefetch import prefetched
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import files, image_io, mark, photo, tint, writing
from colorjax.pictures.metadata import Metadata
from colorjax.pictures.photo import Photo

KEPT = ".orig"  # after the name of an original whose place its result has taken
# Photos are read ahead, and taken together, up to so many and so many pixels.
AHEAD, TOGETHER, TOGETHER_PIXELS = 2, 16, 32_000_000


class Outcome(NamedTuple):
    """What became of a photo."""

    source: str
    targets: tuple[str, ...] = ()
    fault: str = ""  # the sentence, where it failed
    notices: tuple[str, ...] = ()
    in_colour: bool = False  # the photo has colours of its own
    left_out: bool = False  # for that reason


class Reading(NamedTuple):
    """How photos are read.

    Attributes:
      allow_truncated: take what there is of files that were cut short.
      most_side: larger photos are made this small in pixels, and lose their transparency.
      skip_colour: leave out photos that have colours.
      bits: most bits a channel, 8 or 16; a photo of 16 is coloured in 8 where the format of its
        result has no more.
      opened: gives what is to be read of a source, and what messages call it; for those that are
        no files of this machine.
    """

    allow_truncated: bool = False
    most_side: int | None = None
    skip_colour: bool = False
    bits: int = 16
    opened: Callable[[str], tuple[str | bytes, str | None]] | None = None


class Writing(NamedTuple):
    """How results are written.

    Attributes:
      overwrite: whether files that are there are replaced.
      quality: of JPEG and WebP, from 1 to 100.
      keep_original: a file that is replaced by its own result stays, with `.orig` after its name.
      placed: writes the picture of a target with the quality, and gives notices; for targets that
        are no files of this machine.
    """

    overwrite: bool = True
    quality: int = writing.QUALITY
    keep_original: bool = True
    placed: Callable[[str, np.ndarray, Photo, int], tuple[str, ...]] | None = None


AS_THEY_ARE, AS_USUAL = Reading(), Writing()


def run(
    painter: Painter,
    jobs: Sequence[Job],
    settings: Sequence[Settings],
    *,
    reading: Reading = AS_THEY_ARE,
    how: Writing = AS_USUAL,
    arrange: Arrange | None = None,
) -> Generator[Outcome, None, None]:
    """Colours photos and writes them, telling of each as soon as it is done.

    Reading, colouring and writing go on at the same time. What is wrong with one photo does not
    concern the others, and a file is there whole or not at all, however the work ends.

    Args:
      painter: from `colorize.open_painter`.
      jobs: the photos.
      settings: of the results of each.
      reading: how photos are read.
      how: how results are written.
      arrange: makes the pictures that are written of a photo and its results; they may be of
        another size, and are written in 8 bits, without transparency and of the metadata with
        the profile alone.
    """
    if arrange is not None or reading.most_side is not None:
        reading = reading._replace(bits=8)
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
        for chunk in _in_groups(prefetched(readers, jobs, lambda job: _read(job, reading), AHEAD)):
            yield from (one for _, one in chunk if isinstance(one, Outcome))
            good = [(job, one) for job, one in chunk if isinstance(one, Photo)]
            # Memory holds no photos but those that are worked on.
            chunk.clear()
            yield from _coloured(painter, good, settings, writers, how, arrange)
            memory.give_back()


def _coloured(
    painter: Painter,
    good: list[tuple[Job, Photo]],
    settings: Sequence[Settings],
    writers: ThreadPoolExecutor,
    how: Writing,
    arrange: Arrange | None,
) -> Iterator[Outcome]:
    writes: list[Future] = []
    if any(job.confidence for job, _ in good):
        confidence.check_confidence(painter)
    for i, seen, results in colorings(painter, [one.rgb for _, one in good], settings):
        job, one = good[i]
        if arrange is not None:
            results = arrange(one.rgb, results)
            # What describes the photograph's pixels is not true of theirs.
            kept = Metadata(icc_profile=one.metadata.icc_profile)
            one = one._replace(alpha=None, metadata=kept)
        sure = confidence.of_seen(painter, seen, one.rgb) if job.confidence else None
        writes.append(writers.submit(_write, job, one, results, how, sure))
        # Memory holds the results of two photos, and no more.
        if len(writes) > 1:
            yield writes.pop(0).result()
    good.clear()
    yield from (write.result() for write in writes)


def _read(job: Job, reading: Reading) -> Photo | Outcome:
    """The photo, or what became of it where there is none to colour."""
    is_deep = any(writing.holds_16_bits(target, job.format) for target in job.targets)
    try:
        source, name = (reading.opened or _opened)(job.source)
        one = photo.read_photo(
            source,
            allow_truncated=reading.allow_truncated,
            name=name,
            bits=reading.bits if is_deep else 8,
            page=job.page,
        )
    except UserError as error:
        return Outcome(job.source, fault=str(error))
    if reading.skip_colour and tint.has_colours(one.rgb):
        return Outcome(job.source, in_colour=True, left_out=True)
    if reading.most_side is not None and max(one.rgb.shape) > reading.most_side:
        one = one._replace(rgb=image_io.fitted(one.rgb, reading.most_side), alpha=None)
    return one


def _opened(source: str) -> tuple[str | bytes, str | None]:
    """What is to be read, and what messages call it."""
    if source == STDIN:
        return sys.stdin.buffer.read(), "standard input"
    content = opened(source)
    return content, source if isinstance(content, bytes) else None


def _write(
    job: Job, one: Photo, results: Sequence[np.ndarray], how: Writing, sure: np.ndarray | None
) -> Outcome:
    notices = list(one.notices)
    metadata = one.metadata._replace(xmp=mark.marked(one.metadata.xmp))
    one = one._replace(metadata=metadata)
    writes: dict[str, Callable[[], tuple[str, ...]]] = {
        target: functools.partial(_placed, job, target, rgb, one, how)
        for target, rgb in zip(job.targets, results, strict=True)
    }
    if sure is not None and job.confidence is not None:
        writes[job.confidence] = functools.partial(
            confidence.write, job.confidence, sure, overwrite=how.overwrite
        )
    for target, write in writes.items():
        try:
            notices += write()
        except UserError as error:
            return Outcome(job.source, fault=str(error), notices=tuple(notices))
        except OSError as error:
            fault = f"{target}: cannot be written: {error.strerror or error}"
            return Outcome(job.source, fault=fault, notices=tuple(notices))
    return Outcome(
        job.source, tuple(writes), notices=tuple(notices), in_colour=tint.has_colours(one.rgb)
    )


def _placed(job: Job, target: str, rgb: np.ndarray, one: Photo, how: Writing) -> tuple[str, ...]:
    """Writes one result; notices of what the format could not keep."""
    if how.placed is not None:
        return how.placed(target, rgb, one, how.quality)
    write = functools.partial(
        writing.write_photo, rgb=rgb, photo=one, format=job.format, quality=how.quality
    )
    if target == STDIN:
        stdout: BinaryIO = sys.stdout.buffer
        return write(stdout)
    if target == os.path.realpath(job.source):
        with _kept(target) if how.keep_original else contextlib.nullcontext():
            return write(target)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    return write(target, overwrite=how.overwrite)


@contextlib.contextmanager
def _kept(path: str) -> Iterator[None]:
    """Keeps a file under another name while the block replaces it, and after, unless it fails."""
    kept = path + KEPT
    try:
        with files.atomic_write(kept, overwrite=False) as aside:
            shutil.copy2(path, aside)
    except FileExistsError as error:
        raise UserError(f"{path}: {kept} is there already, from an earlier --replace") from error
    try:
        yield
    except BaseException:
        os.unlink(kept)
        raise


def _in_groups(
    reads: Iterator[tuple[Job, Photo | Outcome]],
) -> Iterator[list[tuple[Job, Photo | Outcome]]]:
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
