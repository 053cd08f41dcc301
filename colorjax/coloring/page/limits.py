"""What one visitor may ask for, so that the others are served too."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

from colorjax.errors import UserError

# Of the longer side to the shorter. A panorama has 10, a strip of film 25.
MOST_RATIO = 50
MAX_UPLOAD_BYTES = 200 * 2**20  # of a file
UPLOADED_AT_ONCE = 5  # so many times that, of all files under way
MOST_PHOTOS = 24  # of a visitor, at a time
MOST_SAMPLES = 8
MOST_HINTS = 200  # of a photo
MOST_CANCELLED = 2  # jobs of a lane that may still run though nobody waits for them


class Cancelled(Exception):
    """Unwinds a job that nobody waits for any more."""


class Job:
    """One visitor's work, in a thread of its own; it holds its slot until it ends or is cancelled.

    Attributes:
      owner: the visitor's session.
      done: its result, or why there is none.
    """

    def __init__(self, lane: "Lane", owner: str):
        self.owner = owner
        self.done: Future[Any] = Future()
        self._lane, self._held, self._lock = lane, lane.slots, threading.Lock()
        self._cancelled = threading.Event()

    def run(self, act: Callable[[], Any]) -> None:
        _current.job = self
        try:
            self._settle(act(), None)
        except BaseException as error:
            self._settle(None, error)
        finally:
            self._lane.jobs.discard(self)
            with self._lock:
                self._held.release()

    def cancel(self, why: UserError) -> None:
        """Ends the job with the error `why`: its caller, and the jobs behind it, wait no longer.

        The thread itself stops at its next `check_cancelled`. Until then it counts as one of the
        cancelled jobs and frees its slot. If there are too many of those, it keeps the slot, so
        that abandoned threads cannot pile up.
        """
        self._cancelled.set()
        self._settle(None, why)
        with self._lock:
            is_left = self in self._lane.jobs and self._held is self._lane.slots
            if is_left and self._lane.cancelled.acquire(blocking=False):
                self._held.release()
                self._held = self._lane.cancelled

    def check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def _settle(self, result: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.done.done():
                return
            if error is None:
                self.done.set_result(result)
            else:
                self.done.set_exception(error)


class TimedOut(UserError):
    """A job took too long, or waited too long for others; its input may be sound."""


class Lane(NamedTuple):
    """A kind of work that has a queue of its own.

    Attributes:
      name: of its queue.
      width: how many jobs may run at a time.
      seconds: after which a job is cancelled.
      slots: one for each job that may run at a time.
      cancelled: one for each job that may still run though it was given up.
      jobs: all that run.
    """

    name: str
    width: int
    seconds: float
    slots: threading.Semaphore
    cancelled: threading.Semaphore
    jobs: set[Job]


class Lanes(NamedTuple):
    """Reading a file, running the network on what the page shows, and making a download.

    They do not wait for each other: the colours of one visitor's photo wait for no download. What
    will soon be wanted is compiled ahead, where nobody waits either.
    """

    reading: Lane
    network: Lane
    download: Lane
    ahead: Lane

    def leave(self, owner: str) -> None:
        """Gives up all that a visitor who has left still has under way."""
        for lane in self:
            for job in [one for one in tuple(lane.jobs) if one.owner == owner]:
                job.cancel(UserError("the page was left"))


def open_lanes() -> Lanes:
    return Lanes(
        open_lane("reading", 2, 60),
        open_lane("network", 1, 60),
        open_lane("download", 2, 300),
        open_lane("ahead", 1, 60),
    )


def open_lane(name: str, width: int, seconds: float) -> Lane:
    slots, cancelled = threading.Semaphore(width), threading.Semaphore(MOST_CANCELLED)
    return Lane(name, width, seconds, slots, cancelled, set())


_current = threading.local()


def check_cancelled() -> None:
    """Raises Cancelled if the current thread's job was cancelled; long work calls it often."""
    job = getattr(_current, "job", None)
    if job is not None:
        job.check_cancelled()


def run_in_time(lane: Lane, name: str, act: Callable[[], Any], owner: str = "") -> Any:
    """What `act` gives.

    Args:
      lane: whose slot is taken, and whose limit holds; time in wait of a slot counts.
      name: of the photo, for messages.
      act: what to do, in a thread of its own.
      owner: the visitor's session; `Lanes.leave` ends its jobs.

    Raises:
      TimedOut: it took too long, or the slots were taken for too long.
    """
    end = time.monotonic() + lane.seconds
    if not lane.slots.acquire(timeout=lane.seconds):
        raise TimedOut(
            f"{name}: others' photos have taken more than {lane.seconds:g} seconds: "
            "please try again later"
        )
    job = Job(lane, owner)
    lane.jobs.add(job)
    threading.Thread(target=job.run, args=[act], daemon=True).start()
    wait([job.done], timeout=max(0.0, end - time.monotonic()))
    if not job.done.done():
        job.cancel(
            TimedOut(
                f"{name}: took more than {lane.seconds:g} seconds and was given up: "
                "please try a smaller photo"
            )
        )
    return job.done.result()


def check_shape(height: int, width: int, name: str) -> None:
    """Raises UserError for a photo of extreme proportions, which costs far more than its pixels."""
    ratio = max(height, width) / min(height, width)
    if ratio > MOST_RATIO:
        raise UserError(
            f"{name}: has {width} x {height} pixels, one side {ratio:.0f} times as long as the "
            f"other; want at most {MOST_RATIO} times"
        )
