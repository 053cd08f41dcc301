"""Measures peak memory of a training step, each contender in a new process.

On a CPU, memory is the resident memory of the process beyond what it had after its imports and a
first trivial compilation. `step_mib` is the peak of the steps after the first, `whole_mib` that of
the whole run including compilation, and `planned_mib` is XLA's figure for a step's temporaries.
"""

import ctypes
import json
import resource
import sys
from pathlib import Path
from typing import Any

from benchmarks import contender, harness
from benchmarks.report import Table
from benchmarks.settings import Settings

STEPS = 3
MEBIBYTE = 2**20


def measure(settings: Settings) -> list[Table]:
    """Returns a table per network; ratios are of `step_mib`, or else of `whole_mib`."""
    return [compare(settings, objective) for objective in settings.objectives()]


def compare(settings: Settings, objective: str) -> Table:
    absence = contender.torch_absence(settings)
    rows = []
    for name in contender.JAX if absence else contender.NAMES:
        arguments = {"name": name, "objective": objective, "settings": settings._asdict()}
        peaks = harness.child("benchmarks.memory", arguments)
        key = "step_mib" if peaks["step_mib"] else "whole_mib"
        reference = rows[0][key] if rows else peaks[key]
        rows.append({"contender": name, "ratio": peaks[key] / reference, **peaks})
    title = f"{objective}, peak memory of a training step, {settings.batch} x {settings.size}"
    return Table(f"{title}, {settings.dtype}", rows, [absence] if absence else [])


def main(name: str, objective: str, settings: dict[str, Any]) -> dict[str, float | None]:
    """Runs in the child process; returns MiB, or None where the system does not report them."""
    settings = Settings(**settings)
    compile_something(name, settings)
    before, peak_before = resident(), whole_peak()
    network = contender.make(name, settings, objective)
    network.train()
    on_device = network.peak_bytes()
    if on_device is not None:
        return {"step_mib": on_device / MEBIBYTE, "whole_mib": None, "planned_mib": None}
    resettable = before is not None and reset_peak()
    for _ in range(STEPS):
        network.train()
    step = peak() - before if resettable else None
    whole = whole_peak() - peak_before
    planned = network.planned_bytes()  # last, because it compiles again
    return {
        name: value if value is None else value / MEBIBYTE
        for name, value in {"step_mib": step, "whole_mib": whole, "planned_mib": planned}.items()
    }


def compile_something(name: str, settings: Settings) -> None:
    """Compiles a trivial function: the libraries that this loads are not the network's memory."""
    if name in contender.JAX:
        import jax

        from benchmarks import jax_peer  # noqa: F401

        jax.jit(lambda x: x + 1)(1.0)
    else:
        import torch

        from benchmarks import torch_peer  # noqa: F401

        if name == "torch.compile":
            device = "cuda" if settings.platform == "gpu" else "cpu"
            torch.compile(lambda x: x + 1)(torch.ones(1, device=device))


def status(field: str) -> int | None:
    """Returns the bytes of a field of /proc/self/status on Linux, None on other systems."""
    file = Path("/proc/self/status")
    for line in file.read_text().splitlines() if file.is_file() else []:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def resident() -> int | None:
    return status("VmRSS")


def peak() -> int | None:
    return status("VmHWM")


def whole_peak() -> int:
    """Returns the peak memory of the process since its start; `reset_peak` does not affect it."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> bool:
    """Resets the peak that Linux reports; returns whether that worked."""
    try:
        # The allocator would otherwise keep the memory that compiling has freed.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
