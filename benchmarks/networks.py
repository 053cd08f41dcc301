"""Times a training step and a forward pass of both networks in four implementations.

`processor_s` is the processor time of all threads in a call; other load on the machine affects it
little.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks import contender, harness, jax_peer
from benchmarks.report import Table
from benchmarks.settings import Settings

# Relative to the greatest output. On a GPU both frameworks round float32 convolutions to tf32.
TOLERANCES = {("cpu", "float32"): 1e-4, ("gpu", "float32"): 2e-2}
BFLOAT16_TOLERANCE = 0.1
UPDATES = 3  # losses still agree after these if the gradients did


def measure(settings: Settings) -> list[Table]:
    """Returns two tables per network: times of a forward pass and of a training step."""
    return [table for objective in settings.objectives() for table in compare(settings, objective)]


def compare(settings: Settings, objective: str) -> list[Table]:
    """Returns the tables of one network; ValueError unless all contenders compute the same."""
    absence = contender.torch_absence(settings)
    names = contender.JAX if absence else contender.NAMES
    variables = jax_peer.random_variables(settings, objective)
    notes = [absence] if absence else []
    contenders = {}
    for name in names:
        contenders[name] = contender.make(name, settings, objective, variables)
    shape = f"{settings.batch} x {settings.size} x {settings.size}, {settings.dtype}"
    return [
        forward_table(settings, f"{objective}, forward, {shape}", contenders, notes),
        training_table(settings, f"{objective}, training step, {shape}", contenders, notes),
    ]


def forward_table(settings: Settings, title: str, contenders: dict, notes: list) -> Table:
    works = {name: network.forward for name, network in contenders.items()}
    first, results = harness.warm_up(works, 1)
    outputs = {name: contenders[name].outputs(calls[0]) for name, calls in results.items()}
    errors = compare_outputs(outputs, tolerance(settings))
    times = harness.interleave(works, settings.repeats)
    columns = {"first_call_s": first, "max_difference": errors}
    columns["processor_s"] = processor_seconds(works, settings.repeats)
    rows = harness.compare(times, settings.batch, **columns)
    return Table(title, rows, notes)


def training_table(settings: Settings, title: str, contenders: dict, notes: list) -> Table:
    works = {name: network.train for name, network in contenders.items()}
    first, losses = harness.warm_up(works, UPDATES)
    compare_losses(losses, tolerance(settings))
    times = harness.interleave(works, settings.repeats)
    columns = {"processor_s": processor_seconds(works, settings.repeats)}
    columns |= {f"loss_{i + 1}": {n: x[i] for n, x in losses.items()} for i in (0, UPDATES - 1)}
    rows = harness.compare(times, settings.batch, first_call_s=first, **columns)
    return Table(title, rows, notes)


def processor_seconds(works: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Returns the median processor time of each contender, called in turn."""
    times: harness.Times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            time.sleep(harness.PAUSE_S)
            start = time.process_time()
            work()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def tolerance(settings: Settings) -> float:
    return TOLERANCES.get((settings.platform, settings.dtype), BFLOAT16_TOLERANCE)


def compare_outputs(outputs: dict[str, np.ndarray], tolerance: float) -> dict[str, float]:
    """Returns the greatest difference of each from the first; ValueError if one is too great."""
    reference = next(iter(outputs.values()))
    return {
        name: harness.difference(f"output of {name}", output, reference, tolerance)
        for name, output in outputs.items()
    }


def compare_losses(losses: dict[str, list[float]], tolerance: float) -> None:
    """Raises ValueError unless the losses agree before the first update, and roughly after it.

    Later losses have a larger tolerance because Adam turns a gradient that consists of rounding
    errors into a whole step.
    """
    reference = np.asarray(next(iter(losses.values())))
    later_tolerance = min(100 * tolerance, 0.2)
    for name, values in losses.items():
        own = np.asarray(values)
        harness.difference(f"first loss of {name}", own[:1], reference[:1], tolerance)
        harness.difference(f"loss of {name}", own[1:], reference[1:], later_tolerance)
