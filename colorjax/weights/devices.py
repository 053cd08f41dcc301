"""Which device computes, what is put on it, and what is compiled for it."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from colorjax.errors import UserError
from colorjax.pictures import files

AXIS = "devices"  # along which a step is shared out
# The process in which JAX was first used for colouring; nothing until then.
_at_home: list[int] = []


def place(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Copies host arrays to every device of this process, as a compiled step wants them.

    Steps take host arrays too, but would then be compiled a second time for their own results.
    Leaves that share memory, which could not be donated, are copied apart.
    """
    tree = jax.device_get(tree)
    local = [d for d in devices or jax.devices() if d.process_index == jax.process_index()]
    return jax.device_put(tree, NamedSharding(Mesh(local, (AXIS,)), PartitionSpec()))


def keep_compiled_programs() -> None:
    """Compiles a program once and for all, unless jax was told of a cache already."""
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(files.cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A program that cannot be kept, or was half kept, is compiled again: no user's concern.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def default_device() -> jax.Device:
    """The one that computes unless told: of `jax.default_device`, else this process's first."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    if chosen is None or isinstance(chosen, str):
        return jax.local_devices(backend=chosen)[0]
    return chosen


def pick_device(name: str | None) -> jax.Device:
    """The device called cpu, gpu or gpu:1 and so on; the best there is for None.

    Raises:
      UserError: there is none.
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
    """Raises UserError in a process that was forked after JAX was used, where JAX would hang."""
    if not _at_home:
        _at_home.append(os.getpid())
    if _at_home[0] != os.getpid():
        raise UserError(
            "this process was forked after colorjax had coloured, which JAX does not survive; want "
            "it spawned: multiprocessing.get_context('spawn')"
        )
