"""How files are written, nobody ever seeing half of one, and where ours are kept.

And which of many are taken, where a few are enough.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where what is fetched and compiled is kept: $COLORJAX_HOME, or the user's cache folder."""
    home = os.environ.get("COLORJAX_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("colorjax"))


def evenly_spread(total: int, count: int) -> list[int]:
    """At most `count` places among `total`, evenly spread: neighbours in a folder are often alike.

    Places are counted from 0 and rise.
    """
    count = min(max(count, 0), total)
    return [i * total // count for i in range(count)]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Gives a path to write to in the folder of the target, and renames it when the block ends.

    However the block is left, by KeyboardInterrupt too, the target is the old file or the whole new
    one, and nothing else stays behind. Only a process that is killed outright leaves a hidden
    `.part`.

    Args:
      path: the target.
      overwrite: whether an existing file is replaced.

    Yields:
      The path to write to, where nothing is yet.

    Raises:
      FileExistsError: the target is there, and may not be replaced; it may have come while the
        block ran.
      OSError: of the block, or of renaming.
    """
    path = Path(path)
    # Not made from the target's name, which may be as long as a name can be.
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield aside
        if overwrite:
            os.replace(aside, path)
        else:
            _placed(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def _placed(aside: Path, path: Path) -> None:
    """Gives a file its name, unless another has it, even since a moment ago."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(aside, path)
