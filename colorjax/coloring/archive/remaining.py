"""What of an archive is left to do, and what a start says no to."""

import functools
import hashlib
import os
import posixpath
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from colorjax.coloring.archive.log import FAILED, SKIPPED, Known, Row, now
from colorjax.coloring.archive.source import Item, Source
from colorjax.coloring.archive.store import Store, is_uri
from colorjax.coloring.folders import naming
from colorjax.errors import UserError, shown, whole_number
from colorjax.pictures.image_io import reason_of

THERE = "its result was there already"


class Shard(NamedTuple):
    """One of `of` parts of an archive, which have about as many files each."""

    number: int = 0
    of: int = 1

    def holds(self, path: str) -> bool:
        # Python's own hash is another in every process.
        digest = hashlib.sha256(path.encode()).digest()
        return int.from_bytes(digest[:8]) % self.of == self.number


def parse_shard(text: str) -> Shard:
    """The shard called i/n, i from 0 to n - 1; raises UserError for anything else."""
    number, slash, of = text.partition("/")
    i, n = whole_number(number), whole_number(of)
    if not slash or i is None or n is None or i >= n:
        raise UserError(f"shard is {shown(text)}, want i/n with i from 0 to n - 1, such as 0/8")
    return Shard(i, n)


def result_of(place: PurePosixPath, mark: str, format: str | None) -> str:
    """Where the result of a photograph goes, by its own name alone, whatever else there is.

    a/b.tif becomes a/b_color.tif. Where the format is another, the photograph's own suffix stays in
    the name: b.tif as JPEG becomes b_color.tif.jpg, which b.png does not.
    """
    suffix = naming.written_suffix(place, format)
    own = "" if suffix.lower() == place.suffix.lower() else place.suffix
    return str(place.with_name(f"{place.stem}{mark}{own}{suffix}"))


def left(
    source: Source,
    target: Store,
    known: Known,
    named: Callable[[PurePosixPath], str],
    shard: Shard,
    others: Counter[str],
    tell: Callable[[Row], None],
    pass_over: Callable[[str], None],
) -> Iterator[str]:
    """The paths of the photographs that are to be coloured, as they are come upon.

    Args:
      source: all of them.
      target: where results are; a file that is there is never replaced.
      known: what the log says.
      named: gives the result of a place.
      shard: only its photographs are looked at.
      others: is given the counts of files that are no pictures, by suffix.
      tell: is given the rows of those that need no colouring and are not in the log.
      pass_over: is given the paths of those that the log has, and of which nothing is left to do.
    """
    there = functools.lru_cache(maxsize=8)(functools.partial(_names, target))
    for item in source.items(others):
        if not shard.holds(item.path):
            continue
        if item.path in known.settled:
            pass_over(item.path)
            continue
        result, is_there, fault = _looked_up(source, item, named, there)
        if fault:
            tell(now(Row(item.path, FAILED, fault)))
        elif not is_there:
            yield item.path
        elif item.path in known.done:
            pass_over(item.path)
        else:
            tell(now(Row(item.path, SKIPPED, THERE, result=result)))


def _looked_up(
    source: Source,
    item: Item,
    named: Callable[[PurePosixPath], str],
    there: Callable[[str], frozenset[str]],
) -> tuple[str, bool, str]:
    """Where the result of a photograph goes, and whether it is there; or why that is not known."""
    if item.fault:
        return "", False, item.fault
    try:
        result = named(source.place(item.path))
    except UserError as error:
        return "", False, str(error)
    folder, name = posixpath.split(result)
    try:
        return result, name in there(folder), ""
    except UserError as error:
        return "", False, f"{item.path}: {error}"


def _names(target: Store, folder: str) -> frozenset[str]:
    """What is in a folder of the target: one look at it instead of one for each file.

    Raises UserError if it is there, and cannot be looked into.
    """
    try:
        return frozenset(one.name for one in target.entries(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        place = posixpath.join(target.name, folder)
        raise UserError(f"{place}: cannot be looked into: {reason_of(error)}") from error


def check_source(source: Store, target: Store) -> None:
    """Raises UserError if there is no such folder, it cannot be read, or it holds the target."""
    try:
        next(source.entries(""), None)
    except FileNotFoundError as error:
        raise UserError(f"{source.name}: there is no such folder") from error
    except NotADirectoryError as error:
        raise UserError(
            f"{source.name}: is no folder, want one or a manifest whose name ends in .parquet"
        ) from error
    except OSError as error:
        raise UserError(f"{source.name}: cannot be looked into: {reason_of(error)}") from error
    top, below = (os.path.join(store.real(""), "") for store in (source, target))
    if below.startswith(top) and is_uri(source.name) == is_uri(target.name):
        raise UserError(
            f"{target.name}: lies in {source.name}, whose pictures are coloured; want a target "
            "outside of it"
        )


def check_target(target: Store) -> None:
    """Raises UserError if the target cannot be written to, which is tried."""
    probe = f".{uuid.uuid4().hex}.part"
    try:
        target.put(probe, b"")
        target.remove(probe)
    except OSError as error:
        raise UserError(f"{target.name}: cannot be written to: {reason_of(error)}") from error
