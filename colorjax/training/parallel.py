"""Compiles steps for the available devices, and coordinates the processes of a run.

A step is compiled with jit for one device and with pmap for several. The state has no device axis
in either case, so that a checkpoint works for both.
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

# XLA's default scheduler for CPUs runs operations concurrently, which takes a third more memory and
# saves no time, since a convolution uses all cores anyway. By default XLA also removes optimization
# barriers before scheduling. `resample.conv_same` uses them to have the gradients of kernels
# computed as early as possible, which saves a step of the paper's network a quarter of its memory.
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
      step: a pure function. If `axis_name` is None, it gets the whole batch; otherwise it gets one
        device's share, and must average or sum everything that it returns over the axis.
      donate: whether to donate the buffers of `replicated` to the result.
      constant: a tree of arrays from `weights.devices.place`, passed to the step as `constant=`;
        the arrays stay on the devices.
      devices: the devices to use; default: all devices of all processes.

    The batch's leading axis is this process's share of the batch, and its size must be a multiple
    of the process's device count. `replicated` must contain an array: with an empty tree, pmap
    mixes up its in_axes.
    """
    donated = (0,) if donate else ()
    devices = list(devices or jax.devices())
    constants = () if constant is None else (constant,)

    def call(axis_name, replicated, batch, *constants):
        options = {"constant": constants[0]} if constants else {}
        return step(replicated, batch, axis_name, **options)

    if len(devices) == 1:
        compiled = jax.jit(
            partial(call, None),
            donate_argnums=donated,
            compiler_options=CPU_OPTIONS if devices[0].platform == "cpu" else None,
        )
        return lambda replicated, batch: compiled(replicated, batch, *constants)
    mapped = jax.pmap(
        partial(call, AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, *[None] * len(constants)),
        out_axes=None,
        donate_argnums=donated,
        devices=devices if devices != jax.devices() else None,
    )
    count = sum(device.process_index == jax.process_index() for device in devices)

    def run(replicated, batch):
        return mapped(replicated, {name: _split(x, count) for name, x in batch.items()}, *constants)

    return run


def is_writer() -> bool:
    """Returns whether this process writes files and prints messages."""
    return jax.process_index() == 0


def check_same(what: str, content: str) -> None:
    """Raises UserError on every process unless `content`, called `what`, is the same on all."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(content.encode()).digest()[:8], np.uint32)
    digests = multihost_utils.process_allgather(digest)
    others = [i for i, other in enumerate(digests) if (other != digests[0]).any()]
    if others:
        raise UserError(f"{what} of process {others[0]} differ from those of process 0")


def from_writer(tree: Any) -> Any:
    """Returns, on every process, the host arrays of `tree` of the writing process."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def check_batch_size(name: str, batch_size: int) -> None:
    """Raises UserError unless the global `batch_size`, the setting `name`, fits the devices."""
    count = jax.device_count()
    if batch_size < 1 or batch_size % count:
        raise UserError(
            f"{name} is {batch_size}, want a positive multiple of the {count} devices "
            f"({jax.process_count()} processes), such as {max(count, batch_size // count * count)}"
        )


def _split(x: Any, count: int) -> np.ndarray:
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])
