"""Which of ImageNet's 1000 classes a photograph shows, as its path or a table tells.

The classes are counted from 0 in the order of their synsets, which is that of the scores of the
networks that were published for them; `imagenet_classes.txt` lists them and says where it is from.
"""

import csv
import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from colorjax.errors import UserError

FILE = Path(__file__).parent / "imagenet_classes.txt"
WANTED = "an index from 0 to 999, a synset such as n01440764, or a name such as tench"
# As ImageNet names its files, n01440764_10026.JPEG; the rest of the name may be anything.
_SYNSET_FILE = re.compile(r"(n\d{8})[_.]")
_HEADS = ("file", "filename", "photo", "image", "path")  # what a table may call its first column


class ImageClass(NamedTuple):
    """One of ImageNet's classes."""

    synset: str  # WordNet's number of the noun, as "n01440764"
    names: tuple[str, ...]  # of that noun, the usual one first


@functools.cache
def classes() -> tuple[ImageClass, ...]:
    """All 1000 of them, in order."""
    lines = FILE.read_text(encoding="ascii").splitlines()
    rows = [line.partition(" ") for line in lines if not line.startswith("#")]
    return tuple(ImageClass(synset, tuple(names.split(", "))) for synset, _, names in rows)


def class_of(text: str) -> int | None:
    """The class that a synset or a name means, or None.

    A name may be any of the class's, or all of them with commas; case, spaces, underscores and
    hyphens do not matter. Where classes share a name, it means the one that has it first.

    Raises:
      UserError: several classes have that name, and all or none of them have it first.
    """
    found = _by_name().get(_plain(text), ())
    if len(found) > 1:
        synsets = " or ".join(classes()[i].synset for i in found)
        raise UserError(f"{text!r} names {len(found)} of ImageNet's classes, want {synsets}")
    return found[0] if found else None


@functools.cache
def _by_name() -> dict[str, tuple[int, ...]]:
    """The classes of each name or synset."""
    first: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    for i, (synset, names) in enumerate(classes()):
        for name in {_plain(synset), _plain(names[0]), _plain(", ".join(names))}:
            first.setdefault(name, []).append(i)
        for name in {_plain(name) for name in names[1:]}:
            others.setdefault(name, []).append(i)
    return {name: tuple(found) for name, found in {**others, **first}.items()}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def label_of(path: str) -> int | None:
    """The class that a photograph's path tells, with forward slashes; None if it tells none.

    A file whose name starts with a synset, as n01440764_10026.JPEG, is of that class. Any other is
    of the innermost of its folders that a class could be called.

    Raises:
      UserError: several classes have the name of that folder.
    """
    *folders, file = PurePosixPath(path).parts
    if synset := _SYNSET_FILE.match(file):
        return class_of(synset[1])
    try:
        return next((found for f in reversed(folders) if (found := class_of(f)) is not None), None)
    except UserError as error:
        raise UserError(f"{path}: its folder {error}") from error


def read_table(file: str | os.PathLike) -> dict[str, int]:
    """Reads classes of photographs from a CSV file: {name of the photograph: class}.

    A line is a photograph's name and its class: an index from 0 to 999, a synset or a name. The
    first line may be a head that calls the first column file, filename, photo, image or path.

    Raises:
      UserError: it cannot be read, has no line, or a line is not as described or contradicts
        another.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            rows = [(i, row) for i, row in enumerate(csv.reader(opened), start=1) if row]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: is no table in CSV and UTF-8 ({error})") from error
    if rows and _plain(rows[0][1][0]) in _HEADS:
        rows = rows[1:]
    table: dict[str, int] = {}
    for number, row in rows:
        name, index = _read_row(f"{file}, line {number}", row)
        if table.setdefault(name, index) != index:
            raise UserError(
                f"{file}, line {number}: {name} was of class {table[name]} above and is of {index} "
                "here, want one"
            )
    if not table:
        raise UserError(f"{file}: has no line with a photograph and its class")
    return table


def _read_row(place: str, row: list[str]) -> tuple[str, int]:
    if len(row) != 2 or not row[0].strip():
        raise UserError(f"{place}: is {','.join(row)!r}, want a file's name and its class alone")
    name, text = (cell.strip() for cell in row)
    if re.fullmatch(r"[0-9]{1,3}", text):
        return name, int(text)
    try:
        index = class_of(text)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    if index is None:
        raise UserError(f"{place}: {text!r} is none of ImageNet's classes, want {WANTED}")
    return name, index


def labels(paths: Sequence[str], table: dict[str, int] | None = None) -> list[int | None]:
    """The classes of photographs, None where nothing tells.

    Args:
      paths: with forward slashes.
      table: from `read_table`. It alone counts where it is given: a photograph is looked up by its
        path, and then by the name of its file, which is one photograph wherever it lies.

    Raises:
      UserError: as `label_of`.
    """
    if table is None:
        return [label_of(path) for path in paths]
    return [table.get(path, table.get(PurePosixPath(path).name)) for path in paths]
