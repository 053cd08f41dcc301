"""Compiles functions for one device, once per argument signature, and caches the programs on disk.

jax's own persistent cache saves only the compilation. This cache also saves tracing, which takes as
long as the import of jax, and it changes no jax setting of the process.
"""

import functools
import os
import pickle
import platform
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable

from colorjax.weights import local_cache


class Program:
    """A function of arrays, compiled at the first call with each argument signature; thread-safe.

    Attributes:
      compiled: signature of arguments -> compiled program.
    """

    def __init__(
        self,
        function: Callable,
        device: jax.Device,
        *,
        facts: object = None,
        static: Sequence[str] = (),
    ):
        """Creates the program without compiling it.

        Args:
          function: takes pytrees of arrays as positional arguments, and the `static` arguments as
            keyword arguments.
          device: the device that computes; arguments are copied to it.
          facts: everything else that the function depends on; the repr must contain all of it.
          static: names of the arguments that are not arrays; each of their values is compiled
            separately.
        """
        self.compiled: dict[Any, Callable] = {}
        self._jitted = jax.jit(function, static_argnames=tuple(static))
        self._device = device
        # A functools.partial has no __name__.
        self._facts = (getattr(function, "func", function).__name__, facts)
        # One lock per signature, so that several programs can be compiled at the same time.
        self._locks: dict[Any, threading.Lock] = {}

    def __call__(self, *arguments: Any, **static: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        leaves = self._to_device(leaves)
        shapes = tuple((x.shape, x.dtype, getattr(x, "weak_type", False)) for x in leaves)
        signature = (tree, shapes, tuple(sorted(static.items())))
        if signature not in self.compiled:
            with self._locks.setdefault(signature, threading.Lock()):
                if signature not in self.compiled:
                    self.compiled[signature] = self._load_or_compile(signature, arguments, static)
        return self.compiled[signature](*jax.tree.unflatten(tree, leaves))

    def _to_device(self, leaves: list[Any]) -> list[Any]:
        """Copies all arrays except those of numpy to the device.

        The program itself copies numpy arrays, in a fifth of the time.
        """
        others = [x for x in leaves if not isinstance(x, np.ndarray)]
        if not others:  # jax.device_put is slow even for an empty list
            return leaves
        copies = iter(jax.device_put(others, self._device))
        return [x if isinstance(x, np.ndarray) else next(copies) for x in leaves]

    def _load_or_compile(
        self, signature: tuple, arguments: tuple, static: dict[str, Any]
    ) -> Callable:
        arguments = jax.device_put(arguments, self._device)
        key = local_cache.key(self._facts, signature, _environment(self._device))
        if (cached := _load(key, self._device)) is not None:
            return cached
        compiled = self._jitted.lower(*arguments, **static).compile()
        try:
            content = pickle.dumps(serialize_executable.serialize(compiled))
            # If jax loaded a CPU program from its own cache, the program works but its serialized
            # copy is incomplete, which only a test run of the copy reveals.
            jax.block_until_ready(_deserialize(content, self._device)(*arguments))
        except Exception:  # any kind: programs of some devices cannot be serialized
            return compiled
        local_cache.write(key, content)
        return compiled


def _load(key: str, device: jax.Device) -> Callable | None:
    content = local_cache.read(key)
    if content is None:
        return None
    try:
        return _deserialize(content, device)
    except Exception:  # any kind: the caller compiles again, which raises real errors
        return None


def _deserialize(content: bytes, device: jax.Device) -> Callable:
    program, arguments, results = pickle.loads(content)
    return serialize_executable.deserialize_and_load(
        program, arguments, results, backend=device.client, execution_devices=[device]
    )


def _environment(device: jax.Device) -> tuple:
    """Returns everything besides the function that determines the compiled machine code."""
    config = jax.config
    settings = [
        (name, str(getattr(config, name, None)))
        for name in sorted(config.values)
        if "cache" not in name and name != "jax_default_device"
    ]
    return (
        _versions(),
        (device.platform, device.device_kind, device.id, device.client.platform_version),
        _processor(),
        os.environ.get("XLA_FLAGS"),
        settings,
    )


@functools.cache
def _versions() -> tuple[str, ...]:
    # Read from metadata, because flax is not imported if nothing is traced.
    return tuple(version(name) for name in ("jax", "jaxlib", "flax"))


@functools.cache
def _processor() -> tuple:
    """Returns the processor's architecture, number of cores, model and instruction sets."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            lines = file.read(16_384).splitlines()
    except OSError:  # not Linux
        lines = [platform.processor()]
    prefixes = ("flags", "Features", "model name")
    features = sorted({line for line in lines if line.startswith(prefixes) or len(lines) == 1})
    return (platform.machine(), os.cpu_count(), features)
