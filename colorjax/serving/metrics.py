"""What the service counts, as Prometheus reads it."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

__all__ = ["MEDIA_TYPE", "Metrics"]
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)


class Metrics:
    """Counters of one service, apart from those of the process."""

    def __init__(self, length: Callable[[], int]):
        """`length` is asked for how many requests have a place in the line."""
        self._registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "colorjax", "registry": self._registry}
        self._requests = Counter("requests", "Pictures that were sent.", **common)
        self._failures = Counter("failures", "Those without a result.", ["status"], **common)
        what = "From the first byte of a picture's request to its answer, of those with a result."
        self._seconds = Histogram("seconds", what, buckets=_BUCKETS, **common)
        queue = Gauge("queue_length", "Pictures that wait or are worked on.", **common)
        queue.set_function(length)

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request to colour a picture."""
        self._requests.inc()
        if status == 200:
            self._seconds.observe(seconds)
        else:
            self._failures.labels(str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
