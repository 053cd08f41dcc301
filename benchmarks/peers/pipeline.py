"""Colours a photograph from file to file with other networks and OpenCV, as their users would.

The networks have random weights, because only their speed is measured.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import absent, optional
from colorjax.pictures.writing import QUALITY

NOTE = (
    "ECCV16 and DDColor tiny: reimplemented from their papers with random weights, in PyTorch on "
    "the CPU, channels last, their fastest layout; CIELAB and resizing by OpenCV in float32"
)


class Peer(NamedTuple):
    """A network whose input is a square copy of a photograph."""

    name: str
    side: int  # of the copy, pixels
    predict: Callable[[np.ndarray], np.ndarray]  # L [side, side] -> ab [any, any, 2], float32


def installed() -> tuple[list[Peer], list[str]]:
    """Returns the peers in the order of their papers, and notes; none if a library is missing."""
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
    """Colours a photograph, keeping its L, and writes a JPEG with the quality of colorjax."""
    import cv2

    read = np.multiply(cv2.imread(str(source)), 1 / 255, dtype=np.float32)
    lab = cv2.cvtColor(read, cv2.COLOR_BGR2Lab)
    height, width, _ = lab.shape
    small = cv2.resize(lab[..., 0], (peer.side, peer.side), interpolation=cv2.INTER_AREA)
    lab[..., 1:] = cv2.resize(peer.predict(small), (width, height))
    bgr = cv2.cvtColor(lab, cv2.COLOR_Lab2BGR)
    # convertScaleAbs rounds and saturates.
    eight_bits = cv2.convertScaleAbs(np.clip(bgr, 0, 1, out=bgr), alpha=255)
    if not cv2.imwrite(str(target), eight_bits, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise RuntimeError(f"{target}: OpenCV could not write it")


def _runner(build: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that runs a PyTorch network: float32 [c, h, w] -> [h, w, 2]."""
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
    """Converts L to gray: [h, w] -> sRGB [3, h, w] in [0, 1]."""
    import cv2

    zeros = np.zeros_like(lightness)
    gray = cv2.cvtColor(np.dstack([lightness, zeros, zeros]), cv2.COLOR_Lab2RGB)
    return np.ascontiguousarray(gray.transpose(2, 0, 1))
