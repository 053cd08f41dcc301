"""How large the network's input may be, by the memory that there is; and how it is given back."""

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

from colorjax.errors import UserError

# For each pixel of the input, about, as measured with the network that comes with colorjax.
BYTES_A_PIXEL = 1300
_CGROUP = Path("/sys/fs/cgroup")


def check_size(size: int) -> None:
    """Raises UserError if an input of size x size pixels wants more memory than there is.

    The process would be killed without a word.
    """
    free = available()
    if free is not None and size * size * BYTES_A_PIXEL > free:
        most = int((free / BYTES_A_PIXEL) ** 0.5)
        raise UserError(
            f"size is {size}, want at most {most} with the {free / 1e9:.1f} GB of memory that are "
            "free; it is what the network sees, and not the size of the result"
        )


def available() -> int | None:
    """Bytes that the process may still take; None where the system does not say."""
    known = [n for n in (_of_machine(), _of_group()) if n is not None]
    return min(known) if known else None


def give_back() -> None:
    """Gives the system what was freed, of the memory that large pictures took.

    glibc keeps what threads have freed, up to hundreds of megabytes, for what they may want next.
    Other systems' allocators know no such call, and nothing is done.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).malloc_trim
    return None


def _of_machine() -> int | None:
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


def _of_group() -> int | None:
    """What a container leaves: of its memory, files that were read count as free."""
    try:
        most = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        rows = (row.split() for row in (_CGROUP / "memory.stat").read_text().splitlines())
        files = dict(rows).get("inactive_file", "0")
    except (OSError, ValueError):  # no container, or one without a limit
        return None
    return max(0, most - used + int(files))
