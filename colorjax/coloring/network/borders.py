"""Detects borders that are not part of the photo: margins of prints, frames, black bars of films.

The network would treat a border as part of the scene, and it would affect the colours of the whole
photo. But a uniform area at an edge may also be a night sky or the white background of a studio.
A margin therefore counts as a border only if all of this holds:

- It is uniform: in each of its lines nearly all pixels have nearly the same gray, apart from noise.
- It ends in a step along most of a straight line across the picture. The skyline below a night sky,
  or an object on a white background, does not begin everywhere at the same line.
- It is black or white, where colour is hard to see in any case. A margin of another gray needs a
  similar margin on the opposite side, which a sky does not have.
"""

from typing import NamedTuple

import numpy as np

from colorjax.pictures import image_io

MAX_SAMPLES = 1024  # most pixels of a line that are examined, evenly spaced
MAX_NESTED = 3  # borders inside borders
# Grays up to BLACK and from WHITE on need no similar margin on the opposite side.
BLACK, WHITE = 48, 232
MAX_NOISE = 8.0  # largest standard deviation of a margin, in 8-bit steps
# Share of a line's pixels that must be near the margin's level; largest deviation of its mean.
EVEN, DRIFT = 0.98, 8.0
BLOCK = 16  # pixels of a line that are averaged, so that noise does not hide a step
# Share of a line that must differ at the end of a border: usually, and where another side has a
# border of the same gray.
STEP, LIKE_STEP = 0.6, 0.3
# Fewest lines of a border, and lines of the blurred step at its end: the larger of a number and a
# share of the picture's side.
MIN_LINES, SOFT_LINES = 2, 4
MIN_SHARE, SOFT_SHARE = 0.005, 0.005
MIN_INNER = 0.25  # smallest share of each side that must remain between borders


class Box(NamedTuple):
    """A rectangle of a picture, in pixels; bottom and right are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """Slices of the rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


class _Margin(NamedTuple):
    """The uniform lines at one side of a picture."""

    lines: int
    level: float
    noise: float  # standard deviation

    @property
    def pixel_tolerance(self) -> float:
        """Largest difference of a pixel from the level."""
        return 8.0 + 3.0 * self.noise

    @property
    def block_tolerance(self) -> float:
        """Largest difference of a mean of BLOCK pixels, which has a quarter of their noise."""
        return 6.0 + 0.75 * self.noise

    def is_like(self, other: "_Margin") -> bool:
        """Returns whether the other margin has any lines, and nearly the same level."""
        return other.lines > 0 and abs(self.level - other.level) <= DRIFT


_NONE = _Margin(0, 0.0, 0.0)


def whole(rgb: np.ndarray) -> Box:
    """Returns the box of the whole picture."""
    return Box(0, rgb.shape[0], 0, rgb.shape[1])


def without_borders(rgb: np.ndarray) -> Box:
    """Returns the box within the borders of a photo; the whole photo if it has none.

    Args:
      rgb: uint8 or uint16 [height, width, 3].
    """
    box = whole(rgb)
    for _ in range(MAX_NESTED):
        inner = _within(rgb[box.inside])
        smaller = Box(
            box.top + inner.top,
            box.top + inner.bottom,
            box.left + inner.left,
            box.left + inner.right,
        )
        if smaller == box:
            break
        box = smaller
    return box


def strips(rgb: np.ndarray, box: Box) -> list[tuple[slice, slice]]:
    """Returns the up to four rectangles of a picture that surround a box."""
    height, width, _ = rgb.shape
    middle = slice(box.top, box.bottom)
    sides = [
        (slice(0, box.top), slice(0, width)),
        (slice(box.bottom, height), slice(0, width)),
        (middle, slice(0, box.left)),
        (middle, slice(box.right, width)),
    ]
    return [(r, c) for r, c in sides if r.start < r.stop and c.start < c.stop]


def _within(rgb: np.ndarray) -> Box:
    """Returns the box within the outermost borders."""
    height, width, _ = rgb.shape
    rows = _grays(rgb[:, :: -(-width // MAX_SAMPLES)])
    columns = _grays(rgb[:: -(-height // MAX_SAMPLES)]).T
    top, bottom = _margin(rows), _margin(rows[::-1])
    left, right = _margin(columns), _margin(columns[::-1])
    box = Box(top.lines, height - bottom.lines, left.lines, width - right.lines)
    # Uniform all over, or nearly all margin: the borders cannot be told from the photo.
    if box.bottom - box.top < MIN_INNER * height or box.right - box.left < MIN_INNER * width:
        return whole(rgb)
    across = slice(box.left * rows.shape[1] // width, -(-box.right * rows.shape[1] // width))
    along = slice(box.top * columns.shape[1] // height, -(-box.bottom * columns.shape[1] // height))
    sides = [
        (rows[:, across], top),
        (rows[::-1, across], bottom),
        (columns[:, along], left),
        (columns[::-1, along], right),
    ]
    lines = _border_lines(sides)
    return Box(lines[0], height - lines[1], lines[2], width - lines[3])


def _grays(rgb: np.ndarray) -> np.ndarray:
    """Returns the approximate luma, int16 in [0, 255], in which borders are detected."""
    rgb_u8 = image_io.eight_bits(rgb)
    red, green, blue = (rgb_u8[..., i].astype(np.int16) for i in range(3))
    return (red + 2 * green + blue) >> 2


def _margin(lines: np.ndarray) -> _Margin:
    """Returns the uniform lines at the beginning of [lines, pixels]."""
    count = len(lines)
    first = lines[: max(2, round(MIN_SHARE * count))]
    level = float(np.median(first))
    # 68% of a normal distribution lie within one standard deviation; dust hardly affects this.
    noise = float(np.percentile(np.abs(first - level), 68))
    if noise > MAX_NOISE:
        return _NONE
    margin = _Margin(0, level, noise)
    even = (np.abs(lines - level) <= margin.pixel_tolerance).mean(1) >= EVEN
    even &= (np.abs(_blocks(lines) - level) <= margin.block_tolerance).mean(1) >= EVEN
    even &= np.abs(lines.mean(1) - level) <= DRIFT
    extent = count if even.all() else int(np.argmin(even))
    if extent < max(MIN_LINES, MIN_SHARE * count):
        return _NONE
    return margin._replace(lines=extent)


def _blocks(lines: np.ndarray) -> np.ndarray:
    """Returns the means of blocks of at most BLOCK pixels along each line of [lines, pixels]."""
    size = max(1, min(BLOCK, lines.shape[1] // BLOCK))
    count = lines.shape[1] // size
    return lines[:, : count * size].reshape(len(lines), count, size).mean(2)


def _end(lines: np.ndarray, margin: _Margin, share: float) -> int:
    """Returns the number of lines up to the step at the end of a margin; 0 if there is no step.

    A step is a line of which at least `share` differs in gray from the margin's last line. A sky
    that gradually becomes brighter has no step.
    """
    if not margin.lines:
        return 0
    level = lines[margin.lines - 1].mean()
    soft = max(SOFT_LINES, round(SOFT_SHARE * len(lines)))
    after = _blocks(lines[margin.lines : margin.lines + soft])
    differs = (np.abs(after - level) > margin.block_tolerance).mean(1) >= share
    return margin.lines + int(np.argmax(differs)) if differs.any() else 0


def _border_lines(sides: list[tuple[np.ndarray, _Margin]]) -> list[int]:
    """Returns the number of border lines at each side; opposite sides are adjacent in the list.

    If one side has a border, a smaller step suffices at other sides with the same gray: a photo
    that is dark at an edge hides most of the step.
    """
    margins = [margin for _, margin in sides]
    lines = [_end(*side, STEP) for side in sides]
    ended = [margin._replace(lines=n) for margin, n in zip(margins, lines, strict=True)]
    borders = []
    for i, margin in enumerate(ended):
        alone = margin.level <= BLACK or margin.level >= WHITE
        borders.append(margin.lines if alone or margin.is_like(ended[i ^ 1]) else 0)
    for i, side in enumerate(sides):
        alike = any(borders[k] and margins[i].is_like(margins[k]) for k in range(4) if k != i)
        if not borders[i] and alike:
            borders[i] = _end(*side, LIKE_STEP)
    return borders
