"""Where the places of a frame were in the frame before, and how sure that is (OpenCV's DIS).

Flows are found between small gray frames, as large as what the network sees: chroma is no finer.
"""

import threading
from typing import NamedTuple

import cv2
import numpy as np

GRAIN = 1.0  # sigma of the blur that flows are found after, in pixels: grain moves nowhere
RESIDUAL, RESIDUAL_BLUR = 16.0, 2.0  # 8-bit steps by which places may differ; over so many pixels
ASTRAY = 2.0  # pixels by which the way there and back may end beside its start
FINEST = 1  # the level of the pyramid on which flows are found: half the sides
MOST_GAIN = 1.25  # of contrast from frame to frame, as brightness flickers
_own = threading.local()  # DIS keeps buffers, and is not for two threads


class Motion(NamedTuple):
    """From one frame to another, as a rule the one before.

    Attributes:
      flow: float32 [h, w, 2], x and y in pixels: what is at (x, y) was at (x, y) + flow.
      trust: float32 [h, w] in [0, 1], 0 where the place was hidden or the flow is wrong.
    """

    flow: np.ndarray
    trust: np.ndarray


def motion(now: np.ndarray, before: np.ndarray) -> Motion:
    """The motion between two gray frames.

    Brightness that changes all over, as that of old films, is made alike first. The flow is trusted
    where the way to the other frame and back again ends where it began, and where the other frame
    looks like this one.

    Args:
      now, before: uint8 [h, w].
    """
    before = _as_bright(before, now)
    now, before = (cv2.GaussianBlur(x, (0, 0), GRAIN) for x in (now, before))
    there, back = _flow(now, before), _flow(before, now)
    astray = np.square(there + warped(back, there)).sum(-1) / ASTRAY**2
    residual = now.astype(np.float32) - warped(before.astype(np.float32), there)
    residual = np.square(cv2.GaussianBlur(residual, (0, 0), RESIDUAL_BLUR)) / RESIDUAL**2
    inside = warped(np.ones(now.shape, np.float32), there, border=cv2.BORDER_CONSTANT)
    return Motion(there, np.exp(-astray - residual) * inside)


def warped(x: np.ndarray, flow: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """float32 [h, w] or [h, w, 2] of the other frame, brought to where its places are now."""
    height, width, _ = flow.shape
    rows, columns = np.indices((height, width), np.float32)
    return cv2.remap(
        x, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=border
    )


def shrunk(found: Motion, shape: tuple[int, int]) -> Motion:
    """The motion on a coarser grid [h, w], in pixels of that."""
    height, width = shape
    scale = np.array([width / found.trust.shape[1], height / found.trust.shape[0]], np.float32)
    flow, trust = (cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in found)
    return Motion(flow * scale, trust)


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if not hasattr(_own, "dis"):
        _own.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        _own.dis.setFinestScale(FINEST)
    return _own.dis.calc(first, second, None)


def _as_bright(gray: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """A gray frame of the mean and, nearly, the contrast of another."""
    gain = np.clip(wanted.std() / max(gray.std(), 1e-3), 1 / MOST_GAIN, MOST_GAIN)
    return np.clip((gray - gray.mean()) * gain + wanted.mean() + 0.5, 0, 255).astype(np.uint8)
