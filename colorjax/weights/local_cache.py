"""What was worked out on this machine and is kept for the next process: compiled programs, tables.

Each is a file in the folder of compiled programs. Its name is the sha256 of all that its content
follows from, and it begins with the sha256 of its content, so that one that is damaged, or that an
older colorjax wrote, is never used. Nothing is lost with these files: what cannot be kept or read
is worked out again, which is no user's concern.
"""

import contextlib
import functools
import hashlib
import os
import time
import zlib
from pathlib import Path

import jax

from colorjax.pictures import files

SUFFIX = ".kept"
UNUSED = 90 * 24 * 3600  # seconds after which a file that nobody has read is deleted
# What networks, their settings and their programs are made by.
SOURCES = "settings.py ops/*.py models/*.py weights/*.py coloring/*.py coloring/network/*.py"
_DIGEST = hashlib.sha256().digest_size


def name(*facts: object) -> str:
    """The name of what follows from `facts`, whose repr says all of them, and from the sources."""
    return hashlib.sha256(repr((sources(), facts)).encode()).hexdigest()


@functools.cache
def sources() -> str:
    """The sha256 of the code that decides what is kept; a version's number may lag behind it."""
    package = Path(__file__).parent.parent
    total = hashlib.sha256()
    for pattern in SOURCES.split():
        for path in sorted(package.glob(pattern)):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def folder() -> Path | None:
    """Where jax was told to keep programs, else the user's cache; None if it is to keep none."""
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    told = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    # jax can write to some servers too.
    return Path(told) if told and "://" not in told else files.cache_folder() / "compiled"


def read(name: str) -> bytes | None:
    """What `write` kept under a name; None if there is nothing, or it is damaged."""
    place = folder()
    if place is None:
        return None
    path = place / (name + SUFFIX)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    with contextlib.suppress(OSError):  # a folder of another user's
        os.utime(path)
    return zlib.decompress(body)


def write(name: str, content: bytes) -> None:
    """Keeps `content` under a name, if the folder can be written to."""
    place = folder()
    if place is None:
        return
    body = zlib.compress(content, 1)
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(place / (name + SUFFIX)) as aside:
            aside.write_bytes(hashlib.sha256(body).digest() + body)
        _delete_unused(place)


def _delete_unused(place: Path) -> None:
    """Other versions of colorjax and jax leave files behind that nothing will read again."""
    for path in place.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - UNUSED:
                path.unlink()
