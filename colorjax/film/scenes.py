"""Where the scenes of a film begin: by histograms of luminance.

Those of a frame's nine parts are compared with those of the frame before. A cut between scenes
that look alike, which histograms do not show, does no harm: there the motion is not trusted.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

PARTS, LEVELS = 3, 16  # parts of a side; levels of gray that are counted
SEEN = 32  # sides of a part, in pixels that are looked at
CUT = 0.065  # mean difference of gray, of all there is, from which on a scene is another
BACK = 0.5  # share of that within which a flash is over
FLASH = 4  # frames that a flash may last
LEAST = 10  # frames of a scene


class Mark(NamedTuple):
    """What a frame is."""

    begins: bool  # a scene
    flash: bool = False  # and so says nothing of what the frames after it look like


def signature(gray: np.ndarray) -> np.ndarray:
    """Cumulated histograms of the parts of a frame: float32 [parts, levels].

    Args:
      gray: uint8 [height, width].
    """
    side = PARTS * SEEN
    small = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    parts = small.reshape(PARTS, SEEN, PARTS, SEEN).transpose(0, 2, 1, 3).reshape(PARTS**2, -1)
    steps = np.arange(1, LEVELS) * (256 // LEVELS)
    return (parts[:, None] < steps[:, None]).mean(-1, dtype=np.float32)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How far gray would have to move to make one frame's histograms the other's, in [0, 1]."""
    return float(np.abs(first - second).mean())


def marks(signatures: Iterable[np.ndarray]) -> Iterator[Mark]:
    """What each frame of a film is, some frames later.

    A frame that differs from the one before begins a scene, unless within FLASH frames all is as it
    was before: then these frames are a flash.
    """
    last: np.ndarray | None = None
    odd: list[np.ndarray] = []
    length = 0
    for one in signatures:
        if last is None:
            yield Mark(True)
            last, length = one, 1
        elif not odd and (length < LEAST or difference(last, one) <= CUT):
            yield Mark(False)
            last, length = one, length + 1
        elif odd and difference(last, one) <= BACK * CUT:
            yield from [Mark(False, flash=True)] * len(odd)
            yield Mark(False)
            last, length, odd = one, length + len(odd) + 1, []
        else:
            odd.append(one)
            if len(odd) > FLASH:
                yield from (Mark(i == 0) for i in range(len(odd)))
                last, length, odd = one, len(odd), []
    yield from (Mark(i == 0) for i in range(len(odd)))
