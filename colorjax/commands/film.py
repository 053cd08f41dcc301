"""Films in `colorjax colorize`: each must be named, and they are coloured after the photos."""

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
# Options that apply only to photos, and their defaults.
PHOTO_OPTIONS = {
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
    """A film and the path of its result."""

    source: str
    target: str


def film_options(command):
    """Adds --codec and --crf."""
    for option in (
        click.option(
            "--crf",
            type=click.IntRange(0, 63),
            metavar="N",
            help="Quality of films: a lower value is better and gives larger files. Maximum 51 for "
            "hevc, 63 otherwise. Default: visually nearly lossless.",
        ),
        click.option(
            "--codec",
            type=click.Choice(CODECS),
            help="Codec of films. Default: h264, or another codec where the file type or 10 bits "
            "require it.",
        ),
    ):
        command = option(command)
    return command


def run(options: dict[str, Any], photos: Callable[[dict[str, Any]], None]) -> None:
    """Colours photos with the function `photos`, then films; exits with 1 if any of them failed."""
    films, others = split_films(options["photos"])
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
        except SystemExit as error:
            failed = bool(error.code)
    if colour_films(jobs, options) or failed:
        sys.exit(1)


def split_films(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Expands patterns that match films; returns the distinct films, and all other names."""
    expanded = [match for name in names for match in expand_pattern(name)]
    films = [name for name in expanded if formats.is_film(name) and not os.path.isdir(name)]
    others = tuple(name for name in expanded if name not in films)
    return list({os.path.realpath(name): name for name in films}.values()), others


def expand_pattern(name: str) -> list[str]:
    """Returns the files that a pattern matches if any is a film, and otherwise the name itself."""
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    matches = sorted(glob.glob(name, recursive=True))
    return matches if any(map(formats.is_film, matches)) else [name]


def describe_others(others: Mapping[str, int]) -> str:
    """Returns the part of a summary about files that are not pictures, from counts by suffix."""
    films = sum(count for suffix, count in others.items() if suffix in formats.SUFFIXES)
    kinds = [
        f"{n} {suffix}" for suffix, n in sorted(others.items()) if suffix not in formats.SUFFIXES
    ]
    text = f"; unsupported formats: {', '.join(kinds)}" if kinds else ""
    if films:
        text += (
            f"; {films} film{'' if films == 1 else 's'} skipped, as films are coloured one by one "
            "when named (colorjax film.mp4)"
        )
    return text


def check_no_films(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that need a film."""
    if is_film_output(output := options["output"]):
        raise click.UsageError(f"{output!r} is the name of a film, but no film is to be coloured.")
    for name in ("codec", "crf"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} is for films, but no film is to be coloured.")


def check_options(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that apply only to photos."""
    given = [name for name, default in PHOTO_OPTIONS.items() if options[name] != default]
    if given:
        flags = ", ".join(f"--{name.removesuffix('_file').replace('_', '-')}" for name in given)
        raise click.UsageError(f"Films have no {flags}: colour the photos separately.")


def is_film_output(output: str | None) -> bool:
    """Returns whether `--output` names a film rather than a folder."""
    if output is None or output.endswith(("/", os.sep)) or os.path.isdir(output):
        return False
    return formats.is_film(output)


def jobs_of(films: Sequence[str], options: dict[str, Any], others: Sequence[str] = ()) -> list[Job]:
    """Returns the films with the paths of their results; raises click.UsageError for a bad output.

    Args:
      films: distinct paths of films.
      options: the options of the command.
      others: names of the photos that are coloured in the same call.
    """
    output = options["output"]
    if is_film_output(output):
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
                f"{output!r} is not the name of a film: want one such as film.mp4, or a folder "
                f"{output}/"
            )
    jobs, taken = [], set()
    for source in films:
        folder = Path(source).parent if output is None else Path(output)
        stem, number = Path(source).stem + options["suffix"], 1
        target = folder / f"{stem}{formats.result_suffix(source)}"
        while (key := os.path.abspath(target).casefold()) in taken:
            number += 1
            target = folder / f"{stem}_{number}{formats.result_suffix(source)}"
        taken.add(key)
        jobs.append(Job(source, str(target)))
    return jobs


def colour_films(jobs: Sequence[Job], options: dict[str, Any]) -> bool:
    """Colours films one by one and prints a summary; returns whether any of them failed."""
    start = time.monotonic()
    faults: list[str] = []
    done: list[str] = []
    wanted = [job for job in jobs if not (options["skip_existing"] and os.path.lexists(job.target))]
    todo = []
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in wanted:
        try:
            check_job(job, sources, options)
            todo.append(job)
        except UserError as error:
            faults.append(str(error))
    # Outside of the loop: an error of the model is not an error of a film.
    painter = painter_of(options) if todo else None
    for job in todo:
        try:
            colour_film(painter, job, options)
            done.append(job.target)
        except UserError as error:
            faults.append(str(error))
    skipped = len(jobs) - len(wanted)
    line = f"{len(done)} film{'' if len(done) == 1 else 's'} coloured"
    line += f" in {time.monotonic() - start:.1f} s" + (f": {', '.join(done)}" if done else "")
    if skipped:
        line += f"; {skipped} skipped, as the results exist"
    if faults:
        line += f"; {len(faults)} failed:"
    say("\n".join([line, *(f"  {fault}" for fault in faults)]))
    return bool(faults)


def check_job(job: Job, sources: set[str], options: dict[str, Any]) -> None:
    """Raises UserError if a film cannot be read or its result cannot be written.

    `sources` are the real paths of all films of the call, none of which a result may replace.
    """
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
    if os.path.realpath(target) in sources:
        raise UserError(f"{source}: would replace the film {target}, want another --output")
    if os.path.lexists(target) and not options["overwrite"]:
        raise UserError(
            f"{source}: {target} exists already; --overwrite replaces it, --skip-existing skips "
            "the film"
        )
    extras.check_installed("video", f"{source}: is a film, which")


def colour_film(painter: Any, job: Job, options: dict[str, Any]) -> None:
    """Colours a film and shows progress."""
    from colorjax.coloring.settings import ColorSettings
    from colorjax.film import parts, pipeline

    names = "decode temperature rebalance saturation seed edges".split()
    run_options = pipeline.FilmOptions(
        ColorSettings(**{name: options[name] for name in names}), options["codec"], options["crf"]
    )
    try:
        with stopping.raising(), progress_bars() as progress:
            notices = pipeline.run(
                painter,
                job.source,
                job.target,
                run_options,
                overwrite=options["overwrite"],
                progress=progress,
            )
    except KeyboardInterrupt:
        if (folder := parts.folder_of(job.target)).exists():
            say(f"{folder} keeps the finished parts of the film; the same command resumes there")
        raise
    for notice in notices:
        say(notice)


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yields a progress callback, which shows one bar for each step of the work on frames."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def progress(step: str, done: int, total: int) -> None:
        stopping.check()
        if step not in bars:
            initial = done if step == "coloured" else 0
            bars[step] = tqdm(
                total=total or None, initial=initial, desc=step, unit="frame", disable=None
            )
        bars[step].update(done - bars[step].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
