"""Finds the photographs that names of files, folders, patterns and pipes refer to."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from colorjax.errors import UserError
from colorjax.pictures import mark
from colorjax.pictures.formats import PHOTO_SUFFIXES

STDIN = "-"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_STREAMS = ("/dev/", "/proc/")


class Found(NamedTuple):
    """A photo to colour, or a file or name that is not one."""

    source: str  # a path, or STDIN
    folder: Path = Path()  # relative to the searched folder; the same in the output folder
    fault: str = ""  # the error message if there is nothing to read
    is_result: bool = False  # a result of colorjax, found in a folder: not coloured again
    is_other: bool = False  # a file in a folder whose suffix is not that of a picture

    @property
    def is_photo(self) -> bool:
        """Whether the file is to be coloured."""
        return not (self.fault or self.is_result or self.is_other)


def find(names: Sequence[str], recursive: bool = False) -> Iterator[Found]:
    """Yields the photos that names of files, folders and patterns refer to, each once.

    A folder yields its files in order of their names, except hidden ones. Files that are not
    pictures (by suffix) or are results of colorjax (by a mark in the file) are yielded as such.
    With `recursive`, the files of all subfolders are yielded too; links to folders come last. A
    link to nothing is yielded like a file. A name that does not exist and a folder that cannot be
    read are yielded with a fault.
    """
    sources = set()
    for name in names:
        for found in _find(name, recursive):
            key = found.source if found.source == STDIN else os.path.realpath(found.source)
            if found.fault or key not in sources:
                sources.add(key)
                yield found


def count_others(found: Sequence[Found]) -> Counter[str]:
    """Counts the files in folders that are not pictures, by suffix or "no suffix"."""
    others = (one.source for one in found if one.is_other)
    return Counter(Path(source).suffix.lower() or "no suffix" for source in others)


def is_stream(source: str) -> bool:
    """Returns whether a source is a pipe or device, which can be read once and has no folder."""
    if source == STDIN or source.startswith(_STREAMS):
        return True
    return os.path.exists(source) and not os.path.isfile(source) and not os.path.isdir(source)


def path_or_bytes(source: str) -> str | bytes:
    """Returns the path of a file unchanged; reads and returns the content of a pipe or device.

    Raises:
      UserError: the pipe or device cannot be read.
    """
    if not is_stream(source):
        return source
    try:
        with open(source, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from error


def _find(name: str, recursive: bool) -> Iterator[Found]:
    if name == STDIN:
        yield Found(STDIN)
    elif os.path.isdir(name):
        yield from _search(name, recursive)
    elif os.path.lexists(name):
        yield Found(name)
    elif _URL.match(name):
        yield Found(name, fault=f"{name}: is a URL, want a file: download it first")
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=recursive))
        for match in matches:
            yield from _find(match, recursive)
        if not matches:
            yield Found(name, fault=f"{name}: nothing matches")
    else:
        yield Found(name, fault=f"{name}: there is no such file")


def _search(folder: str, recursive: bool) -> Iterator[Found]:
    """Yields the files in a folder; links to folders come last, and no folder is visited twice."""
    links, count = [folder], 0
    visited: set[str] = set()
    while links:
        for found in _walk(links.pop(0), Path(folder), recursive, links, visited):
            count += not found.is_other
            yield found
    if not count:
        hint = "" if recursive else "; --recursive looks into the folders in it"
        yield Found(folder, fault=f"{folder}: holds no pictures{hint}")


def _walk(
    folder: str, top: Path, recursive: bool, links: list[str], visited: set[str]
) -> Iterator[Found]:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield Found(folder, fault=f"{folder}: cannot be listed: {error.strerror or error}")
        return
    for entry in entries:
        # Hidden folders hold thumbnails and deleted files.
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):
            if recursive and entry.is_symlink():
                links.append(entry.path)
            elif recursive:
                yield from _walk(entry.path, top, recursive, links, visited)
        elif _is_file(entry):
            relative = Path(entry.path).parent.relative_to(top)
            is_other = Path(entry.name).suffix.lower() not in PHOTO_SUFFIXES
            is_result = not is_other and mark.is_marked(entry.path)
            yield Found(entry.path, relative, is_result=is_result, is_other=is_other)


def _is_file(entry: os.DirEntry) -> bool:
    """Returns whether an entry is a file, or a link to nothing, which is reported when read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # the error is reported when the file is read
        return True
