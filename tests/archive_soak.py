"""`colorjax archive` on two nodes of Ray's on this machine, one of which is killed at its work.

    python tests/archive_soak.py --photos 2000

The photographs are crops of those that colorjax comes with. Every one must have its result, whole
and once, and its row in the log; a second start must do nothing. Wants colorjax[cluster].
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
FOLDER = 100  # photographs in a folder
STORE = 150_000_000  # bytes of a node's object store
# On loopback; Ray takes 127.0.0.1 itself for the name of a machine that others reach otherwise.
ADDRESSES = "127.0.0.2", "127.0.0.3"
PATIENCE = 3000.0  # seconds for the work, and then it hangs


def write_crops(folder: Path, count: int) -> list[str]:
    """Gray crops in folders of FOLDER each; their paths below the folder."""
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
    """What Ray's processes are to see: this checkout, and nobody who is told of their use."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Its own default leaves workers next to nothing of a machine that is busy.
        "RAY_worker_niceness": "0",
        "JAX_PLATFORMS": "cpu",
    }


def two_nodes():
    """A cluster of two nodes of one core, on loopback alone, and the one to kill."""
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
    """Every file below a folder but the log, hidden ones too, and when it was written."""
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
    """Colours crops, kills a node when so many are done, and checks what is there; the figures."""
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
        told = process.communicate(timeout=PATIENCE)[1]
        seconds = time.monotonic() - begun
        assert process.returncode == 0, told
        first = check(target, names)
        files, rows = results(target), log(target)
        again = start(source, target, cluster.address, options)
        told_again = again.communicate(timeout=PATIENCE)[1]
        assert again.returncode == 0 and "0 photos coloured" in told_again, told_again
        assert results(target) == files and log(target) == rows
    finally:
        cluster.shutdown()
    return {"seconds": seconds, "killed_at": killed_at, **first, "told": told.splitlines()[-1]}


def check(target: Path, names: Sequence[str]) -> dict:
    """Asserts that each photograph has one whole result and one row; counts of the rows."""
    wanted = {name.replace(".jpg", "_color.jpg") for name in names}
    assert visible(target) == wanted, sorted(visible(target) ^ wanted)[:5]
    for name in wanted:
        with Image.open(target / name) as image:
            image.load()
    rows = log(target)
    assert sorted(row["path"] for row in rows) == sorted(names)
    assert {row["status"] for row in rows} == {"done"}, rows[:3]
    # A result whose row was lost with its worker is found, and not made a second time.
    found = sum(bool(row["why"]) for row in rows)
    begun, ended = (pick(row["when"] for row in rows) for pick in (min, max))
    rate = (len(rows) - 1) / (ended - begun)  # without the start of Ray and of the workers
    return {"results": len(wanted), "rows": len(rows), "found": found, "a_second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--kill-after", type=int, help="results; a third of them unless given")
    arguments = parser.parse_args()
    kill_after = arguments.kill_after
    kill_after = arguments.photos // 3 if kill_after is None else kill_after
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(soak(Path(folder), arguments.photos, kill_after), indent=1))


if __name__ == "__main__":
    main()
