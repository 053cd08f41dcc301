"""Colours that a user gives at places of a photo."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from colorjax.coloring.network.borders import Box
from colorjax.coloring.network.hint_propagation import HintMap
from colorjax.errors import UserError, shown, whole_number

MOST = 10_000  # hints of a photo
WANT = "want X,Y=#RRGGBB, as in 120,80=#d0a070"


class Hint(NamedTuple):
    """A colour at a pixel of the upright photo, counted from its upper left corner on."""

    x: int
    y: int
    colour: str  # "#rrggbb", of which the chroma alone is taken


def parse(text: str) -> Hint:
    """The hint that X,Y=#RRGGBB is; raises UserError."""
    place, found, colour = text.partition("=")
    x, comma, y = place.partition(",")
    numbers = [whole_number(part.strip()) for part in (x, y)]
    if not (found and comma) or None in numbers:
        raise UserError(f"hint {shown(text)}: {WANT}")
    return checked((*numbers, colour.strip()), f"hint {shown(text)}")


def read(path: str | os.PathLike) -> tuple[Hint, ...]:
    """The hints of a JSON file: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from error
    if not isinstance(found, list):
        raise UserError(f"{path}: holds {type(found).__name__}, want a list of hints")
    return as_hints(found, f"{path}: hint")


def as_hints(given: Iterable[Any], name: str = "hint") -> tuple[Hint, ...]:
    """Hints from what a program gives: each a Hint, (x, y, colour), or a mapping of these names.

    Args:
      given: the hints.
      name: what messages call them, before their number.

    Raises:
      UserError: one is no such thing, or there are more than MOST.
    """
    listed = list(given)
    if len(listed) > MOST:
        raise UserError(f"there are {len(listed):,} hints, want at most {MOST:,}")
    return tuple(checked(one, f"{name} {i + 1}") for i, one in enumerate(listed))


def checked(given: Any, name: str) -> Hint:
    """One hint; raises UserError, in which it is called `name`."""
    if isinstance(given, Mapping):
        given = tuple(given.get(key) for key in Hint._fields)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 3:
        raise UserError(f"{name} is {shown(given)}, want x, y and colour")
    x, y, colour = given
    check_place(x, y, name)
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise UserError(f"{name} has the colour {shown(colour)}, want #rrggbb, as #d0a070")
    return Hint(int(x), int(y), colour)


def check_place(x: Any, y: Any, name: str) -> None:
    """Raises UserError, about what is called `name`, unless x and y are whole numbers."""
    for value in (x, y):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise UserError(f"{name} has the place {x!r}, {y!r}, want whole numbers of pixels")


def check_inside(hints: Sequence[Hint], rgb: np.ndarray, name: str = "hint at") -> None:
    """Raises UserError for a hint, called `name`, that is outside of a photo [height, width, 3]."""
    height, width, _ = rgb.shape
    for x, y, _ in hints:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"{name} {x},{y}: is outside of the picture of {width} x {height} pixels, want "
                f"x from 0 to {width - 1} and y from 0 to {height - 1}"
            )


def within(hints: Sequence[Hint], box: Box) -> bool:
    """Whether all hints are in a box."""
    return all(box.left <= x < box.right and box.top <= y < box.bottom for x, y, _ in hints)


def on_grid(hints: Sequence[Hint], rgb: np.ndarray, box: Box, shape: tuple[int, int]) -> HintMap:
    """Hints within the box of a photo, on a grid of `shape` over the box.

    Args:
      hints: at least one.
      rgb: uint8 or uint16 [height, width, 3], the photo.
      box: its part that the grid lies over.
      shape: height and width of the grid.
    """
    places = np.array([(y, x) for x, y, _ in hints])
    values = np.array([list(bytes.fromhex(colour[1:])) for *_, colour in hints], np.float32)
    here = rgb[tuple(places.T)] / np.float32(np.iinfo(rgb.dtype).max)
    fine = (places - (box.top, box.left) + 0.5) * shape / box.size
    cells = tuple(np.floor(fine).astype(int).T)
    count = np.zeros((*shape, 1), np.float32)
    np.add.at(count, cells, 1)

    def mean(values):
        total = np.zeros((*shape, values.shape[1]), np.float32)
        np.add.at(total, cells, values)
        return total / np.maximum(count, 1)

    return HintMap(count, mean(values / 255), mean(here), mean(fine - 0.5))
