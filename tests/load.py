"""Sends requests of fifty clients to a service for two minutes, and checks every response.

    python tests/load.py --clients 50 --seconds 120

A response must equal, byte for byte, the file that `colorjax PHOTO` writes with the same options,
or be 503 with Retry-After. At the end SIGTERM is sent while all clients send requests: those in the
queue must still be answered, and the service must exit with 143. After the first quarter of the
time its memory may hardly grow. Exits with 1 otherwise.
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
SIZES = ((384, 256), (1200, 900))  # of the photos; every sixth has the second size
OPTIONS = (
    ("", ""),
    ("saturation=1.4&format=png", "--saturation 1.4 --format png"),
    ("decode=sample&seed=7&quality=80", "--decode sample --seed 7 --quality 80"),
)
MAX_GROWTH = 0.10  # share by which memory may grow


class Request(NamedTuple):
    """A request and its correct answer."""

    query: str
    data: bytes
    answer: bytes


class Outcome(NamedTuple):
    """The outcome of a request; its status is 0 if there was no response."""

    status: int
    seconds: float
    end: float
    fault: str = ""


def make_requests(folder: Path) -> list[Request]:
    """Returns requests with gray photos, and the command's results as their answers."""
    (folder / "photos").mkdir()
    for i, path in enumerate(sorted(SAMPLE.glob("*.jpg"))):
        gray = Image.open(path).convert("L").resize(SIZES[i % 6 == 5])
        gray.save(folder / "photos" / path.name, quality=90)
    requests = []
    for i, (query, flags) in enumerate(OPTIONS):
        results = folder / f"results{i}"
        command = [sys.executable, "-m", "colorjax", str(folder / "photos"), "-o", f"{results}/"]
        subprocess.run([*command, *flags.split()], check=True, capture_output=True)
        for photo in sorted((folder / "photos").iterdir()):
            (result,) = results.glob(f"{photo.stem}_color.*")
            requests.append(Request(query, photo.read_bytes(), result.read_bytes()))
    return requests


def send(port: int, request: Request) -> tuple[Outcome, int]:
    """Sends a request; returns its outcome and the value of Retry-After in seconds."""
    begun, status, fault, wait = time.monotonic(), 0, "", 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", f"/colorize?{request.query}", request.data)
        response = connection.getresponse()
        body, status = response.read(), response.status
        if status == 503:
            wait = int(response.headers.get("Retry-After", 0))
            fault = "" if wait else "503 without Retry-After"
        elif status != 200:
            fault = f"{status}: {body[:200]!r}"
        elif body != request.answer:
            fault = f"{len(body)} bytes that differ from the command's"
    except (ConnectionError, http.client.HTTPException) as error:
        fault = type(error).__name__
    finally:
        connection.close()
    end = time.monotonic()
    return Outcome(status, end - begun, end, fault), wait


def client(
    port: int, requests: list[Request], outcomes: list[Outcome], stop: threading.Event
) -> None:
    for request in itertools.cycle(requests):
        outcome, wait = send(port, request)
        outcomes.append(outcome)
        # An impatient client: it returns after a second, whatever Retry-After says.
        if not outcome.status or stop.wait(min(wait, 1)):
            return


def memory(process: subprocess.Popen) -> float:
    """Returns the resident memory in MB."""
    rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


def queue_length(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    return json.loads(connection.getresponse().read())["queue"]


def start_service(port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "colorjax", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "the service is at" in line:
            return process
    sys.exit("the service ended before it was ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="simultaneous clients (50)")
    parser.add_argument("--seconds", type=float, default=120, help="duration of the test (120)")
    parser.add_argument("--port", type=int, default=8123, help="port of the service (8123)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        requests = make_requests(Path(folder))
    process, stop, outcomes = start_service(args.port), threading.Event(), []
    threads = [
        threading.Thread(
            target=client,
            args=(args.port, requests[i % len(requests) :] + requests, outcomes, stop),
        )
        for i in range(args.clients)
    ]
    for thread in threads:
        thread.start()
    begun, sizes = time.monotonic(), []
    while time.monotonic() - begun < args.seconds:
        time.sleep(0.5)
        sizes.append(memory(process))
    queued, signalled = queue_length(args.port), time.monotonic()
    process.send_signal(signal.SIGTERM)
    stop.set()
    code = process.wait(300)
    took = time.monotonic() - signalled
    for thread in threads:
        thread.join()
    faults = report(outcomes, sizes, signalled, queued)
    print(f"SIGTERM: {queued} in the queue; exit {code} after {took:.1f} s")
    faults += [] if code == 143 else [f"exit code {code}, want 143"]
    print("\n".join(faults) or "no faults")
    sys.exit(bool(faults))


def report(outcomes: list[Outcome], sizes: list[float], signalled: float, queued: int) -> list[str]:
    """Prints the figures; returns the faults."""
    good = [one for one in outcomes if one.status == 200 and not one.fault]
    late = sum(one.end > signalled for one in good)
    # A connection that arrives as the service ends may get no response.
    faults = [one.fault for one in outcomes if one.fault and (one.status or one.end < signalled)]
    seconds = sorted(one.seconds for one in good)
    busy = sum(one.status == 503 for one in outcomes)
    unanswered = sum(not one.status for one in outcomes)
    print(
        f"{len(outcomes)} requests: {len(good)} answers equal to the command's, {busy} times 503, "
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
    if after > before * (1 + MAX_GROWTH):
        faults.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    if late < queued:
        faults.append(f"{late} answers after SIGTERM, want those of the {queued} in the queue")
    return faults


if __name__ == "__main__":
    main()
