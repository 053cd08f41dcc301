"""`colorjax measure`: measures models on colour photographs."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.common import UserPath


@click.command()
@click.argument("folders", nargs=-1, type=UserPath(), required=True, metavar="FOLDER...")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Model to measure: the folder of a training run, or a released file. Repeatable.",
)
@click.option(
    "--size",
    type=click.IntRange(16),
    default=144,
    show_default=True,
    metavar="PIXELS",
    help="Side of the centre squares that are measured, a multiple of 16.",
)
@click.option(
    "--recognise",
    is_flag=True,
    help="Also measure how well EfficientNet-Lite0 classifies the coloured, gray and original "
    "photos; includes --frechet. Downloads its weights (19 MB) once.",
)
@click.option(
    "--labels",
    type=UserPath(),
    metavar="FILE",
    help="For --recognise: CSV of photo names and ImageNet classes (index, synset or name). "
    "Default: classes from the names of folders and files.",
)
@click.option(
    "--frechet",
    is_flag=True,
    help="Also measure the Frechet distance between results and originals, in the features of "
    "EfficientNet-Lite0 (not FID). Needs hundreds of photos, but no classes.",
)
@click.option(
    "--max-unreadable",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Share of a folder's files that may be unreadable; they are listed and left out.",
)
@click.option(
    "--json", "json_file", type=UserPath(), metavar="FILE", help="Also write all metrics to FILE."
)
def measure(
    folders: Sequence[str],
    models: Sequence[str],
    size: int,
    max_unreadable: float,
    json_file: str,
    **options: Any,
) -> None:
    """Measures models on colour photographs, and compares them with constant baselines.

    Prints one table per FOLDER. Without --model, measures the model that colorjax comes with.
    """
    from pathlib import Path

    from colorjax import extras
    from colorjax.data import sources
    from colorjax.studies import assess
    from colorjax.weights import devices, runs
    from colorjax.weights.released import load_network

    if options["labels"] and not options["recognise"]:
        raise click.UsageError("--labels is for --recognise.")
    extras.check_installed("train", "colorjax measure")
    devices.enable_compilation_cache()
    networks = {name: load_network(path) for name, path in parse_models(models).items()}
    networks = networks or {"ours": load_network()}
    photos = {folder: sources.open_folders(folder, max_unreadable) for folder in folders}
    recogniser = build_recogniser(photos, **options)
    measured = {}
    for folder in folders:
        measured[folder] = assess.assess(networks, photos[folder], size)
        shown, note = assess.SHOWN, ""
        if recogniser:
            measured[folder], shown, note = recogniser(folder, networks, measured[folder])
        click.echo(f"{folder}\n\n{assess.table(measured[folder], shown)}\n{note}")
    if json_file:
        with stopping.raising():
            runs.write_json(Path(json_file), {"size": size, "folders": measured})


def parse_models(models: Sequence[str]) -> dict[str, str]:
    """Parses the values of `--model` to {name: path}.

    A path may itself contain "=", as the folders of a sweep do.
    """
    from os.path import exists, expanduser

    paths: dict[str, str] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals or exists(expanduser(model)):
            name = path = model
        if name in paths:
            raise click.UsageError(f"--model has the name {name!r} twice, want distinct names.")
        paths[name] = expanduser(path)
    return paths


def build_recogniser(
    photos: Mapping[str, Sequence], *, recognise: bool, frechet: bool, labels: str | None
) -> Any:
    """Returns a function that adds the recognition metrics of a folder; None if none are wanted.

    The classes and the classifier are loaded now, so that errors come before any measuring.
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
        """Returns all metrics, the headings of the table, and a note to print below it."""
        items, known = photos[folder], classes[folder]
        more = recognition.recognise(networks, items, known, classifier)
        note = f"\n{recognition.note(known, len(items))}\n"
        rows = recognition.joined(measured, more)
        return rows, {**assess.SHOWN, **recognition.SHOWN}, note

    return recogniser
