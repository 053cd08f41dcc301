"""The options --hint, --hints, --reference and --confidence of `colorjax colorize`."""

from collections.abc import Sequence
from typing import Any

import click

from colorjax.commands.common import UserPath, say


def hint_options(command):
    """Adds --hint, --hints, --reference and --confidence."""
    for option in (
        click.option(
            "--confidence",
            is_flag=True,
            help="Also write NAME_color_confidence.png: white where the network is sure of its "
            "colours, black where it guesses.",
        ),
        click.option(
            "--reference",
            type=UserPath(),
            metavar="FILE",
            help="Colour photo whose colours are transferred to similar regions of each photo, the "
            "more similar, the stronger. Hints take precedence.",
        ),
        click.option(
            "--hints",
            "hints_file",
            type=UserPath(),
            metavar="FILE",
            help='JSON file of hints: [{"x": 120, "y": 80, "colour": "#d0a070"}, ...].',
        ),
        click.option(
            "--hint",
            "hints",
            multiple=True,
            metavar="X,Y=#RRGGBB",
            help="Colour of a pixel, counted from the upper left corner of the upright photo. It "
            "spreads to the region of the pixel; lightness does not change. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def has_hints(options: dict[str, Any]) -> bool:
    return bool(options["hints"] or options["hints_file"])


def check_hinting(options: dict[str, Any]) -> None:
    """Raises click.UsageError if hints or --confidence are combined with --grid."""
    if has_hints(options) and options["grid"]:
        raise click.UsageError("--grid shows a reduced copy of the photo: want no hints.")
    if options["confidence"] and options["grid"]:
        raise click.UsageError("--grid is one picture: want no --confidence.")


def check_single_photo(jobs: Sequence, options: dict[str, Any]) -> None:
    """Raises click.UsageError if there are hints and several photos."""
    if has_hints(options) and len(jobs) > 1:
        raise click.UsageError(f"Hints are for one photo, not for {len(jobs)}.")


def hints_of(options: dict[str, Any]) -> tuple:
    """Returns the hints of the options; raises UserError for an invalid hint."""
    if not has_hints(options):
        return ()
    from colorjax.coloring import hints

    found = tuple(hints.parse(text) for text in options["hints"])
    if options["hints_file"]:
        found += hints.read(options["hints_file"])
    return hints.as_hints(found)


def with_reference(settings: Sequence, painter: Any, options: dict[str, Any]) -> list:
    """Returns the settings with the --reference, if any; raises UserError if it is unreadable."""
    path = options["reference"]
    if path is None:
        return list(settings)
    from colorjax.coloring.reference import prepare_reference
    from colorjax.pictures.photo import read_photo

    photo = read_photo(
        reference_source(path), name=path, allow_truncated=options["allow_truncated"]
    )
    for notice in photo.notices:
        say(notice)
    reference = prepare_reference(painter, photo, path)
    return [one._replace(reference=reference) for one in settings]


def reference_source(path: str) -> str | bytes:
    """Returns the path of a reference, or the bytes of a pipe or device; raises UserError."""
    from colorjax.coloring.folders.finding import STDIN, path_or_bytes

    if path == STDIN:
        raise click.UsageError("--reference is a file: standard input is for a photo.")
    return path_or_bytes(path)
