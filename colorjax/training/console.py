"""Terminal interaction: messages, the progress bar and stop requests."""

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from colorjax import stopping
from colorjax.training.parallel import is_writer


def progress(num_steps: int, start: int) -> tqdm:
    """Returns a progress bar of steps; until the first step ends, it says that XLA is compiling."""
    bar = tqdm(
        total=num_steps, initial=start, unit="step", dynamic_ncols=True, disable=not is_writer()
    )
    bar.set_postfix_str("compiling, about a minute")
    return bar


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the step that returns whether SIGINT or SIGTERM has requested a stop.

    The training loop calls the function once per step. Signals reach it only if the program has
    called `stopping.listen`; a second signal ends the program at once. Several processes agree on
    the step to stop at through the service of `jax.distributed`, which receives only SIGTERM.
    """
    if jax.process_count() > 1:
        yield _agree_on_stop
        return
    with stopping.deferred(lambda: say("stopping after this step; a second signal stops at once")):
        yield lambda step: stopping.is_requested()


def _agree_on_stop(step: int) -> bool:
    stops = multihost_utils.reached_preemption_sync_point(step)
    if stops:
        stopping.record(signal.SIGTERM)
    return stops


def say(text: str) -> None:
    """Prints a line for the user without breaking the progress bar."""
    if is_writer():
        tqdm.write(text)
