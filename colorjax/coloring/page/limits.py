"""What one visitor may ask for, so that the others are served too."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from colorjax.errors import UserError

# Of the longer side to the shorter. A panorama has 10, a strip of film 25.
MOST_RATIO = 50
MAX_UPLOAD_BYTES = 200 * 2**20  # of a file
UPLOADED_AT_ONCE = 5  # so many times that, of all files under way
MOST_PHOTOS = 24  # of a visitor, at a time
MOST_SAMPLES = 8


class TooLate(UserError):
    """A job took too long, or waited too long for others; its input may be sound."""


class Lane(NamedTuple):
    """A kind of work that has a queue of its own.

    Attributes:
      name: of its queue.
      slots: one for each job that may run at a time.
      width: how many those are.
      seconds: after which a job is given up.
    """

    name: str
    slots: threading.BoundedSemaphore
    width: int
    seconds: float


class Lanes(NamedTuple):
    """Reading a file, running the network on what the page shows, and making a download.

    They do not wait for each other: the colours of one visitor's photo wait for no download.
    """

    reading: Lane
    network: Lane
    download: Lane


def open_lanes() -> Lanes:
    return Lanes(
        open_lane("reading", 2, 60), open_lane("network", 1, 60), open_lane("download", 2, 300)
    )


def open_lane(name: str, width: int, seconds: float) -> Lane:
    return Lane(name, threading.BoundedSemaphore(width), width, seconds)


def in_time(lane: Lane, name: str, act: Callable[[], Any]) -> Any:
    """What `act` gives.

    A thread cannot be ended from outside. A job that is given up holds its slot until it ends by
    itself, so that given-up jobs never pile up.

    Args:
      lane: whose slot is taken, and whose limit holds; time in wait of a slot counts.
      name: of the photo, for messages.
      act: what to do, in a thread of its own.

    Raises:
      TooLate: it took too long, or the slots were taken for too long.
    """
    end = time.monotonic() + lane.seconds
    if not lane.slots.acquire(timeout=lane.seconds):
        raise TooLate(
            f"{name}: others' photos have taken more than {lane.seconds:g} seconds: "
            "please try again later"
        )
    done: Future = Future()

    def work():
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)
        finally:
            lane.slots.release()

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.result(timeout=max(0.0, end - time.monotonic()))
    except TimeoutError as error:
        if done.done():
            raise
        raise TooLate(
            f"{name}: took more than {lane.seconds:g} seconds and was given up: "
            "please try a smaller photo"
        ) from error


def check_shape(height: int, width: int, name: str) -> None:
    """Raises UserError for a photo of extreme proportions, which costs far more than its pixels."""
    ratio = max(height, width) / min(height, width)
    if ratio > MOST_RATIO:
        raise UserError(
            f"{name}: has {width} x {height} pixels, one side {ratio:.0f} times as long as the "
            f"other; want at most {MOST_RATIO} times"
        )
