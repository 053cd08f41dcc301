"""Limits on what one visitor may use, so that the page stays responsive for the others."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

from colorjax.errors import UserError

# Longer side divided by shorter side. A panorama has 10, a strip of film 25.
MAX_ASPECT_RATIO = 50
MAX_UPLOAD_BYTES = 200 * 2**20  # of one file
# Size limit of a multi-file upload, and of all bodies in the service's queue, in MAX_UPLOAD_BYTES.
MAX_UPLOADS_AT_ONCE = 5
MAX_PHOTOS = 24  # in a visitor's queue
MAX_SAMPLES = 8
MAX_HINTS = 200  # of one photo
MAX_CANCELLED = 2  # cancelled jobs of a lane whose threads may still run


class Cancelled(Exception):
    """Unwinds the thread of a cancelled job."""


class Job:
    """One visitor's work, in its own thread; it holds a slot until it ends or is cancelled.

    Attributes:
      owner: the visitor's session.
      done: a future for its result or error.
    """

    def __init__(self, lane: "Lane", owner: str):
        self.owner = owner
        self.done: Future[Any] = Future()
        self._lane, self._slot, self._lock = lane, lane.slots, threading.Lock()
        self._cancelled = threading.Event()

    def run(self, work: Callable[[], Any]) -> None:
        """Runs `work` in the current thread and settles `done`."""
        _current.job = self
        try:
            self._settle(work(), None)
        except BaseException as error:
            self._settle(None, error)
        finally:
            self._lane.jobs.discard(self)
            with self._lock:
                self._slot.release()

    def cancel(self, error: UserError) -> None:
        """Ends the job with `error`, so that its caller stops waiting.

        The thread itself stops at its next `check_cancelled`. Until then it counts as one of the
        cancelled jobs, and its slot is free for another job. If there are too many cancelled jobs,
        it keeps its slot instead, so that abandoned threads cannot pile up.
        """
        self._cancelled.set()
        self._settle(None, error)
        with self._lock:
            holds_slot = self in self._lane.jobs and self._slot is self._lane.slots
            if holds_slot and self._lane.cancelled.acquire(blocking=False):
                self._slot.release()
                self._slot = self._lane.cancelled

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
    """A job ran too long, or waited too long for a slot; its input may be valid."""


class Lane(NamedTuple):
    """One kind of work, with its own queue, concurrency limit and timeout.

    Attributes:
      name: identifies its queue in gradio.
      width: number of jobs that may run at a time.
      seconds: timeout of a job, waiting included.
      slots: semaphore with one permit for each job that may run.
      cancelled: semaphore with one permit for each cancelled job whose thread may still run.
      jobs: all jobs whose threads run.
    """

    name: str
    width: int
    seconds: float
    slots: threading.Semaphore
    cancelled: threading.Semaphore
    jobs: set[Job]


class Lanes(NamedTuple):
    """Separate lanes, so that quick work does not wait for slow work of other visitors.

    Attributes:
      reading: reads uploaded photos, and reads and prepares references.
      network: runs the network for what the page shows.
      download: colours photos at full size.
      ahead: compiles programs that will soon be needed.
    """

    reading: Lane
    network: Lane
    download: Lane
    ahead: Lane

    def leave(self, owner: str) -> None:
        """Cancels all jobs of a visitor who has left the page."""
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
    slots, cancelled = threading.Semaphore(width), threading.Semaphore(MAX_CANCELLED)
    return Lane(name, width, seconds, slots, cancelled, set())


_current = threading.local()


def check_cancelled() -> None:
    """Raises Cancelled if the current thread's job was cancelled; long work calls it often."""
    job = getattr(_current, "job", None)
    if job is not None:
        job.check_cancelled()


def run_in_time(lane: Lane, name: str, work: Callable[[], Any], owner: str = "") -> Any:
    """Runs `work` in its own thread and returns its result; cancels it after the lane's timeout.

    Args:
      lane: supplies the slot and the timeout. Time spent waiting for a slot counts.
      name: of the photo, for messages.
      work: the function to run.
      owner: the visitor's session; `Lanes.leave` cancels the session's jobs.

    Raises:
      TimedOut: the work took too long, or no slot became free in time.
    """
    deadline = time.monotonic() + lane.seconds
    if not lane.slots.acquire(timeout=lane.seconds):
        raise TimedOut(
            f"{name}: others' photos have taken more than {lane.seconds:g} seconds: "
            "please try again later"
        )
    job = Job(lane, owner)
    lane.jobs.add(job)
    threading.Thread(target=job.run, args=[work], daemon=True).start()
    wait([job.done], timeout=max(0.0, deadline - time.monotonic()))
    if not job.done.done():
        job.cancel(
            TimedOut(
                f"{name}: took more than {lane.seconds:g} seconds and was given up: "
                "please try a smaller photo"
            )
        )
    return job.done.result()


def check_aspect_ratio(height: int, width: int, name: str) -> None:
    """Raises UserError for an extreme aspect ratio: it costs far more than its pixel count."""
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_ASPECT_RATIO:
        raise UserError(
            f"{name}: has {width} x {height} pixels, one side {ratio:.0f} times as long as the "
            f"other; want at most {MAX_ASPECT_RATIO} times"
        )
