"""A network in one of its writings, ready to be run; made by name in whatever process asks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import absent, optional
from benchmarks.settings import Settings

JAX = ("ours", "plain Flax")
TORCH = ("PyTorch", "torch.compile")
NAMES = JAX + TORCH


class Contender(NamedTuple):
    """The same network and the same examples for all; every call waits until it is done."""

    forward: Callable[[], Any]  # outputs with the running statistics, as the framework has them
    outputs: Callable[[Any], np.ndarray]  # the same as logits [b, h, w, 2, n] or chroma
    train: Callable[[], float]  # one update, in place: the loss before it
    peak_bytes: Callable[[], int | None]  # the device's memory at most; None on a CPU
    planned_bytes: Callable[[], int | None]  # a training step's, if the compiler says


def make(name: str, settings: Settings, objective: str, variables: dict | None = None) -> Contender:
    """The contender `name` of NAMES.

    `variables` are flax's for our network, as numpy; None for random ones, each framework's own.
    """
    if name in JAX:
        from benchmarks import jax_peer

        return jax_peer.contender(settings, objective, variables, plain=name == "plain Flax")
    from benchmarks import torch_peer

    return torch_peer.contender(settings, objective, variables, compiled=name == "torch.compile")


def torch_absence(settings: Settings) -> str | None:
    """The line that says why PyTorch cannot be measured beside jax, if so."""
    torch = optional("torch")
    if torch is None:
        return absent("PyTorch")
    if settings.platform == "gpu" and not torch.cuda.is_available():
        return "PyTorch sees no GPU where jax does, and so is not measured"
    return None
