"""A training step and a forward pass of both networks, each in four writings.

`processor_s` is the processor time of all threads in a call, which a busy machine lengthens little.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks import contender, harness, jax_peer
from benchmarks.report import Table
from benchmarks.settings import Settings

# Of the greatest output. On a GPU both frameworks round float32 convolutions to tf32.
TOLERANCES = {("cpu", "float32"): 1e-4, ("gpu", "float32"): 2e-2}
BFLOAT16_TOLERANCE = 0.1
UPDATES = 3  # after which losses still agree, if the gradients did


def measure(settings: Settings) -> list[Table]:
    """Two tables a network: time of a training step and of a forward pass."""
    return [table for objective in settings.objectives() for table in compare(settings, objective)]


def compare(settings: Settings, objective: str) -> list[Table]:
    """The tables of one network; ValueError unless all contenders compute the same."""
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
    works = {name: one.forward for name, one in contenders.items()}
    first, results = harness.warm_up(works, 1)
    outputs = {name: contenders[name].outputs(some[0]) for name, some in results.items()}
    off = compare_outputs(outputs, tolerance(settings))
    times = harness.interleave(works, settings.repeats)
    spent = {"processor_s": processor_seconds(works, settings.repeats)}
    rows = harness.compare(times, settings.batch, first_call_s=first, max_difference=off, **spent)
    return Table(title, rows, notes)


def training_table(settings: Settings, title: str, contenders: dict, notes: list) -> Table:
    works = {name: one.train for name, one in contenders.items()}
    first, losses = harness.warm_up(works, UPDATES)
    compare_losses(losses, tolerance(settings))
    times = harness.interleave(works, settings.repeats)
    spent = processor_seconds(works, settings.repeats)
    columns = {"processor_s": spent}
    columns |= {f"loss_{i + 1}": {n: x[i] for n, x in losses.items()} for i in (0, UPDATES - 1)}
    rows = harness.compare(times, settings.batch, first_call_s=first, **columns)
    return Table(title, rows, notes)


def processor_seconds(works: dict[str, Callable], rounds: int) -> dict[str, float]:
    """The median of each over calls in turn."""
    spent: harness.Times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            time.sleep(harness.PAUSE_S)
            start = time.process_time()
            work()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def tolerance(settings: Settings) -> float:
    return TOLERANCES.get((settings.platform, settings.dtype), BFLOAT16_TOLERANCE)


def compare_outputs(outputs: dict[str, np.ndarray], most: float) -> dict[str, float]:
    """The greatest difference of each from the first; ValueError if one is too great."""
    reference = next(iter(outputs.values()))
    return {
        name: harness.difference(f"output of {name}", mine, reference, most)
        for name, mine in outputs.items()
    }


def compare_losses(losses: dict[str, list[float]], most: float) -> None:
    """ValueError unless losses agree before the first update, and nearly so before the last.

    Adam turns a gradient that is nothing but rounding errors into a whole step, hence nearly.
    """
    reference = np.asarray(next(iter(losses.values())))
    for name, mine in losses.items():
        harness.difference(f"first loss of {name}", np.asarray(mine)[:1], reference[:1], most)
        later = min(100 * most, 0.2)
        harness.difference(f"loss of {name}", np.asarray(mine)[1:], reference[1:], later)
