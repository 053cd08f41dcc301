"""Formats tables, describes the machine, and writes both to a file."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Row

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "numpy",
    "torch",
    "scikit-image",
    "opencv-python-headless",
    "kornia",
)


class Table(NamedTuple):
    """The results of one measurement."""

    title: str
    rows: list[Row]
    notes: list[str] = []  # for example what was left out, and why


def render(table: Table) -> str:
    """Formats a table as text. Lists are only written to the file; None becomes a dash."""
    rows = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in table.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [table.title, "-" * len(table.title)]
    for line in lines if rows else []:
        first, *rest = zip(line, widths, strict=True)
        text.append("  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]))
    return "\n".join([*text, *(f"* {note}" for note in table.notes)])


def cell(value: Any) -> str:
    """Formats a value; timings are not accurate to more than three significant digits."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on: processor, device, versions, and load."""
    import jax

    device = jax.devices()[0]
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def cores() -> int:
    """Returns how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(facts: dict[str, Any]) -> str:
    """Formats the machine's data as lines of text, with a warning if it was busy."""
    lines = [f"{name}: {value}" for name, value in facts.items() if value is not None]
    if facts["load"] > 0.5:
        lines.append(f"* the machine was busy (load {facts['load']}): times may be too long")
    return "\n".join(lines)


def write(file: Path, facts: dict, settings: dict, sections: dict[str, list[Table]]) -> None:
    """Writes a JSON object: `machine`, `settings`, and `sections` with the tables of each."""
    tables = {name: [table._asdict() for table in part] for name, part in sections.items()}
    content = {"machine": facts, "settings": settings, "sections": tables}
    file.write_text(json.dumps(content, indent=1) + "\n")
