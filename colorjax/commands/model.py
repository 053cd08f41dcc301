"""`colorjax export` and `colorjax gallery`: write a model as one file, and draw its results."""

from collections.abc import Sequence
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.common import UserPath, model_options, painter_of, say
from colorjax.errors import UserError, quoted, whole_number

FORMATS = ("safetensors", "jax-export", "onnx")


def photo_shape(context: Any, option: Any, value: str | None) -> tuple[int, int] | None:
    """Parses WIDTHxHEIGHT to height and width; raises click.BadParameter."""
    if value is None:
        return None
    width, cross, height = value.lower().partition("x")
    columns, rows = whole_number(width), whole_number(height)
    if not cross or not columns or not rows:
        raise click.BadParameter(f"{quoted(value)} is not a size such as 640x480.")
    return rows, columns


@click.command()
@click.argument("run", type=UserPath(), metavar="[RUN]", required=False)
@click.option(
    "-o",
    "--output",
    type=UserPath(),
    required=True,
    metavar="FILE",
    help="File to write, such as model.safetensors.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    help="safetensors for colorjax; jax-export (StableHLO) or onnx for other programs. Default: "
    "onnx if FILE ends in .onnx, otherwise safetensors.",
)
@click.option(
    "--photo-size",
    callback=photo_shape,
    metavar="WIDTHxHEIGHT",
    help="With jax-export: size of the photos that the program takes. Default: any size, but the "
    "program then also takes copies of the photos in the network's size.",
)
@click.option(
    "--mean-with",
    type=UserPath(),
    multiple=True,
    metavar="RUN_OR_FILE",
    help="Another run or released file of the same network; the mean of all weights is written. "
    "Repeatable.",
)
def export(
    run: str | None,
    output: str,
    format: str | None,
    photo_size: tuple[int, int] | None,
    mean_with: Sequence[str],
) -> None:
    """Writes a model as one file, for colorjax or for other programs.

    RUN is the folder of a training run; its best checkpoint is written. For other programs, RUN may
    also be a released file, and by default is the model that colorjax comes with.
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
@click.argument("photos", nargs=-1, type=UserPath(), required=True, metavar="PHOTO...")
@click.option(
    "-o",
    "--output",
    type=UserPath(),
    required=True,
    metavar="FOLDER",
    help="Folder for the sheets.",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Number of photos to draw, spread evenly over all of them by name.",
)
@click.option(
    "--side",
    type=click.IntRange(16),
    default=320,
    show_default=True,
    metavar="PIXELS",
    help="Longer side of each picture.",
)
@model_options
def gallery(photos: Sequence[str], output: str, count: int, side: int, **options: Any) -> None:
    """Draws gray, coloured and original photos side by side, to judge a model by eye.

    PHOTO is a file, a folder (with its subfolders) or a pattern.
    """
    from pathlib import Path

    from colorjax.coloring.folders import finding
    from colorjax.coloring.folders import gallery as sheets

    found = list(finding.find(photos, recursive=True))
    for one in found:
        if one.fault:
            raise UserError(one.fault)
    sources = [one.source for one in found if one.is_photo]
    left_out = sum(one.is_result for one in found)
    if not sources:
        raise UserError(
            f"{', '.join(photos)}: no photo to draw, as {left_out} left out are results of "
            "colorjax themselves; want the original photos"
        )
    painter = painter_of(options)
    paths = sheets.choose(sources, count)
    with stopping.raising():
        drawn = sheets.draw(painter, paths, Path(output), side)
    if left_out:
        say(f"{left_out} skipped, as they are results themselves")
    for path in drawn:
        say(str(path))
