"""Optical flow from a frame to the previous one, with a confidence (OpenCV's DIS).

Flow is computed between small gray frames of the network's input size: chroma is no finer.
"""

import threading
from typing import NamedTuple

import cv2
import numpy as np

GRAIN = 1.0  # sigma in pixels of the blur before flow estimation: grain does not follow the motion
# Tolerated difference between the frames, in 8-bit steps, and sigma in pixels of its smoothing.
RESIDUAL, RESIDUAL_BLUR = 16.0, 2.0
ROUND_TRIP = 2.0  # tolerated forward-backward error of the flow, in pixels
FINEST_SCALE = 1  # finest pyramid level of DIS: half of each side
MAX_GAIN = 1.25  # largest change of contrast between frames that is compensated
_local = threading.local()  # a DIS object has buffers and is not thread-safe: one per thread


class Motion(NamedTuple):
    """Motion from one frame to another, usually the previous one.

    Attributes:
      flow: float32 [h, w, 2], x and y in pixels: what is at (x, y) was at (x, y) + flow.
      trust: float32 [h, w] in [0, 1], 0 where the pixel was occluded or the flow is wrong.
    """

    flow: np.ndarray
    trust: np.ndarray


def motion(now: np.ndarray, before: np.ndarray) -> Motion:
    """Returns the motion from `now` to `before`.

    Global changes of brightness, which old films have, are compensated first. The flow is trusted
    where the forward and the backward flow cancel out and the warped frame looks like `now`.

    Args:
      now, before: uint8 [h, w].
    """
    before = _match_brightness(before, now)
    now, before = (cv2.GaussianBlur(x, (0, 0), GRAIN) for x in (now, before))
    forward, backward = _flow(now, before), _flow(before, now)
    round_trip = np.square(forward + warped(backward, forward)).sum(-1) / ROUND_TRIP**2
    residual = now.astype(np.float32) - warped(before.astype(np.float32), forward)
    residual = np.square(cv2.GaussianBlur(residual, (0, 0), RESIDUAL_BLUR)) / RESIDUAL**2
    inside = warped(np.ones(now.shape, np.float32), forward, border=cv2.BORDER_CONSTANT)
    return Motion(forward, np.exp(-round_trip - residual) * inside)


def warped(x: np.ndarray, flow: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """Warps `x` of the other frame, float32 [h, w] or [h, w, 2], to the positions in this one."""
    height, width, _ = flow.shape
    rows, columns = np.indices((height, width), np.float32)
    return cv2.remap(
        x, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=border
    )


def shrunk(full: Motion, shape: tuple[int, int]) -> Motion:
    """Returns the motion on a coarser grid [h, w], in pixels of that grid."""
    height, width = shape
    scale = np.array([width / full.trust.shape[1], height / full.trust.shape[0]], np.float32)
    flow, trust = (cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in full)
    return Motion(flow * scale, trust)


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if not hasattr(_local, "dis"):
        _local.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        _local.dis.setFinestScale(FINEST_SCALE)
    return _local.dis.calc(first, second, None)


def _match_brightness(gray: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Gives a gray frame the mean and, within MAX_GAIN, the contrast of a reference frame."""
    gain = np.clip(reference.std() / max(gray.std(), 1e-3), 1 / MAX_GAIN, MAX_GAIN)
    return np.clip((gray - gray.mean()) * gain + reference.mean() + 0.5, 0, 255).astype(np.uint8)
