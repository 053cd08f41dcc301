"""The log of an archive, one row per file: in Parquet for a cluster, in JSON lines for a shard.

A file that was tried again, because it failed or its result was deleted, has several rows, and the
newest one counts. A Parquet log drops the older rows when it is closed.
"""

import contextlib
import io
import json
import os
import posixpath
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from colorjax.coloring.archive.store import Store
from colorjax.errors import UserError, quoted
from colorjax.pictures.image_io import reason_of

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
# Buffered rows are written when there are so many, or when the oldest has this age in seconds.
PART_ROWS, PART_SECONDS = 1000, 20.0


class Row(NamedTuple):
    """The outcome of one file.

    Attributes:
      path: the file's path, relative to the archive or as in the manifest.
      status: DONE, SKIPPED or FAILED.
      why: why the file was skipped or failed; for a done file, what could not be kept.
      seconds: time since the worker finished its previous file. A worker processes several files
        at once.
      size: size of the file in bytes; 0 if it was not read.
      result: path of the result, relative to the target; "" if there is none.
      when: time of the row, in seconds since 1970.
    """

    path: str
    status: str
    why: str = ""
    seconds: float = 0.0
    size: int = 0
    result: str = ""
    when: float = 0.0


class Log(NamedTuple):
    """A log that is open for reading and appending.

    Attributes:
      rows: returns all rows that are stored, oldest first.
      add: appends a row, which may stay in a buffer for a while.
      close: writes the buffer and closes the log.
    """

    rows: Callable[[], Iterator[Row]]
    add: Callable[[Row], None]
    close: Callable[[], None]


class Finished(NamedTuple):
    """Paths of files that need not be tried again, according to a log."""

    done: set[str]  # they have results; if a result was deleted, its file is tried again
    skipped: set[str]  # they were skipped and will have no results


def read_finished(rows: Iterable[Row], retry_reason: str = "") -> Finished:
    """Finds the finished files in the rows of a log, except files skipped for `retry_reason`."""
    finished = Finished(set(), set())
    for row in rows:
        if row.result and row.status != FAILED:
            finished.done.add(row.path)
        elif row.status == SKIPPED and row.why != retry_reason:
            finished.skipped.add(row.path)
    return finished


def timestamped(row: Row) -> Row:
    return row._replace(when=time.time())


def json_lines(file: Path) -> Log:
    """Opens a log in a local file with one line of JSON per row; rows are written at once.

    An incomplete line, as left by a killed process or a power failure, is ignored. Raises UserError
    if the file cannot be written or does not begin with a row; `rows` raises it for other lines.
    Such a file is left unchanged.
    """
    with _write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        _check_start(file)
        # Unbuffered: close would raise again for a buffered line that could not be written.
        out = file.open("ab", buffering=0)

    def add(row: Row) -> None:
        with _write_errors(file):
            line = json.dumps(row._asdict(), ensure_ascii=False) + "\n"
            out.write((line if _ends_with_newline(file) else "\n" + line).encode())

    return Log(lambda: _read_lines(file), add, out.close)


def _check_start(file: Path) -> None:
    """Raises UserError if a file exists and begins with anything but a row of JSON."""
    # A device has no size, and is not read.
    if file.exists() and file.stat().st_size:
        with file.open("rb") as opened:
            start = opened.read(40)
        if not start.startswith(b"{"):
            found = quoted(start.decode(errors="replace"))
            raise UserError(f"{file}: begins with {found}, want a new file or a log of an archive")


@contextlib.contextmanager
def _write_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {reason_of(error)}") from error


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as opened:
        if not opened.seek(0, os.SEEK_END):
            return True
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) == b"\n"


def _read_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            # After a power failure, some file systems have zeros in place of the last lines.
            if not line.strip("\0\n"):
                continue
            try:
                yield Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                # The process was killed while it wrote the line.
                if isinstance(error, ValueError) and line.startswith("{"):
                    continue
                raise UserError(f"{file}: line {number} is not a row of an archive log") from error


def parquet(store: Store, folder: str) -> Log:
    """Opens a log in a folder of a store, as several Parquet files of some rows each.

    `close` merges them into one file. Raises UserError if the folder exists but cannot be read.
    """
    pending: list[Row] = []

    def add(row: Row) -> None:
        pending.append(row)
        if len(pending) >= PART_ROWS or time.time() - pending[0].when > PART_SECONDS:
            flush()

    def flush() -> None:
        if pending:
            _write_part(store, folder, table_of(pending))
            pending.clear()

    def close() -> None:
        flush()
        _compact(store, folder)

    return Log(lambda: _read_parts(store, folder), add, close)


def table_of(rows: Iterable[Row]) -> Any:
    """Returns rows as a pyarrow table with one column per field."""
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in Row.__annotations__.items()])
    return pyarrow.Table.from_pylist([row._asdict() for row in rows], schema=schema)


def rows_of(table: Any) -> Iterator[Row]:
    """The reverse of `table_of`."""
    for batch in table.to_batches():
        for values in batch.to_pylist():
            yield Row(**values)


def _part_files(store: Store, folder: str) -> list[str]:
    try:
        names = [entry.name for entry in store.entries(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        where = posixpath.join(store.name, folder)
        raise UserError(f"{where}: cannot be listed: {reason_of(error)}") from error
    wanted = (name for name in names if name.endswith(".parquet") and not name.startswith("."))
    return sorted(posixpath.join(folder, name) for name in wanted)


def _write_part(store: Store, folder: str, table: Any) -> None:
    from pyarrow import parquet

    data = io.BytesIO()
    parquet.write_table(table, data)
    # Names sort by time, so that newer rows are read later.
    name = f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}.parquet"
    try:
        store.put(posixpath.join(folder, name), data.getvalue())
    except OSError as error:
        where = posixpath.join(store.name, folder)
        raise UserError(f"{where}: cannot be written: {reason_of(error)}") from error


def _read_part(store: Store, part: str) -> Any:
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(store.read(part)))
        return table.select(list(Row._fields))
    except (OSError, ValueError, KeyError) as error:
        where = posixpath.join(store.name, part)
        raise UserError(f"{where}: is not part of an archive log: {reason_of(error)}") from error


def _read_parts(store: Store, folder: str) -> Iterator[Row]:
    for part in _part_files(store, folder):
        yield from rows_of(_read_part(store, part))


def _compact(store: Store, folder: str) -> None:
    """Merges all parts into one, keeping the newest row of each file.

    If it is stopped halfway, no rows are lost, but some may exist twice.
    """
    import pyarrow

    parts = _part_files(store, folder)
    if len(parts) < 2:
        return
    table = pyarrow.concat_tables([_read_part(store, part) for part in parts])
    others = [name for name in Row._fields if name != "path"]
    # "last" depends on the order of the rows, which threads would not keep.
    newest = table.group_by("path", use_threads=False).aggregate([(n, "last") for n in others])
    newest = newest.rename_columns([name.removesuffix("_last") for name in newest.column_names])
    _write_part(store, folder, newest.select(list(Row._fields)))
    for part in parts:
        with contextlib.suppress(FileNotFoundError):
            store.remove(part)
