"""A cache on disk for results that later processes can reuse: compiled programs and tables.

Each entry is a file in the folder of compiled programs. Its name is the sha256 of everything that
determines its content, and it starts with the sha256 of its content. Damaged entries and entries of
older versions are therefore never used. All entries can be deleted: what cannot be read or written
is computed again, without a message to the user.
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
UNUSED = 90 * 24 * 3600  # seconds after which an entry that was not read is deleted
# The source files that determine networks, their settings and their compiled programs.
SOURCES = "settings.py ops/*.py models/*.py weights/*.py coloring/*.py coloring/network/*.py"
_DIGEST = hashlib.sha256().digest_size


def key(*facts: object) -> str:
    """Returns the cache key of a result that follows from the repr of `facts` and the sources."""
    return hashlib.sha256(repr((sources(), facts)).encode()).hexdigest()


@functools.cache
def sources() -> str:
    """Returns the sha256 of SOURCES; the version number may stay the same when they change."""
    package = Path(__file__).parent.parent
    total = hashlib.sha256()
    for pattern in SOURCES.split():
        for path in sorted(package.glob(pattern)):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def folder() -> Path | None:
    """Returns jax's cache folder, by default in the user's cache; None if jax's cache is off."""
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    configured = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    # jax itself can also use some remote addresses.
    is_local = configured and "://" not in configured
    return Path(configured) if is_local else files.cache_folder() / "compiled"


def read(key: str) -> bytes | None:
    """Returns the content that `write` stored for a key; None if it is missing or damaged."""
    cache = folder()
    if cache is None:
        return None
    path = cache / (key + SUFFIX)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    with contextlib.suppress(OSError):  # the folder may belong to another user
        os.utime(path)
    return zlib.decompress(body)


def write(key: str, content: bytes) -> None:
    """Stores `content` for a key, if the folder can be written to."""
    cache = folder()
    if cache is None:
        return
    body = zlib.compress(content, 1)
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(cache / (key + SUFFIX)) as temporary:
            temporary.write_bytes(hashlib.sha256(body).digest() + body)
        _delete_unused(cache)


def _delete_unused(cache: Path) -> None:
    """Deletes entries not read for long, mostly those of other colorjax or jax versions."""
    for path in cache.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - UNUSED:
                path.unlink()
