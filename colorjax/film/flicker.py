"""How much the colours of a film flicker: how far chroma changes while it moves with things."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from colorjax.film import flow
from colorjax.film.flow import Motion

TRUSTED = 0.5  # from which trust on a place is counted


def motions(grays: Sequence[np.ndarray]) -> list[Motion]:
    """From each frame but the first to the one before.

    Args:
      grays: uint8 [height, width], best without grain.
    """
    return [flow.motion(now, before) for before, now in pairwise(grays)]


def flicker(chromas: Sequence[np.ndarray], moved: Sequence[Motion]) -> float:
    """The mean change of chroma from frame to frame, along the motion, where that is trusted.

    Args:
      chromas: float32 [height, width, 2], U and V, or a and b, in whose units the result is.
      moved: the motion to each frame but the first.

    Returns:
      A mean over all places that are trusted; nan if none is.
    """
    total, count = 0.0, 0
    for (before, now), motion in zip(pairwise(chromas), moved, strict=True):
        change = np.linalg.norm(now - flow.warped(before, motion.flow), axis=-1)
        trusted = motion.trust > TRUSTED
        total, count = total + float(change[trusted].sum()), count + int(trusted.sum())
    return total / count if count else float("nan")
