"""The page's private folder, which is deleted when the program ends."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Yields a temporary folder for all files that gradio writes; only this user can read it.

    It must be entered before gradio is imported: at import, gradio chooses a folder that all users
    of a machine would share, and the first user's permissions would lock out the others.
    """
    with tempfile.TemporaryDirectory(prefix="colorjax-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        variables = {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        before = {variable: os.environ.get(variable) for variable in variables}
        os.environ.update(variables)
        try:
            yield folder
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value


def remove_leftovers(folder: Path) -> None:
    """Removes the files of interrupted uploads; must not run while an upload is in progress."""
    for path in folder.glob("tmp*"):
        if path.is_file():
            path.unlink(missing_ok=True)
