"""`colorjax colorize`, which need not be named: photographs in, coloured photographs out."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from colorjax.commands import stopping
from colorjax.commands.common import model_options, painter_of, say

METHODS = ("argmax", "mean", "annealed", "sample")
EDGES = ("guided", "bilinear")
FORMATS = ("jpg", "png", "tif", "webp")

EXAMPLES = """\b
Examples:
  colorjax photo.jpg                        writes photo_color.jpg beside it
  colorjax scans --recursive -o coloured    every picture below a folder
  colorjax 'album/*.tif' --format png
  colorjax photo.jpg --compare              before and after, side by side
  colorjax photo.jpg --samples 4            four colourings that are all possible
  colorjax photo.jpg --grid                 one picture of what the settings do
  colorjax - < photo.jpg > photo.png        in a pipe
  colorjax demo                             a page in the browser
"""


@click.command(epilog=EXAMPLES)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Folder for the results, or a file where there is one; - is standard output. "
    "Beside the photo, as NAME_color, unless given.",
)
@click.option("-r", "--recursive", is_flag=True, help="Look into the folders of folders too.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@click.option("--skip-existing", is_flag=True, help="Leave out photos whose results are there.")
@click.option("--format", type=click.Choice(FORMATS), help="The photo's own unless given.")
@click.option(
    "--decode",
    type=click.Choice(METHODS),
    help="How scores of colours become a colour; the model's own unless given.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(1e-3),
    metavar="T",
    help="Of annealed and sample; lower is more sure of itself.",
)
@click.option(
    "--rebalance",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="From 0, likely colours, to 1, rare and vivid ones; the model's own unless given.",
)
@click.option(
    "--saturation",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Multiplies the chroma; 0 is gray.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    help="Write N colourings, each drawn from what the network thinks possible.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the first sample.",
)
@click.option(
    "--edges",
    type=click.Choice(EDGES),
    default="guided",
    show_default=True,
    help="Whether colour ends at the edges of the photo.",
)
@click.option("--compare", is_flag=True, help="Write before and after, side by side.")
@click.option("--grid", is_flag=True, help="Write one picture that compares settings.")
@click.option("--allow-truncated", is_flag=True, help="Take what there is of damaged files.")
@model_options
def colorize(**options: Any) -> None:
    """Colours photographs, whose lightness stays as it is.

    PHOTO is a JPEG, PNG, TIFF, WebP, BMP or GIF file, a folder of them, a pattern, or - for
    standard input. Transparency, orientation, EXIF, XMP, resolution and colour profile are kept.
    """
    check_together(options)
    run(options)


def check_together(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that exclude each other."""
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing exclude each other.")
    if options["grid"] and (options["compare"] or options["samples"]):
        raise click.UsageError("--grid shows samples and the photo itself: want it alone.")
    if options["samples"] and options["decode"] not in (None, "sample"):
        raise click.UsageError(f"--samples are not decoded by {options['decode']}.")


def run(options: dict[str, Any]) -> None:
    """Does what `colorjax colorize` was asked for; ends the program if anything failed."""
    start = time.monotonic()
    jobs, skipped, faults = plan(options)
    done = 0
    if jobs:
        with contextlib.closing(work(jobs, options)) as outcomes:
            for outcome in outcomes:
                if outcome.fault:
                    faults.append(outcome)
                done += not outcome.fault
    say(summary(done, len(skipped), faults, time.monotonic() - start))
    if faults:
        sys.exit(1)


def plan(options: dict[str, Any]) -> tuple[list, list[str], list]:
    """The jobs, the photos that are left out, and what is wrong from the start."""
    from colorjax.coloring import batch

    output, count = options["output"], options["samples"] or 1
    found = list(batch.find(options["photos"], options["recursive"]))
    good = [one for one in found if not one.fault]
    if output is not None and (output == batch.STDIN or batch.is_file(output)) and len(good) > 1:
        raise click.UsageError(f"{len(good)} photos cannot all be written to {output!r}.")
    to_stdout = output == batch.STDIN or (output is None and batch.STDIN in options["photos"])
    if to_stdout and (count > 1 or len(good) > 1):
        raise click.UsageError("Standard output holds one picture: want one photo, or --output.")
    jobs = [
        batch.Job(
            one.source,
            targets := batch.target_names(one, output, options["format"], count),
            options["format"] or ("png" if batch.STDIN in targets else None),
        )
        for one in good
    ]
    jobs, skipped, faults = batch.check_targets(
        jobs, overwrite=options["overwrite"], skip_existing=options["skip_existing"]
    )
    return (
        jobs,
        skipped,
        [batch.Outcome(one.source, fault=one.fault) for one in found if one.fault] + faults,
    )


def work(jobs: Sequence, options: dict[str, Any]) -> Iterator:
    """Loads the network, colours and shows progress: the outcome of each job."""
    from tqdm import tqdm

    from colorjax.coloring import batch, compare
    from colorjax.coloring.settings import own_decoding, rebalanced

    painter = painter_of(options)
    settings, arrange, most_side = settings_of(options), None, None
    if options["compare"]:
        arrange = compare.beside
    elif options["grid"]:
        network = painter.network
        settings, arrange = compare.grid(
            own_decoding(network) is not None, rebalanced(network), settings[0]
        )
        most_side = compare.CELL
    outcomes = batch.run(
        painter,
        jobs,
        settings,
        allow_truncated=options["allow_truncated"],
        most_side=most_side,
        arrange=arrange,
    )
    # One photo's bar would stand still, and then be gone.
    hidden = True if len(jobs) == 1 else None
    with stopping.by_exception() as asked, contextlib.closing(outcomes):
        for outcome in tqdm(outcomes, total=len(jobs), unit="photo", disable=hidden):
            stopping.check(asked)
            for notice in outcome.notices:
                tqdm.write(f"colorjax: {notice}", file=sys.stderr)
            yield outcome
        stopping.check(asked)


def settings_of(options: dict[str, Any]) -> list:
    """Those of each result of a photo."""
    from colorjax.coloring.settings import Settings

    first, count = options["seed"], options["samples"] or 1
    decode = "sample" if options["samples"] else options["decode"]
    return [
        Settings(
            decode,
            options["temperature"],
            options["rebalance"],
            options["saturation"],
            seed,
            options["edges"],
        )
        for seed in range(first, first + count)
    ]


def summary(done: int, skipped: int, faults: Sequence, seconds: float) -> str:
    """One line, and another for each photo that failed."""
    photos = "photo" if done == 1 else "photos"
    line = f"{done} {photos} coloured in {seconds:.1f} s"
    if done > 1:
        line += f", {done / seconds:.2g} a second"
    if skipped:
        line += f"; {skipped} left out, as the results are there"
    if faults:
        line += f"; {len(faults)} failed:"
    return "\n".join([line, *(f"  {one.fault}" for one in faults)])
