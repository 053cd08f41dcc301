"""Asks a service for two minutes with fifty clients, and holds every answer against the command's.

    python tests/load.py --clients 50 --seconds 120

An answer is to be, to the byte, the file that `colorjax PHOTO` writes with the same options, or 503
with Retry-After. In the end SIGTERM comes while all ask: whoever had a place in the line must still
be answered, and the service exit with 143. Its memory must be flat from a quarter of the time on.
Exits with 1 otherwise.
"""

import argparse
import http.client
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SAMPLE = Path(__file__).parent.parent / "colorjax" / "data" / "sample"
SIZES = ((384, 256), (1200, 900))  # of the photos; those of the second are every sixth
OPTIONS = (
    ("", ""),
    ("saturation=1.4&format=png", "--saturation 1.4 --format png"),
    ("decode=sample&seed=7&quality=80", "--decode sample --seed 7 --quality 80"),
)
GROWTH = 0.10  # most share by which memory may grow


class Question(NamedTuple):
    """A request, and the answer that is right."""

    query: str
    data: bytes
    answer: bytes


class Told(NamedTuple):
    """What became of a request: the status, 0 where there was no answer; and when."""

    status: int
    seconds: float
    end: float
    wrong: str = ""


def questions(folder: Path) -> list[Question]:
    """Gray photos and what the command makes of them."""
    (folder / "photos").mkdir()
    for i, path in enumerate(sorted(SAMPLE.glob("*.jpg"))):
        gray = Image.open(path).convert("L").resize(SIZES[i % 6 == 5])
        gray.save(folder / "photos" / path.name, quality=90)
    found = []
    for i, (query, flags) in enumerate(OPTIONS):
        results = folder / f"results{i}"
        command = [sys.executable, "-m", "colorjax", str(folder / "photos"), "-o", f"{results}/"]
        subprocess.run([*command, *flags.split()], check=True, capture_output=True)
        for photo in sorted((folder / "photos").iterdir()):
            (result,) = results.glob(f"{photo.stem}_color.*")
            found.append(Question(query, photo.read_bytes(), result.read_bytes()))
    return found


def ask(port: int, question: Question) -> tuple[Told, int]:
    """Asks once: what became of it, and for how many seconds to stay away."""
    begun, status, wrong, wait = time.monotonic(), 0, "", 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", f"/colorize?{question.query}", question.data)
        response = connection.getresponse()
        body, status = response.read(), response.status
        if status == 503:
            wait = int(response.headers.get("Retry-After", 0))
            wrong = "" if wait else "503 without Retry-After"
        elif status != 200:
            wrong = f"{status}: {body[:200]!r}"
        elif body != question.answer:
            wrong = f"{len(body)} bytes that are not those of the command"
    except (ConnectionError, http.client.HTTPException) as error:
        wrong = type(error).__name__
    finally:
        connection.close()
    end = time.monotonic()
    return Told(status, end - begun, end, wrong), wait


def client(port: int, asked: list[Question], told: list[Told], stop: threading.Event) -> None:
    for question in itertools.cycle(asked):
        one, wait = ask(port, question)
        told.append(one)
        # A client in a hurry: it comes again in a second, however long it was told to wait.
        if not one.status or stop.wait(min(wait, 1)):
            return


def memory(process: subprocess.Popen) -> float:
    """MB that are resident."""
    rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


def queue_of(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    return json.loads(connection.getresponse().read())["queue"]


def started(port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "colorjax", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "the service is at" in line:
            return process
    sys.exit("the service ended before it began")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="that ask at a time (50)")
    parser.add_argument("--seconds", type=float, default=120, help="for which they ask (120)")
    parser.add_argument("--port", type=int, default=8123, help="of the service (8123)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = questions(Path(folder))
    process, stop, told = started(args.port), threading.Event(), []
    threads = [
        threading.Thread(
            target=client, args=(args.port, asked[i % len(asked) :] + asked, told, stop)
        )
        for i in range(args.clients)
    ]
    for thread in threads:
        thread.start()
    begun, sizes = time.monotonic(), []
    while time.monotonic() - begun < args.seconds:
        time.sleep(0.5)
        sizes.append(memory(process))
    under_way, signalled = queue_of(args.port), time.monotonic()
    process.send_signal(signal.SIGTERM)
    stop.set()
    code = process.wait(300)
    took = time.monotonic() - signalled
    for thread in threads:
        thread.join()
    faults = report(told, sizes, signalled, under_way)
    print(f"SIGTERM: {under_way} had a place; exit {code} after {took:.1f} s")
    faults += [] if code == 143 else [f"exit code {code}, want 143"]
    print("\n".join(faults) or "all as it should be")
    sys.exit(bool(faults))


def report(told: list[Told], sizes: list[float], signalled: float, under_way: int) -> list[str]:
    """Prints what was found; what is not as it should be."""
    good = [one for one in told if one.status == 200 and not one.wrong]
    late = sum(one.end > signalled for one in good)
    # A connection that comes as the service ends was never taken.
    faults = [one.wrong for one in told if one.wrong and (one.status or one.end < signalled)]
    seconds = sorted(one.seconds for one in good)
    busy = sum(one.status == 503 for one in told)
    unanswered = sum(not one.status for one in told)
    print(
        f"{len(told)} requests: {len(good)} answers equal to the command's, {busy} times 503, "
        f"{unanswered} connections that came too late; "
        f"median {seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s"
    )
    quarter = len(sizes) // 4
    before, after = (
        sum(part) / len(part) for part in (sizes[quarter : 2 * quarter], sizes[-quarter:])
    )
    print(
        f"resident memory: {sizes[0]:.0f} MB at first, {before:.0f} MB in the second quarter, "
        f"{after:.0f} MB in the last, {max(sizes):.0f} MB at most"
    )
    if after > before * (1 + GROWTH):
        faults.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    if late < under_way:
        faults.append(f"{late} answers after SIGTERM, want those of the {under_way} with a place")
    return faults


if __name__ == "__main__":
    main()
