"""The time limit of a run, its speed, and averages of its training scalars."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from colorjax.training import steps


class Clock:
    """Ends a run after a fixed time, and lowers the learning rate to zero by then.

    Meant for a machine with a time limit. Time counts from the construction of the clock, so it
    includes loading data and compiling. Such a run is not reproducible to the bit.
    """

    def __init__(self, num_seconds: float, schedule: str):
        self.end = time.perf_counter() + num_seconds if num_seconds else None
        self.schedule = schedule

    def is_over(self) -> bool:
        return self.end is not None and time.perf_counter() >= self.end

    def with_rates(self, batches: Iterator[steps.HostBatch]) -> Iterator[steps.HostBatch]:
        """Adds "rate", a factor of the learning rate, to each batch if there is a time limit."""
        if self.end is None:
            yield from batches
            return
        start = None  # time at which the second step starts, because the first one compiles
        for i, batch in enumerate(batches):
            now = time.perf_counter()
            start = now if i == 1 else start
            progress = 0.0 if start is None else min((now - start) / (self.end - start), 1.0)
            rate = (1 + np.cos(np.pi * progress)) / 2 if self.schedule == "cosine" else 1.0
            yield {**batch, "rate": np.full(len(batch["example"]), rate, np.float32)}


class Meter:
    """Averages the scalars of the steps since the last average, and measures images per second.

    `snapshot` is the result of another meter's `snapshot`, whose average is continued.
    """

    def __init__(self, batch_size: int, snapshot: dict[str, Any] | None = None):
        snapshot = snapshot or {}
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = list(snapshot.get("rows", ()))
        self.in_flight: dict[str, jax.Array] | None = None
        self.since: float | None = None
        self.timed_steps = 0
        self.skipped_in_row: int = snapshot.get("skipped_in_row", 0)

    def snapshot(self) -> dict[str, Any]:
        """Returns the scalars that are not in an average yet, as JSON data."""
        self._settle()
        return {"rows": self.rows, "skipped_in_row": self.skipped_in_row}

    def add(self, scalars: dict[str, jax.Array]) -> None:
        """Adds a step's scalars, and waits for those of the previous step.

        One step in flight keeps the device busy; with more, the progress bar and the response to a
        stop request would lag behind.
        """
        self._settle()
        self.in_flight = scalars
        if self.since is None:  # the first step compiles, so it is not timed
            self._settle()
            self.restart()
        else:
            self.timed_steps += 1

    def average(self) -> dict[str, float]:
        """Returns means over the steps not skipped, the share of `skipped` steps and `images/s`."""
        self._settle()
        skipped = float(np.mean([row["skipped"] for row in self.rows]))
        rows = [row for row in self.rows if not row["skipped"]] or self.rows
        averages = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        averages["skipped"] = skipped
        if self.timed_steps and self.since is not None:
            seconds = time.perf_counter() - self.since
            averages["images/s"] = self.timed_steps * self.batch_size / seconds
        self.rows = []
        self.restart()
        return averages

    def restart(self) -> None:
        """Starts timing anew, so that evaluation and saving between two steps are not counted."""
        self.since, self.timed_steps = time.perf_counter(), 0

    def _settle(self) -> None:
        if self.in_flight is not None:
            # JSON stores a float64 exactly, so an average is the same after a restart.
            row = {name: float(x) for name, x in jax.device_get(self.in_flight).items()}
            self.rows.append(row)
            self.skipped_in_row = self.skipped_in_row + 1 if row["skipped"] else 0
            self.in_flight = None
