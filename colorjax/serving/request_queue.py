"""A request queue bounded in requests and bytes; it rejects the rest with a Retry-After time."""

import contextlib
import math
from collections.abc import Iterator

from colorjax.coloring.page.limits import MAX_UPLOAD_BYTES, MAX_UPLOADS_AT_ONCE

MAX_BYTES = MAX_UPLOADS_AT_ONCE * MAX_UPLOAD_BYTES  # of all bodies together
MAX_RETRY_AFTER = 120  # seconds


class QueueFull(Exception):
    """The queue has no room; `retry_after` is the estimated time until it has, in seconds."""

    def __init__(self, retry_after: int):
        super().__init__(retry_after)
        self.retry_after = retry_after


class Queue:
    """Counts requests that wait or are processed; not thread-safe, for the event loop only.

    Attributes:
      capacity: maximum number of requests.
      length: number of requests.
      bytes: total size of their bodies.
      mean_seconds: exponential moving average of the processing time of a request.
    """

    def __init__(self, capacity: int):
        self.capacity, self.length, self.bytes, self.mean_seconds = capacity, 0, 0, 1.0

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Holds a place for a body of `size` bytes during the block; raises QueueFull."""
        # An empty queue accepts any size, because the caller has already limited it.
        if self.length >= self.capacity or (self.length and self.bytes + size > MAX_BYTES):
            wait = math.ceil(self.mean_seconds * self.length)
            raise QueueFull(min(max(wait, 1), MAX_RETRY_AFTER))
        self.length += 1
        self.bytes += size
        try:
            yield
        finally:
            self.length -= 1
            self.bytes -= size

    def record(self, seconds: float) -> None:
        """Updates `mean_seconds` with the processing time of one request."""
        self.mean_seconds += 0.1 * (seconds - self.mean_seconds)
