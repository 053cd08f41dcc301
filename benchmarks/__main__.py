"""Runs benchmarks, prints their tables and writes them: `python -m benchmarks [NAME ...]`.

    python -m benchmarks                                      # everything
    python -m benchmarks networks memory --batch 6            # two sections
    python -m benchmarks colors --megapixels 1 --repeats 9

Each `ratio` is a time, or a memory, divided by that of the first row: lower is better. No other
programs should run at the same time.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks.settings import OBJECTIVES, Settings

SECTIONS = {
    "networks": "training step and forward pass of colorjax, plain Flax and PyTorch",
    "memory": "peak memory of a training step in each of them",
    "colors": "RGB to CIELUV and back: colorjax, scikit-image, OpenCV, kornia",
    "loader": "images per second of the loader, of training, and of both together",
    "startup": "the command and a script, from start to end, in processor time",
    "photographs": "2 to 100 megapixels, file to file: input and output alone, colorjax, peers",
    "folder": "60 and 150 photographs of mixed shapes by the command, cold and warm",
    "latency": "imports, and the first training step with and without the compilation cache",
    "devices": "the training step on 1, 2, 4 and 8 devices",
    "release": "the released model's training step, depthwise layers and loss",
    "ceiling": "the training step's share of matrix-product speed, and its costliest kernels",
}


def parse(argv: list[str]) -> argparse.Namespace:
    sections = "\n".join(f"  {name:11} {text}" for name, text in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\nsections:\n{sections}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # No `choices`: argparse would check an empty list against them as if it were one name.
    parser.add_argument("names", nargs="*", metavar="NAME", help="sections to run; default: all")
    for name, default in Settings._field_defaults.items():
        if name not in ("dtype", "objective", "platform"):
            parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--objective", choices=("both", *OBJECTIVES), default="both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the tables to FILE")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}, want some of {', '.join(SECTIONS)}")
    if arguments.size % 8 or arguments.size < 16:
        parser.error(f"--size is {arguments.size}, want a multiple of 8, at least 16")
    for name in ("batch", "repeats", "images"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is {getattr(arguments, name)}, want at least 1")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(sys.argv[1:] if argv is None else argv)
    # By default jax reserves most of a GPU's memory, and leaves too little for PyTorch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from benchmarks import report

    chosen = {name: getattr(arguments, name) for name in Settings._fields if name != "platform"}
    settings = Settings(**chosen, platform=jax.default_backend())
    facts = report.machine()
    print(report.describe(facts), flush=True)
    sections: dict[str, list[report.Table]] = {}
    for name in arguments.names or SECTIONS:
        sections[name] = importlib.import_module(f"benchmarks.{name}").measure(settings)
        for table in sections[name]:
            print(f"\n{report.render(table)}", flush=True)
        if arguments.json:  # after every section: a failing one must not lose earlier results
            report.write(arguments.json, facts, settings._asdict(), sections)


if __name__ == "__main__":
    main()
