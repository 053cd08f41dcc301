"""Ray Data shares an archive out: to many workers of one machine, or of a cluster.

What is lost with a worker or a machine, Ray has another do again; a worker that finds a result
leaves it as it is, so that each is made once.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from colorjax.coloring.archive.log import FAILED, Row, now, rows_of, table_of
from colorjax.coloring.archive.worker import Order, open_worker
from colorjax.errors import UserError, shown, whole_number

# Files that a worker is given together: what is done again at most when one is lost.
TOGETHER = 32
# Files over which workers die oftener are given up, to be tried one by one in the end. A machine
# that is gone is asked several times before Ray knows.
RETRIES = 10
REFUSED = "refused"  # the status of a row that says why a worker can do nothing at all
LOST = "the worker died over it, again and again: memory may be short, or a decoder have crashed"
REACHABLE = 5.0  # seconds to wait for an address
OBJECT_STORE = 300_000_000  # bytes, of which names of files need few


class Cluster(NamedTuple):
    """How workers are laid out.

    Attributes:
      address: HOST:PORT of a Ray that runs, or auto; None starts one on this machine, which ends
        with the work.
      workers: most of them; as many as there is room for, for None.
      cores: CPU cores of each, where it has no GPU.
      on_gpus: whether each has a GPU; None is yes where there are any.
    """

    address: str | None = None
    workers: int | None = None
    cores: int = 2
    on_gpus: bool | None = None


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Within it Ray runs; raises UserError if it cannot be reached or started."""
    import ray

    if cluster.address is not None:
        check_address(cluster.address)
    # Of a Ray of its own nobody else is to hear.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    alone = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    try:
        with _signals_as_before():
            ray.init(
                address=cluster.address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if cluster.address else alone),
            )
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray at {cluster.address}" if cluster.address else "Ray on this machine"
        raise UserError(f"{where} cannot be reached: {_first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Raises UserError unless somebody listens at HOST:PORT; `auto` is left to Ray.

    Ray itself would try for a minute, and then tell of its own insides.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    number = whole_number(port)
    if not host or number is None or number > 65535:
        raise UserError(f"address is {shown(address)}, want HOST:PORT of a Ray that runs, or auto")
    try:
        socket.create_connection((host, number), REACHABLE).close()
    except OSError as error:
        raise UserError(
            f"Ray at {address} cannot be reached: {error.strerror or error}; want HOST:PORT of a "
            "Ray that runs, or auto"
        ) from error


@contextlib.contextmanager
def _signals_as_before() -> Iterator[None]:
    """Takes back what Ray has SIGTERM do: stops are heard by the program itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def colorized(order: Order, cluster: Cluster, paths: Iterable[str]) -> Iterator[Row]:
    """A row of each path, once, as soon as Ray gives it; Ray is `connected`.

    Raises UserError if workers can do nothing, as there is no such model.
    """
    left = dict.fromkeys(paths)  # a set that keeps its order
    share = _share(cluster, len(left))
    for together in (min(TOGETHER, max(1, len(left) // (4 * share.most))), 1):
        if not left:
            return
        for row in _pass(order, share, _blocks(left, together)):
            if row.status == REFUSED:
                raise UserError(row.why)
            if row.path in left:
                del left[row.path]
                yield row
    for path in left:
        yield now(Row(path, FAILED, f"{path}: {LOST}"))


class Share(NamedTuple):
    """What workers there are to be."""

    most: int
    cores: float  # that Ray sets aside for each
    gpus: int


def _share(cluster: Cluster, files: int) -> Share:
    """As many workers as the machines have room for, or as are wanted, but no more than files.

    More are wanted than there is room for where a cluster grows.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    on_gpus = bool(gpus) if cluster.on_gpus is None else cluster.on_gpus
    # A machine of one core has a worker too.
    widest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    cores = 1.0 if on_gpus else min(float(cluster.cores), widest or cluster.cores)
    room = gpus if on_gpus else sum(int(node.get("CPU", 0.0) // cores) for node in nodes)
    if not (cluster.workers or room):
        what = "GPU" if on_gpus else "CPU"
        raise UserError(
            f"Ray has no {what} to colour with, want one, or --workers that are to come"
        )
    return Share(max(1, min(cluster.workers or room, files)), cores, int(on_gpus))


def _blocks(paths: Iterable[str], together: int) -> list[Any]:
    import pyarrow

    names = pyarrow.array(paths, pyarrow.string())
    return [
        pyarrow.table({"path": names[start : start + together]})
        for start in range(0, len(names), together)
    ]


def _pass(order: Order, share: Share, blocks: Sequence[Any]) -> Iterator[Row]:
    """What Ray makes of blocks of paths; those that it gives up are left out."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    order = order._replace(threads=max(1, int(share.cores)))
    coloured = ray.data.from_blocks(blocks).map_batches(
        Actor,
        fn_constructor_args=(order,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=share.most),
        batch_size=None,  # a block
        batch_format="pyarrow",
        num_cpus=share.cores,
        num_gpus=share.gpus or None,
        max_task_retries=RETRIES,
    )
    try:
        for table in coloured.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from rows_of(table)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray gave up: {_first_line(error)}; the same command does what is left"
        ) from error


class Actor:
    """A worker as Ray wants it: tables of paths in, tables of rows out."""

    def __init__(self, order: Order):
        self._refusal = ""
        try:
            self._rows = open_worker(order)
        except UserError as error:
            self._refusal = str(error)

    def __call__(self, table: Any) -> Any:
        paths = table.column("path").to_pylist()
        if self._refusal:
            return table_of([Row(path, REFUSED, self._refusal) for path in paths[:1]])
        return table_of(self._rows(paths))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
