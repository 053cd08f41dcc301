"""Detects the cuts and flashes of a film by luminance histograms.

The histograms of a frame's nine parts are compared with those of the previous frame. Missing a cut
between similar scenes does no harm: the optical flow across it is not trusted.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

PARTS, LEVELS = 3, 16  # parts per side; histogram bins
PART_PIXELS = 32  # side of a downscaled part, in pixels
CUT = 0.065  # `difference` above which a new scene begins
RETURN_SHARE = 0.5  # share of CUT below which a flash is over
MAX_FLASH_FRAMES = 4  # longest flash, in frames
MIN_SCENE_FRAMES = 10  # shortest scene, in frames


class Mark(NamedTuple):
    """Whether a frame begins a scene, or belongs to a flash."""

    begins: bool
    flash: bool = False  # unlike the frames before and after it


def signature(gray: np.ndarray) -> np.ndarray:
    """Returns the cumulative histograms of a frame's parts: float32 [PARTS**2, LEVELS - 1].

    Args:
      gray: uint8 [height, width].
    """
    side = PARTS * PART_PIXELS
    small = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    parts = (
        small.reshape(PARTS, PART_PIXELS, PARTS, PART_PIXELS)
        .transpose(0, 2, 1, 3)
        .reshape(PARTS**2, -1)
    )
    steps = np.arange(1, LEVELS) * (256 // LEVELS)
    return (parts[:, None] < steps[:, None]).mean(-1, dtype=np.float32)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean earth mover's distance between two frames' histograms, in [0, 1]."""
    return float(np.abs(first - second).mean())


def marks(signatures: Iterable[np.ndarray]) -> Iterator[Mark]:
    """Yields the mark of each frame, up to MAX_FLASH_FRAMES frames late.

    A frame that differs from the previous one begins a scene, unless the picture returns to what it
    was within MAX_FLASH_FRAMES frames: then the frames in between are a flash.
    """
    last: np.ndarray | None = None
    pending: list[np.ndarray] = []
    length = 0
    for current in signatures:
        if last is None:
            yield Mark(True)
            last, length = current, 1
        elif not pending and (length < MIN_SCENE_FRAMES or difference(last, current) <= CUT):
            yield Mark(False)
            last, length = current, length + 1
        elif pending and difference(last, current) <= RETURN_SHARE * CUT:
            yield from [Mark(False, flash=True)] * len(pending)
            yield Mark(False)
            last, length, pending = current, length + len(pending) + 1, []
        else:
            pending.append(current)
            if len(pending) > MAX_FLASH_FRAMES:
                yield from (Mark(i == 0) for i in range(len(pending)))
                last, length, pending = current, len(pending), []
    yield from (Mark(i == 0) for i in range(len(pending)))
