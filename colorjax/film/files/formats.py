"""Suffixes of films and containers of their results; imports no video library."""

from pathlib import Path

# Suffixes that can be written -> names of libav's muxers.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
SUFFIXES = (*CONTAINERS, *".mpg .mpeg .ts .m2ts .mts .wmv .flv .3gp .ogv .mxf .vob .dv".split())
FALLBACK = ".mkv"  # for films whose own container cannot be written: it holds nearly anything


def is_film(name: str) -> bool:
    """Whether a file is a film, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def result_suffix(name: str) -> str:
    """Returns the default suffix of a film's result."""
    suffix = Path(name).suffix
    return suffix if suffix.lower() in CONTAINERS else FALLBACK
