"""Looks up which of ImageNet's 1000 classes a photograph shows, by its path or in a table.

Classes are numbered from 0 in the order of their synsets, which is the order of the logits of
published networks. `imagenet_classes.txt` lists them and names its source.
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
# A file name of ImageNet, such as n01440764_10026.JPEG; anything may follow the synset.
_SYNSET_FILE = re.compile(r"(n\d{8})[_.]")
# Headings of the first column by which a table's header is recognised.
_HEADINGS = ("file", "filename", "photo", "image", "path")


class ImageClass(NamedTuple):
    """One of ImageNet's classes."""

    synset: str  # WordNet's number of the noun, such as "n01440764"
    names: tuple[str, ...]  # synonyms of the noun, the usual one first


@functools.cache
def classes() -> tuple[ImageClass, ...]:
    """Returns all 1000 classes in order."""
    lines = FILE.read_text(encoding="ascii").splitlines()
    rows = [line.partition(" ") for line in lines if not line.startswith("#")]
    return tuple(ImageClass(synset, tuple(names.split(", "))) for synset, _, names in rows)


def class_of(text: str) -> int | None:
    """Returns the index of the class that a synset or a name denotes, or None.

    A name may be any one of a class's names, or all of them separated by commas; case, spaces,
    underscores and hyphens are ignored. If classes share a name, the class that lists it first
    among its names is meant.

    Raises:
      UserError: several classes have that name, and not exactly one of them lists it first.
    """
    indices = _by_name().get(_normalize(text), ())
    if len(indices) > 1:
        synsets = " or ".join(classes()[i].synset for i in indices)
        raise UserError(f"{text!r} names {len(indices)} of ImageNet's classes, want {synsets}")
    return indices[0] if indices else None


@functools.cache
def _by_name() -> dict[str, tuple[int, ...]]:
    """Returns the indices of the classes of each normalized name or synset."""
    first: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    for i, (synset, names) in enumerate(classes()):
        for name in {_normalize(synset), _normalize(names[0]), _normalize(", ".join(names))}:
            first.setdefault(name, []).append(i)
        for name in {_normalize(name) for name in names[1:]}:
            others.setdefault(name, []).append(i)
    return {name: tuple(indices) for name, indices in {**others, **first}.items()}


def _normalize(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def label_of(path: str) -> int | None:
    """Returns the class that a photograph's path, with forward slashes, indicates, or None.

    If the file's name starts with a synset, such as n01440764_10026.JPEG, that is the class.
    Otherwise it is that of the innermost folder whose name denotes a class.

    Raises:
      UserError: the name of that folder denotes several classes.
    """
    *folders, file = PurePosixPath(path).parts
    if synset := _SYNSET_FILE.match(file):
        return class_of(synset[1])
    try:
        return next((index for f in reversed(folders) if (index := class_of(f)) is not None), None)
    except UserError as error:
        raise UserError(f"{path}: its folder {error}") from error


def read_table(file: str | os.PathLike) -> dict[str, int]:
    """Reads the classes of photographs from a CSV file: {photograph's name: class}.

    Each line has a photograph's name and its class: an index from 0 to 999, a synset or a name. The
    first line may be a header whose first column is called file, filename, photo, image or path.

    Raises:
      UserError: the file cannot be read, has no photograph, or a line has another form or
        contradicts an earlier line.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            rows = [(i, row) for i, row in enumerate(csv.reader(opened), start=1) if row]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: is not a CSV table in UTF-8 ({error})") from error
    if rows and _normalize(rows[0][1][0]) in _HEADINGS:
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
    """Returns the class of each photograph, or None where it is unknown.

    Args:
      paths: the photographs' paths with forward slashes.
      table: from `read_table`. If given, it is the only source: a photograph is looked up by its
        path, and then by its file name alone, whatever its folder is.

    Raises:
      UserError: the name of a folder denotes several classes; see `label_of`.
    """
    if table is None:
        return [label_of(path) for path in paths]
    return [table.get(path, table.get(PurePosixPath(path).name)) for path in paths]
