"""`colorjax export` and `colorjax gallery`: a model as one file, and what it makes of photos."""

from collections.abc import Sequence
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.common import Place, model_options, painter_of, say
from colorjax.errors import UserError


@click.command()
@click.argument("run", type=Place(), metavar="RUN")
@click.option(
    "-o", "--output", type=Place(), required=True, metavar="FILE", help="Such as model.safetensors."
)
def export(run: str, output: str) -> None:
    """Writes the best checkpoint of a training RUN as one file, to hand on or to colour with."""
    from colorjax.training.export import export as write_model

    with stopping.raising():
        path = write_model(run, output)
    say(f"{path}: {path.stat().st_size:,} bytes")


@click.command()
@click.argument("photos", nargs=-1, type=Place(), required=True, metavar="PHOTO...")
@click.option(
    "-o", "--output", type=Place(), required=True, metavar="FOLDER", help="Where the sheets go."
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="How many photos, evenly spread in the order of their names.",
)
@click.option(
    "--side",
    type=click.IntRange(16),
    default=320,
    show_default=True,
    metavar="PIXELS",
    help="Longer side of a picture.",
)
@model_options
def gallery(photos: Sequence[str], output: str, count: int, side: int, **options: Any) -> None:
    """Draws gray, coloured and true photos side by side, to see what a model can do.

    PHOTO is a file, a folder with all its folders, or a pattern.
    """
    from pathlib import Path

    from colorjax.coloring import finding
    from colorjax.coloring import gallery as sheets

    found = [one for one in finding.find(photos, recursive=True) if one.is_photo or one.fault]
    for one in found:
        if one.fault:
            raise UserError(one.fault)
    painter = painter_of(options)
    paths = sheets.chosen([one.source for one in found], count)
    with stopping.raising():
        drawn = sheets.draw(painter, paths, Path(output), side)
    for path in drawn:
        say(str(path))
