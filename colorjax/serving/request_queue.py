"""The line of requests: so many and so many bytes, and no more; who comes then is told when to."""

import contextlib
import math
from collections.abc import Iterator

from colorjax.coloring.page.limits import MAX_UPLOAD_BYTES, UPLOADED_AT_ONCE

MOST_BYTES = UPLOADED_AT_ONCE * MAX_UPLOAD_BYTES  # of all bodies together
MOST_SECONDS = 120  # that anyone is told to stay away


class QueueFull(Exception):
    """There is no place; `seconds` until there may be one."""

    def __init__(self, seconds: int):
        super().__init__(seconds)
        self.seconds = seconds


class Queue:
    """Places of requests that wait or are worked on; used by the thread of the event loop alone.

    Attributes:
      length: how many have a place.
      bytes: of their bodies.
      usual: seconds that the work on one takes, a moving mean.
    """

    def __init__(self, most: int):
        """`most` is how many places there are."""
        self.most, self.length, self.bytes, self.usual = most, 0, 0, 1.0

    @contextlib.contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Holds a place for a body of `size` bytes during the block; QueueFull if there is none."""
        # A body that is let in at all is let in where nobody is.
        if self.length >= self.most or (self.length and self.bytes + size > MOST_BYTES):
            wait = math.ceil(self.usual * self.length)
            raise QueueFull(min(max(wait, 1), MOST_SECONDS))
        self.length += 1
        self.bytes += size
        try:
            yield
        finally:
            self.length -= 1
            self.bytes -= size

    def took(self, seconds: float) -> None:
        """Notes how long the work on one took."""
        self.usual += 0.1 * (seconds - self.usual)
