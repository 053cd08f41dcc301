"""Full-size photographs are put together tile by tile: their own luminance, and chroma from fits.

`color_tile` is the program of `functions.color_tile`, or another of the same arguments.
"""

from collections.abc import Callable
from itertools import product

import jax
import numpy as np

from colorjax.coloring.network import borders
from colorjax.ops.arrays import AnyArray

# Sides of the tiles in which full-size pictures are put together, and how many are under way.
TILE, IN_FLIGHT = (256, 512), 3
# Those of pictures that are but a few pixels wide, or high, and very long.
NARROW, LONG = 64, 4096
# Least side of the part of the fits that a tile is told of, which has twice that where it lies over
# more, and so on: few shapes.
WINDOW = 16


def framed(color_tile: Callable, fits: AnyArray, rgb: np.ndarray, box: borders.Box) -> np.ndarray:
    """A photo whose `box` is coloured from fits [h, w, 6], and gray around: of its bits.

    The gray is that of its luminance, as if no chroma had been found.
    """
    if box == borders.whole(rgb):
        return full_size(color_tile, fits, rgb)
    result = np.empty_like(rgb)
    result[box.inside] = full_size(color_tile, fits, rgb[box.inside])
    for strip in borders.strips(rgb, box):
        result[strip] = full_size(color_tile, np.zeros_like(fits), rgb[strip])
    return result


def full_size(color_tile: Callable, fits: AnyArray, rgb: np.ndarray) -> np.ndarray:
    """Joins a photo's own luminance with chroma from fits [h, w, 6]: [height, width, 3] as it is.

    Photo and result have 8 bits, or both 16.
    """
    (height, width, _), result = rgb.shape, np.empty_like(rgb)
    full, sides = (height, width), _tile_sides(height, width)
    coarse = fits.shape[0], fits.shape[1]
    window = _window(sides, full, coarse)
    fits = np.pad(fits, [(0, max(0, window - side)) for side in coarse] + [(0, 0)])
    under_way: list[tuple[slice, slice, jax.Array]] = []

    def settle():
        rows, columns, tile = under_way.pop(0)
        place = result[rows, columns]
        place[:] = np.asarray(tile)[: place.shape[0], : place.shape[1]]

    for start in product(*(range(0, end, side) for end, side in zip(full, sides, strict=True))):
        rows, columns = (slice(a, a + s) for a, s in zip(start, sides, strict=True))
        tile = _filled(rgb[rows, columns], sides)
        places = [_places(*one) for one in zip(start, sides, full, coarse, strict=True)]
        top, left = (
            min(int(p[0]), n - window) for p, n in zip(places, fits.shape[:2], strict=True)
        )
        here = fits[top : top + window, left : left + window]
        relative = places[0] - np.float32(top), places[1] - np.float32(left)
        under_way.append((rows, columns, color_tile(here, tile, *relative)))
        if len(under_way) == IN_FLIGHT:
            settle()
    while under_way:
        settle()
    return result


def _filled(part: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """A part of a picture in the upper left corner of a tile of these sides, black around."""
    if part.shape[:2] == sides:
        return np.ascontiguousarray(part)
    tile = np.zeros((*sides, 3), part.dtype)
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _tile_sides(height: int, width: int) -> tuple[int, int]:
    """A rectangle, but for pictures of which it would hold next to nothing."""
    if max(height, width) <= LONG or min(height, width) > NARROW:
        return TILE
    return (LONG, NARROW) if height > width else (NARROW, LONG)


def _window(sides: tuple[int, int], full: tuple[int, int], coarse: tuple[int, int]) -> int:
    """Side of a square of the fits that has room for what any tile lies over."""
    needed = max(
        min(few, -(-side * few // whole) + 2)
        for side, whole, few in zip(sides, full, coarse, strict=True)
    )
    return WINDOW << max(0, -(-needed // WINDOW) - 1).bit_length()


def _places(start: int, side: int, full: int, coarse: int) -> np.ndarray:
    """Where the `side` pixels of a tile lie on a grid of `coarse` pixels over the `full` side."""
    places = ((np.arange(start, start + side) + 0.5) * (coarse / full)) - 0.5
    return np.clip(places, 0, coarse - 1).astype(np.float32)
