"""`colorjax archive`: all photographs of an archive, on one machine or on many."""

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
from colorjax.commands.colorize import colorize, counted
from colorjax.commands.common import Place, model_options, say

# These options of `colorjax colorize` mean the same here.
SHARED = (
    "suffix skip_colour format bits quality decode temperature rebalance saturation seed edges "
    "allow_truncated"
)
SETTINGS = "decode temperature rebalance saturation seed edges".split()
DONE, SKIPPED, FAILED = "done", "skipped", "failed"  # what a row of the log says
LOG = "archive_log"  # in the target
TOLD = 10  # most faults that the summary tells
CHUNK = 64  # files that a shard has in hand

EXAMPLES = """\b
Examples:
  colorjax archive /scans /coloured               on all cores or GPUs of this machine
  colorjax archive s3://scans/1930s s3://coloured --address auto
  colorjax archive list.parquet /coloured --column file
  colorjax archive /scans /coloured --shard 3/8   without Ray: one of eight such
"""


@click.command(epilog=EXAMPLES)
@click.argument("source", type=Place(), metavar="SOURCE")
@click.argument("target", type=Place(), metavar="TARGET")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="A Ray cluster to join, or auto for that of this machine; one is started here unless "
    "given.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Most of them; as many as there is room for unless given.",
)
@click.option(
    "--cores",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    metavar="N",
    help="CPU cores of a worker that has no GPU.",
)
@click.option(
    "--shard",
    metavar="i/n",
    help="Colour one of n parts, i from 0 to n - 1, in this process and without Ray.",
)
@click.option(
    "--log",
    "log_place",
    type=Place(),
    metavar="PATH",
    help="Where it is written what became of each file: a folder of Parquet, which may be a URI; "
    "with --shard a file of JSON lines. In TARGET unless given.",
)
@click.option(
    "--column",
    default="path",
    show_default=True,
    metavar="NAME",
    help="Of a manifest: the column of paths.",
)
@click.option(
    "--root",
    type=Place(),
    metavar="FOLDER",
    help="Of a manifest: what its paths are below; its own folder unless given.",
)
@model_options
def archive(**options: Any) -> None:
    """Colours all photographs of an archive, each once, whatever fails meanwhile.

    SOURCE is a folder, an s3:// or gs:// URI, or a Parquet file with a column of paths; results are
    in the same folders below TARGET. Many workers share it by Ray Data (pip install
    'colorjax[cluster]'). Stopped and started again, it does what is left; a log says what became
    of each file.
    """
    run(options)


archive.params += [one for one in colorize.params if one.name in SHARED.split()]


def run(options: dict[str, Any]) -> None:
    """Does what was asked for; ends the program with 1 if any file failed."""
    from colorjax.coloring.archive import remaining
    from colorjax.coloring.archive.log import known
    from colorjax.coloring.archive.source import open_source
    from colorjax.coloring.archive.store import open_store
    from colorjax.coloring.archive.worker import IN_COLOUR

    shard = None if options["shard"] is None else remaining.parse_shard(options["shard"])
    order = order_of(options)
    check(order, options)
    target = open_store(order.target)
    source = open_source(order.source, column=order.column, root=order.root)
    tally, others, start = Tally(), Counter[str](), time.monotonic()
    place, log = open_log(options, target)
    with stopping.raising(), contextlib.closing(log):

        def tell(row: Any) -> None:
            log.add(row)
            tally.add(row)
            stopping.check()

        seen = known(log.rows(), again="" if order.skip_colour else IN_COLOUR)
        whole = remaining.Shard()
        paths = remaining.left(
            source, target, seen, order.named, shard or whole, others, tell, tally.pass_over
        )
        with contextlib.closing(
            alone(order, paths) if shard else shared(order, options, paths)
        ) as work:
            for row in work:
                tell(row)
    say(tally.summary(time.monotonic() - start, others, place))
    if tally.counts[FAILED]:
        sys.exit(1)


def order_of(options: dict[str, Any]) -> Any:
    """What workers are told, with places that mean the same in every working folder."""
    from colorjax.coloring.archive.store import is_uri
    from colorjax.coloring.archive.worker import Order

    def absolute(place: str | None) -> str | None:
        return place if place is None or is_uri(place) else os.path.abspath(place)

    if "/" in options["suffix"] or os.sep in options["suffix"]:
        raise click.UsageError("--suffix is a part of a name: want no slash in it.")
    return Order(
        absolute(options["source"]) or "",
        absolute(options["target"]) or "",
        options["column"],
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


def check(order: Any, options: dict[str, Any]) -> None:
    """Raises UserError or click.UsageError for what cannot work, before anything is begun."""
    from colorjax.coloring.archive import cluster, remaining
    from colorjax.coloring.archive.source import is_manifest
    from colorjax.coloring.archive.store import open_store

    if options["shard"] is not None and (options["address"] or options["workers"]):
        raise click.UsageError("--shard works alone: want no --address and no --workers.")
    if options["shard"] is None and ":" in (options["device"] or ""):
        raise click.UsageError("Ray says which GPU a worker has: want --device gpu, or cpu.")
    target = open_store(order.target)
    if not is_manifest(order.source):
        remaining.check_source(open_store(order.source), target)
    if options["shard"] is None:
        extras.check_installed("cluster", "an archive without --shard i/n")
        if options["address"] is not None:
            cluster.check_address(options["address"])
    remaining.check_target(target)


def open_log(options: dict[str, Any], target: Any) -> tuple[str, Any]:
    """The log and where it is; raises click.UsageError or UserError if it cannot be there."""
    from colorjax.coloring.archive import log
    from colorjax.coloring.archive.store import is_uri, open_store

    place = options["log_place"]
    if options["shard"] is None:
        if place is None:
            return os.path.join(options["target"], LOG), log.parquet(target, LOG)
        return place, log.parquet(open_store(place), "")
    if is_uri(place or options["target"]):
        raise click.UsageError(
            "--shard writes lines as they come: want --log FILE of this machine."
        )
    if place is None:
        place = os.path.join(
            options["target"], f"{LOG}_{options['shard'].replace('/', '_of_')}.jsonl"
        )
    return place, log.json_lines(Path(place))


def alone(order: Any, paths: Iterable[str]) -> Generator[Any, None, None]:
    """The rows of what this process colours by itself."""
    from colorjax.coloring.archive.worker import open_worker

    chunks = iter(paths)
    # The network is not loaded where nothing is left to do.
    colour: Any = None
    with progress(None) as bar:
        while chunk := list(islice(chunks, CHUNK)):
            colour = colour or open_worker(order)
            with contextlib.closing(colour(chunk)) as rows:
                for row in rows:
                    bar.update()
                    yield row


def shared(order: Any, options: dict[str, Any], paths: Iterable[str]) -> Generator[Any, None, None]:
    """The rows of what Ray's workers colour."""
    from colorjax.coloring.archive import cluster

    on_gpus = None if options["device"] is None else not options["device"].startswith("cpu")
    layout = cluster.Cluster(options["address"], options["workers"], options["cores"], on_gpus)
    todo = list(paths)
    if not todo:
        return
    with cluster.connected(layout), progress(len(todo)) as bar:
        for row in cluster.colorized(order, layout, todo):
            bar.update()
            yield row


def progress(total: int | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="photo")


class Tally:
    """Counts rows and what has one of before, and keeps the first sentences of what failed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.before = 0

    def add(self, row: Any) -> None:
        self.counts[row.status] += 1
        if row.status == FAILED and len(self.faults) < TOLD:
            self.faults.append(row.why)

    def pass_over(self, path: str) -> None:
        self.before += 1

    def summary(self, seconds: float, others: Counter[str], log: str) -> str:
        """What was done, in a line, and one more for each of the first faults."""
        done, skipped, failed = (self.counts[status] for status in (DONE, SKIPPED, FAILED))
        line = f"{counted(done)} coloured in {seconds:.1f} s"
        if done > 1:
            line += f", {done / seconds:.2g} a second"
        # Else another SOURCE, whose photographs have the names of one before, would do nothing
        # without a word.
        if self.before:
            line += f"; {self.before} done before"
        if skipped:
            line += f"; {skipped} left out"
        line += film.left_over(others)
        if failed:
            line += f"; {failed} failed"
        lines = [f"{line}; {log} says what became of each", *(f"  {one}" for one in self.faults)]
        if failed > len(self.faults):
            lines.append(f"  and {failed - len(self.faults)} more")
        return "\n".join(lines)
