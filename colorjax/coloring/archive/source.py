"""Which photographs an archive holds: those below a folder, or those that a manifest names.

They are told one after the other, as folders are read: there may be more than memory holds.
"""

import functools
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from colorjax.coloring.archive.store import EXTRA, Store, is_uri, open_store
from colorjax.errors import UserError
from colorjax.pictures.formats import PHOTO_SUFFIXES
from colorjax.pictures.image_io import reason_of

MANIFEST = ".parquet"


class Item(NamedTuple):
    """A photograph, or what should have been one."""

    path: str  # by which the log knows it
    fault: str = ""  # the sentence, where there is nothing to read


class Source(NamedTuple):
    """An archive to colour.

    Attributes:
      items: tells all photographs, and counts other files by suffix in what it is given.
      read: of a photograph's path, its bytes; raises OSError.
      place: of a photograph's path, where it stands below the archive; raises UserError if that is
        nowhere.
    """

    items: Callable[[Counter[str]], Iterator[Item]]
    read: Callable[[str], bytes]
    place: Callable[[str], PurePosixPath]


def open_source(source: str, *, column: str = "path", root: str | None = None) -> Source:
    """The photographs of a folder or of a Parquet file, which may both be URIs.

    Args:
      source: a folder, or a file whose name ends in .parquet.
      column: of the file, where the paths are.
      root: of the file: the folder that its paths are below, by default its own. Paths that are
        not below it keep all folders that they name.

    Raises:
      UserError: a URI that is none, or pyarrow is not installed.
    """
    if is_manifest(source):
        return of_manifest(source, column, root)
    return of_store(open_store(source))


def is_manifest(source: str) -> bool:
    """Whether a source is a table of paths, by its name, and not a folder of that name."""
    return source.lower().endswith(MANIFEST) and not os.path.isdir(source)


def of_store(store: Store) -> Source:
    return Source(functools.partial(walk, store), store.read, PurePosixPath)


def walk(store: Store, others: Counter[str]) -> Iterator[Item]:
    """The pictures below a store, by suffix; hidden ones are left out, links are followed once."""
    folders, seen = [""], set()
    while folders:
        folder = folders.pop()
        real = store.real(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            for entry in store.entries(folder):
                path = posixpath.join(folder, entry.name)
                if entry.name.startswith("."):
                    continue
                if not is_text(entry.name):
                    yield Item(shown(path), f"{shown(path)}: its name is no UTF-8, want it renamed")
                elif entry.is_folder:
                    folders.append(path)
                elif PurePosixPath(path).suffix.lower() in PHOTO_SUFFIXES:
                    yield Item(path)
                else:
                    others[PurePosixPath(path).suffix.lower() or "no suffix"] += 1
        except OSError as error:
            place = folder or store.name
            yield Item(place, f"{place}: cannot be looked into: {reason_of(error)}")


def is_text(name: str) -> bool:
    """Whether a name of a file is UTF-8, as those in tables must be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def of_manifest(file: str, column: str, root: str | None) -> Source:
    """The photographs that a column of a Parquet file names; see `open_source`."""
    own = file.rpartition("/")[0] or ("/" if file.startswith("/") else ".")
    top = (root or own).rstrip("/") or "/"
    top = top if is_uri(top) else os.path.abspath(top)

    def full(path: str) -> str:
        return path if is_uri(path) or path.startswith("/") else posixpath.join(top, path)

    def read(path: str) -> bytes:
        folder, name = posixpath.split(full(path))
        scheme, is_named, rest = folder.partition("://")
        if not is_named:
            return _kept_store(folder or "/").read(name)
        bucket, _, below = rest.partition("/")
        return _kept_store(f"{scheme}://{bucket or '/'}").read(posixpath.join(below, name))

    def place(path: str) -> PurePosixPath:
        return _below(full(path), top)

    return Source(lambda others: _named(file, column), read, place)


@functools.lru_cache(maxsize=64)
def _kept_store(place: str) -> Store:
    # A store of objects asks where its bucket is, which is not done for every photograph.
    return open_store(place)


def _below(path: str, top: str) -> PurePosixPath:
    """Where a path of a manifest stands below `top`, or else below the root of all."""
    rest = path.removeprefix(top.rstrip("/") + "/").partition("://")
    found = PurePosixPath((rest[2] or rest[0]).lstrip("/"))
    if ".." in found.parts or not found.name:
        raise UserError(f"{path}: leads out of {top}, want a path without ..")
    return found


def _named(file: str, column: str) -> Iterator[Item]:
    """The paths of a manifest, each once; raises UserError if it cannot be read."""
    seen = set()
    for number, path in enumerate(_column(file, column)):
        if not isinstance(path, str) or not path:
            yield Item(f"row {number}", f"{file}: row {number} has no path, but {path!r}")
        elif path not in seen:
            seen.add(path)
            yield Item(path)


def _column(file: str, column: str) -> Iterator:
    try:
        from pyarrow import fs, parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{file}: manifests are read by pyarrow: {EXTRA}") from error
    try:
        where = file if is_uri(file) else os.path.abspath(file)
        system, path = fs.FileSystem.from_uri(where)
        with system.open_input_file(path) as opened:
            table = parquet.ParquetFile(opened)
            if column not in table.schema_arrow.names:
                names = ", ".join(table.schema_arrow.names)
                raise UserError(f"{file}: has no column {column!r}, want --column of {names}")
            for batch in table.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a manifest: {reason_of(error)}") from error
