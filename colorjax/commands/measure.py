"""`colorjax measure`: how good models are."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.common import Place


@click.command()
@click.argument("folders", nargs=-1, type=Place(), required=True, metavar="FOLDER...")
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
    type=Place(),
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
@click.option(
    "--max-unreadable",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Share of a folder's files that may be left out, and named, as they cannot be read.",
)
@click.option(
    "--json", "json_file", type=Place(), metavar="FILE", help="Write all metrics there too."
)
def measure(
    folders: Sequence[str],
    models: Sequence[str],
    size: int,
    max_unreadable: float,
    json_file: str,
    **options: Any,
) -> None:
    """Measures models on colour photographs, beside baselines that know nothing.

    Every FOLDER is a table. Without --model, the model that colorjax comes with is measured.
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
    devices.keep_compiled_programs()
    networks = {name: load_network(path) for name, path in named(models).items()}
    networks = networks or {"ours": load_network()}
    photos = {folder: sources.open_folders(folder, max_unreadable) for folder in folders}
    recogniser = recogniser_of(photos, **options)
    found = {}
    for folder in folders:
        found[folder] = assess.assess(networks, photos[folder], size)
        shown, note = assess.SHOWN, ""
        if recogniser:
            found[folder], shown, note = recogniser(folder, networks, found[folder])
        click.echo(f"{folder}\n\n{assess.table(found[folder], shown)}\n{note}")
    if json_file:
        with stopping.raising():
            runs.write_json(Path(json_file), {"size": size, "folders": found})


def named(models: Sequence[str]) -> dict[str, str]:
    """{name: path} of what `--model` says; a path may hold "=" itself, as a sweep's folders do."""
    from os.path import exists, expanduser

    paths: dict[str, str] = {}
    for model in models:
        name, found, path = model.partition("=")
        if not found or exists(expanduser(model)):
            name = path = model
        if name in paths:
            raise click.UsageError(f"--model has the name {name!r} twice, want two names.")
        paths[name] = expanduser(path)
    return paths


def recogniser_of(
    photos: Mapping[str, Sequence], *, recognise: bool, frechet: bool, labels: str | None
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
