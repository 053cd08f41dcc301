"""Colours the files of an archive that it is told of: one of as many workers as there are."""

import functools
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from colorjax.coloring.archive.log import DONE, FAILED, SKIPPED, Row, now
from colorjax.coloring.archive.remaining import result_of
from colorjax.coloring.archive.source import Source, open_source
from colorjax.coloring.archive.store import Store, open_store
from colorjax.errors import UserError
from colorjax.pictures.image_io import reason_of

EARLIER = "its result was there already, from an attempt that was cut short"
OURS = "is a result of colorjax itself"
IN_COLOUR = "has colours of its own"


class Order(NamedTuple):
    """What a worker is told, which goes to other machines: texts and numbers alone.

    Attributes:
      source, column, root: as in `source.open_source`.
      target: a folder or a URI.
      mark, format: how results are named, as in `naming.Rules`.
      quality, bits, allow_truncated, skip_colour: as in `batch.Writing` and `batch.Reading`.
      model, size, device: as in `Colorizer`.
      settings: those of `Colorizer.colorize`.
      threads: most that the network computes with on a CPU; as many as there are cores for None.
    """

    source: str
    target: str
    column: str = "path"
    root: str | None = None
    mark: str = "_color"
    format: str | None = None
    quality: int = 95
    bits: int = 16
    allow_truncated: bool = False
    skip_colour: bool = False
    model: str | None = None
    size: int | None = None
    device: str | None = None
    settings: dict[str, Any] = {}
    threads: int | None = None

    def named(self, place: PurePosixPath) -> str:
        """The result of a place, below the target."""
        return result_of(place, self.mark, self.format)


def open_worker(order: Order) -> Callable[[Sequence[str]], Iterator[Row]]:
    """Loads the network; what it gives colours files, and gives a row of each when it is done.

    Raises:
      UserError: there is no such model or device, or a setting is wrong.
    """
    if order.threads is not None:
        # XLA asks once, when it starts, and would take a thread for each core of the machine.
        os.environ["NPROC"] = str(order.threads)
    import jax

    from colorjax.coloring.api import Colorizer
    from colorjax.coloring.folders import batch
    from colorjax.coloring.settings import Settings, check_settings

    colorizer = Colorizer(order.model, size=order.size, device=order.device)
    painter, settings = colorizer._painter, Settings(**order.settings)
    check_settings(settings, painter.network)

    # The process is this worker's alone.
    jax.config.update("jax_default_device", colorizer._device)

    def colorize(jobs: Sequence[Any], **how: Any) -> Iterator[Any]:
        return batch.run(painter, jobs, [settings], **how)

    source = open_source(order.source, column=order.column, root=order.root)
    return functools.partial(rows, order, source, open_store(order.target), colorize)


def rows(
    order: Order, source: Source, target: Store, colorize: Callable, paths: Sequence[str]
) -> Iterator[Row]:
    """Colours photographs; whatever is wrong with one is its row, and not an end.

    Args:
      order: how.
      source, target: where they are, and where results go.
      colorize: `batch.run` with its network and settings.
      paths: photographs whose results were not there when this run began, each once.
    """
    from colorjax.coloring.folders.naming import Job

    jobs = []
    for path in paths:
        try:
            result = order.named(source.place(path))
            if target.is_there(result):
                yield now(Row(path, DONE, EARLIER, result=result))
            else:
                jobs.append(Job(path, (result,), None))
        except (UserError, OSError) as error:
            yield now(Row(path, FAILED, f"{path}: {reason_of(error)}"))
    yield from _each(functools.partial(_timed, order, source, target, colorize), jobs)


def _each(run: Callable[[Sequence[Any]], Iterator[Row]], jobs: Sequence[Any]) -> Iterator[Row]:
    """A row of each job; after a defect those that have none yet are tried one by one."""
    left = {job.source: job for job in jobs}
    try:
        for row in run(jobs):
            del left[row.path]
            yield row
    except Exception as error:
        for path, job in left.items():
            if len(jobs) > 1:
                yield from _each(run, [job])
            else:
                what = f"{type(error).__name__}: {reason_of(error)}"
                yield now(Row(path, FAILED, f"{path}: cannot be coloured: {what}"))


def _timed(
    order: Order, source: Source, target: Store, colorize: Callable, jobs: Sequence[Any]
) -> Iterator[Row]:
    from colorjax.coloring.folders import batch
    from colorjax.pictures import mark

    sizes: dict[str, int] = {}

    def opened(path: str) -> tuple[bytes, str]:
        try:
            data = source.read(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error
        sizes[path] = len(data)
        if mark.is_marked_data(data):
            raise UserError(f"{path}: {OURS}")
        return data, path

    reading = batch.Reading(
        order.allow_truncated, None, order.skip_colour, order.bits, opened=opened
    )
    how = batch.Writing(quality=order.quality, placed=functools.partial(_placed, target))
    start = time.monotonic()
    for outcome in colorize(jobs, reading=reading, how=how):
        seconds = time.monotonic() - start
        yield now(_row(outcome)._replace(seconds=seconds, size=sizes.get(outcome.source, 0)))
        start = time.monotonic()


def _row(outcome: Any) -> Row:
    if outcome.left_out:
        return Row(outcome.source, SKIPPED, IN_COLOUR)
    if outcome.fault == f"{outcome.source}: {OURS}":
        return Row(outcome.source, SKIPPED, OURS)
    if outcome.fault:
        return Row(outcome.source, FAILED, outcome.fault)
    return Row(outcome.source, DONE, "; ".join(outcome.notices), result=outcome.targets[0])


class _Named(io.BytesIO):
    """Bytes of a file to be, which messages call by its name."""

    name = ""


def _placed(target: Store, path: str, rgb: Any, photo: Any, quality: int) -> tuple[str, ...]:
    """Writes one result, whole or not at all; notices of what could not be kept."""
    from colorjax.pictures import writing

    data = _Named()
    data.name = path
    suffix = PurePosixPath(path).suffix
    notices = writing.write_photo(data, rgb, photo, format=suffix, quality=quality)
    # Of two workers that had the same photograph, as where one was given up too early.
    return notices if target.put(path, data.getvalue()) else (*notices, EARLIER)
