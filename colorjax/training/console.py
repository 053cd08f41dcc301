"""The user at the terminal: lines, the progress bar, and the wish to stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from colorjax import stopping
from colorjax.training.parallel import is_writer


def progress(num_steps: int, start: int) -> tqdm:
    """A bar of steps, which says why it stands still until the first of them is done."""
    bar = tqdm(
        total=num_steps, initial=start, unit="step", dynamic_ncols=True, disable=not is_writer()
    )
    bar.set_postfix_str("compiling, about a minute")
    return bar


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
    """Makes of SIGINT and SIGTERM a request that is asked for once a step, if a program listens.

    A second one ends the program at once. Several processes agree on a step to stop at, through
    the service that `jax.distributed` starts; only SIGTERM reaches it.
    """
    if jax.process_count() > 1:
        yield _agreed_stop
        return
    with stopping.held(lambda: say("stopping after this step; once more to stop at once")):
        yield lambda step: stopping.is_requested()


def _agreed_stop(step: int) -> bool:
    stops = multihost_utils.reached_preemption_sync_point(step)
    if stops:
        stopping.note(signal.SIGTERM)
    return stops


def say(text: str) -> None:
    """A line for the user that leaves the progress bar whole."""
    if is_writer():
        tqdm.write(text)
