"""Which files are films, and what their results may be; nothing that needs a library."""

from pathlib import Path

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
