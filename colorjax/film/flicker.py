"""Measures how much the colours of a film flicker: how far chroma changes along the motion."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from colorjax.film import flow
from colorjax.film.flow import Motion

TRUSTED = 0.5  # trust above which a pixel counts


def find_motions(grays: Sequence[np.ndarray]) -> list[Motion]:
    """Returns the motion from each frame except the first to the previous frame.

    Args:
      grays: uint8 [height, width], preferably without grain.
    """
    return [flow.motion(now, before) for before, now in pairwise(grays)]


def flicker(chromas: Sequence[np.ndarray], motions: Sequence[Motion]) -> float:
    """Returns the mean change of chroma between frames, along the motion, where it is trusted.

    Args:
      chromas: float32 [height, width, 2], UV or ab; the result has the same units.
      motions: from `find_motions`, one for each frame except the first.

    Returns:
      The mean over all trusted pixels; nan if there are none.
    """
    total, count = 0.0, 0
    for (before, now), motion in zip(pairwise(chromas), motions, strict=True):
        change = np.linalg.norm(now - flow.warped(before, motion.flow), axis=-1)
        trusted = motion.trust > TRUSTED
        total, count = total + float(change[trusted].sum()), count + int(trusted.sum())
    return total / count if count else float("nan")
