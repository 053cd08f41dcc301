"""Hints: colours that a user gives for single pixels of a photo."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from colorjax.coloring.network.borders import Box
from colorjax.coloring.network.hint_propagation import HintMap
from colorjax.errors import UserError, quoted, whole_number

MAX_HINTS = 10_000  # per photo
WANT = "want X,Y=#RRGGBB, as in 120,80=#d0a070"


class Hint(NamedTuple):
    """A colour at a pixel of the upright photo; x and y count from 0 at the upper left corner."""

    x: int
    y: int
    colour: str  # "#rrggbb"; only its chroma is used


def parse(text: str) -> Hint:
    """Parses a hint written as X,Y=#RRGGBB; raises UserError if the text is invalid."""
    place, equals, colour = text.partition("=")
    x, comma, y = place.partition(",")
    numbers = [whole_number(part.strip()) for part in (x, y)]
    if not (equals and comma) or None in numbers:
        raise UserError(f"hint {quoted(text)}: {WANT}")
    return as_hint((*numbers, colour.strip()), f"hint {quoted(text)}")


def read(path: str | os.PathLike) -> tuple[Hint, ...]:
    """Reads hints from a JSON file: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].

    Raises:
      UserError: the file cannot be read, or its content is invalid.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(content, list):
        raise UserError(f"{path}: holds {type(content).__name__}, want a list of hints")
    return as_hints(content, f"{path}: hint")


def as_hints(given: Iterable[Any], name: str = "hint") -> tuple[Hint, ...]:
    """Converts the hints that a caller gives.

    Args:
      given: the hints; each is a Hint, a sequence (x, y, colour), or a mapping with those keys.
      name: what error messages call a hint; its number from 1 on follows.

    Raises:
      UserError: a hint is invalid, or there are more than MAX_HINTS.
    """
    listed = list(given)
    if len(listed) > MAX_HINTS:
        raise UserError(f"there are {len(listed):,} hints, want at most {MAX_HINTS:,}")
    return tuple(as_hint(one, f"{name} {i + 1}") for i, one in enumerate(listed))


def as_hint(given: Any, name: str) -> Hint:
    """Converts one hint; raises UserError, which calls it `name`, if it is invalid."""
    if isinstance(given, Mapping):
        given = tuple(given.get(key) for key in Hint._fields)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 3:
        raise UserError(f"{name} is {quoted(given)}, want x, y and colour")
    x, y, colour = given
    check_place(x, y, name)
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise UserError(f"{name} has the colour {quoted(colour)}, want #rrggbb, as #d0a070")
    return Hint(int(x), int(y), colour)


def check_place(x: Any, y: Any, name: str) -> None:
    """Raises UserError, which starts with `name`, unless x and y are integers."""
    for value in (x, y):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise UserError(f"{name} has the position {x!r}, {y!r}, want whole numbers of pixels")


def check_inside(hints: Sequence[Hint], rgb: np.ndarray, name: str = "hint at") -> None:
    """Raises UserError, which starts with `name`, for a hint outside a photo [height, width, 3]."""
    height, width, _ = rgb.shape
    for x, y, _ in hints:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"{name} {x},{y}: is outside the picture of {width} x {height} pixels, want "
                f"x from 0 to {width - 1} and y from 0 to {height - 1}"
            )


def within(hints: Sequence[Hint], box: Box) -> bool:
    """Returns whether all hints are inside a box."""
    return all(box.left <= x < box.right and box.top <= y < box.bottom for x, y, _ in hints)


def on_grid(hints: Sequence[Hint], rgb: np.ndarray, box: Box, shape: tuple[int, int]) -> HintMap:
    """Returns the hints on a grid over a box of a photo; hints in one cell are averaged.

    Args:
      hints: at least one, all inside the box.
      rgb: uint8 or uint16 [height, width, 3], the photo.
      box: the part of the photo that the grid covers.
      shape: height and width of the grid.
    """
    pixels = np.array([(y, x) for x, y, _ in hints])
    colours = np.array([list(bytes.fromhex(colour[1:])) for *_, colour in hints], np.float32)
    own = rgb[tuple(pixels.T)] / np.float32(np.iinfo(rgb.dtype).max)
    positions = (pixels - (box.top, box.left) + 0.5) * shape / box.size
    cells = tuple(np.floor(positions).astype(int).T)
    count = np.zeros((*shape, 1), np.float32)
    np.add.at(count, cells, 1)

    def mean(values):
        total = np.zeros((*shape, values.shape[1]), np.float32)
        np.add.at(total, cells, values)
        return total / np.maximum(count, 1)

    return HintMap(count, mean(colours / 255), mean(own), mean(positions - 0.5))
