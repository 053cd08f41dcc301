"""The worker: colours the files of an archive that it is given; several may run at once."""

import functools
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from colorjax.coloring.archive.log import DONE, FAILED, SKIPPED, Row, timestamped
from colorjax.coloring.archive.remaining import result_path
from colorjax.coloring.archive.source import Source, open_source
from colorjax.coloring.archive.store import Store, open_store
from colorjax.errors import UserError
from colorjax.pictures.image_io import reason_of

EARLIER_ATTEMPT = "its result was there already, from an attempt that was cut short"
OWN_RESULT = "is a result of colorjax itself"
IN_COLOUR = "has colours of its own"


class WorkerConfig(NamedTuple):
    """The configuration of a worker; it is serializable, since it is sent to other machines.

    Attributes:
      source, column, root: as in `source.open_source`.
      target: the folder or URI of the results.
      mark, format: how results are named, as in `naming.Rules`.
      quality: as in `batch.WriteOptions`.
      bits, allow_truncated, skip_colour: as in `batch.ReadOptions`.
      model, size, device: as in `Colorizer`.
      settings: settings of `Colorizer.colorize`, by name.
      threads: the most CPU threads that the network uses; None for one per core.
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

    def result_path(self, path: PurePosixPath) -> str:
        """Returns the path of a photograph's result, relative to the target."""
        return result_path(path, self.mark, self.format)


def open_worker(config: WorkerConfig) -> Callable[[Sequence[str]], Iterator[Row]]:
    """Loads the network; returns a function that colours files and yields a row for each.

    Raises:
      UserError: there is no such model or device, or a setting is invalid.
    """
    if config.threads is not None:
        # XLA reads NPROC once, when it starts; by default it uses a thread per core.
        os.environ["NPROC"] = str(config.threads)
    import jax

    from colorjax.coloring.api import Colorizer
    from colorjax.coloring.folders import batch
    from colorjax.coloring.settings import ColorSettings, check_settings

    colorizer = Colorizer(config.model, size=config.size, device=config.device)
    painter, settings = colorizer._painter, ColorSettings(**config.settings)
    check_settings(settings, painter.network)

    # A global setting is safe here: the process runs only this worker.
    jax.config.update("jax_default_device", colorizer._device)

    def colorize(jobs: Sequence[Any], **options: Any) -> Iterator[Any]:
        return batch.run(painter, jobs, [settings], **options)

    source = open_source(config.source, column=config.column, root=config.root)
    return functools.partial(colorize_files, config, source, open_store(config.target), colorize)


def colorize_files(
    config: WorkerConfig, source: Source, target: Store, colorize: Callable, paths: Sequence[str]
) -> Iterator[Row]:
    """Colours photographs and yields a row for each; an error fails only its own row.

    Args:
      config: the configuration of the worker.
      source: the archive of the photographs.
      target: the store of the results.
      colorize: `batch.run` with its network and settings bound.
      paths: distinct photographs whose results did not exist when this run began.
    """
    from colorjax.coloring.folders.naming import Job

    jobs = []
    for path in paths:
        try:
            result = config.result_path(source.relative_path(path))
            if target.exists(result):
                yield timestamped(Row(path, DONE, EARLIER_ATTEMPT, result=result))
            else:
                jobs.append(Job(path, (result,), None))
        except (UserError, OSError) as error:
            yield timestamped(Row(path, FAILED, f"{path}: {reason_of(error)}"))
    run = functools.partial(_colorize_jobs, config, source, target, colorize)
    yield from _run_isolated(run, jobs)


def _run_isolated(
    run: Callable[[Sequence[Any]], Iterator[Row]], jobs: Sequence[Any]
) -> Iterator[Row]:
    """Yields a row for each job; after an unexpected exception runs the other jobs one by one."""
    pending = {job.source: job for job in jobs}
    try:
        for row in run(jobs):
            del pending[row.path]
            yield row
    except Exception as error:
        for path, job in pending.items():
            if len(jobs) > 1:
                yield from _run_isolated(run, [job])
            else:
                reason = f"{type(error).__name__}: {reason_of(error)}"
                yield timestamped(Row(path, FAILED, f"{path}: cannot be coloured: {reason}"))


def _colorize_jobs(
    config: WorkerConfig, source: Source, target: Store, colorize: Callable, jobs: Sequence[Any]
) -> Iterator[Row]:
    from colorjax.coloring.folders import batch
    from colorjax.pictures import mark

    sizes: dict[str, int] = {}

    def load(path: str) -> tuple[bytes, str]:
        try:
            data = source.read(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error
        sizes[path] = len(data)
        if mark.is_marked_data(data):
            raise UserError(f"{path}: {OWN_RESULT}")
        return data, path

    read_options = batch.ReadOptions(
        config.allow_truncated, None, config.skip_colour, config.bits, load=load
    )
    write_options = batch.WriteOptions(
        quality=config.quality, store=functools.partial(_write_result, target)
    )
    start = time.monotonic()
    for outcome in colorize(jobs, read_options=read_options, write_options=write_options):
        seconds = time.monotonic() - start
        row = _to_row(outcome)._replace(seconds=seconds, size=sizes.get(outcome.source, 0))
        yield timestamped(row)
        start = time.monotonic()


def _to_row(outcome: Any) -> Row:
    if outcome.skipped:
        return Row(outcome.source, SKIPPED, IN_COLOUR)
    if outcome.fault == f"{outcome.source}: {OWN_RESULT}":
        return Row(outcome.source, SKIPPED, OWN_RESULT)
    if outcome.fault:
        return Row(outcome.source, FAILED, outcome.fault)
    return Row(outcome.source, DONE, "; ".join(outcome.notices), result=outcome.targets[0])


class _NamedBuffer(io.BytesIO):
    """A buffer for a file's bytes, with the file's name for messages."""

    name = ""


def _write_result(target: Store, path: str, rgb: Any, photo: Any, quality: int) -> tuple[str, ...]:
    """Writes one result atomically; returns notices about what could not be kept."""
    from colorjax.pictures import writing

    data = _NamedBuffer()
    data.name = path
    suffix = PurePosixPath(path).suffix
    notices = writing.write_photo(data, rgb, photo, format=suffix, quality=quality)
    # Two workers may colour the same photograph if Ray declared one dead too early.
    return notices if target.put(path, data.getvalue()) else (*notices, EARLIER_ATTEMPT)
