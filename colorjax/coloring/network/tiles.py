"""Colours full-size photographs tile by tile, from their own luminance and the fits of chroma.

`color_tile` is the compiled `functions.color_tile`, or another function of the same arguments.
"""

from collections.abc import Callable
from itertools import product

import jax
import numpy as np

from colorjax.coloring.network import borders
from colorjax.ops.arrays import AnyArray

# Height and width of a tile, and how many tiles are computed at a time.
TILE, IN_FLIGHT = (256, 512), 3
# Sides of the tiles of very long pictures that are only a few pixels wide or high.
NARROW, LONG = 64, 4096
# Smallest side of the window of the fits that is passed with a tile. Larger windows have two, four,
# ... times this side, to limit the number of shapes.
WINDOW = 16


def color_box(
    color_tile: Callable, fits: AnyArray, rgb: np.ndarray, box: borders.Box
) -> np.ndarray:
    """Colours the `box` of a photo from fits [h, w, 6]; around it the result is gray.

    Photo and result have the same number of bits. The gray has the photo's luminance and results
    from zero chroma.
    """
    if box == borders.whole(rgb):
        return color_photo(color_tile, fits, rgb)
    result = np.empty_like(rgb)
    result[box.inside] = color_photo(color_tile, fits, rgb[box.inside])
    for strip in borders.strips(rgb, box):
        result[strip] = color_photo(color_tile, np.zeros_like(fits), rgb[strip])
    return result


def color_photo(color_tile: Callable, fits: AnyArray, rgb: np.ndarray) -> np.ndarray:
    """Joins a photo's own luminance with chroma from fits [h, w, 6].

    Photo and result are [height, width, 3]; both have 8 bits, or both 16.
    """
    (height, width, _), result = rgb.shape, np.empty_like(rgb)
    full, sides = (height, width), _tile_sides(height, width)
    coarse = fits.shape[0], fits.shape[1]
    window = _window(sides, full, coarse)
    fits = np.pad(fits, [(0, max(0, window - side)) for side in coarse] + [(0, 0)])
    pending: list[tuple[slice, slice, jax.Array]] = []

    def store_oldest():
        rows, columns, tile = pending.pop(0)
        part = result[rows, columns]
        part[:] = np.asarray(tile)[: part.shape[0], : part.shape[1]]

    for start in product(*(range(0, end, side) for end, side in zip(full, sides, strict=True))):
        rows, columns = (slice(a, a + s) for a, s in zip(start, sides, strict=True))
        tile = _padded(rgb[rows, columns], sides)
        positions = [_positions(*one) for one in zip(start, sides, full, coarse, strict=True)]
        top, left = (
            min(int(p[0]), n - window) for p, n in zip(positions, fits.shape[:2], strict=True)
        )
        local_fits = fits[top : top + window, left : left + window]
        relative = positions[0] - np.float32(top), positions[1] - np.float32(left)
        pending.append((rows, columns, color_tile(local_fits, tile, *relative)))
        if len(pending) == IN_FLIGHT:
            store_oldest()
    while pending:
        store_oldest()
    return result


def _padded(part: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Pads a part of a picture with black at the right and bottom to a tile of these sides."""
    if part.shape[:2] == sides:
        return np.ascontiguousarray(part)
    tile = np.zeros((*sides, 3), part.dtype)
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _tile_sides(height: int, width: int) -> tuple[int, int]:
    """Returns TILE, or a long narrow tile for long narrow pictures, which would not fill TILE."""
    if max(height, width) <= LONG or min(height, width) > NARROW:
        return TILE
    return (LONG, NARROW) if height > width else (NARROW, LONG)


def _window(sides: tuple[int, int], full: tuple[int, int], coarse: tuple[int, int]) -> int:
    """Returns the side of a square window that holds the part of the fits under any tile."""
    needed = max(
        min(coarse_side, -(-side * coarse_side // full_side) + 2)
        for side, full_side, coarse_side in zip(sides, full, coarse, strict=True)
    )
    return WINDOW << max(0, -(-needed // WINDOW) - 1).bit_length()


def _positions(start: int, side: int, full: int, coarse: int) -> np.ndarray:
    """Returns where `side` pixels from `start` lie on `coarse` pixels that span `full` pixels."""
    positions = ((np.arange(start, start + side) + 0.5) * (coarse / full)) - 0.5
    return np.clip(positions, 0, coarse - 1).astype(np.float32)
