"""Measures how long a user waits for imports and for the first training step.

Every measurement is a new process.
"""

import json
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks import harness
from benchmarks.report import Table
from benchmarks.settings import Settings

IMPORTS = {
    "colorjax.main": "import colorjax.main",
    "jax, flax, optax": "import jax, flax, optax",
    "jax": "import jax",
    "python": "pass",
}
# Caches even programs that compile quickly, as `colorjax.main` does.
CACHE_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def measure(settings: Settings) -> list[Table]:
    """Returns a table of imports and one of first steps."""
    return [imports(settings), first_steps(settings)]


def imports(settings: Settings) -> Table:
    works = {
        name: partial(harness.run, [sys.executable, "-c", code]) for name, code in IMPORTS.items()
    }
    harness.warm_up(works, 1)  # fills the disk cache
    times = harness.interleave(works, settings.repeats)
    return Table("a process that imports", harness.compare(times))


def first_steps(settings: Settings) -> Table:
    """Times a process up to the end of its first training step, and the stages on the way."""
    stages: dict[str, list[dict]] = {"cached": [], "compiled": []}
    times: harness.Times = {"cached": [], "compiled": []}
    for _ in range(settings.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("compiled", "cached"):
                environment = {**CACHE_ALL, "JAX_COMPILATION_CACHE_DIR": cache}
                work = partial(
                    harness.child, "benchmarks.latency", settings._asdict(), **environment
                )
                elapsed, stage_times = harness.seconds(work)
                times[name].append(elapsed)
                stages[name].append(stage_times)
    columns = {
        stage: {
            name: sorted(x[stage] for x in runs)[len(runs) // 2] for name, runs in stages.items()
        }
        for stage in stages["cached"][0]
    }
    title = f"a process that trains one step, {settings.batch} x {settings.size}"
    return Table(title, harness.compare(times, **columns))


def main(settings: dict[str, Any]) -> dict[str, float]:
    """Runs in the child process; returns the seconds of each stage."""
    times = [time.perf_counter()]
    import colorjax.main  # noqa: F401

    times.append(time.perf_counter())
    import jax

    from benchmarks import programs
    from colorjax.training import parallel
    from colorjax.weights.devices import place

    devices = jax.devices()[:1]
    step, state = programs.training(Settings(**settings))
    state = jax.block_until_ready(place(state, devices))
    times.append(time.perf_counter())
    compiled = parallel.compile_step(step, donate=True, devices=devices)
    batch = programs.random_batch(Settings(**settings))
    for _ in range(2):
        state, scalars = jax.block_until_ready(compiled(state, batch))
        times.append(time.perf_counter())
    names = ("import_s", "weights_s", "first_step_s", "next_step_s")
    return {n: b - a for n, (a, b) in zip(names, pairwise(times), strict=True)}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
