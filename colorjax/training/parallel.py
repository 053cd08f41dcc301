"""Compiles a step for the devices there are: jit on one, pmap on several.

The state carries no device axis on either path, so that one checkpoint serves both.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from colorjax.errors import UserError
from colorjax.weights.devices import AXIS

# XLA's own order for CPUs runs what it can at once, and so keeps a third more memory, for no
# gain in time: a convolution takes all cores anyway. And it takes the barriers out before it orders
# anything, by which `resample.conv_same` has gradients of kernels computed as soon as they can be:
# with them a step of the paper's network takes a quarter less memory.
CPU_OPTIONS = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
}

Step = Callable[[Any, dict[str, Any], str | None], Any]


def compile_step(
    step: Step,
    *,
    donate: bool = False,
    constant: Any = None,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[[Any, dict[str, Any]], Any]:
    """Compiles `step(replicated, batch, axis_name)` into a function of (replicated, batch).

    Args:
      step: a pure function. With `axis_name` None it sees the whole batch; else a device's share,
        and must average or sum over the axis whatever it returns.
      donate: give the memory of `replicated` to the result.
      constant: a tree of arrays from `place` that the step is called with as `constant=`; they stay
        on the devices.
      devices: all the devices of all processes unless given.

    The batch's leading axis is this process's share of the batch and must divide by its devices.
    `replicated` must have an array in it: beside an empty tree pmap mixes up its in_axes.
    """
    donated = (0,) if donate else ()
    devices = list(devices or jax.devices())
    beside = () if constant is None else (constant,)

    def called(axis_name, replicated, batch, *beside):
        settings = {"constant": beside[0]} if beside else {}
        return step(replicated, batch, axis_name, **settings)

    if len(devices) == 1:
        compiled = jax.jit(
            partial(called, None),
            donate_argnums=donated,
            compiler_options=CPU_OPTIONS if devices[0].platform == "cpu" else None,
        )
        return lambda replicated, batch: compiled(replicated, batch, *beside)
    mapped = jax.pmap(
        partial(called, AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, *[None] * len(beside)),
        out_axes=None,
        donate_argnums=donated,
        devices=devices if devices != jax.devices() else None,
    )
    count = sum(device.process_index == jax.process_index() for device in devices)

    def run(replicated, batch):
        return mapped(replicated, {name: _split(x, count) for name, x in batch.items()}, *beside)

    return run


def is_writer() -> bool:
    """Whether this is the process that writes files and talks to the user."""
    return jax.process_index() == 0


def check_same(what: str, content: str) -> None:
    """Raises UserError on every process unless `content` is the same on all of them."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(content.encode()).digest()[:8], np.uint32)
    digests = multihost_utils.process_allgather(digest)
    others = [i for i, other in enumerate(digests) if (other != digests[0]).any()]
    if others:
        raise UserError(f"{what} of process {others[0]} differ from those of process 0")


def from_writer(tree: Any) -> Any:
    """The host arrays of `tree` as the writing process has them, on every process."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def check_batch_size(name: str, batch_size: int) -> None:
    """Raises UserError unless the global `batch_size`, the setting `name`, can be shared out."""
    count = jax.device_count()
    if batch_size < 1 or batch_size % count:
        raise UserError(
            f"{name} is {batch_size}, want a positive multiple of the {count} devices "
            f"({jax.process_count()} processes), such as {max(count, batch_size // count * count)}"
        )


def _split(x: Any, count: int) -> np.ndarray:
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])
