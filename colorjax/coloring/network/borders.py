"""Borders: margins of prints, frames, and the black bars of films, which are not of the photo.

A network takes a border for a part of what is seen, and colours all the rest after it. What is even
at an edge may as well be a night sky or the white ground of a studio, so that a margin counts as a
border only if all of this holds:

- It is even: of each of its lines nearly all pixels have nearly one gray, noise allowed for.
- It ends in a step, along most of a straight line from one side of the picture to the other. The
  skyline below a night sky, and what stands on a white ground, do not begin everywhere at once.
- It is black or white, whose colour is hard to see in any case. Of another gray it needs a like
  margin on the opposite side, which a sky has not.
"""

from typing import NamedTuple

import numpy as np

from colorjax.pictures import image_io

SEEN = 1024  # pixels of a line that are looked at, at most, evenly spread
NESTED = 3  # borders around borders
BLACK, WHITE = 48, 232  # grays from which on a margin may stand alone
NOISE = 8.0  # most standard deviation of a margin, in 8-bit steps
EVEN, DRIFT = 0.98, 8.0  # share of a line that must be near the level; how far its mean may be
BLOCK = 16  # pixels of a line that are averaged, so that noise hides no step
# Share of a line that must differ, where a border ends; where another side has one of its gray.
STEP, LIKE_STEP = 0.6, 0.3
LEAST_LINES, SOFT_LINES = 2, 4  # of a border, and of the blurred step at its end; or this share:
LEAST_SHARE, SOFT_SHARE = 0.005, 0.005
LEAST_LEFT = 0.25  # of each side, between borders


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def inside(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


class _Margin(NamedTuple):
    """The even lines at one side of a picture."""

    lines: int
    level: float
    noise: float  # standard deviation

    @property
    def pixel_tolerance(self) -> float:
        """How far a pixel may be from the level."""
        return 8.0 + 3.0 * self.noise

    @property
    def block_tolerance(self) -> float:
        """How far a mean of `BLOCK` pixels may be, a quarter of whose noise is left."""
        return 6.0 + 0.75 * self.noise

    def is_like(self, other: "_Margin") -> bool:
        return other.lines > 0 and abs(self.level - other.level) <= DRIFT


_NONE = _Margin(0, 0.0, 0.0)


def whole(rgb: np.ndarray) -> Box:
    """All of a picture."""
    return Box(0, rgb.shape[0], 0, rgb.shape[1])


def without_borders(rgb: np.ndarray) -> Box:
    """What of a photo lies within its borders: all of it where there are none.

    Args:
      rgb: uint8 or uint16 [height, width, 3].
    """
    box = whole(rgb)
    for _ in range(NESTED):
        smaller = _within(rgb[box.inside])
        found = Box(
            box.top + smaller.top,
            box.top + smaller.bottom,
            box.left + smaller.left,
            box.left + smaller.right,
        )
        if found == box:
            break
        box = found
    return box


def strips(rgb: np.ndarray, box: Box) -> list[tuple[slice, slice]]:
    """The rectangles that a picture has around a box."""
    height, width, _ = rgb.shape
    middle = slice(box.top, box.bottom)
    found = [
        (slice(0, box.top), slice(0, width)),
        (slice(box.bottom, height), slice(0, width)),
        (middle, slice(0, box.left)),
        (middle, slice(box.right, width)),
    ]
    return [(r, c) for r, c in found if r.start < r.stop and c.start < c.stop]


def _within(rgb: np.ndarray) -> Box:
    """What lies within the outermost borders."""
    height, width, _ = rgb.shape
    rows = _grays(rgb[:, :: -(-width // SEEN)])
    columns = _grays(rgb[:: -(-height // SEEN)]).T
    top, bottom = _margin(rows), _margin(rows[::-1])
    left, right = _margin(columns), _margin(columns[::-1])
    box = Box(top.lines, height - bottom.lines, left.lines, width - right.lines)
    # Even all over, or of nothing but margins: no saying what is what.
    if box.bottom - box.top < LEAST_LEFT * height or box.right - box.left < LEAST_LEFT * width:
        return whole(rgb)
    across = slice(box.left * rows.shape[1] // width, -(-box.right * rows.shape[1] // width))
    along = slice(box.top * columns.shape[1] // height, -(-box.bottom * columns.shape[1] // height))
    sides = [
        (rows[:, across], top),
        (rows[::-1, across], bottom),
        (columns[:, along], left),
        (columns[::-1, along], right),
    ]
    kept = _border_lines(sides)
    return Box(kept[0], height - kept[1], kept[2], width - kept[3])


def _grays(rgb: np.ndarray) -> np.ndarray:
    """Roughly the luma, int16 in [0, 255]: all that a border is looked for in."""
    rgb_u8 = image_io.eight_bits(rgb)
    red, green, blue = (rgb_u8[..., i].astype(np.int16) for i in range(3))
    return (red + 2 * green + blue) >> 2


def _margin(lines: np.ndarray) -> _Margin:
    """The even lines at the beginning of [lines, pixels]."""
    count = len(lines)
    first = lines[: max(2, round(LEAST_SHARE * count))]
    level = float(np.median(first))
    # Of a normal distribution, 68% lie within a standard deviation; specks of dust do not count.
    noise = float(np.percentile(np.abs(first - level), 68))
    if noise > NOISE:
        return _NONE
    margin = _Margin(0, level, noise)
    even = (np.abs(lines - level) <= margin.pixel_tolerance).mean(1) >= EVEN
    even &= (np.abs(_blocks(lines) - level) <= margin.block_tolerance).mean(1) >= EVEN
    even &= np.abs(lines.mean(1) - level) <= DRIFT
    extent = count if even.all() else int(np.argmin(even))
    if extent < max(LEAST_LINES, LEAST_SHARE * count):
        return _NONE
    return margin._replace(lines=extent)


def _blocks(lines: np.ndarray) -> np.ndarray:
    """Means along [lines, pixels], of some pixels each."""
    size = max(1, min(BLOCK, lines.shape[1] // BLOCK))
    count = lines.shape[1] // size
    return lines[:, : count * size].reshape(len(lines), count, size).mean(2)


def _end(lines: np.ndarray, margin: _Margin, share: float) -> int:
    """How many lines a margin has up to the step at its end; 0 if it ends in none.

    A step is a line of which so great a share is of another gray than the margin's last line: a sky
    that grows brighter ends in none.
    """
    if not margin.lines:
        return 0
    level = lines[margin.lines - 1].mean()
    soft = max(SOFT_LINES, round(SOFT_SHARE * len(lines)))
    after = _blocks(lines[margin.lines : margin.lines + soft])
    differs = (np.abs(after - level) > margin.block_tolerance).mean(1) >= share
    return margin.lines + int(np.argmax(differs)) if differs.any() else 0


def _border_lines(sides: list[tuple[np.ndarray, _Margin]]) -> list[int]:
    """How many lines the border of each side has, opposite sides one after the other.

    Where one side has a border, others of its gray need less of a step: a photo that is dark at
    an edge hides most of it.
    """
    margins = [margin for _, margin in sides]
    lines = [_end(*side, STEP) for side in sides]
    ended = [margin._replace(lines=n) for margin, n in zip(margins, lines, strict=True)]
    kept = []
    for i, margin in enumerate(ended):
        alone = margin.level <= BLACK or margin.level >= WHITE
        kept.append(margin.lines if alone or margin.is_like(ended[i ^ 1]) else 0)
    for i, side in enumerate(sides):
        alike = any(kept[k] and margins[i].is_like(margins[k]) for k in range(4) if k != i)
        if not kept[i] and alike:
            kept[i] = _end(*side, LIKE_STEP)
    return kept
