"""Which photographs are meant by names of files, folders, patterns and pipes."""

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
    """A photo to colour, or a name that is none."""

    source: str  # a path, or STDIN
    folder: Path = Path()  # below the folder that was searched, for the same place in the output
    fault: str = ""  # the sentence, where there is nothing to read
    is_result: bool = False  # of ours, that was come upon in a folder: not to be coloured again
    is_other: bool = False  # a file in a folder that is no picture by its suffix

    @property
    def is_photo(self) -> bool:
        """Whether it is to be coloured."""
        return not (self.fault or self.is_result or self.is_other)


def find(names: Sequence[str], recursive: bool = False) -> Iterator[Found]:
    """The photos that names of files, folders and patterns stand for, each once.

    Folders give their files in the order of their names, but hidden ones, and say which are no
    pictures, by suffix, and which are results of ours, by a mark in the file; with `recursive`
    those of all folders below too, linked ones last. A name that is no picture is told, and a
    folder that cannot be looked into.
    """
    seen = set()
    for name in names:
        for found in _find(name, recursive):
            key = found.source if found.source == STDIN else os.path.realpath(found.source)
            if found.fault or key not in seen:
                seen.add(key)
                yield found


def count_others(found: Sequence[Found]) -> Counter[str]:
    """How many files of folders are no pictures, by suffix; "no suffix" without one."""
    others = (one.source for one in found if one.is_other)
    return Counter(Path(source).suffix.lower() or "no suffix" for source in others)


def is_stream(source: str) -> bool:
    """Whether a source is a pipe or a device: it can be read once, and has no place of its own."""
    if source == STDIN or source.startswith(_STREAMS):
        return True
    return os.path.exists(source) and not os.path.isfile(source) and not os.path.isdir(source)


def opened(source: str) -> str | bytes:
    """A file's path as it is, or what a pipe or a device holds, which can be read once.

    Raises:
      UserError: that cannot be read.
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
    """What is in a folder; links to folders come last, and none is looked into twice."""
    links, count = [folder], 0
    walked: set[str] = set()
    while links:
        for found in _walk(links.pop(0), Path(folder), recursive, links, walked):
            count += not found.is_other
            yield found
    if not count:
        hint = "" if recursive else "; --recursive looks into the folders in it"
        yield Found(folder, fault=f"{folder}: holds no pictures{hint}")


def _walk(
    folder: str, top: Path, recursive: bool, links: list[str], walked: set[str]
) -> Iterator[Found]:
    real = os.path.realpath(folder)
    if real in walked:
        return
    walked.add(real)
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Found(folder, fault=f"{folder}: cannot be looked into: {error.strerror or error}")
        return
    for entry in entries:
        # Hidden folders hold thumbnails and what was thrown away.
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):
            if recursive and entry.is_symlink():
                links.append(entry.path)
            elif recursive:
                yield from _walk(entry.path, top, recursive, links, walked)
        elif _is_file(entry):
            below = Path(entry.path).parent.relative_to(top)
            is_other = Path(entry.name).suffix.lower() not in PHOTO_SUFFIXES
            is_result = not is_other and mark.is_marked(entry.path)
            yield Found(entry.path, below, is_result=is_result, is_other=is_other)


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # what it is will be said when it is read
        return True
