"""From a photograph's file to a coloured one, as users of other networks have it, with OpenCV.

The networks have random weights: what is measured is their time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import absent, optional
from colorjax.pictures.writing import QUALITY

NOTE = (
    "ECCV16 and DDColor tiny: rebuilt from their papers at random weights, in PyTorch on the CPU, "
    "channels last, which is their fastest layout; CIELAB and resizing by OpenCV in float32"
)


class Peer(NamedTuple):
    """A network that sees a square copy of a photograph."""

    name: str
    side: int  # of the copy
    predict: Callable[[np.ndarray], np.ndarray]  # its L [side, side] -> ab [any, any, 2], float32


def installed() -> tuple[list[Peer], list[str]]:
    """The peers, in the order of their papers; none where a library is missing, and what is."""
    notes = [
        absent(name)
        for name, module in (("OpenCV", "cv2"), ("PyTorch", "torch"))
        if optional(module) is None
    ]
    return ([], notes) if notes else ([eccv16(), ddcolor_tiny()], [NOTE])


def eccv16() -> Peer:
    from benchmarks.peers import eccv16 as network

    run = _runner(network.ECCV16)
    return Peer("ECCV16", network.SIDE, lambda lightness: run(lightness[None]))


def ddcolor_tiny() -> Peer:
    from benchmarks.peers import ddcolor as network

    run = _runner(network.DDColorTiny)
    return Peer("DDColor tiny", network.SIDE, lambda lightness: run(_gray(lightness)))


def colour_file(peer: Peer, source: Path, target: Path) -> None:
    """Colours a photograph, which keeps its own L, and writes a JPEG of our quality."""
    import cv2

    read = np.multiply(cv2.imread(str(source)), 1 / 255, dtype=np.float32)
    lab = cv2.cvtColor(read, cv2.COLOR_BGR2Lab)
    height, width, _ = lab.shape
    small = cv2.resize(lab[..., 0], (peer.side, peer.side), interpolation=cv2.INTER_AREA)
    lab[..., 1:] = cv2.resize(peer.predict(small), (width, height))
    bgr = cv2.cvtColor(lab, cv2.COLOR_Lab2BGR)
    # Rounds, and brings what no 8 bits hold to the nearest that they do.
    eight_bits = cv2.convertScaleAbs(np.clip(bgr, 0, 1, out=bgr), alpha=255)
    if not cv2.imwrite(str(target), eight_bits, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise RuntimeError(f"{target}: OpenCV could not write it")


def _runner(build: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a PyTorch network on one picture: float32 [c, h, w] -> [h, w, 2]."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build().eval().to(memory_format=torch.channels_last)

    def run(channels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(channels)[None].contiguous(memory_format=torch.channels_last)
            return np.ascontiguousarray(network(x)[0].permute(1, 2, 0).numpy())

    return run


def _gray(lightness: np.ndarray) -> np.ndarray:
    """The gray of an L: [h, w] -> sRGB [3, h, w] in [0, 1]."""
    import cv2

    zeros = np.zeros_like(lightness)
    gray = cv2.cvtColor(np.dstack([lightness, zeros, zeros]), cv2.COLOR_Lab2RGB)
    return np.ascontiguousarray(gray.transpose(2, 0, 1))
