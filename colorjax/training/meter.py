"""How long a run may take, how fast it goes, and what its steps say on average."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from colorjax.training import steps


class Clock:
    """Ends a run when its time is up, the learning rate falling to zero by then.

    For a machine that is had for so many seconds: they count from the making of the clock, so that
    reading and compiling are in them. Such a run cannot be repeated to the bit.
    """

    def __init__(self, num_seconds: float, schedule: str):
        self.end = time.perf_counter() + num_seconds if num_seconds else None
        self.schedule = schedule

    def is_over(self) -> bool:
        return self.end is not None and time.perf_counter() >= self.end

    def paced(self, batches: Iterator[steps.HostBatch]) -> Iterator[steps.HostBatch]:
        """The batches with the share of the learning rate that they are for, if there is an end."""
        if self.end is None:
            yield from batches
            return
        start = None  # of the second step: the first one compiles
        for i, batch in enumerate(batches):
            now = time.perf_counter()
            start = now if i == 1 else start
            passed = 0.0 if start is None else min((now - start) / (self.end - start), 1.0)
            rate = (1 + np.cos(np.pi * passed)) / 2 if self.schedule == "cosine" else 1.0
            yield {**batch, "rate": np.full(len(batch["example"]), rate, np.float32)}


class Meter:
    """Averages the scalars of the steps since it was last read, and counts images a second.

    `kept` is what another meter's `keep` returned, whose average is to be gone on with.
    """

    def __init__(self, batch_size: int, kept: dict[str, Any] | None = None):
        kept = kept or {}
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = list(kept.get("rows", ()))
        self.in_flight: dict[str, jax.Array] | None = None
        self.since: float | None = None
        self.timed = 0
        self.skipped_in_row: int = kept.get("skipped_in_row", 0)

    def keep(self) -> dict[str, Any]:
        """The scalars that no average has had yet, ready for JSON."""
        self._settle()
        return {"rows": self.rows, "skipped_in_row": self.skipped_in_row}

    def add(self, scalars: dict[str, jax.Array]) -> None:
        """Takes a step's scalars and waits for those of the step before.

        One step in flight keeps the device busy; with more, progress and stopping would lag.
        """
        self._settle()
        self.in_flight = scalars
        if self.since is None:  # the first step compiles, which says nothing of the speed
            self._settle()
            self.restart()
        else:
            self.timed += 1

    def average(self) -> dict[str, float]:
        """Means over the steps that were not skipped, `skipped` their share, `images/s`."""
        self._settle()
        skipped = float(np.mean([row["skipped"] for row in self.rows]))
        kept = [row for row in self.rows if not row["skipped"]] or self.rows
        averages = {name: float(np.mean([row[name] for row in kept])) for name in kept[0]}
        averages["skipped"] = skipped
        if self.timed and self.since is not None:
            averages["images/s"] = self.timed * self.batch_size / (time.perf_counter() - self.since)
        self.rows = []
        self.restart()
        return averages

    def restart(self) -> None:
        """Times from now on: what came between two steps was something else."""
        self.since, self.timed = time.perf_counter(), 0

    def _settle(self) -> None:
        if self.in_flight is not None:
            # JSON keeps a float64 to the bit, and an average is the same after a restart.
            row = {name: float(x) for name, x in jax.device_get(self.in_flight).items()}
            self.rows.append(row)
            self.skipped_in_row = self.skipped_in_row + 1 if row["skipped"] else 0
            self.in_flight = None
