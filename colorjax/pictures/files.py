"""Atomic writes, the cache folder, and evenly spread samples of a sequence."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Returns the folder for downloads and compiled programs.

    It is $COLORJAX_HOME, or else a folder in the user's cache folder.
    """
    home = os.environ.get("COLORJAX_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("colorjax"))


def evenly_spread(total: int, count: int) -> list[int]:
    """Returns at most `count` evenly spread indices below `total`, in increasing order.

    They represent a folder better than its first files, as neighbouring files are often alike.
    """
    count = min(max(count, 0), total)
    return [i * total // count for i in range(count)]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Yields a temporary path in the target's folder, and renames it to the target at the end.

    However the block ends, even by KeyboardInterrupt, the target is either the old file or the
    complete new one, and the temporary file is removed. Only a process that is killed outright
    leaves a hidden `.part` file.

    Args:
      path: the target.
      overwrite: whether an existing file is replaced.

    Yields:
      The path to write to. No file exists there yet.

    Raises:
      FileExistsError: the target exists and must not be replaced. It may have been created while
        the block ran.
      OSError: from the block, or from renaming.
    """
    path = Path(path)
    # The target's name is not part of this name, as it may have the maximum length already.
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_without_overwriting(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _rename_without_overwriting(temporary: Path, path: Path) -> None:
    """Renames a file; raises FileExistsError if the target exists, with no race in the check."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, path)
