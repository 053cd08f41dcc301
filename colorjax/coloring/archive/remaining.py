"""Finds the photographs of an archive that are not done yet, and validates source and target."""

import functools
import hashlib
import os
import posixpath
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from colorjax.coloring.archive.log import FAILED, SKIPPED, Finished, Row, timestamped
from colorjax.coloring.archive.source import Item, Source
from colorjax.coloring.archive.store import Store, is_uri
from colorjax.coloring.folders import naming
from colorjax.errors import UserError, quoted, whole_number
from colorjax.pictures.image_io import reason_of

RESULT_EXISTS = "its result was there already"


class Shard(NamedTuple):
    """One of `total` parts of an archive, which have about the same number of files."""

    number: int = 0
    total: int = 1

    def holds(self, path: str) -> bool:
        # Python's own hash differs between processes.
        digest = hashlib.sha256(path.encode()).digest()
        return int.from_bytes(digest[:8]) % self.total == self.number


def parse_shard(text: str) -> Shard:
    """Parses a shard i/n, i from 0 to n - 1; raises UserError for anything else."""
    number, slash, total = text.partition("/")
    i, n = whole_number(number), whole_number(total)
    if not slash or i is None or n is None or i >= n:
        raise UserError(f"shard is {quoted(text)}, want i/n with i from 0 to n - 1, such as 0/8")
    return Shard(i, n)


def result_path(path: PurePosixPath, mark: str, format: str | None) -> str:
    """Returns the path of a photograph's result, which depends on no other file.

    a/b.tif becomes a/b_color.tif. If the result has another suffix, its name keeps the suffix of
    the photograph, so that results of b.tif and b.png do not collide: as JPEG, b.tif becomes
    b_color.tif.jpg. Suffixes are compared with case, because b.JPG may lie next to b.jpg.
    """
    suffix = naming.written_suffix(path, format)
    own = "" if suffix == path.suffix else path.suffix
    return str(path.with_name(f"{path.stem}{mark}{own}{suffix}"))


def remaining_paths(
    source: Source,
    target: Store,
    finished: Finished,
    name_result: Callable[[PurePosixPath], str],
    shard: Shard,
    others: Counter[str],
    report: Callable[[Row], None],
    on_finished: Callable[[str], None],
) -> Iterator[str]:
    """Yields the paths of the photographs that still have to be coloured, as the source is read.

    Args:
      source: all photographs of the archive.
      target: the store of the results; existing files are never replaced.
      finished: the finished files of the log.
      name_result: returns the path of a result from the relative path of a photograph.
      shard: photographs of other shards are ignored.
      others: receives the counts of files that are not pictures, by suffix.
      report: is called with the row of each file that cannot or need not be coloured, unless the
        log has it as finished.
      on_finished: is called with the path of each file that is finished according to the log.
    """
    existing = functools.lru_cache(maxsize=8)(functools.partial(_file_names, target))
    for item in source.items(others):
        if not shard.holds(item.path):
            continue
        if item.path in finished.skipped:
            on_finished(item.path)
            continue
        result, exists, fault = _find_result(source, item, name_result, existing)
        if fault:
            report(timestamped(Row(item.path, FAILED, fault)))
        elif not exists:
            yield item.path
        elif item.path in finished.done:
            on_finished(item.path)
        else:
            report(timestamped(Row(item.path, SKIPPED, RESULT_EXISTS, result=result)))


def _find_result(
    source: Source,
    item: Item,
    name_result: Callable[[PurePosixPath], str],
    existing: Callable[[str], frozenset[str]],
) -> tuple[str, bool, str]:
    """Returns the path of a photograph's result, whether it exists, and any fault as a sentence."""
    if item.fault:
        return "", False, item.fault
    try:
        result = name_result(source.relative_path(item.path))
    except UserError as error:
        return "", False, str(error)
    folder, name = posixpath.split(result)
    try:
        return result, name in existing(folder), ""
    except UserError as error:
        return "", False, f"{item.path}: {error}"


def _file_names(target: Store, folder: str) -> frozenset[str]:
    """Returns the names in a folder of the target: one request instead of one per file.

    The result is empty if there is no such folder. Raises UserError if the folder exists but cannot
    be listed.
    """
    try:
        return frozenset(entry.name for entry in target.entries(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        name = posixpath.join(target.name, folder)
        raise UserError(f"{name}: cannot be listed: {reason_of(error)}") from error


def check_source(source: Store, target: Store) -> None:
    """Raises UserError if the source does not exist, cannot be read, or contains the target."""
    try:
        next(source.entries(""), None)
    except FileNotFoundError as error:
        raise UserError(f"{source.name}: there is no such folder") from error
    except NotADirectoryError as error:
        raise UserError(
            f"{source.name}: is not a folder, want one, or a manifest whose name ends in .parquet"
        ) from error
    except OSError as error:
        raise UserError(f"{source.name}: cannot be listed: {reason_of(error)}") from error
    top, below = (os.path.join(store.real_path(""), "") for store in (source, target))
    if below.startswith(top) and is_uri(source.name) == is_uri(target.name):
        raise UserError(
            f"{target.name}: lies in {source.name}, whose pictures are coloured; want a target "
            "outside of it"
        )


def check_target(target: Store) -> None:
    """Raises UserError if a test file cannot be written to the target."""
    probe = f".{uuid.uuid4().hex}.part"
    try:
        target.put(probe, b"")
        target.remove(probe)
    except OSError as error:
        raise UserError(f"{target.name}: cannot be written to: {reason_of(error)}") from error
