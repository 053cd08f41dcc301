"""The `colorjax` command."""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from colorjax.errors import UserError

METHODS = ("argmax", "mean", "annealed", "sample")
EDGES = ("guided", "bilinear")
FORMATS = ("jpg", "png", "tif", "webp")
INTERRUPTED = 130  # as a shell has it for a program that Ctrl-C ended

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


class Command(click.Group):
    """A group whose command `colorize` need not be named; a user's mistake is one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = {"--help", "--version"}
        if args and args[0] not in self.commands and args[0] not in alone:
            args = ["colorize", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("colorjax", "[OPTIONS] PHOTO... | COMMAND")


@click.group(cls=Command, epilog=EXAMPLES, no_args_is_help=True)
@click.version_option(package_name="colorjax")
def main() -> None:
    """Turns black-and-white photographs into colour.

    PHOTO... without the name of a command is short for `colorjax colorize PHOTO...`;
    `colorjax colorize --help` shows its options.
    """


def model_options(command):
    """The options of every command that loads a network."""
    for option in (
        click.option("--device", metavar="NAME", help="cpu, gpu or gpu:1; the best unless given."),
        click.option(
            "--size",
            type=click.IntRange(16),
            metavar="PIXELS",
            help="Side of the square with as many pixels as the network sees; that of its "
            "training unless given.",
        ),
        click.option(
            "--model",
            metavar="PATH",
            help="Folder of a training run, or a released file; the one that colorjax "
            "comes with unless given.",
        ),
    ):
        command = option(command)
    return command


@main.command(epilog=EXAMPLES)
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
    try:
        jobs, skipped, faults = plan(options)
        done = 0
        for outcome in work(jobs, options) if jobs else ():
            if outcome.fault:
                faults.append(outcome)
            done += not outcome.fault
    except KeyboardInterrupt:
        say("stopped; what is not done yet is as it was")
        sys.exit(INTERRUPTED)
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

    asked_to_stop = stop_signals()
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
    for outcome in tqdm(outcomes, total=len(jobs), unit="photo", disable=hidden):
        if asked_to_stop:
            raise KeyboardInterrupt
        for notice in outcome.notices:
            tqdm.write(f"colorjax: {notice}", file=sys.stderr)
        yield outcome


def stop_signals() -> list[int]:
    """Has SIGTERM stop the program as Ctrl-C does; returns the list that they will be put into.

    Either raises KeyboardInterrupt, so that what is half written is taken away. Raised within a
    callback, such as JAX's of the garbage collector, it is lost: then the list has it.
    """
    asked: list[int] = []

    def stop(number, frame):
        asked.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return asked


def painter_of(options: dict[str, Any]) -> Any:
    """The network of the `model_options`, ready to colour."""
    import jax

    from colorjax.coloring.colorize import open_painter
    from colorjax.weights import devices
    from colorjax.weights.devices import pick_device
    from colorjax.weights.released import load_network

    jax.config.update("jax_default_device", pick_device(options["device"]))
    devices.keep_compiled_programs()
    return open_painter(load_network(options["model"]), size=options["size"])


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


def say(text: str) -> None:
    """To the user, and not into a picture on standard output."""
    click.echo(f"colorjax: {text}", err=True)


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen; 0.0.0.0 lets other machines in.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=True,
    help="Whether to show the page in the browser at once.",
)
@model_options
def demo(host: str, port: int, open_browser: bool, **options: Any) -> None:
    """Serves a page for colouring photographs in the browser, until Ctrl-C.

    Photos go to no other machine, and are deleted when the program ends.
    """
    try:
        from colorjax.coloring.page import server as page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise click.ClickException("the page needs gradio: pip install 'colorjax[demo]'") from error
    from colorjax.coloring.api import Colorizer
    from colorjax.weights import devices

    devices.keep_compiled_programs()
    say("loading the network, which takes some seconds")
    colorizer = Colorizer(**options)
    page.serve(colorizer, host=host, port=port, open_browser=open_browser, say=say)


@main.command()
@click.argument("run", metavar="RUN")
@click.option("-o", "--output", required=True, metavar="FILE", help="Such as model.safetensors.")
def export(run: str, output: str) -> None:
    """Writes the best checkpoint of a training RUN as one file, to hand on or to colour with."""
    from colorjax.training.export import export as write_model

    path = write_model(run, output)
    say(f"{path}: {path.stat().st_size:,} bytes")


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]PATH",
    help="A model to measure; may be given several times.",
)
@click.option(
    "--size",
    type=click.IntRange(16),
    default=144,
    show_default=True,
    metavar="PIXELS",
    help="Side of the squares that are measured.",
)
@click.option(
    "--recognise",
    is_flag=True,
    help="Also whether EfficientNet-Lite0 recognises what is in the photos, coloured, "
    "gray and as they were, and --frechet. Its weights, 19 MB, are fetched once.",
)
@click.option(
    "--labels",
    metavar="FILE",
    help="CSV of photos' names and their ImageNet classes (index, synset or name), for "
    "--recognise; the names of folders and files unless given.",
)
@click.option(
    "--frechet",
    is_flag=True,
    help="Also the Frechet distance between results and photos as they were, of that "
    "network's features; not FID. Wants hundreds of photos, and no classes.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write all metrics there too.")
def measure(
    folders: Sequence[str], models: Sequence[str], size: int, json_file: str, **options: Any
) -> None:
    """Measures models on colour photographs, beside baselines that know nothing.

    Every FOLDER is a table. Without --model, the model that colorjax comes with is measured.
    """
    from pathlib import Path

    from colorjax.data import sources
    from colorjax.studies import assess
    from colorjax.weights import devices, runs
    from colorjax.weights.released import load_network

    if options["labels"] and not options["recognise"]:
        raise click.UsageError("--labels is for --recognise.")
    devices.keep_compiled_programs()
    named = [m.partition("=") if "=" in m else (m, "=", m) for m in models] or [("ours", "", None)]
    networks = {name: load_network(path) for name, _, path in named}
    photos = {folder: sources.open_folders(folder) for folder in folders}
    recogniser = recogniser_of(photos, **options)
    found = {}
    for folder in folders:
        found[folder] = assess.assess(networks, photos[folder], size)
        shown, note = assess.SHOWN, ""
        if recogniser:
            found[folder], shown, note = recogniser(folder, networks, found[folder])
        click.echo(f"{folder}\n\n{assess.table(found[folder], shown)}\n{note}")
    if json_file:
        runs.write_json(Path(json_file), {"size": size, "folders": found})


def recogniser_of(
    photos: dict[str, Sequence], *, recognise: bool, frechet: bool, labels: str | None
) -> Any:
    """What adds to a folder's metrics how well its photos are recognised; None if not asked to.

    Everything that it wants is looked at now, and not after the first folder has been measured.
    """
    if not recognise and not frechet:
        return None
    from colorjax.studies import assess, imagenet, recognition

    table = imagenet.read_table(labels) if labels else None
    classes = {
        folder: recognition.known_classes(folder, items, table) if recognise else None
        for folder, items in photos.items()
    }
    classifier = recognition.open_classifier()

    def recogniser(folder: str, networks: dict, measured: dict) -> tuple[dict, dict, str]:
        """All metrics, the headings of the table, and what is to be said below it."""
        items, known = photos[folder], classes[folder]
        more = recognition.recognise(networks, items, known, classifier)
        note = f"\n{recognition.note(known, len(items))}\n"
        rows = recognition.joined(measured, more)
        return rows, {**assess.SHOWN, **recognition.SHOWN}, note

    return recogniser


@main.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Where the sheets go.")
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

    from colorjax.coloring import batch
    from colorjax.coloring import gallery as sheets

    found = list(batch.find(photos, recursive=True))
    for one in found:
        if one.fault:
            raise UserError(one.fault)
    painter = painter_of(options)
    paths = sheets.chosen([one.source for one in found], count)
    for path in sheets.draw(painter, paths, Path(output), side):
        say(str(path))


if __name__ == "__main__":
    main()
