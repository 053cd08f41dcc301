"""The user at the terminal: lines, the progress bar, and the wish to stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from colorjax.training.parallel import is_writer


def progress(num_steps: int, start: int) -> tqdm:
    return tqdm(
        total=num_steps, initial=start, unit="step", dynamic_ncols=True, disable=not is_writer()
    )


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
    """Turns the first SIGINT or SIGTERM into a request that is asked for once a step.

    A second one does what it always does. Several processes agree on a step to stop at, through
    the service that `jax.distributed` starts; only SIGTERM reaches it.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    received = []

    def request(number, frame):
        received.append(number)
        signal.signal(number, previous[number])
        say("stopping after this step; once more to stop at once")

    previous = {n: signal.signal(n, request) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda step: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """A line for the user that leaves the progress bar whole."""
    if is_writer():
        tqdm.write(text)
