"""Times functions, runs child processes, and compares results."""

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
# OpenMP's threads keep spinning for a while after their work, and slow down the next contender.
PAUSE_S = 0.05

Row = dict[str, Any]
Times = dict[str, list[float]]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Returns how many seconds `work` took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def warm_up(contenders: dict[str, Callable], calls: int) -> tuple[dict[str, float], dict]:
    """Calls each contender `calls` times.

    Returns the seconds of each first call, compilation included, and the results of all calls.
    """
    first, results = {}, {}
    for name, work in contenders.items():
        first[name], result = seconds(work)
        results[name] = [result, *(work() for _ in range(calls - 1))]
    return first, results


def interleave(contenders: dict[str, Callable], rounds: int) -> Times:
    """Times calls in rounds (A, B, C, A, B, C), so that a slow phase affects all contenders."""
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            time.sleep(PAUSE_S)
            times[name].append(seconds(work)[0])
    return times


def compare(times: Times, amount: float = 0.0, unit: str = "images", **columns: dict) -> list[Row]:
    """Returns a row per contender: its time relative to the first contender's, and its median time.

    The ratio is the median of the rounds' ratios, because both times of a round were taken under
    the same load. `amount` is the number of `unit` that a call processes; `columns` are further
    columns, {contender: value} each.
    """
    reference = times[next(iter(times))]
    rows = []
    for name, own in times.items():
        ratios = [a / b for a, b in zip(own, reference, strict=True)]
        median = statistics.median(own)
        row = {"contender": name, "ratio": statistics.median(ratios), "median_s": median}
        if amount:
            row[f"{unit}_per_s"] = amount / median
        row |= {"least_s": min(own), "most_s": max(own)}
        row |= {column: values.get(name) for column, values in columns.items()}
        rows.append({**row, "times_s": own})
    return rows


def difference(what: str, result: np.ndarray, reference: np.ndarray, tolerance: float) -> float:
    """Returns the greatest absolute difference between a result and the reference.

    `tolerance` is relative to the greatest absolute value of the reference. Raises ValueError if
    the difference is greater or NaN: only contenders that compute the same may be compared.
    """
    if result.shape != reference.shape:
        raise ValueError(f"{what} has shape {result.shape}, want {reference.shape}")
    error = float(np.max(np.abs(result - reference)))
    limit = tolerance * float(np.max(np.abs(reference)))
    if not error <= limit:
        raise ValueError(f"{what} is off by {error:.3g}, want at most {limit:.3g}")
    return error


def optional(module: str) -> ModuleType | None:
    """Imports an optional module; returns None if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def absent(name: str) -> str:
    """Returns a note that a library is not installed."""
    return f"{name} is not installed, so it is not measured: pip install -e '.[benchmark]'"


def child(module: str, arguments: dict[str, Any], **environment: str) -> dict[str, Any]:
    """Runs `python -m module JSON` in a new process and parses the last line it prints as JSON.

    Raises RuntimeError with the end of its standard error if it fails.
    """
    return json.loads(run([sys.executable, "-m", module, json.dumps(arguments)], **environment))


def run(command: list[str], folder: Path = ROOT, **environment: str) -> str:
    """Runs a command in a folder; returns the last line it prints. RuntimeError if it fails."""
    process = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if process.returncode:
        ending = "\n".join(process.stderr.splitlines()[-8:])
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{ending}")
    return process.stdout.rstrip("\n").rpartition("\n")[-1]
