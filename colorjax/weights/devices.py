"""Selects devices, copies arrays to them, and configures jax's compilation cache."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from colorjax.errors import UserError
from colorjax.pictures import files

AXIS = "devices"  # name of the device axis over which a batch is split
# The id of the process that first used JAX for colouring; empty before that.
_first_pid: list[int] = []


def place(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Copies arrays to every device of this process, placed like the results of a compiled step.

    Steps also accept host arrays, but are then compiled a second time for their own results. Leaves
    that share memory are copied separately, because shared buffers cannot be donated.
    """
    tree = jax.device_get(tree)
    local = [d for d in devices or jax.devices() if d.process_index == jax.process_index()]
    return jax.device_put(tree, NamedSharding(Mesh(local, (AXIS,)), PartitionSpec()))


def enable_compilation_cache() -> None:
    """Enables jax's persistent compilation cache, unless the user has configured one."""
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # If a program cannot be written or read, it is compiled again; users need no warning.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def default_device() -> jax.Device:
    """Returns the device of `jax.default_device`, or else the first device of this process."""
    configured = jax.config.jax_default_device  # type: ignore[attr-defined]
    if configured is None or isinstance(configured, str):
        return jax.local_devices(backend=configured)[0]
    return configured


def pick_device(name: str | None) -> jax.Device:
    """Returns the device with a name like cpu, gpu or gpu:1; for None, jax's preferred device.

    Raises:
      UserError: there is no such device.
    """
    if name is None:
        return jax.local_devices()[0]
    kind, _, number = name.partition(":")
    try:
        return jax.local_devices(backend=kind)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        have = ", ".join(f"{d.platform}:{d.id}" for d in jax.local_devices())
        raise UserError(f"device is {name!r}, want cpu or one of {have}") from error


def refuse_forked() -> None:
    """Raises UserError in a process that was forked after JAX was used, since JAX would hang."""
    if not _first_pid:
        _first_pid.append(os.getpid())
    if _first_pid[0] != os.getpid():
        raise UserError(
            "this process was forked after colorjax had coloured, which JAX does not survive; want "
            "it spawned: multiprocessing.get_context('spawn')"
        )
