"""Lists the photographs of an archive: those below a folder, or those named in a manifest.

They are yielded one by one while folders are read, as the full list may not fit in memory.
"""

import functools
import heapq
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from colorjax.coloring.archive.store import INSTALL, Store, is_uri, open_store
from colorjax.errors import UserError
from colorjax.pictures.formats import PHOTO_SUFFIXES
from colorjax.pictures.image_io import reason_of

MANIFEST = ".parquet"


class Item(NamedTuple):
    """A photograph, or an entry that cannot be read as one."""

    path: str  # its key in the log
    fault: str = ""  # a sentence that says why it cannot be read


class Source(NamedTuple):
    """An archive to colour.

    Attributes:
      items: yields all photographs, and counts other files by suffix in the given counter.
      read: returns the bytes of the photograph at a path; raises OSError.
      relative_path: returns the path of a photograph relative to the archive; raises UserError if
        it has no name or contains "..".
    """

    items: Callable[[Counter[str]], Iterator[Item]]
    read: Callable[[str], bytes]
    relative_path: Callable[[str], PurePosixPath]


def open_source(source: str, *, column: str = "path", root: str | None = None) -> Source:
    """Opens an archive: a folder, or a Parquet manifest of paths.

    Args:
      source: a folder, or a file whose name ends in .parquet; either may be a URI.
      column: the manifest's column of paths.
      root: the folder that the manifest's paths are relative to; by default the folder of the
        manifest. A path outside of `root` keeps all of its folders in the target.

    Raises:
      UserError: the URI is invalid, or pyarrow is not installed.
    """
    if is_manifest(source):
        return from_manifest(source, column, root)
    return from_store(open_store(source))


def is_manifest(source: str) -> bool:
    """Returns whether a source is a manifest: its name ends in .parquet and it is not a folder."""
    return source.lower().endswith(MANIFEST) and not os.path.isdir(source)


def from_store(store: Store) -> Source:
    return Source(functools.partial(walk, store), store.read, PurePosixPath)


def walk(store: Store, others: Counter[str]) -> Iterator[Item]:
    """Yields the files of a store with a picture's suffix; counts all others in `others`.

    Hidden files and folders are skipped. Each folder is visited once, however many links lead to
    it; links come last, in order of their paths. So the paths of photographs, by which they are
    known later, do not depend on the order in which a file system lists a folder.
    """
    folders: list[str] = [""]
    links: list[str] = []  # a heap
    visited: set[str] = set()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        real_path = store.real_path(folder)
        if real_path in visited:
            continue
        visited.add(real_path)
        try:
            for entry in store.entries(folder):
                path = posixpath.join(folder, entry.name)
                if entry.name.startswith("."):
                    continue
                suffix = PurePosixPath(path).suffix.lower()
                if not entry.is_folder and suffix not in PHOTO_SUFFIXES:
                    others[_printable(suffix) or "no suffix"] += 1
                elif not _is_utf8(entry.name):
                    name = _printable(path)
                    yield Item(name, f"{name}: its name is not UTF-8, want it renamed")
                elif entry.is_folder and entry.is_link:
                    heapq.heappush(links, path)
                elif entry.is_folder:
                    folders.append(path)
                else:
                    yield Item(path)
        except OSError as error:
            name = folder or store.name
            yield Item(name, f"{name}: cannot be listed: {reason_of(error)}")


def _is_utf8(name: str) -> bool:
    """Returns whether a file name is valid UTF-8, as strings in Parquet must be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def from_manifest(file: str, column: str, root: str | None) -> Source:
    """Opens the archive that a column of a Parquet file lists; see `open_source`."""
    own = file.rpartition("/")[0] or ("/" if file.startswith("/") else ".")
    top = (root or own).rstrip("/") or "/"
    top = top if is_uri(top) else os.path.abspath(top)

    def full(path: str) -> str:
        return path if is_uri(path) or path.startswith("/") else posixpath.join(top, path)

    def read(path: str) -> bytes:
        folder, name = posixpath.split(full(path))
        scheme, separator, rest = folder.partition("://")
        if not separator:
            return _cached_store(folder or "/").read(name)
        bucket, _, below = rest.partition("/")
        return _cached_store(f"{scheme}://{bucket or '/'}").read(posixpath.join(below, name))

    def relative_path(path: str) -> PurePosixPath:
        return _relative_to(full(path), top)

    def items(others: Counter[str]) -> Iterator[Item]:
        return _manifest_items(file, column, full, relative_path)

    return Source(items, read, relative_path)


@functools.lru_cache(maxsize=64)
def _cached_store(location: str) -> Store:
    # Opening an object store sends a request for the region of its bucket.
    return open_store(location)


def _relative_to(path: str, top: str) -> PurePosixPath:
    """Returns a manifest's path relative to `top`, or to the root folder if it is outside."""
    rest = path.removeprefix(top.rstrip("/") + "/").partition("://")
    relative = PurePosixPath((rest[2] or rest[0]).lstrip("/"))
    if ".." in relative.parts or not relative.name:
        raise UserError(f"{path}: leads out of {top}, want a path without ..")
    return relative


def _manifest_items(
    file: str,
    column: str,
    full: Callable[[str], str],
    relative_path: Callable[[str], PurePosixPath],
) -> Iterator[Item]:
    """Yields the photographs of a manifest, each once, and its faulty rows.

    Two photographs may have the same path relative to the archive, and so the same result: the
    second one is a fault. Raises UserError if the manifest cannot be read.
    """
    first_paths: dict[str, str] = {}
    for number, path in enumerate(_read_column(file, column)):
        if not isinstance(path, str) or not path:
            yield Item(f"row {number}", f"{file}: row {number} has {path!r}, want a path")
            continue
        relative, fault = path, ""
        try:
            relative = str(relative_path(path))
        except UserError as error:
            fault = str(error)
        first = first_paths.get(relative)
        if first is None:
            first_paths[relative] = path
            yield Item(path, fault)
        elif _normalized(full(first)) != _normalized(full(path)):
            yield Item(path, f"{path}: would have the same result as {first}, want another --root")


def _normalized(path: str) -> str:
    """Returns one spelling of a full path; keys of object stores have only one."""
    path = path.removeprefix("file://")
    return path if is_uri(path) else posixpath.normpath("/" + path.lstrip("/"))


def _read_column(file: str, column: str) -> Iterator:
    try:
        from pyarrow import fs, parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{file}: reading a manifest needs pyarrow: {INSTALL}") from error
    try:
        system, path = fs.FileSystem.from_uri(file if is_uri(file) else os.path.abspath(file))
        with system.open_input_file(path) as opened:
            table = parquet.ParquetFile(opened)
            if column not in table.schema_arrow.names:
                names = ", ".join(table.schema_arrow.names)
                raise UserError(f"{file}: has no column {column!r}, want --column of {names}")
            for batch in table.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a manifest: {reason_of(error)}") from error
