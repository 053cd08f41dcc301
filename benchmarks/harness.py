"""How things are timed, run in processes of their own, and compared."""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
# OpenMP's threads go on spinning for a while after their work, on cores that the next one wants.
PAUSE_S = 0.05

Row = dict[str, Any]
Times = dict[str, list[float]]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long `work` took, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def warm_up(contenders: dict[str, Callable], calls: int) -> tuple[dict[str, float], dict]:
    """Calls each contender: its first call's seconds, compilation included, and all results."""
    first, results = {}, {}
    for name, work in contenders.items():
        first[name], result = seconds(work)
        results[name] = [result, *(work() for _ in range(calls - 1))]
    return first, results


def interleave(contenders: dict[str, Callable], rounds: int) -> Times:
    """Seconds of every call in rounds of A, B, C, A, B, C: a slow minute then slows them all."""
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            time.sleep(PAUSE_S)
            times[name].append(seconds(work)[0])
    return times


def compare(times: Times, amount: float = 0.0, unit: str = "images", **columns: dict) -> list[Row]:
    """A row a contender: its time as a multiple of the first one's, then the medians.

    The ratio is the median of the rounds' ratios, since both times of a round share its
    circumstances. `amount` is how much of `unit` a call deals with; `columns` are more columns,
    {contender: value} each.
    """
    reference = times[next(iter(times))]
    rows = []
    for name, mine in times.items():
        ratios = [a / b for a, b in zip(mine, reference, strict=True)]
        median = statistics.median(mine)
        row = {"contender": name, "ratio": statistics.median(ratios), "median_s": median}
        if amount:
            row[f"{unit}_per_s"] = amount / median
        row |= {"least_s": min(mine), "most_s": max(mine)}
        row |= {column: values.get(name) for column, values in columns.items()}
        rows.append({**row, "times_s": mine})
    return rows


def difference(what: str, mine: np.ndarray, reference: np.ndarray, tolerance: float) -> float:
    """The greatest absolute difference; `tolerance` is relative to the greatest value.

    Raises ValueError if it is more, or no number: what computes something else is no contender.
    """
    if mine.shape != reference.shape:
        raise ValueError(f"{what} has shape {mine.shape}, want {reference.shape}")
    apart = float(np.max(np.abs(mine - reference)))
    most = tolerance * float(np.max(np.abs(reference)))
    if not apart <= most:
        raise ValueError(f"{what} is off by {apart:.3g}, want at most {most:.3g}")
    return apart


def optional(module: str) -> ModuleType | None:
    """A module that a benchmark can do without, None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def absent(name: str) -> str:
    """The line that says so."""
    return f"{name} is not installed, and so not measured: pip install -e '.[benchmark]'"


def child(module: str, arguments: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What a fresh `python -m module JSON` prints as its last line, which is JSON too.

    Raises RuntimeError with the end of its standard error if it fails.
    """
    return json.loads(run([sys.executable, "-m", module, json.dumps(arguments)], **environment))


def run(command: list[str], folder: Path = ROOT, **environment: str) -> str:
    """The last line that a command prints, run in a folder; RuntimeError if it fails."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        ending = "\n".join(done.stderr.splitlines()[-8:])
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{ending}")
    return done.stdout.rstrip("\n").rpartition("\n")[-1]
