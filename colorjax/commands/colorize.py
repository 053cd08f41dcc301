"""`colorjax colorize`, which need not be named: photographs in, coloured photographs out."""

import contextlib
import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from colorjax import stopping
from colorjax.commands import film
from colorjax.commands.common import Number, Pages, Place, model_options, painter_of, say
from colorjax.commands.hinting import check_hinting, check_one, hint_options, hints_of, referred

METHODS = ("argmax", "mean", "annealed", "sample")
EDGES = ("guided", "bilinear")
NAMED = 4  # most results or folders that the summary names
FORMATS = ("jpg", "png", "tif", "webp")

EXAMPLES = """\b
Examples:
  colorjax photo.jpg                        writes photo_color.jpg beside it
  colorjax scans --recursive -o coloured    every picture below a folder
  colorjax 'album/*.tif' --format png
  colorjax photo.jpg --compare              before and after, side by side
  colorjax photo.jpg --samples 4            four draws from what it thinks likely
  colorjax photo.jpg --grid                 one picture of what the settings do
  colorjax scans --replace                  in place, the originals as NAME.jpg.orig
  colorjax - < photo.jpg > photo.png        in a pipe
  colorjax film.mp4                         writes film_color.mp4, sound and all
  colorjax demo                             a page in the browser
"""


@click.command(epilog=EXAMPLES)
@click.argument("photos", nargs=-1, type=Place(), required=True, metavar="PHOTO...")
@click.option(
    "-o",
    "--output",
    type=Place(),
    metavar="PATH",
    help="Folder for the results, or a file where there is one; - is standard output. "
    "Beside the photo, as NAME_color, unless given.",
)
@click.option(
    "--suffix",
    default="_color",
    show_default=True,
    metavar="TEXT",
    help="What follows the photo's name in that of the result.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Put results into the place of their photos, which stay as NAME.jpg.orig.",
)
@click.option("--discard-original", is_flag=True, help="With --replace: keep no .orig.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the folders of folders too.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@click.option("--skip-existing", is_flag=True, help="Leave out photos whose results are there.")
@click.option(
    "--skip-colour",
    "--skip-color",
    is_flag=True,
    help="Leave out photos that have colours of their own.",
)
@click.option("--format", type=click.Choice(FORMATS), help="The photo's own unless given.")
@click.option(
    "--pages",
    type=Pages(),
    default="first",
    show_default=True,
    metavar="all|first|N",
    help="Which pages of a TIFF to colour, each into a file of its own; all wants a file, no pipe.",
)
@click.option(
    "--bits",
    type=click.Choice(("8", "16")),
    default="16",
    show_default=True,
    help="Most bits a channel of a PNG or TIFF; a photo of 8 stays one of 8.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    metavar="Q",
    help="Of JPEG and WebP.",
)
@click.option(
    "--decode",
    type=click.Choice(METHODS),
    help="How scores of colours become a colour; the model's own unless given.",
)
@click.option(
    "--temperature",
    type=Number(1e-3),
    metavar="T",
    help="Of annealed and sample; lower is more sure of itself.",
)
@click.option(
    "--rebalance",
    type=Number(0, 1),
    metavar="SHARE",
    help="From 0, likely colours, to 1, rare and vivid ones; the model's own unless given.",
)
@click.option(
    "--saturation",
    type=Number(0),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Multiplies the chroma; 0 is gray.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    help="Write N colourings, each drawn from what the network thinks likely.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
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
@hint_options
@click.option("--compare", is_flag=True, help="Write before and after, side by side.")
@click.option("--grid", is_flag=True, help="Write one picture that compares settings.")
@click.option("--allow-truncated", is_flag=True, help="Take what there is of damaged files.")
@film.film_options
@model_options
def colorize(**options: Any) -> None:
    """Colours photographs, whose lightness stays as it is, and films.

    PHOTO is a JPEG, PNG, TIFF, WebP, HEIC, AVIF, JPEG 2000, BMP or GIF file, a folder of them, a
    pattern, or - for standard input; with colorjax[jxl] JPEG XL, and with colorjax[video] a film.

    Transparency, EXIF, XMP, IPTC and other captions, resolution and the 16 bits of a PNG or TIFF
    are kept; thumbnails, gain maps and videos are not, and what the format has no place for is
    told. Colours become sRGB, the photo is turned upright, and of several pages or frames the
    first is taken. Borders of one gray are set aside, and stay gray.
    """
    check_together(options)
    film.run(options, photos=run)


def check_together(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that exclude each other."""
    if options["overwrite"] and options["skip_existing"]:
        raise click.UsageError("--overwrite and --skip-existing exclude each other.")
    if options["grid"] and (options["compare"] or options["samples"]):
        raise click.UsageError("--grid shows samples and the photo itself: want it alone.")
    check_hinting(options)
    if options["replace"]:
        check_replacing(options)
    if options["discard_original"] and not options["replace"]:
        raise click.UsageError("--discard-original is for --replace.")
    if "/" in options["suffix"] or os.sep in options["suffix"]:
        raise click.UsageError("--suffix is a part of a name: want no slash in it.")
    if options["samples"] and options["decode"] not in (None, "sample"):
        raise click.UsageError(f"--samples are not decoded by {options['decode']}.")


def check_replacing(options: dict[str, Any]) -> None:
    """Raises click.UsageError for what cannot be in the place of a photo."""
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
    """Does what `colorjax colorize` was asked for; ends the program if anything failed."""
    start = time.monotonic()
    planned = plan(options)
    outcomes = list(planned.faults)
    if planned.jobs:
        with contextlib.closing(work(planned.jobs, options)) as done:
            outcomes += done
    say(summary(outcomes, planned, time.monotonic() - start))
    if any(one.fault for one in outcomes):
        sys.exit(1)


class Plan(NamedTuple):
    """What is to be done, and what is known before."""

    jobs: list
    skipped: list[str]  # photos whose results are there
    results: int  # pictures in folders that are results themselves
    others: Mapping[str, int]  # files in folders that are no pictures, by suffix
    faults: list  # outcomes of what cannot be done


def plan(options: dict[str, Any]) -> Plan:
    """What is to be done, and what is wrong from the start."""
    from colorjax.coloring.folders import finding, naming
    from colorjax.coloring.folders.batch import Outcome

    found = list(finding.find(options["photos"], options["recursive"]))
    good = [one for one in found if one.is_photo]
    rules = naming.Rules(
        options["output"],
        options["format"],
        options["samples"] or 1,
        options["suffix"],
        options["replace"],
        options["pages"],
        options["confidence"],
    )
    check_output(good, rules)
    jobs = naming.jobs_of(good, rules)
    skipped: list[str] = []
    check_one(jobs, options)
    if sum(finding.STDIN in job.targets for job in jobs) > 1:
        raise click.UsageError("Standard output holds one picture: want one page, or --output.")
    if rules.replace:
        kept = not options["discard_original"]
        jobs, faults = naming.check_replaced(jobs, keep_original=kept)
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
    """Raises click.UsageError if the results cannot all be where they are wanted."""
    from colorjax.coloring.folders import finding, naming

    output, streams = rules.output, any(finding.is_stream(one.source) for one in found)
    to_stdout = output == finding.STDIN or (output is None and streams)
    if output is not None and not to_stdout and naming.is_file(output):
        check_one_file(output, rules.format, len(found))
    if rules.pages == "all" and streams:
        raise click.UsageError("--pages all wants a file: a pipe is read once, and not counted.")
    if rules.replace and streams:
        raise click.UsageError("--replace is for files: standard input has no place.")
    if to_stdout and rules.confidence:
        raise click.UsageError("Standard output holds one picture: want no --confidence.")
    if to_stdout and (rules.results > 1 or len(found) > 1):
        raise click.UsageError("Standard output holds one picture: want one photo, or --output.")
    if to_stdout and found and sys.stdout.isatty():
        raise click.UsageError(
            "The picture would go to the terminal: send it into a file, as in "
            "colorjax - < photo.jpg > coloured.png, or name one with --output."
        )


def check_one_file(output: str, format: str | None, photos: int) -> None:
    """Raises click.UsageError if so many photos of this format cannot be in one file."""
    from colorjax.pictures.writing import SUFFIXES

    if photos > 1:
        raise click.UsageError(f"{photos} photos cannot all be written to {output!r}.")
    if format and SUFFIXES[f".{format}"] != SUFFIXES[os.path.splitext(output)[1].lower()]:
        raise click.UsageError(f"--format {format} is another than that of {output!r}: want one.")


def work(jobs: Sequence, options: dict[str, Any]) -> Generator:
    """Loads the network, colours and shows progress: the outcome of each job."""
    from tqdm import tqdm

    from colorjax.coloring.folders import batch, compare
    from colorjax.coloring.settings import own_decoding, rebalanced

    settings, most_side = settings_of(options), None
    arrange: compare.Arrange | None = None
    painter = painter_of(options)
    settings = referred(settings, painter, options)
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
        reading=batch.Reading(
            options["allow_truncated"], most_side, options["skip_colour"], int(options["bits"])
        ),
        how=batch.Writing(
            options["overwrite"], options["quality"], not options["discard_original"]
        ),
        arrange=arrange,
    )
    # One photo's bar would stand still, and then be gone.
    hidden = True if len(jobs) == 1 else None
    with stopping.raising(), contextlib.closing(outcomes):
        for outcome in tqdm(outcomes, total=len(jobs), unit="photo", disable=hidden):
            stopping.check()
            for notice in outcome.notices:
                tqdm.write(f"colorjax: {notice}", file=sys.stderr)
            yield outcome
        stopping.check()


def settings_of(options: dict[str, Any]) -> list:
    """Those of each result of a photo."""
    from colorjax.coloring.settings import Settings

    first, count = options["seed"], options["samples"] or 1
    decode = "sample" if options["samples"] else options["decode"]
    hints = hints_of(options)
    return [
        Settings(
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
    """One line, and another for each photo that failed."""
    done = [one for one in outcomes if not one.fault and not one.left_out]
    faults = [one.fault for one in outcomes if one.fault]
    line = f"{counted(len(done))} coloured in {seconds:.1f} s"
    if len(done) > 1:
        line += f", {len(done) / seconds:.2g} a second"
    if done:
        line += f": {places([target for one in done for target in one.targets])}"
    if planned.skipped:
        line += f"; {len(planned.skipped)} left out, as the results are there"
    if planned.results:
        line += f"; {planned.results} left out, as they are results themselves"
    if left_out := sum(one.left_out for one in outcomes):
        line += f"; {left_out} left out, as they have colours"
    line += film.left_over(planned.others)
    if faults:
        line += f"; {len(faults)} failed:"
    lines = [line, *(f"  {fault}" for fault in faults)]
    if coloured := sum(one.in_colour for one in done):
        lines.append(
            f"  {counted(coloured)} had colours, which the network does not look at and which the "
            "results do not have; --skip-colour leaves such out"
        )
    return "\n".join(lines)


def counted(number: int) -> str:
    return f"{number} photo{'' if number == 1 else 's'}"


def places(targets: Sequence[str]) -> str:
    """Where results are: the names of a few, the folders of many."""
    if len(targets) <= NAMED:
        names = targets
    else:
        names = sorted({os.path.join(os.path.dirname(target), "") for target in targets})
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join("standard output" if n == "-" else n for n in names[:NAMED]) + more
