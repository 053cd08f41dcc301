"""`colorjax colorize`, the default command: colours photographs and films."""

import contextlib
import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from colorjax import stopping
from colorjax.commands import film
from colorjax.commands.common import FiniteNumber, Pages, UserPath, model_options, painter_of, say
from colorjax.commands.hinting import (
    check_hinting,
    check_single_photo,
    hint_options,
    hints_of,
    with_reference,
)

METHODS = ("argmax", "mean", "annealed", "sample")
EDGES = ("guided", "bilinear")
MAX_NAMED = 4  # results or folders named in the summary
FORMATS = ("jpg", "png", "tif", "webp")

EXAMPLES = """\b
Examples:
  colorjax photo.jpg                        writes photo_color.jpg beside it
  colorjax scans --recursive -o coloured    all pictures in a folder and its subfolders
  colorjax 'album/*.tif' --format png
  colorjax photo.jpg --compare              before and after, side by side
  colorjax photo.jpg --samples 4            four random colourings
  colorjax photo.jpg --grid                 one picture that compares settings
  colorjax scans --replace                  in place; originals become NAME.jpg.orig
  colorjax - < photo.jpg > photo.png        in a pipe
  colorjax film.mp4                         writes film_color.mp4, with its sound
  colorjax demo                             a page in the browser
"""


@click.command(epilog=EXAMPLES)
@click.argument("photos", nargs=-1, type=UserPath(), required=True, metavar="PHOTO...")
@click.option(
    "-o",
    "--output",
    type=UserPath(),
    metavar="PATH",
    help="Folder for the results, or a file for a single result; - is standard output. "
    "Default: NAME_color next to the photo.",
)
@click.option(
    "--suffix",
    default="_color",
    show_default=True,
    metavar="TEXT",
    help="Text added to the photo's name to name the result.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace each photo by its result, and keep the original as NAME.jpg.orig.",
)
@click.option("--discard-original", is_flag=True, help="With --replace: do not keep originals.")
@click.option("-r", "--recursive", is_flag=True, help="Include subfolders.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Skip photos whose results exist. If only some exist, write the others.",
)
@click.option(
    "--skip-colour", "--skip-color", is_flag=True, help="Skip photos that are already in colour."
)
@click.option(
    "--format", type=click.Choice(FORMATS), help="Format of results. Default: the photo's own."
)
@click.option(
    "--pages",
    type=Pages(),
    default="first",
    show_default=True,
    metavar="all|first|N",
    help="Pages of a TIFF to colour, each into its own file; all does not work with a pipe.",
)
@click.option(
    "--bits",
    type=click.Choice(("8", "16")),
    default="16",
    show_default=True,
    help="Maximum bits per channel in PNG and TIFF; 8-bit photos always give 8-bit results.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    metavar="Q",
    help="Quality of JPEG and WebP.",
)
@click.option(
    "--decode",
    type=click.Choice(METHODS),
    help="How the network's scores of colours become one colour. Default: the model's own.",
)
@click.option(
    "--temperature",
    type=FiniteNumber(1e-3),
    metavar="T",
    help="Temperature of the methods annealed and sample; a lower one favours likely colours.",
)
@click.option(
    "--rebalance",
    type=FiniteNumber(0, 1),
    metavar="SHARE",
    help="0 favours common colours, 1 rare and vivid ones. Default: the model's own.",
)
@click.option(
    "--saturation",
    type=FiniteNumber(0),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Factor on the chroma; 0 is gray.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    help="Write N colourings, drawn at random from the colours that the network finds likely.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Random seed of the first sample; the next samples use the next numbers.",
)
@click.option(
    "--edges",
    type=click.Choice(EDGES),
    default="guided",
    show_default=True,
    help="Whether to align colours with the photo's edges (guided) or not (bilinear).",
)
@hint_options
@click.option("--compare", is_flag=True, help="Write before and after, side by side.")
@click.option("--grid", is_flag=True, help="Write one picture that compares settings.")
@click.option("--allow-truncated", is_flag=True, help="Read as much as possible of damaged files.")
@film.film_options
@model_options
def colorize(**options: Any) -> None:
    """Colours photographs and films without changing their lightness.

    PHOTO is a JPEG, PNG, TIFF, WebP, HEIC, AVIF, JPEG 2000, BMP or GIF file, a folder of them, a
    pattern, or - for standard input; with colorjax[jxl] also JPEG XL, with colorjax[video] a film.

    Results keep transparency, EXIF, XMP, IPTC and other captions, the resolution, and 16 bits per
    channel in PNG and TIFF. They do not keep thumbnails, gain maps and embedded videos; a message
    says what a format cannot hold. Colours are converted to sRGB, and the photo is rotated
    upright. Of several pages or frames the first is coloured. Uniform borders stay gray.
    """
    check_exclusive(options)
    film.run(options, photos=run)


def check_exclusive(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that cannot be combined."""
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing exclude each other.")
    if options["grid"] and (options["compare"] or options["samples"]):
        raise click.UsageError("--grid cannot be combined with --compare or --samples.")
    check_hinting(options)
    if options["replace"]:
        check_replacing(options)
    if options["discard_original"] and not options["replace"]:
        raise click.UsageError("--discard-original is for --replace.")
    if "/" in options["suffix"] or os.sep in options["suffix"]:
        raise click.UsageError("--suffix is part of a file name: want no slash in it.")
    if options["samples"] and options["decode"] not in (None, "sample"):
        raise click.UsageError(f"For --samples want --decode sample, not {options['decode']}.")


def check_replacing(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that cannot be combined with --replace."""
    others = "output format samples compare grid skip_existing overwrite confidence".split()
    given = [name for name in others if options[name]]
    if options["pages"] != "first":
        given.append("pages")
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(
            f"--replace leaves one picture in the photo's place: want no {flags}."
        )


def run(options: dict[str, Any]) -> None:
    """Colours photos and prints a summary; exits with 1 if any of them failed."""
    start = time.monotonic()
    planned = plan(options)
    outcomes = list(planned.faults)
    if planned.jobs:
        with contextlib.closing(run_jobs(planned.jobs, options)) as done:
            outcomes += done
    say(summary(outcomes, planned, time.monotonic() - start))
    if any(outcome.fault for outcome in outcomes):
        sys.exit(1)


class Plan(NamedTuple):
    """The photos to colour, and those that are skipped or fail before any work starts."""

    jobs: list
    skipped: list[str]  # photos whose results exist
    results: int  # number of pictures in folders that are themselves results of colorjax
    others: Mapping[str, int]  # number of files in folders that are not pictures, by suffix
    faults: list  # outcomes of photos that cannot be coloured


def plan(options: dict[str, Any]) -> Plan:
    """Finds the photos and names their results; raises click.UsageError or UserError."""
    from colorjax.coloring.folders import finding, naming
    from colorjax.coloring.folders.batch import Outcome

    found = list(finding.find(options["photos"], options["recursive"]))
    photos = [one for one in found if one.is_photo]
    rules = naming.Rules(
        options["output"],
        options["format"],
        options["samples"] or 1,
        options["suffix"],
        options["replace"],
        options["pages"],
        options["confidence"],
    )
    check_output(photos, rules)
    jobs = naming.jobs_of(photos, rules)
    skipped: list[str] = []
    check_single_photo(jobs, options)
    if sum(finding.STDIN in job.targets for job in jobs) > 1:
        raise click.UsageError("Standard output holds one picture: want one page, or --output.")
    if rules.replace:
        jobs, faults = naming.check_replaced(jobs, keep_original=not options["discard_original"])
    else:
        jobs, skipped, faults = naming.check_targets(
            jobs, overwrite=options["overwrite"], skip_existing=options["skip_existing"]
        )
    faults = [(one.source, one.fault) for one in found if one.fault] + faults
    return Plan(
        jobs,
        skipped,
        sum(one.is_result for one in found),
        finding.count_others(found),
        [Outcome(source, fault=fault) for source, fault in faults],
    )


def check_output(found: Sequence, rules: Any) -> None:
    """Raises click.UsageError if the results cannot all be written to the output."""
    from colorjax.coloring.folders import finding, naming

    output, streams = rules.output, any(finding.is_stream(one.source) for one in found)
    to_stdout = output == finding.STDIN or (output is None and streams)
    if output is not None and not to_stdout and naming.is_file(output):
        check_one_file(output, rules.format, len(found))
    if rules.pages == "all" and streams:
        raise click.UsageError("--pages all wants a file: the pages of a pipe cannot be counted.")
    if rules.replace and streams:
        raise click.UsageError("--replace is for files: standard input cannot be replaced.")
    if to_stdout and rules.confidence:
        raise click.UsageError("Standard output holds one picture: want no --confidence.")
    if to_stdout and (rules.results > 1 or len(found) > 1):
        raise click.UsageError("Standard output holds one picture: want one photo, or --output.")
    # Python sets sys.stdout to None if the shell has closed it.
    if to_stdout and found and (sys.stdout is None or sys.stdout.isatty()):
        where = "a closed standard output" if sys.stdout is None else "the terminal"
        raise click.UsageError(
            f"The picture would go to {where}: redirect it to a file, as in "
            "colorjax - < photo.jpg > coloured.png, or name one with --output."
        )


def check_one_file(output: str, format: str | None, photos: int) -> None:
    """Raises click.UsageError for several photos, or a --format other than the file's."""
    from colorjax.pictures.writing import SUFFIXES

    if photos > 1:
        raise click.UsageError(f"{photos} photos cannot all be written to {output!r}.")
    if format and SUFFIXES[f".{format}"] != SUFFIXES[os.path.splitext(output)[1].lower()]:
        raise click.UsageError(f"--format {format} is not the format of {output!r}.")


def run_jobs(jobs: Sequence, options: dict[str, Any]) -> Generator:
    """Loads the network, colours photos and shows progress; yields the outcome of each job."""
    from tqdm import tqdm

    from colorjax.coloring.folders import batch, compare
    from colorjax.coloring.settings import own_decoding, rebalanced

    settings, most_side = settings_of(options), None
    arrange: compare.Arrange | None = None
    painter = painter_of(options)
    settings = with_reference(settings, painter, options)
    if options["compare"]:
        arrange = compare.side_by_side
    elif options["grid"]:
        network = painter.network
        settings, arrange = compare.grid(
            own_decoding(network) is not None, rebalanced(network), settings[0]
        )
        most_side = compare.MAX_CELL_SIDE
    outcomes = batch.run(
        painter,
        jobs,
        settings,
        read_options=batch.ReadOptions(
            options["allow_truncated"], most_side, options["skip_colour"], int(options["bits"])
        ),
        write_options=batch.WriteOptions(
            options["overwrite"], options["quality"], not options["discard_original"]
        ),
        arrange=arrange,
    )
    # For one photo, a progress bar would stay at 0 until the end.
    hidden = True if len(jobs) == 1 else None
    with stopping.raising(), contextlib.closing(outcomes):
        for outcome in tqdm(outcomes, total=len(jobs), unit="photo", disable=hidden):
            stopping.check()
            for notice in outcome.notices:
                tqdm.write(f"colorjax: {notice}", file=sys.stderr)
            yield outcome
        stopping.check()


def settings_of(options: dict[str, Any]) -> list:
    """Returns the settings of each result of a photo."""
    from colorjax.coloring.settings import ColorSettings

    first, count = options["seed"], options["samples"] or 1
    decode = "sample" if options["samples"] else options["decode"]
    hints = hints_of(options)
    return [
        ColorSettings(
            decode,
            options["temperature"],
            options["rebalance"],
            options["saturation"],
            seed,
            options["edges"],
            hints,
        )
        for seed in range(first, first + count)
    ]


def summary(outcomes: Sequence, planned: Plan, seconds: float) -> str:
    """Returns one line of counts, and one more line for each photo that failed."""
    done = [one for one in outcomes if not one.fault and not one.skipped]
    faults = [one.fault for one in outcomes if one.fault]
    line = f"{photo_count(len(done))} coloured in {seconds:.1f} s"
    if len(done) > 1:
        line += f", {len(done) / seconds:.2g} a second"
    if done:
        line += f": {describe_targets([target for one in done for target in one.targets])}"
    if planned.skipped:
        line += f"; {len(planned.skipped)} skipped, as the results exist"
    if planned.results:
        line += f"; {planned.results} skipped, as they are results themselves"
    if left_out := sum(one.skipped for one in outcomes):
        line += f"; {left_out} skipped, as they are in colour"
    line += film.describe_others(planned.others)
    if faults:
        line += f"; {len(faults)} failed:"
    lines = [line, *(f"  {fault}" for fault in faults)]
    if coloured := sum(one.in_colour for one in done):
        lines.append(
            f"  {photo_count(coloured)} had colours, which the network ignores and the results do "
            "not keep; --skip-colour skips such photos"
        )
    return "\n".join(lines)


def photo_count(number: int) -> str:
    return f"{number} photo{'' if number == 1 else 's'}"


def describe_targets(targets: Sequence[str]) -> str:
    """Returns the names of a few results, or the folders of many."""
    if len(targets) <= MAX_NAMED:
        names = targets
    else:
        names = sorted({os.path.join(os.path.dirname(target), "") for target in targets})
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join("standard output" if n == "-" else n for n in names[:MAX_NAMED]) + more
