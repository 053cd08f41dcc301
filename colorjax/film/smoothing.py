"""Chroma that stays with what moves: averaged along the motion of a film.

Each frame's chroma is the mean of the network's own and of that of the frames before, warped to
where things are now. Of how many frames it is the mean is warped too, and multiplied by the trust
in the motion, so that what is new or was hidden counts as seen once: where a motion is wrong stands
what the network says of this frame, and not the colour of something else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from colorjax.film import flow

MEMORY = 24.0  # frames of which the chroma of a place is the mean, at most
GRID = 2  # sides of the grid of the averages, in sides of the network's outputs


class State(NamedTuple):
    """What is taken along from the frames before.

    Attributes:
      gray: uint8 [H, W], the last frame, as the network saw it.
      chroma: float32 [h, w, 2], its averaged chroma, on a grid finer than the outputs.
      seen: float32 [h, w], of how many frames that is the mean.
    """

    gray: np.ndarray
    chroma: np.ndarray
    seen: np.ndarray


def averaged(state: State | None, gray: np.ndarray, chroma: np.ndarray) -> State:
    """Takes a frame in: the new state has its averaged chroma.

    Args:
      state: of the frame before; None at the beginning of a scene.
      gray: uint8 [H, W], the frame as the network sees it.
      chroma: float32 [h, w, 2], what the network says of this frame alone.
    """
    fine = _enlarged(chroma, gray.shape)
    if state is None:
        return State(gray, fine, np.ones(fine.shape[:2], np.float32))
    moved = flow.shrunk(flow.motion(gray, state.gray), fine.shape[:2])
    seen = np.minimum(flow.warped(state.seen, moved.flow) * moved.trust, MEMORY - 1)
    share = (seen / (seen + 1))[..., None]
    kept = flow.warped(state.chroma, moved.flow)
    return State(gray, share * kept + (1 - share) * fine, seen + 1)


def begun(grays: Sequence[np.ndarray], chromas: Sequence[np.ndarray]) -> State:
    """The state of the first of some frames at the beginning of a scene.

    They are averaged backwards, so that the first frame has a mean of several too: without it the
    colours of a scene would settle before one's eyes.
    """
    state = None
    for gray, chroma in zip(reversed(grays), reversed(chromas), strict=True):
        state = averaged(state, gray, chroma)
    assert state is not None
    return state


def chroma_of(state: State, shape: tuple[int, int]) -> np.ndarray:
    """The averaged chroma, float32 [h, w, 2], on the grid of the outputs."""
    return cv2.resize(state.chroma, shape[::-1], interpolation=cv2.INTER_AREA)


def _enlarged(chroma: np.ndarray, most: tuple[int, int]) -> np.ndarray:
    """On the grid of the averages, which is no finer than what the network sees."""
    height, width = (
        min(GRID * side, limit) for side, limit in zip(chroma.shape, most, strict=False)
    )
    return cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
