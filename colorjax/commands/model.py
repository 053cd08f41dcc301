"""`colorjax export` and `colorjax gallery`: a model as one file, and what it makes of photos."""

from collections.abc import Sequence
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.common import Place, model_options, painter_of, say
from colorjax.errors import UserError, shown, whole_number

FORMATS = ("safetensors", "jax-export", "onnx")


def photo_shape(context: Any, option: Any, value: str | None) -> tuple[int, int] | None:
    """Height and width of WIDTHxHEIGHT; raises click.BadParameter."""
    if value is None:
        return None
    width, cross, height = value.lower().partition("x")
    columns, rows = whole_number(width), whole_number(height)
    if not cross or not columns or not rows:
        raise click.BadParameter(f"{shown(value)} is no size as 640x480.")
    return rows, columns


@click.command()
@click.argument("run", type=Place(), metavar="[RUN]", required=False)
@click.option(
    "-o", "--output", type=Place(), required=True, metavar="FILE", help="Such as model.safetensors."
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    help="safetensors, for colorjax; jax-export (StableHLO) and onnx, for other programs. onnx of "
    "FILE.onnx, else safetensors, unless given.",
)
@click.option(
    "--photo-size",
    callback=photo_shape,
    metavar="WIDTHxHEIGHT",
    help="Of jax-export: of the photos; any, with the network's small copies beside them, unless "
    "given.",
)
@click.option(
    "--mean-with",
    type=Place(),
    multiple=True,
    metavar="RUN_OR_FILE",
    help="Another run or released file of the same network: the file gets the mean of their "
    "weights. May be given several times.",
)
def export(
    run: str | None,
    output: str,
    format: str | None,
    photo_size: tuple[int, int] | None,
    mean_with: Sequence[str],
) -> None:
    """Writes a model as one file, to hand on, to colour with, or for other programs.

    RUN is the folder of a training run, whose best checkpoint is taken. For other programs it may
    be a released file too, and is the model that colorjax comes with unless given.
    """
    format = format or ("onnx" if output.lower().endswith(".onnx") else "safetensors")
    if photo_size and format != "jax-export":
        raise click.UsageError("--photo-size is for --format jax-export.")
    if mean_with and format != "safetensors":
        raise click.UsageError("--mean-with is for --format safetensors.")
    with stopping.raising():
        if format == "safetensors":
            from colorjax.training.export import export as write_model

            if run is None:
                raise click.UsageError("Missing argument 'RUN'.")
            path = write_model(run, output, mean_with=mean_with)
        else:
            from colorjax.interchange.export import export as write_program

            path = write_program(run, output, format, photo_size)
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

    from colorjax.coloring.folders import finding
    from colorjax.coloring.folders import gallery as sheets

    found = list(finding.find(photos, recursive=True))
    for one in found:
        if one.fault:
            raise UserError(one.fault)
    good = [one.source for one in found if one.is_photo]
    left_out = sum(one.is_result for one in found)
    if not good:
        raise UserError(
            f"{', '.join(photos)}: no photo to draw, as {left_out} left out are results of "
            "colorjax themselves; want the photos that they were made of"
        )
    painter = painter_of(options)
    paths = sheets.chosen(good, count)
    with stopping.raising():
        drawn = sheets.draw(painter, paths, Path(output), side)
    if left_out:
        say(f"{left_out} left out, as they are results themselves")
    for path in drawn:
        say(str(path))
