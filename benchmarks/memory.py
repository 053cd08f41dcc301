"""Peak memory of a training step, each contender in a fresh process: a peak has no interleaving.

On a CPU it is the process's own memory beyond what it had after its imports and a first trivial
compilation. `step` is the peak of steps after the first, `whole` that of all of the run, in which
compiling counts; `planned` is what XLA says that a step's temporaries take.
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
    """A table a network; the ratio is that of `step`, or of `whole` where there is none."""
    return [compare(settings, objective) for objective in settings.objectives()]


def compare(settings: Settings, objective: str) -> Table:
    absence = contender.torch_absence(settings)
    rows = []
    for name in contender.JAX if absence else contender.NAMES:
        arguments = {"name": name, "objective": objective, "settings": settings._asdict()}
        found = harness.child("benchmarks.memory", arguments)
        key = "step_mib" if found["step_mib"] else "whole_mib"
        reference = rows[0][key] if rows else found[key]
        rows.append({"contender": name, "ratio": found[key] / reference, **found})
    title = f"{objective}, peak memory of a training step, {settings.batch} x {settings.size}"
    return Table(f"{title}, {settings.dtype}", rows, [absence] if absence else [])


def main(name: str, objective: str, settings: dict[str, Any]) -> dict[str, float | None]:
    """What the child prints: MiB, None where the system does not tell."""
    settings = Settings(**settings)
    compile_something(name, settings)
    before, peak_before = resident(), whole_peak()
    one = contender.make(name, settings, objective)
    one.train()
    on_device = one.peak_bytes()
    if on_device is not None:
        return {"step_mib": on_device / MEBIBYTE, "whole_mib": None, "planned_mib": None}
    resettable = before is not None and forget_peak()
    for _ in range(STEPS):
        one.train()
    step = peak() - before if resettable else None
    # Only now: it compiles anew.
    whole = whole_peak() - peak_before
    planned = one.planned_bytes()
    return {
        name: value if value is None else value / MEBIBYTE
        for name, value in {"step_mib": step, "whole_mib": whole, "planned_mib": planned}.items()
    }


def compile_something(name: str, settings: Settings) -> None:
    """What a framework loads at its first compilation is no memory of the network's."""
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
    """Bytes of a field of Linux's /proc/self/status, None elsewhere."""
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
    """Of the process's life so far; nothing that `forget_peak` could undo."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> bool:
    """Has Linux measure the peak anew; whether it does."""
    try:
        # What compiling has freed, the allocator would otherwise keep.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
