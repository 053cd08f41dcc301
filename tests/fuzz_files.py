"""Damages picture files in thousands of ways, and reads each as the program does.

    python tests/fuzz_files.py --count 20000

Each must end in a picture or in one sentence, within 20 seconds of the processor and 2 GB, and
print nothing. The work is done by processes of their own, so that one that crashes is found, and
its file is named. Exits with 1 if any file ended otherwise; `--only "tiled tiff:17"` reads that one
again.
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

SECONDS, BYTES = 20.0, 2e9  # for one file; seconds of the processor
WAIT = 120.0  # seconds after which a file is given up
TOGETHER = 250  # files of one process


class End(NamedTuple):
    """How the reading of a file ended."""

    pictures: int = 0  # of the doors, how many gave one
    seconds: float = 0.0
    bytes: float = 0.0  # most that the process has had up to then
    fault: str = ""  # what should not have been


def by_pillow(data):
    """The image of a caller's own, who has opened what Pillow would open."""
    # What ends the process there is kept from it here alone.
    with image_io.open_image(data, "a.x", photo.FORMATS):
        pass
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:
        raise UserError("a.x: is none") from error
    image.filename = "a.x"
    photo.from_image(image)


DOORS = {
    "photo": lambda data: photo.read_photo(data, name="a.x"),
    "scan": lambda data: photo.read_photo(data, name="a.x", bits=16, allow_truncated=True),
    "training": lambda data: image_io.read_square(data, 8, name="a.x"),
    "image": by_pillow,
}


def ends_well(read, data) -> bool:
    """Whether a picture or a sentence comes of it; anything else is raised."""
    try:
        read(data)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("a.x: "), str(error)
        return False
    return True


def _most_bytes() -> float:
    """The most memory that this process has had; of Linux's `ru_maxrss` its parent's is a part."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def end_of(data: bytes) -> End:
    """Reads a file through every door."""
    said, began, pictures = os.fstat(2).st_size, time.process_time(), 0
    for door, read in DOORS.items():
        try:
            pictures += ends_well(read, data)
        except BaseException as error:
            return End(fault=f"{door}: {type(error).__name__}: {error}"[:300])
    seconds = time.process_time() - began
    most = _most_bytes()
    fault = f"took {seconds:.1f} s" if seconds > SECONDS else ""
    fault = f"took {most / 1e9:.1f} GB" if most > BYTES else fault
    if os.fstat(2).st_size > said:
        fault = f"printed {os.pread(2, 200, said)!r}"
    return End(pictures, seconds, most, fault)


def work(connection: Connection, name: str, data: bytes, numbers: range, log: str) -> None:
    """The body of a process: sends the end of each of its files."""
    os.dup2(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND), 2)
    connection.send(End())
    for number in numbers:
        connection.send(end_of(mutant(data, name, number)))


def ends(name: str, data: bytes, numbers: range) -> Iterator[tuple[int, End]]:
    """The number and the end of each file; the process is begun anew after each that is at fault.

    What it has taken up to then is not held against the next.
    """
    context = multiprocessing.get_context("spawn")
    while numbers:
        now, numbers = numbers[:TOGETHER], numbers[TOGETHER:]
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(theirs, name, data, now, f"{folder}/log"))
            process.start()
            theirs.close()
            ours.recv()  # it has begun
            for number in now:
                end = received(ours, process)
                yield number, end
                if end.fault:
                    numbers = range(number + 1, numbers.stop if numbers else now.stop)
                    process.kill()
                    break
            process.join()


def received(connection: Connection, process: multiprocessing.Process) -> End:
    """What a process says of its next file, or what is to be said of the process."""
    if not connection.poll(WAIT):
        process.kill()
        return End(fault=f"took more than {WAIT:.0f} s")
    try:
        return connection.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        return End(fault=f"died of {signal.Signals(-code).name if code < 0 else code}")


def main() -> None:
    from seed_files import seeds

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="files in all (20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each seed (0)")
    parser.add_argument("--only", help="NAME of a seed, or NAME:NUMBER of one file")
    args = parser.parse_args()
    files = seeds()
    each = -(-args.count // len(files))
    plan = {name: range(args.first, args.first + each) for name in files}
    if args.only:
        name, _, number = args.only.partition(":")
        plan = {name: range(int(number), int(number) + 1) if number else plan[name]}
    began, found, slowest, largest = time.monotonic(), Counter(), End(), End()
    for name, numbers in plan.items():
        for number, end in ends(name, files[name], numbers):
            found["files"] += 1
            found["pictures"] += end.pictures > 0
            found["faults"] += bool(end.fault)
            slowest = max(slowest, end, key=lambda one: one.seconds)
            largest = max(largest, end, key=lambda one: one.bytes)
            if end.fault:
                print(f"{name}:{number}: {end.fault}", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    print(
        f"{found['files']} files of {len(plan)} seeds in {time.monotonic() - began:.0f} s: "
        f"{found['pictures']} gave a picture and the others a sentence, but for {found['faults']}; "
        f"none took more than {slowest.seconds:.1f} s and {largest.bytes / 1e9:.2f} GB"
    )
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
