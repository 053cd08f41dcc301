"""What became of every file of an archive: in Parquet where many work, in lines of JSON else.

A file has one row. Where it has been tried again, after it had failed or its result was deleted,
the newest row is that of the file; Parquet drops the older ones when a log is closed.
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
from colorjax.errors import UserError
from colorjax.pictures.image_io import reason_of

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
# Rows are written down when there are so many, or the first of them is so many seconds old.
PART_ROWS, PART_SECONDS = 1000, 20.0


class Row(NamedTuple):
    """What became of a file.

    Attributes:
      path: the file, below the archive or as the manifest has it.
      status: DONE, SKIPPED or FAILED.
      why: the sentence that says why not; of a done one, what could not be kept.
      seconds: of a worker's time, which has several files in hand, since the one before was done.
      size: bytes of the file; 0 where it was not read.
      result: below the target, where there is one.
      when: seconds since 1970.
    """

    path: str
    status: str
    why: str = ""
    seconds: float = 0.0
    size: int = 0
    result: str = ""
    when: float = 0.0


class Log(NamedTuple):
    """Where rows are written down.

    Attributes:
      rows: all that are there, older ones first.
      add: writes a row down, at once or soon.
      close: writes down what is not yet.
    """

    rows: Callable[[], Iterator[Row]]
    add: Callable[[Row], None]
    close: Callable[[], None]


class Known(NamedTuple):
    """What a log says of files that need not be tried again: their paths."""

    done: set[str]  # as long as the result is there
    settled: set[str]  # there is no result to come


def known(rows: Iterable[Row], again: str = "") -> Known:
    """What rows settle; those skipped because of `again` are to be tried again."""
    found = Known(set(), set())
    for row in rows:
        if row.result and row.status != FAILED:
            found.done.add(row.path)
        elif row.status == SKIPPED and row.why != again:
            found.settled.add(row.path)
    return found


def now(row: Row) -> Row:
    return row._replace(when=time.time())


def json_lines(file: Path) -> Log:
    """A file of this machine with a line for each row, each written as soon as it is known.

    Raises UserError if it cannot be written or holds other lines; a last one that was cut short, as
    a kill leaves it, is passed over.
    """
    with _told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Every line at once, or the error of one that was not written would come again at the end.
        out = file.open("ab", buffering=0)
        if not _ends_a_line(file):
            out.write(b"\n")

    def add(row: Row) -> None:
        with _told(file):
            out.write((json.dumps(row._asdict(), ensure_ascii=False) + "\n").encode())

    return Log(lambda: _read_lines(file), add, out.close)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {reason_of(error)}") from error


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as written:
        if not written.seek(0, os.SEEK_END):
            return True
        written.seek(-1, os.SEEK_END)
        return written.read(1) == b"\n"


def _read_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield Row(**json.loads(line))
            except ValueError:  # a kill cut it short
                continue
            except TypeError as error:
                raise UserError(f"{file}: line {number} is none of an archive's log") from error


def parquet(store: Store, folder: str) -> Log:
    """A folder of a store with a file of Parquet for some rows each, and one when it is closed.

    Raises UserError if the folder is there but cannot be read.
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
        _join_parts(store, folder)

    return Log(lambda: _read_parts(store, folder), add, close)


def table_of(rows: Iterable[Row]) -> Any:
    """Rows as a table of pyarrow's, with a column for each field."""
    import pyarrow

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in Row.__annotations__.items()])
    return pyarrow.Table.from_pylist([row._asdict() for row in rows], schema=schema)


def rows_of(table: Any) -> Iterator[Row]:
    """The reverse of `table_of`."""
    for batch in table.to_batches():
        for values in batch.to_pylist():
            yield Row(**values)


def _parts(store: Store, folder: str) -> list[str]:
    try:
        names = [one.name for one in store.entries(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        where = posixpath.join(store.name, folder)
        raise UserError(f"{where}: cannot be looked into: {reason_of(error)}") from error
    wanted = (name for name in names if name.endswith(".parquet") and not name.startswith("."))
    return sorted(posixpath.join(folder, name) for name in wanted)


def _write_part(store: Store, folder: str, table: Any) -> None:
    from pyarrow import parquet

    data = io.BytesIO()
    parquet.write_table(table, data)
    # Names rise with time, so that newer rows come later.
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
        raise UserError(f"{where}: is no part of an archive's log: {reason_of(error)}") from error


def _read_parts(store: Store, folder: str) -> Iterator[Row]:
    for part in _parts(store, folder):
        yield from rows_of(_read_part(store, part))


def _join_parts(store: Store, folder: str) -> None:
    """Makes one part of all, with the newest row of each file.

    A stop at any place leaves all rows, some perhaps twice.
    """
    import pyarrow

    parts = _parts(store, folder)
    if len(parts) < 2:
        return
    table = pyarrow.concat_tables([_read_part(store, part) for part in parts])
    others = [name for name in Row._fields if name != "path"]
    # In their order, which several threads would not keep.
    last = table.group_by("path", use_threads=False).aggregate([(n, "last") for n in others])
    last = last.rename_columns([name.removesuffix("_last") for name in last.column_names])
    _write_part(store, folder, last.select(list(Row._fields)))
    for part in parts:
        with contextlib.suppress(FileNotFoundError):
            store.remove(part)
