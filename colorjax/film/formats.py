"""Which files are films, and what their results may be; nothing that needs a library."""

import importlib
from pathlib import Path

from colorjax.errors import UserError

# What is written, and what libav calls it.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
SUFFIXES = (*CONTAINERS, *".mpg .mpeg .ts .m2ts .mts .wmv .flv .3gp .ogv .mxf .vob .dv".split())
ANY = ".mkv"  # for results of films whose own container is not written: it holds nearly anything


def is_film(name: str) -> bool:
    """Whether a name is that of a film, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def result_suffix(name: str) -> str:
    """That of the result of a film, unless told."""
    suffix = Path(name).suffix
    return suffix if suffix.lower() in CONTAINERS else ANY


def check_installed(name: str) -> None:
    """Raises UserError, about the film of that name, without the libraries that films take."""
    try:
        for library in ("av", "cv2"):
            importlib.import_module(library)
    except ImportError as error:
        raise UserError(
            f"{name}: is a film, for which PyAV and OpenCV are wanted: "
            "pip install 'colorjax[video]'"
        ) from error
