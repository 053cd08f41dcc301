"""Damages picture files in thousands of ways and reads each one as the program does.

    python tests/fuzz_files.py --count 20000

Each file must give a picture or an error of one sentence, within 20 seconds of processor time and
2 GB of memory, and print nothing. Separate processes do the work, so that a crash is noticed and
its file is named. Exits with 1 if any file had another outcome; `--only "tiled tiff:17"` repeats
that one file.
"""

import argparse
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from mutations import mutant  # noqa: E402
from PIL import Image  # noqa: E402

from colorjax.errors import UserError  # noqa: E402
from colorjax.pictures import image_io, photo  # noqa: E402

SECONDS, BYTES = 20.0, 2e9  # limits for one file; seconds of processor time
WAIT = 120.0  # seconds after which a process is killed as hanging
FILES_PER_PROCESS = 250


class Outcome(NamedTuple):
    """What came of reading a file."""

    pictures: int = 0  # how many of `READERS` gave one
    seconds: float = 0.0
    bytes: float = 0.0  # peak memory of the process so far
    fault: str = ""  # what went wrong; empty if nothing did


def read_through_pillow(data):
    """Reads an image that a caller has opened with Pillow."""
    # Only this check keeps files from Pillow that would crash the process.
    with image_io.open_image(data, "a.x", photo.FORMATS):
        pass
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:
        raise UserError("a.x: is none") from error
    image.filename = "a.x"
    photo.from_image(image)


READERS = {
    "photo": lambda data: photo.read_photo(data, name="a.x"),
    "scan": lambda data: photo.read_photo(data, name="a.x", bits=16, allow_truncated=True),
    "training": lambda data: image_io.read_square(data, 8, name="a.x"),
    "image": read_through_pillow,
}


def gives_picture(read, data) -> bool:
    """Returns True for a picture and False for an error of one sentence; raises otherwise."""
    try:
        read(data)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("a.x: "), str(error)
        return False
    return True


def _peak_bytes() -> float:
    """Returns the peak memory of this process; Linux's `ru_maxrss` can include its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def outcome_of(data: bytes) -> Outcome:
    """Reads a file with each of `READERS`."""
    printed_before, start, pictures = os.fstat(2).st_size, time.process_time(), 0
    for reader, read in READERS.items():
        try:
            pictures += gives_picture(read, data)
        except BaseException as error:
            return Outcome(fault=f"{reader}: {type(error).__name__}: {error}"[:300])
    seconds = time.process_time() - start
    peak = _peak_bytes()
    fault = f"took {seconds:.1f} s" if seconds > SECONDS else ""
    fault = f"took {peak / 1e9:.1f} GB" if peak > BYTES else fault
    if os.fstat(2).st_size > printed_before:
        fault = f"printed {os.pread(2, 200, printed_before)!r}"
    return Outcome(pictures, seconds, peak, fault)


def work(connection: Connection, name: str, data: bytes, numbers: range, log: str) -> None:
    """Runs in a process: sends the outcome of each of its files."""
    os.dup2(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND), 2)
    connection.send(Outcome())
    for number in numbers:
        connection.send(outcome_of(mutant(data, name, number)))


def outcomes(name: str, data: bytes, numbers: range) -> Iterator[tuple[int, Outcome]]:
    """Yields the number and the outcome of each file.

    After a fault a new process starts, so that the next file is measured on its own.
    """
    context = multiprocessing.get_context("spawn")
    while numbers:
        batch, numbers = numbers[:FILES_PER_PROCESS], numbers[FILES_PER_PROCESS:]
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=work, args=(theirs, name, data, batch, f"{folder}/log")
            )
            process.start()
            theirs.close()
            ours.recv()  # the process has started
            for number in batch:
                outcome = next_outcome(ours, process)
                yield number, outcome
                if outcome.fault:
                    numbers = range(number + 1, numbers.stop if numbers else batch.stop)
                    process.kill()
                    break
            process.join()


def next_outcome(connection: Connection, process: multiprocessing.Process) -> Outcome:
    """Returns the outcome of a process's next file, or the fault of the process itself."""
    if not connection.poll(WAIT):
        process.kill()
        return Outcome(fault=f"took more than {WAIT:.0f} s")
    try:
        return connection.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        return Outcome(fault=f"died of {signal.Signals(-code).name if code < 0 else code}")


def main() -> None:
    from seed_files import seeds

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="number of files in all (20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each seed (0)")
    parser.add_argument("--only", help="NAME of a seed, or NAME:NUMBER of one file")
    args = parser.parse_args()
    files = seeds()
    per_seed = -(-args.count // len(files))
    plan = {name: range(args.first, args.first + per_seed) for name in files}
    if args.only:
        name, _, number = args.only.partition(":")
        plan = {name: range(int(number), int(number) + 1) if number else plan[name]}
    start, counts, slowest, largest = time.monotonic(), Counter(), Outcome(), Outcome()
    for name, numbers in plan.items():
        for number, outcome in outcomes(name, files[name], numbers):
            counts["files"] += 1
            counts["pictures"] += outcome.pictures > 0
            counts["faults"] += bool(outcome.fault)
            slowest = max(slowest, outcome, key=lambda one: one.seconds)
            largest = max(largest, outcome, key=lambda one: one.bytes)
            if outcome.fault:
                print(f"{name}:{number}: {outcome.fault}", flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print(
        f"{counts['files']} files of {len(plan)} seeds in {time.monotonic() - start:.0f} s: "
        f"{counts['pictures']} gave a picture, {counts['faults']} had a fault, and the others "
        f"gave a sentence; none took more than {slowest.seconds:.1f} s and "
        f"{largest.bytes / 1e9:.2f} GB"
    )
    sys.exit(bool(counts["faults"]))


if __name__ == "__main__":
    main()
