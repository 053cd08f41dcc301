"""The user's wish to stop, SIGINT or SIGTERM, heard from a program's first line to its last.

Only a program listens: functions that are called from elsewhere leave signals alone. Nothing heavy
is imported here, so that a program can listen before it imports what is.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 128 + signal.SIGINT  # the status of a program that Ctrl-C ended
SAME_WISH = 1.0  # seconds: timeout(1) sends its signal twice, to the program and to its group

_heard: list[tuple[int, float]] = []  # number and time of every signal
_answer: list[Callable[[int], None]] = []  # to the first signal: the last of these


class Stopped(KeyboardInterrupt):
    """Unwinds a program that was told to stop."""


def listen() -> None:
    """Takes SIGINT and SIGTERM from now on; until `unwinding` the first ends the program at once.

    Imports swallow exceptions, and there is nothing yet that could be lost. A second signal always
    ends the program at once.
    """
    _answer.append(_end)
    for number in SIGNALS:
        signal.signal(number, _hear)


def unwinding() -> None:
    """From now on the first signal raises Stopped, which takes away what is half written."""
    _answer.append(_unwind)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """As `unwinding`, within a block: for what has files to take away."""
    _answer.append(_unwind)
    try:
        yield
    finally:
        _answer.pop()


def check() -> None:
    """Raises Stopped if a signal was heard, also one whose Stopped was lost in a callback."""
    if is_requested():
        raise Stopped


@contextlib.contextmanager
def held(told: Callable[[], None]) -> Iterator[None]:
    """Within it the first signal only calls `told`: what runs there asks `is_requested` itself."""
    _answer.append(lambda number: told())
    try:
        yield
    finally:
        _answer.pop()


def is_requested() -> bool:
    """Whether a signal was heard; also one whose Stopped was lost, as it is in callbacks."""
    return bool(_heard)


def note(number: int) -> None:
    """Notes a signal that something else has caught."""
    _heard.append((number, time.monotonic()))


def status() -> int:
    """What the program is to exit with: 128 and the signal's number, 0 without one."""
    return 128 + _heard[0][0] if _heard else 0


def _hear(number: int, frame: object) -> None:
    now = time.monotonic()
    if not _heard:
        note(number)
        _answer[-1](number)
    elif now - _heard[0][1] > SAME_WISH:
        _end(number)


def _end(number: int) -> None:
    if sys.__stderr__ is not None:
        os.write(sys.__stderr__.fileno(), b"colorjax: stopped\n")
    os._exit(128 + number)


def _unwind(number: int) -> None:
    raise Stopped
