"""Limits the network's input to the available memory, and returns freed memory to the system."""

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

from colorjax.errors import UserError

# Approximate memory per pixel of the input, measured with the network that comes with colorjax.
BYTES_PER_PIXEL = 1300
_CGROUP = Path("/sys/fs/cgroup")


def check_size(size: int) -> None:
    """Raises UserError if an input of size x size pixels needs more memory than is available.

    Otherwise the system would kill the process without an error message.
    """
    free = available()
    if free is not None and size * size * BYTES_PER_PIXEL > free:
        most = int((free / BYTES_PER_PIXEL) ** 0.5)
        raise UserError(
            f"size is {size}, want at most {most} with the {free / 1e9:.1f} GB of memory that are "
            "free; it is the size of the network's input, not of the result"
        )


def available() -> int | None:
    """Returns the bytes that the process can still allocate; None if it is unknown."""
    known = [n for n in (_system_memory(), _cgroup_memory()) if n is not None]
    return min(known) if known else None


def trim() -> None:
    """Returns freed memory of large pictures to the system, by glibc's malloc_trim.

    glibc keeps up to hundreds of megabytes that threads have freed, to reuse them. With other C
    libraries, which lack this call, nothing is done.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).malloc_trim
    return None


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _cgroup_memory() -> int | None:
    """Returns what is left of a container's limit; its inactive page cache counts as free."""
    try:
        most = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        rows = (row.split() for row in (_CGROUP / "memory.stat").read_text().splitlines())
        files = dict(rows).get("inactive_file", "0")
    except (OSError, ValueError):  # not in a container, or in one without a limit
        return None
    return max(0, most - used + int(files))
