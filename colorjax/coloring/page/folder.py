"""The folder of the page: private, and gone with the program."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, for all that gradio writes; gone in the end.

    To be entered before gradio is imported. At its import gradio settles on a folder that all users
    of a machine would share, and whose first user shuts out the others.
    """
    with tempfile.TemporaryDirectory(prefix="colorjax-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        ours = {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        before = {variable: os.environ.get(variable) for variable in ours}
        os.environ.update(ours)
        try:
            yield folder
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value


def remove_leftovers(folder: Path) -> None:
    """Removes what uploads that broke off have left; to be called while none is under way."""
    for path in folder.glob("tmp*"):
        if path.is_file():
            path.unlink(missing_ok=True)
