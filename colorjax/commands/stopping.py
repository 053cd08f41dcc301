"""What Ctrl-C and SIGTERM do to a command, from its first line on.

Nothing heavy is imported here: this is in force before anything else is.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SENTENCE = "stopped; what is not done yet is as it was"


def at_once() -> None:
    """Has the signals end the process there and then: nothing is half written yet.

    An exception would be lost in a callback of what is being imported, or break it.
    """
    for number in SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    # Whatever buffers there are may be what was interrupted.
    os.write(2, f"\ncolorjax: {SENTENCE}\n".encode())
    os._exit(exit_code(number))


@contextlib.contextmanager
def by_exception() -> Iterator[list[int]]:
    """Has the signals raise KeyboardInterrupt inside the block, so that files are tidied up.

    Raised within a callback, such as JAX's of the garbage collector, it is lost: then the list,
    which is given, has the number of the signal, and is to be looked at now and then.
    """
    asked: list[int] = []

    def stop(number, frame):
        asked.append(number)
        raise KeyboardInterrupt(number)

    previous = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check(asked: list[int]) -> None:
    """Raises the KeyboardInterrupt that was lost, if any was."""
    if asked:
        raise KeyboardInterrupt(asked[0])


def exit_code(number: int = signal.SIGINT) -> int:
    """As a shell has it for a program that a signal ended."""
    return 128 + number


def exit_code_of(error: KeyboardInterrupt) -> int:
    """That of the signal which `by_exception` has raised."""
    return exit_code(*error.args[:1])
