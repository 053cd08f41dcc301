"""Options of `colorjax colorize` for known colours, and for how sure others are."""

from collections.abc import Sequence
from typing import Any

import click

from colorjax.commands.common import Place, say


def hint_options(command):
    """Adds --hint, --hints, --reference and --confidence."""
    for option in (
        click.option(
            "--confidence",
            is_flag=True,
            help="Also write NAME_color_confidence.png: where the network is sure of its colours "
            "(white), and where it guesses (black).",
        ),
        click.option(
            "--reference",
            type=Place(),
            metavar="FILE",
            help="A photo in colour, whose colours go to what is like it in each photo, the more "
            "the more it is alike. Hints go before it.",
        ),
        click.option(
            "--hints",
            "hints_file",
            type=Place(),
            metavar="FILE",
            help='More of them, in JSON: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].',
        ),
        click.option(
            "--hint",
            "hints",
            multiple=True,
            metavar="X,Y=#RRGGBB",
            help="The colour at a pixel of the upright photo, counted from its upper left corner, "
            "which what belongs together follows; lightness stays. May be given several times.",
        ),
    ):
        command = option(command)
    return command


def has_hints(options: dict[str, Any]) -> bool:
    return bool(options["hints"] or options["hints_file"])


def check_hinting(options: dict[str, Any]) -> None:
    """Raises click.UsageError for what cannot go together with these options."""
    if has_hints(options) and options["grid"]:
        raise click.UsageError("--grid shows a small copy of the photo: want no hints.")
    if options["confidence"] and options["grid"]:
        raise click.UsageError("--grid is one picture: want no --confidence.")


def check_one(jobs: Sequence, options: dict[str, Any]) -> None:
    """Raises click.UsageError if there are hints, but several photos."""
    if has_hints(options) and len(jobs) > 1:
        raise click.UsageError(f"Hints are of one photo, and not of {len(jobs)}.")


def hints_of(options: dict[str, Any]) -> tuple:
    """The hints that are given; raises UserError for what is none."""
    if not has_hints(options):
        return ()
    from colorjax.coloring import hints

    found = tuple(hints.parse(text) for text in options["hints"])
    if options["hints_file"]:
        found += hints.read(options["hints_file"])
    return hints.as_hints(found)


def referred(settings: Sequence, painter: Any, options: dict[str, Any]) -> list:
    """Settings with the reference that is given; raises UserError for what is none."""
    path = options["reference"]
    if path is None:
        return list(settings)
    from colorjax.coloring.reference import of_photo
    from colorjax.pictures.photo import read_photo

    photo = read_photo(source_of(path), name=path, allow_truncated=options["allow_truncated"])
    for notice in photo.notices:
        say(notice)
    reference = of_photo(painter, photo, path)
    return [one._replace(reference=reference) for one in settings]


def source_of(path: str) -> str | bytes:
    """A reference's file, or what a pipe holds, which can be read once; raises UserError."""
    from colorjax.coloring.folders.finding import STDIN, opened

    if path == STDIN:
        raise click.UsageError("--reference is a file: standard input is for a photo.")
    return opened(path)
