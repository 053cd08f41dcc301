"""Implementations of the paper's networks that are compared; each is built by its name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import absent, optional
from benchmarks.settings import Settings

JAX = ("ours", "plain Flax")
TORCH = ("PyTorch", "torch.compile")
NAMES = JAX + TORCH


class Contender(NamedTuple):
    """A network and its examples, the same for all contenders; every call waits for its result."""

    forward: Callable[[], Any]  # inference; outputs in the framework's own layout
    outputs: Callable[[Any], np.ndarray]  # converts them to logits [b, h, w, 2, n] or chroma
    train: Callable[[], float]  # one update in place; returns the loss before it
    peak_bytes: Callable[[], int | None]  # peak memory of the device; None on a CPU
    planned_bytes: Callable[[], int | None]  # of a training step, if the compiler reports it


def make(name: str, settings: Settings, objective: str, variables: dict | None = None) -> Contender:
    """Builds the contender `name`, one of NAMES.

    `variables` are the Flax variables of colorjax's network as numpy arrays, or None for the random
    initialization of the framework.
    """
    if name in JAX:
        from benchmarks import jax_peer

        return jax_peer.contender(settings, objective, variables, plain=name == "plain Flax")
    from benchmarks import torch_peer

    return torch_peer.contender(settings, objective, variables, compiled=name == "torch.compile")


def torch_absence(settings: Settings) -> str | None:
    """Returns a note that says why PyTorch cannot be measured next to jax, or None if it can."""
    torch = optional("torch")
    if torch is None:
        return absent("PyTorch")
    if settings.platform == "gpu" and not torch.cuda.is_available():
        return "PyTorch finds no GPU although jax does, so it is not measured"
    return None
