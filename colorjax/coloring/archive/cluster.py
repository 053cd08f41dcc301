"""Distributes an archive with Ray Data to the workers of one machine or of a cluster.

If a worker or a machine dies, Ray repeats its task on another worker. A worker leaves an existing
result as it is, so that each result is made once.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from colorjax.coloring.archive.log import FAILED, Row, rows_of, table_of, timestamped
from colorjax.coloring.archive.worker import WorkerConfig, open_worker
from colorjax.errors import UserError, first_line, quoted, whole_number

# The most files in one task of a worker, and so the most that are repeated when a worker dies.
BLOCK_FILES = 32
# Ray gives up a block after so many retries; its files are then tried one by one. The number is
# large because Ray may send a task to a dead machine several times before it notices.
RETRIES = 10
REFUSED = "refused"  # status of a row that says why a worker cannot colour any file
LOST = "the worker process died on it again and again: out of memory, or a decoder crashed"
CONNECT_TIMEOUT = 5.0  # seconds
OBJECT_STORE = 300_000_000  # bytes; enough, as only file names and rows are stored


class Cluster(NamedTuple):
    """The Ray cluster and the workers to run on it.

    Attributes:
      address: HOST:PORT of a running Ray cluster, or auto; None starts Ray on this machine and
        shuts it down at the end.
      workers: the most workers; None for as many as the cluster has room for.
      cores: CPU cores per worker, if workers have no GPU.
      on_gpus: whether each worker has a GPU; None means yes if the cluster has any.
    """

    address: str | None = None
    workers: int | None = None
    cores: int = 2
    on_gpus: bool | None = None


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connects to Ray, or starts it, for a block; raises UserError if that fails."""
    import ray

    if cluster.address is not None:
        check_address(cluster.address)
    # By default, Ray would send usage statistics to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local_options = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    try:
        with _preserved_signal_handlers():
            ray.init(
                address=cluster.address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if cluster.address else local_options),
            )
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray at {cluster.address}" if cluster.address else "Ray on this machine"
        raise UserError(f"{where} cannot be reached: {first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Raises UserError unless HOST:PORT accepts connections; `auto` is left to Ray.

    Ray itself would retry for a minute and then report internal errors.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    number = whole_number(port)
    if not host or number is None or number > 65535:
        raise UserError(f"address is {quoted(address)}, want HOST:PORT of a running Ray, or auto")
    try:
        socket.create_connection((host, number), CONNECT_TIMEOUT).close()
    except OSError as error:
        raise UserError(
            f"Ray at {address} cannot be reached: {error.strerror or error}; want HOST:PORT of a "
            "running Ray, or auto"
        ) from error


@contextlib.contextmanager
def _preserved_signal_handlers() -> Iterator[None]:
    """Restores the signal handlers after a block: `ray.init` replaces that of SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def colorize(config: WorkerConfig, cluster: Cluster, paths: Iterable[str]) -> Iterator[Row]:
    """Colours files on the cluster; yields one row per path, as soon as Ray returns it.

    Call it within `connected`. Raises UserError if no worker can start, for example because there
    is no such model.
    """
    pending = dict.fromkeys(paths)  # an ordered set
    pool = _plan_pool(cluster, len(pending))
    for block_files in (min(BLOCK_FILES, max(1, len(pending) // (4 * pool.max_workers))), 1):
        if not pending:
            return
        for row in _run_pass(config, pool, _blocks(pending, block_files)):
            if row.status == REFUSED:
                raise UserError(row.why)
            if row.path in pending:
                del pending[row.path]
                yield row
    for path in pending:
        yield timestamped(Row(path, FAILED, f"{path}: {LOST}"))


class Pool(NamedTuple):
    """The number of workers, and the resources that Ray reserves for each."""

    max_workers: int
    cores: float
    gpus: int


def _plan_pool(cluster: Cluster, files: int) -> Pool:
    """Returns a pool of `cluster.workers`, or as many as fit, but no more than there are files.

    `cluster.workers` may exceed what fits now, because a cluster may scale up.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    on_gpus = bool(gpus) if cluster.on_gpus is None else cluster.on_gpus
    # A machine with fewer cores than `cluster.cores` gets a worker too.
    most_cores = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    cores = 1.0 if on_gpus else min(float(cluster.cores), most_cores or cluster.cores)
    room = gpus if on_gpus else sum(int(node.get("CPU", 0.0) // cores) for node in nodes)
    if not (cluster.workers or room):
        kind = "GPU" if on_gpus else "CPU"
        raise UserError(f"Ray has no {kind}, want one, or --workers N if the cluster will scale up")
    return Pool(max(1, min(cluster.workers or room, files)), cores, int(on_gpus))


def _blocks(paths: Iterable[str], block_files: int) -> list[Any]:
    import pyarrow

    names = pyarrow.array(paths, pyarrow.string())
    return [
        pyarrow.table({"path": names[start : start + block_files]})
        for start in range(0, len(names), block_files)
    ]


def _run_pass(config: WorkerConfig, pool: Pool, blocks: Sequence[Any]) -> Iterator[Row]:
    """Runs the blocks through Ray and yields their rows; blocks that Ray gives up yield none."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    config = config._replace(threads=max(1, int(pool.cores)))
    coloured = ray.data.from_blocks(blocks).map_batches(
        Actor,
        fn_constructor_args=(config,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.max_workers),
        batch_size=None,  # one block
        batch_format="pyarrow",
        num_cpus=pool.cores,
        num_gpus=pool.gpus or None,
        max_task_retries=RETRIES,
    )
    try:
        for table in coloured.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from rows_of(table)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray gave up: {first_line(error)}; run the same command again to resume"
        ) from error


class Actor:
    """A worker as a callable class for Ray: it maps tables of paths to tables of rows."""

    def __init__(self, config: WorkerConfig):
        self._refusal = ""
        try:
            self._colorize = open_worker(config)
        except UserError as error:
            self._refusal = str(error)

    def __call__(self, table: Any) -> Any:
        paths = table.column("path").to_pylist()
        if self._refusal:
            return table_of([Row(path, REFUSED, self._refusal) for path in paths[:1]])
        return table_of(self._colorize(paths))
