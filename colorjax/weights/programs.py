"""Functions compiled for one device, once for each kind of arguments, and kept from then on.

jax has a cache of its own, which saves the compiling. Here tracing is saved too, which takes as
long as jax's import, and no setting of the process's jax is touched.
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
    """A function of arrays that is compiled when it is first wanted; threads may share it.

    Attributes:
      compiled: a program for each kind of arguments that it was called with.
    """

    def __init__(
        self,
        function: Callable,
        device: jax.Device,
        *,
        facts: object = None,
        static: Sequence[str] = (),
    ):
        """Compiles nothing yet.

        Args:
          function: of pytrees of arrays, by place, and of `static` choices, by name.
          device: computes; arguments are copied to it.
          facts: what the function depends on besides its code and arguments; its repr says it all.
          static: names of arguments that are no arrays, each value of which has its own program.
        """
        self.compiled: dict[Any, Callable] = {}
        self._jitted = jax.jit(function, static_argnames=tuple(static))
        self._device = device
        # A partial of a function has no name of its own.
        self._facts = (getattr(function, "func", function).__name__, facts)
        # One for each kind, so that several may be compiled at the same time.
        self._locks: dict[Any, threading.Lock] = {}

    def __call__(self, *arguments: Any, **choices: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        leaves = self._here(leaves)
        shapes = tuple((x.shape, x.dtype, getattr(x, "weak_type", False)) for x in leaves)
        kind = (tree, shapes, tuple(sorted(choices.items())))
        if kind not in self.compiled:
            with self._locks.setdefault(kind, threading.Lock()):
                if kind not in self.compiled:
                    self.compiled[kind] = self._made(kind, arguments, choices)
        return self.compiled[kind](*jax.tree.unflatten(tree, leaves))

    def _here(self, leaves: list[Any]) -> list[Any]:
        """Arrays on the device, but for those of numpy.

        These are left to the program, which takes a fifth of the time over them.
        """
        others = [x for x in leaves if not isinstance(x, np.ndarray)]
        if not others:  # even nothing takes jax a while
            return leaves
        put = iter(jax.device_put(others, self._device))
        return [x if isinstance(x, np.ndarray) else next(put) for x in leaves]

    def _made(self, kind: tuple, arguments: tuple, choices: dict[str, Any]) -> Callable:
        arguments = jax.device_put(arguments, self._device)
        name = local_cache.name(self._facts, kind, _circumstances(self._device))
        if (found := _loaded(name, self._device)) is not None:
            return found
        compiled = self._jitted.lower(*arguments, **choices).compile()
        try:
            content = pickle.dumps(serialize_executable.serialize(compiled))
            # A CPU's program that comes out of jax's own cache is whole, and its copy is not, which
            # shows when it is run and not before.
            jax.block_until_ready(_opened(content, self._device)(*arguments))
        except Exception:  # of whatever kind: not every device's programs can be kept
            return compiled
        local_cache.write(name, content)
        return compiled


def _loaded(name: str, device: jax.Device) -> Callable | None:
    content = local_cache.read(name)
    if content is None:
        return None
    try:
        return _opened(content, device)
    except Exception:  # of whatever kind: it is compiled again, and says then what is wrong
        return None


def _opened(content: bytes, device: jax.Device) -> Callable:
    program, arguments, results = pickle.loads(content)
    return serialize_executable.deserialize_and_load(
        program, arguments, results, backend=device.client, execution_devices=[device]
    )


def _circumstances(device: jax.Device) -> tuple:
    """All that decides which machine code comes of a function, but for itself."""
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
    # By their metadata, as flax is not imported where nothing is traced.
    return tuple(version(name) for name in ("jax", "jaxlib", "flax"))


@functools.cache
def _processor() -> tuple:
    """The processor's kind, what instructions it has, and how many of it there are."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            lines = file.read(16_384).splitlines()
    except OSError:  # not Linux
        lines = [platform.processor()]
    told = ("flags", "Features", "model name")
    found = sorted({line for line in lines if line.startswith(told) or len(lines) == 1})
    return (platform.machine(), os.cpu_count(), found)
