"""Averages chroma over time, along the motion of a film.

A frame's chroma is the running mean of the network's chroma for this frame and the averaged chroma
of the previous frames, warped along the motion. The number of averaged frames is warped too, and
multiplied by the trust in the motion. A pixel that is new, was occluded, or has a wrong motion
vector therefore takes the network's chroma for this frame, not the colour of another object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from colorjax.film import flow

MEMORY = 24.0  # most frames in the mean of a pixel
GRID = 2  # resolution of the averages relative to the network's outputs, per side


class State(NamedTuple):
    """The state carried from frame to frame; its fields are the arrays of a state file.

    Attributes:
      gray: uint8 [H, W], the last frame at the network's input size.
      chroma: float32 [h, w, 2], its averaged chroma, on a grid finer than the outputs.
      seen: float32 [h, w], the number of frames in each pixel's mean.
    """

    gray: np.ndarray
    chroma: np.ndarray
    seen: np.ndarray


def next_state(state: State | None, gray: np.ndarray, chroma: np.ndarray) -> State:
    """Adds a frame to the average; the new state holds its averaged chroma.

    Args:
      state: the state after the previous frame; None at the beginning of a scene.
      gray: uint8 [H, W], the frame at the network's input size.
      chroma: float32 [h, w, 2], the network's chroma for this frame alone.
    """
    fine = _enlarged(chroma, gray.shape)
    if state is None:
        return State(gray, fine, np.ones(fine.shape[:2], np.float32))
    motion = flow.shrunk(flow.motion(gray, state.gray), fine.shape[:2])
    count = np.minimum(flow.warped(state.seen, motion.flow) * motion.trust, MEMORY - 1)
    share = (count / (count + 1))[..., None]
    previous = flow.warped(state.chroma, motion.flow)
    return State(gray, share * previous + (1 - share) * fine, count + 1)


def first_state(grays: Sequence[np.ndarray], chromas: Sequence[np.ndarray]) -> State:
    """Returns the state of the first frame of a scene, from the scene's first few frames.

    The frames are averaged backwards in time, so that the first frame has a mean of several too.
    Otherwise the colours at the beginning of a scene would visibly settle.
    """
    state = None
    for gray, chroma in zip(reversed(grays), reversed(chromas), strict=True):
        state = next_state(state, gray, chroma)
    assert state is not None
    return state


def chroma_of(state: State, shape: tuple[int, int]) -> np.ndarray:
    """Returns the averaged chroma, float32 [h, w, 2], on the grid of the outputs."""
    return cv2.resize(state.chroma, shape[::-1], interpolation=cv2.INTER_AREA)


def _enlarged(chroma: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """Resizes chroma to the grid of the averages, which is no finer than the network's input."""
    height, width = (
        min(GRID * side, limit) for side, limit in zip(chroma.shape, limits, strict=False)
    )
    return cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
