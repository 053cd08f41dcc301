"""Films among what `colorjax colorize` is given: named one by one, coloured after the photos."""

import contextlib
import glob
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from colorjax import extras, stopping
from colorjax.commands.common import painter_of, say
from colorjax.errors import UserError
from colorjax.film import formats

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
            help="Of films: less is better, and larger; of a quality near theirs unless given.",
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
    jobs = jobs_of(films, options)
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
    films = [name for name in names if formats.is_film(name) and not os.path.isdir(name)]
    found = []
    for name in films:
        is_pattern = glob.has_magic(name) and not os.path.lexists(name)
        found += sorted(glob.glob(name, recursive=True)) or [name] if is_pattern else [name]
    others = tuple(name for name in names if name not in films)
    return list({os.path.realpath(name): name for name in found}.values()), others


def check_no_films(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options of films where there are none."""
    for name in ("codec", "crf"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} is of films, of which none is named.")


def check_options(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that films do not have."""
    given = [name for name, usual in OF_PHOTOS.items() if options[name] != usual]
    if given:
        flags = ", ".join(f"--{name.removesuffix('_file').replace('_', '-')}" for name in given)
        raise click.UsageError(f"Films have no {flags}: colour photos apart from them.")


def jobs_of(films: Sequence[str], options: dict[str, Any]) -> list[Job]:
    """The films with the names of their results; raises click.UsageError if these clash."""
    output = options["output"]
    if output is not None and formats.is_film(output) and not os.path.isdir(output):
        if len(films) > 1:
            raise click.UsageError(f"{len(films)} films cannot all be written to {output!r}.")
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
    skipped = 0
    painter = None
    for job in jobs:
        try:
            if options["skip_existing"] and os.path.lexists(job.target):
                skipped += 1
                continue
            check_job(job, options)
            painter = painter or painter_of(options)
            colour(painter, job, options)
            done.append(job.target)
        except UserError as error:
            faults.append(str(error))
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
    source, target = job
    if not os.path.exists(source):
        raise UserError(f"{source}: there is no such file")
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
    from colorjax.film import parts, work

    names = "decode temperature rebalance saturation seed edges".split()
    how = work.How(
        Settings(**{name: options[name] for name in names}), options["codec"], options["crf"]
    )
    Path(job.target).parent.mkdir(parents=True, exist_ok=True)
    try:
        with stopping.raising(), shown() as progress:
            notices = work.run(
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
