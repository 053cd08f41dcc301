"""Films among what `colorjax colorize` is given: named one by one, coloured after the photos."""

import contextlib
import glob
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from colorjax import extras, stopping
from colorjax.commands.common import painter_of, say
from colorjax.errors import UserError
from colorjax.film.files import formats

CODECS = ("h264", "hevc", "prores", "vp9", "av1")
# Options that are of photos alone, with what they are unless given.
OF_PHOTOS = {
    "replace": False,
    "discard_original": False,
    "skip_colour": False,
    "format": None,
    "pages": "first",
    "bits": "16",
    "quality": 95,
    "samples": None,
    "hints": (),
    "hints_file": None,
    "reference": None,
    "confidence": False,
    "compare": False,
    "grid": False,
    "allow_truncated": False,
}


class Job(NamedTuple):
    """A film and where its result goes."""

    source: str
    target: str


def film_options(command):
    """Adds --codec and --crf."""
    for option in (
        click.option(
            "--crf",
            type=click.IntRange(0, 63),
            metavar="N",
            help="Of films: less is better, and larger; at most 51 for hevc, 63 else; of a quality "
            "near theirs unless given.",
        ),
        click.option(
            "--codec",
            type=click.Choice(CODECS),
            help="Of films: h264 unless given, or what keeps 10 bits and fits into the file.",
        ),
    ):
        command = option(command)
    return command


def run(options: dict[str, Any], photos: Callable[[dict[str, Any]], None]) -> None:
    """Colours the photos by `photos`, and then the films; ends the program if any failed."""
    films, others = parted(options["photos"])
    if not films:
        check_no_films(options)
        photos(options)
        return
    check_options(options)
    jobs = jobs_of(films, options, others)
    failed = False
    if others:
        try:
            photos({**options, "photos": others})
        except SystemExit as end:
            failed = bool(end.code)
    if work(jobs, options) or failed:
        sys.exit(1)


def parted(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Names of films, each once, with those that patterns stand for; all other names."""
    named = [match for name in names for match in matches(name)]
    films = [name for name in named if formats.is_film(name) and not os.path.isdir(name)]
    others = tuple(name for name in named if name not in films)
    return list({os.path.realpath(name): name for name in films}.values()), others


def matches(name: str) -> list[str]:
    """What a pattern stands for, if there are films in it; else the name itself."""
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True))
    return found if any(map(formats.is_film, found)) else [name]


def left_over(others: Mapping[str, int]) -> str:
    """What a summary says of files in folders that are no pictures, whose suffixes are counted."""
    films = sum(count for suffix, count in others.items() if suffix in formats.SUFFIXES)
    kinds = [
        f"{n} {suffix}" for suffix, n in sorted(others.items()) if suffix not in formats.SUFFIXES
    ]
    text = f"; of no kind that is read: {', '.join(kinds)}" if kinds else ""
    if films:
        text += (
            f"; {films} film{'' if films == 1 else 's'} left out, as films are coloured one by one "
            "when named (colorjax film.mp4)"
        )
    return text


def check_no_films(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options of films where there are none."""
    if is_one_film(output := options["output"]):
        raise click.UsageError(
            f"{output!r} is the name of a film, of which none is to be coloured."
        )
    for name in ("codec", "crf"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} is of films, of which none is named.")


def check_options(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that films do not have."""
    given = [name for name, usual in OF_PHOTOS.items() if options[name] != usual]
    if given:
        flags = ", ".join(f"--{name.removesuffix('_file').replace('_', '-')}" for name in given)
        raise click.UsageError(f"Films have no {flags}: colour photos apart from them.")


def is_one_film(output: str | None) -> bool:
    """Whether `--output` names a film, and not a folder."""
    if output is None or output.endswith(("/", os.sep)) or os.path.isdir(output):
        return False
    return formats.is_film(output)


def jobs_of(films: Sequence[str], options: dict[str, Any], others: Sequence[str] = ()) -> list[Job]:
    """The films with the names of their results; raises click.UsageError if these clash.

    `others` are names of what is to be coloured besides.
    """
    output = options["output"]
    if is_one_film(output):
        if len(films) > 1:
            raise click.UsageError(f"{len(films)} films cannot all be written to {output!r}.")
        if others:
            raise click.UsageError(
                f"A film and {others[0]!r} cannot both be written to {output!r}."
            )
        return [Job(films[0], output)]
    if output == "-":
        raise click.UsageError("Films are written to files, and not to standard output.")
    if output is not None and Path(output).suffix and not os.path.isdir(output):
        if not output.endswith(("/", os.sep)):
            raise click.UsageError(
                f"{output!r} is no name of a film: want one such as .mp4, or of a folder {output}/"
            )
    jobs, taken = [], set()
    for source in films:
        folder = Path(source).parent if output is None else Path(output)
        stem, number = Path(source).stem + options["suffix"], 1
        target = folder / f"{stem}{formats.result_suffix(source)}"
        while str(target).casefold() in taken:
            number += 1
            target = folder / f"{stem}_{number}{formats.result_suffix(source)}"
        taken.add(str(target).casefold())
        jobs.append(Job(source, str(target)))
    return jobs


def work(jobs: Sequence[Job], options: dict[str, Any]) -> bool:
    """Colours films, one after the other, and says what became of them; whether any failed."""
    start = time.monotonic()
    faults: list[str] = []
    done: list[str] = []
    left = [job for job in jobs if not (options["skip_existing"] and os.path.lexists(job.target))]
    todo = []
    for job in left:
        try:
            check_job(job, options)
            todo.append(job)
        except UserError as error:
            faults.append(str(error))
    # A model that is not there is no fault of any film.
    painter = painter_of(options) if todo else None
    for job in todo:
        try:
            colour(painter, job, options)
            done.append(job.target)
        except UserError as error:
            faults.append(str(error))
    skipped = len(jobs) - len(left)
    line = f"{len(done)} film{'' if len(done) == 1 else 's'} coloured"
    line += f" in {time.monotonic() - start:.1f} s" + (f": {', '.join(done)}" if done else "")
    if skipped:
        line += f"; {skipped} left out, as the results are there"
    if faults:
        line += f"; {len(faults)} failed:"
    say("\n".join([line, *(f"  {fault}" for fault in faults)]))
    return bool(faults)


def check_job(job: Job, options: dict[str, Any]) -> None:
    """Raises UserError for a film that cannot be coloured as it is."""
    from colorjax.coloring.folders import finding

    source, target = job
    for found in finding.find([source]):
        if found.fault:
            raise UserError(found.fault)
    if not os.path.exists(source):
        raise UserError(f"{source}: is a link to nothing")
    if finding.is_stream(source):
        raise UserError(f"{source}: is a pipe or a device, want a file: films are read twice")
    if os.path.realpath(target) == os.path.realpath(source):
        raise UserError(f"{source}: would replace itself, want another --output")
    if os.path.lexists(target) and not options["overwrite"]:
        raise UserError(
            f"{source}: {target} is there already; --overwrite replaces it, --skip-existing leaves "
            "the film out"
        )
    extras.check_installed("video", f"{source}: is a film, which")


def colour(painter: Any, job: Job, options: dict[str, Any]) -> None:
    """Colours a film, and shows how far it is."""
    from colorjax.coloring.settings import Settings
    from colorjax.film import parts, pipeline

    names = "decode temperature rebalance saturation seed edges".split()
    how = pipeline.FilmOptions(
        Settings(**{name: options[name] for name in names}), options["codec"], options["crf"]
    )
    try:
        with stopping.raising(), shown() as progress:
            notices = pipeline.run(
                painter,
                job.source,
                job.target,
                how,
                overwrite=options["overwrite"],
                progress=progress,
            )
    except KeyboardInterrupt:
        if (folder := parts.folder_of(job.target)).exists():
            say(f"{folder} keeps what is done of the film: the same command goes on there")
        raise
    for notice in notices:
        say(notice)


@contextlib.contextmanager
def shown() -> Iterator[Callable[[str, int, int], None]]:
    """Gives what shows progress: a bar for each thing that is done to frames."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        stopping.check()
        if what not in bars:
            first = done if what == "coloured" else 0
            bars[what] = tqdm(
                total=total or None, initial=first, desc=what, unit="frame", disable=None
            )
        bars[what].update(done - bars[what].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
