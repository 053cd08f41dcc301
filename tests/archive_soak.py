"""Runs `colorjax archive` on two Ray nodes on this machine and kills one of them during the work.

    python tests/archive_soak.py --photos 2000

The photographs are crops of the bundled ones. Each must have exactly one complete result and one
row in the log, and a second run must do nothing. Needs colorjax[cluster].
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "colorjax" / "data" / "sample"
SIDES = (64, 150)  # of crops, in pixels
FOLDER = 100  # photographs per folder
STORE = 150_000_000  # bytes of a node's object store
# Loopback addresses. Ray would replace 127.0.0.1 by an address that other machines can reach.
ADDRESSES = "127.0.0.2", "127.0.0.3"
TIMEOUT = 3000.0  # seconds; longer work counts as hanging


def write_crops(folder: Path, count: int) -> list[str]:
    """Writes gray crops, FOLDER per folder; returns their paths relative to `folder`."""
    random = np.random.default_rng(0)
    photos = [np.asarray(Image.open(path).convert("L")) for path in sorted(SAMPLE.glob("*.jpg"))]
    names = []
    for i in range(count):
        photo = photos[i % len(photos)]
        height, width = random.integers(SIDES[0], SIDES[1] + 1, 2)
        top, left = (int(random.integers(0, photo.shape[k] - (height, width)[k])) for k in (0, 1))
        name = f"{i // FOLDER:03}/{i:05}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        crop = Image.fromarray(photo[top : top + height, left : left + width])
        crop.save(folder / name, quality=90)
        names.append(name)
    return names


def environment() -> dict[str, str]:
    """The environment of Ray's processes: they import this checkout and send no statistics."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's default niceness starves the workers on a busy machine.
        "RAY_worker_niceness": "0",
        "JAX_PLATFORMS": "cpu",
    }


def two_nodes():
    """Starts a cluster of two one-core nodes on loopback; returns it and the node to kill."""
    from ray.cluster_utils import Cluster

    shape = {"num_cpus": 1, "object_store_memory": STORE}
    head = {**shape, "include_dashboard": False, "node_ip_address": ADDRESSES[0]}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    return cluster, cluster.add_node(**shape, node_ip_address=ADDRESSES[1])


def start(source: Path, target: Path, address: str, options: Sequence[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "colorjax", "archive", str(source), str(target)]
    return subprocess.Popen(
        [*command, "--address", address, "--cores", "1", *options],
        env=environment(),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(target: Path) -> dict[str, int]:
    """Maps every file below `target`, hidden ones too but not the log, to its modification time."""
    files = (path for path in target.rglob("*") if path.is_file())
    found = {str(path.relative_to(target)): path.stat().st_mtime_ns for path in files}
    return {name: time for name, time in found.items() if not name.startswith("archive_log/")}


def visible(target: Path) -> set[str]:
    return {name for name in results(target) if not Path(name).name.startswith(".")}


def log(target: Path) -> list[dict]:
    from pyarrow import parquet

    parts = sorted((target / "archive_log").glob("*.parquet"))
    return [row for part in parts for row in parquet.read_table(part).to_pylist()]


def soak(folder: Path, count: int, kill_after: int, options: Sequence[str] = ()) -> dict:
    """Colours crops, kills a node after `kill_after` results, and checks the output."""
    os.environ.update(environment())
    source, target = folder / "scans", folder / "coloured"
    names = write_crops(source, count)
    cluster, victim = two_nodes()
    try:
        begun = time.monotonic()
        process = start(source, target, cluster.address, options)
        while process.poll() is None and (kill_after and len(visible(target)) < kill_after):
            time.sleep(0.1)
        killed_at = len(visible(target))
        if kill_after:
            assert process.poll() is None, process.stderr.read()
            cluster.remove_node(victim, allow_graceful=False)
        output = process.communicate(timeout=TIMEOUT)[1]
        seconds = time.monotonic() - begun
        assert process.returncode == 0, output
        first = check(target, names)
        files, rows = results(target), log(target)
        again = start(source, target, cluster.address, options)
        output_again = again.communicate(timeout=TIMEOUT)[1]
        assert again.returncode == 0 and "0 photos coloured" in output_again, output_again
        assert results(target) == files and log(target) == rows
    finally:
        cluster.shutdown()
    return {"seconds": seconds, "killed_at": killed_at, **first, "output": output.splitlines()[-1]}


def check(target: Path, names: Sequence[str]) -> dict:
    """Asserts that each photograph has one complete result and one row; returns the counts."""
    wanted = {name.replace(".jpg", "_color.jpg") for name in names}
    assert visible(target) == wanted, sorted(visible(target) ^ wanted)[:5]
    for name in wanted:
        with Image.open(target / name) as image:
            image.load()
    rows = log(target)
    assert sorted(row["path"] for row in rows) == sorted(names)
    assert {row["status"] for row in rows} == {"done"}, rows[:3]
    # A result whose row was lost with its worker is found, and not made again.
    found = sum(bool(row["why"]) for row in rows)
    begun, ended = (pick(row["when"] for row in rows) for pick in (min, max))
    rate = (len(rows) - 1) / (ended - begun)  # excludes starting Ray and the workers
    return {"results": len(wanted), "rows": len(rows), "found": found, "a_second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument(
        "--kill-after", type=int, help="kills a node after so many results (a third)"
    )
    arguments = parser.parse_args()
    kill_after = arguments.kill_after
    kill_after = arguments.photos // 3 if kill_after is None else kill_after
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(soak(Path(folder), arguments.photos, kill_after), indent=1))


if __name__ == "__main__":
    main()
