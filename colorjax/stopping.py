"""Handles SIGINT and SIGTERM from a program's first line to its last.

Only programs install handlers; library functions leave signals alone. This module imports nothing
heavy, so that a program can call `listen` before its slow imports.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 128 + signal.SIGINT  # exit status after Ctrl-C
# A second signal within so many seconds is ignored: timeout(1) signals the program and its group.
REPEAT_WINDOW = 1.0

_received: list[tuple[int, float]] = []  # number and time of each signal
_handlers: list[Callable[[int], None]] = []  # a stack; its top handles the first signal


class Stopped(KeyboardInterrupt):
    """Unwinds the stack of a program that was asked to stop."""


def listen() -> None:
    """Installs the signal handlers; until `start_raising`, the first signal exits at once.

    During imports an exception could be swallowed, and there is nothing to clean up yet. A second
    signal always exits at once.
    """
    _handlers.append(_exit_now)
    for number in SIGNALS:
        signal.signal(number, _handle)


def start_raising() -> None:
    """Makes the first signal raise Stopped from now on, so that incomplete files are removed."""
    _handlers.append(_raise_stopped)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Makes the first signal raise Stopped within a block that must remove incomplete files."""
    _handlers.append(_raise_stopped)
    try:
        yield
    finally:
        _handlers.pop()


def check() -> None:
    """Raises Stopped if a signal was received; see `is_requested`."""
    if is_requested():
        raise Stopped


@contextlib.contextmanager
def deferred(callback: Callable[[], None]) -> Iterator[None]:
    """Makes the first signal only call `callback` within a block, which polls `is_requested`."""
    _handlers.append(lambda number: callback())
    try:
        yield
    finally:
        _handlers.pop()


def is_requested() -> bool:
    """Returns whether a signal was received, even if its Stopped was swallowed in a callback."""
    return bool(_received)


def record(number: int) -> None:
    """Records a signal that other code has caught."""
    _received.append((number, time.monotonic()))


def status() -> int:
    """Returns the exit status: 128 plus the number of the first signal, or 0 without a signal."""
    return 128 + _received[0][0] if _received else 0


def _handle(number: int, frame: object) -> None:
    now = time.monotonic()
    if not _received:
        record(number)
        _handlers[-1](number)
    elif now - _received[0][1] > REPEAT_WINDOW:
        _exit_now(number)


def _exit_now(number: int) -> None:
    if sys.__stderr__ is not None:
        os.write(sys.__stderr__.fileno(), b"colorjax: stopped\n")
    os._exit(128 + number)


def _raise_stopped(number: int) -> None:
    raise Stopped
