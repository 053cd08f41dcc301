"""`colorjax archive`: colours all photographs of an archive, on one machine or on a cluster."""

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import click

from colorjax import extras, stopping
from colorjax.commands import film
from colorjax.commands.colorize import colorize, photo_count
from colorjax.commands.common import UserPath, model_options, say

# These options of `colorjax colorize` mean the same here.
COLORIZE_OPTIONS = (
    "suffix skip_colour format bits quality decode temperature rebalance saturation seed edges "
    "allow_truncated"
)
SETTINGS = "decode temperature rebalance saturation seed edges".split()
DONE, SKIPPED, FAILED = "done", "skipped", "failed"  # the statuses of rows of the log
LOG = "archive_log"  # default name of the log, in the target
MAX_FAULTS = 10  # listed in the summary
CORES, COLUMN = 2, "path"  # defaults of --cores and --column
CHUNK = 64  # files that a shard gives to its worker at once

EXAMPLES = """\b
Examples:
  colorjax archive /scans /coloured               on all cores or GPUs of this machine
  colorjax archive s3://scans/1930s s3://coloured --address auto
  colorjax archive list.parquet /coloured --column file
  colorjax archive /scans /coloured --shard 3/8   without Ray: one of eight parts
"""


@click.command(epilog=EXAMPLES)
@click.argument("source", type=UserPath(), metavar="SOURCE")
@click.argument("target", type=UserPath(), metavar="TARGET")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Ray cluster to join, or auto for the one on this machine. Default: start Ray here.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of workers. Default: as many as the cluster has room for.",
)
@click.option(
    "--cores",
    type=click.IntRange(1),
    metavar="N",
    help="CPU cores per worker, for workers without a GPU. Default: 2.",
)
@click.option(
    "--shard",
    metavar="i/n",
    help="Colour part i of n (i from 0 to n - 1) in this process, without Ray.",
)
@click.option(
    "--log",
    "log_path",
    type=UserPath(),
    metavar="PATH",
    help="Log with one row per file: a folder or URI for Parquet files; with --shard, a file of "
    "JSON lines. Default: in TARGET.",
)
@click.option(
    "--column", metavar="NAME", help="Column of a manifest that holds the paths. Default: path."
)
@click.option(
    "--root",
    type=UserPath(),
    metavar="FOLDER",
    help="Folder that the paths in a manifest are relative to. Default: the manifest's folder.",
)
@model_options
def archive(**options: Any) -> None:
    """Colours all photographs of an archive, each once, even if workers or machines fail.

    SOURCE is a folder, an s3:// or gs:// URI, or a Parquet file with a column of paths. Results go
    to the same subfolders of TARGET. Ray Data distributes the work to many workers (pip install
    'colorjax[cluster]'). The same command resumes an interrupted run. A log records the outcome for
    each file.
    """
    run(options)


archive.params += [param for param in colorize.params if param.name in COLORIZE_OPTIONS.split()]


def run(options: dict[str, Any]) -> None:
    """Runs the command; exits with 1 if any file failed."""
    from colorjax.coloring.archive import remaining
    from colorjax.coloring.archive.log import read_finished
    from colorjax.coloring.archive.source import open_source
    from colorjax.coloring.archive.store import open_store
    from colorjax.coloring.archive.worker import IN_COLOUR

    shard = None if options["shard"] is None else remaining.parse_shard(options["shard"])
    config = worker_config(options)
    check(config, options)
    target = open_store(config.target)
    source = open_source(config.source, column=config.column, root=config.root)
    tally, others, start = Tally(), Counter[str](), time.monotonic()
    log_path, log = open_log(options, target)
    with stopping.raising(), contextlib.closing(log):

        def report(row: Any) -> None:
            log.add(row)
            tally.add(row)
            stopping.check()

        finished = read_finished(log.rows(), retry_reason="" if config.skip_colour else IN_COLOUR)
        paths = remaining.remaining_paths(
            source,
            target,
            finished,
            config.result_path,
            shard or remaining.Shard(),
            others,
            report,
            tally.add_finished,
        )
        with contextlib.closing(
            run_shard(config, paths) if shard else run_cluster(config, options, paths)
        ) as rows:
            for row in rows:
                report(row)
    say(tally.summary(time.monotonic() - start, others, log_path))
    if tally.counts[FAILED]:
        sys.exit(1)


def worker_config(options: dict[str, Any]) -> Any:
    """Returns the configuration of the workers, with absolute paths."""
    from colorjax.coloring.archive.store import is_uri
    from colorjax.coloring.archive.worker import WorkerConfig

    def absolute(location: str | None) -> str | None:
        return location if location is None or is_uri(location) else os.path.abspath(location)

    if "/" in options["suffix"] or os.sep in options["suffix"]:
        raise click.UsageError("--suffix is part of a file name: want no slash in it.")
    return WorkerConfig(
        absolute(options["source"]) or "",
        absolute(options["target"]) or "",
        options["column"] or COLUMN,
        absolute(options["root"]),
        options["suffix"],
        options["format"],
        options["quality"],
        int(options["bits"]),
        options["allow_truncated"],
        options["skip_colour"],
        absolute(options["model"]),
        options["size"],
        options["device"],
        {name: options[name] for name in SETTINGS},
    )


def check(config: Any, options: dict[str, Any]) -> None:
    """Validates options, source and target; raises UserError or click.UsageError."""
    from colorjax.coloring.archive import cluster, remaining
    from colorjax.coloring.archive.source import is_manifest
    from colorjax.coloring.archive.store import open_store

    for_clusters = [f"--{name}" for name in ("address", "workers", "cores") if options[name]]
    if options["shard"] is not None and for_clusters:
        raise click.UsageError(f"--shard works alone: want no {' and no '.join(for_clusters)}.")
    for_manifests = [f"--{name}" for name in ("column", "root") if options[name] is not None]
    if for_manifests and not is_manifest(config.source):
        raise click.UsageError(
            f"{options['source']!r} is not a manifest (a .parquet file): "
            f"want no {' and no '.join(for_manifests)}."
        )
    if options["shard"] is None and ":" in (options["device"] or ""):
        raise click.UsageError("Ray assigns GPUs to workers: want --device gpu or cpu.")
    target = open_store(config.target)
    if not is_manifest(config.source):
        remaining.check_source(open_store(config.source), target)
    if options["shard"] is None:
        extras.check_installed("cluster", "an archive without --shard i/n")
        if options["address"] is not None:
            cluster.check_address(options["address"])
    remaining.check_target(target)


def open_log(options: dict[str, Any], target: Any) -> tuple[str, Any]:
    """Opens the log; returns its path and the log. Raises click.UsageError or UserError."""
    from colorjax.coloring.archive import log
    from colorjax.coloring.archive.store import is_uri, open_store

    path = options["log_path"]
    if options["shard"] is None:
        if path is None:
            return os.path.join(options["target"], LOG), log.parquet(target, LOG)
        return path, log.parquet(open_store(path), "")
    if is_uri(path or options["target"]):
        raise click.UsageError("--shard can write its log only to a local file: want --log FILE.")
    if path is None:
        path = os.path.join(
            options["target"], f"{LOG}_{options['shard'].replace('/', '_of_')}.jsonl"
        )
    return path, log.json_lines(Path(path))


def run_shard(config: Any, paths: Iterable[str]) -> Generator[Any, None, None]:
    """Colours files in this process; yields their rows."""
    from colorjax.coloring.archive.worker import open_worker

    pending = iter(paths)
    # The network is loaded only if any file remains.
    worker: Any = None
    with progress(None) as bar:
        while chunk := list(islice(pending, CHUNK)):
            worker = worker or open_worker(config)
            with contextlib.closing(worker(chunk)) as rows:
                for row in rows:
                    bar.update()
                    yield row


def run_cluster(
    config: Any, options: dict[str, Any], paths: Iterable[str]
) -> Generator[Any, None, None]:
    """Colours files with Ray's workers; yields their rows."""
    from colorjax.coloring.archive import cluster

    on_gpus = None if options["device"] is None else not options["device"].startswith("cpu")
    cores = options["cores"] or CORES
    layout = cluster.Cluster(options["address"], options["workers"], cores, on_gpus)
    todo = list(paths)
    if not todo:
        return
    with cluster.connected(layout), progress(len(todo)) as bar:
        for row in cluster.colorize(config, layout, todo):
            bar.update()
            yield row


def progress(total: int | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="photo")


class Tally:
    """Counts of this run's rows and of files finished in earlier runs, and the first faults."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.finished = 0

    def add(self, row: Any) -> None:
        self.counts[row.status] += 1
        if row.status == FAILED and len(self.faults) < MAX_FAULTS:
            self.faults.append(row.why)

    def add_finished(self, path: str) -> None:
        self.finished += 1

    def summary(self, seconds: float, others: Counter[str], log: str) -> str:
        """Returns one line of counts, and one more line for each of the first faults."""
        done, skipped, failed = (self.counts[status] for status in (DONE, SKIPPED, FAILED))
        line = f"{photo_count(done)} coloured in {seconds:.1f} s"
        if done > 1:
            line += f", {done / seconds:.2g} a second"
        # Without this, a second SOURCE with the same file names as an earlier one would do nothing
        # silently.
        if self.finished:
            line += f"; {self.finished} done before"
        if skipped:
            line += f"; {skipped} skipped"
        line += film.describe_others(others)
        if failed:
            line += f"; {failed} failed"
        lines = [f"{line}; log: {log}", *(f"  {fault}" for fault in self.faults)]
        if failed > len(self.faults):
            lines.append(f"  and {failed - len(self.faults)} more")
        return "\n".join(lines)
