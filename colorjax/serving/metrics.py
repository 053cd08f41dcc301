"""Metrics of the service, in the Prometheus text format."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

__all__ = ["MEDIA_TYPE", "Metrics"]
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self, queue_length: Callable[[], int]):
        """`queue_length` returns the current number of requests in the queue."""
        self._registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "colorjax", "registry": self._registry}
        self._requests = Counter("requests", "Requests to colour a picture.", **common)
        self._failures = Counter(
            "failures", "Requests that returned no picture.", ["status"], **common
        )
        help_text = "Time from the start of a request to its answer, if that is a picture."
        self._seconds = Histogram("seconds", help_text, buckets=_BUCKETS, **common)
        queue = Gauge("queue_length", "Requests that wait or are processed.", **common)
        queue.set_function(queue_length)

    def record(self, status: int, seconds: float) -> None:
        """Records a request to colour a picture: the status of its answer, and its duration."""
        self._requests.inc()
        if status == 200:
            self._seconds.observe(seconds)
        else:
            self._failures.labels(str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
