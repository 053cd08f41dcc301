"""Kills a training run again and again, at random moments, and holds its end against a quiet one.

    python tests/soak.py --kills 100 --seconds 600

Every kill is a SIGKILL, saves included, as one is always being written. No start may fail, and at
the end every array of the newest checkpoint, and every row of metrics.jsonl but the speed, must be
those of the run that nobody disturbed. Exits with 1 otherwise.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# A killed run compiles nothing again, however small.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
import conftest  # noqa: E402, F401  (the environment of the tests, before jax is imported)
import jax  # noqa: E402
from test_train import newest_state, tiny_config  # noqa: E402

from colorjax.training import train  # noqa: E402
from colorjax.weights import runs  # noqa: E402

STEPS = 60
CONFIG = {
    "num_steps": STEPS,
    "log_every": 7,
    "eval_every": 30,
    "checkpoint_every": 1,
    "optimizer.name": "nesterov",
}


class Kill(NamedTuple):
    """When a run was killed."""

    training: bool  # and not at reading, compiling or restoring
    saving: bool  # with a checkpoint half written


def trained(workdir: Path) -> None:
    """The body of a run's process."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    log = os.open(workdir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    jax.config.update("jax_num_cpu_devices", 1)
    train.train(tiny_config(**CONFIG), workdir)


def started(workdir: Path) -> multiprocessing.Process:
    """A new process, in which jax is imported already and has not begun to work."""
    process = multiprocessing.get_context("fork").Process(target=trained, args=(workdir,))
    process.start()
    return process


def failed(process: multiprocessing.Process, workdir: Path) -> None:
    """Ends the soak with what a run that failed said last."""
    said = workdir.with_suffix(".log").read_text(errors="replace").strip()
    sys.exit(f"a start of {workdir.name} failed with {process.exitcode}:\n{said[-2000:]}")


def finished(workdir: Path) -> float:
    """Trains undisturbed up to the end; returns the seconds that it took."""
    began = time.monotonic()
    process = started(workdir)
    process.join()
    if process.exitcode:
        failed(process, workdir)
    return time.monotonic() - began


def killed(workdir: Path, chance: random.Random, usual: float) -> Kill | None:
    """Starts a run and kills it; None if it came to its end before.

    `usual` is about how many seconds pass before the first step.
    """
    checkpoints = workdir / "checkpoints"
    process = started(workdir)
    before = newest(checkpoints)
    # One kill in five before the first step, the others up to two seconds after it.
    early = chance.random() < 0.2
    deadline = time.monotonic() + (chance.uniform(0, usual) if early else 1e9)
    while process.is_alive() and time.monotonic() < deadline and newest(checkpoints) == before:
        time.sleep(0.002)
    training = newest(checkpoints) != before
    process.join(chance.uniform(0, 2.0) if training else 0)
    if not process.is_alive():
        process.join()
        if process.exitcode:
            failed(process, workdir)
        return None
    process.kill()
    process.join()
    return Kill(training, bool(list(checkpoints.glob("*.orbax-checkpoint-tmp*"))))


def newest(checkpoints: Path) -> int:
    steps = [int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal()]
    return max(steps, default=0)


def rows(workdir: Path) -> list[dict]:
    drop = "images/s"  # by the clock
    return [{k: v for k, v in row.items() if k != drop} for row in runs.read_metrics(workdir)]


def differences(quiet: Path, disturbed: Path) -> list[str]:
    """What of the two ends is not the same to the bit."""
    one, two = (newest_state(folder, tiny_config(**CONFIG)) for folder in (quiet, disturbed))
    paths = jax.tree_util.tree_leaves_with_path(one.state)
    pairs = zip(paths, jax.tree.leaves(two.state), strict=True)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    same = [a.tobytes() == b.tobytes() for (_, a), b in pairs]
    found = [name for name, is_same in zip(names, same, strict=True) if not is_same]
    if (one.step, one.position) != (two.step, two.position):
        found.append(f"position: {one.step} {one.position}, {two.step} {two.position}")
    return found if rows(quiet) == rows(disturbed) else [*found, "metrics.jsonl"]


def apart(work: Callable, *arguments):
    """What a function returns, called in a process of its own.

    Reading checkpoints starts jax, and a process in which that has happened starts no more runs.
    """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="at most so many (50)")
    parser.add_argument("--seconds", type=float, default=600, help="kill no longer than this (600)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    args = parser.parse_args()
    chance, kills, runs_done = random.Random(args.seed), [], 0
    with tempfile.TemporaryDirectory() as folder:
        quiet = Path(folder, "quiet")
        finished(quiet)
        usual = finished(Path(folder, "again"))  # with what has been compiled
        began = time.monotonic()
        wrong: list[str] = []
        while len(kills) < args.kills and time.monotonic() - began < args.seconds and not wrong:
            disturbed = Path(folder, f"disturbed{runs_done}")
            while len(kills) < args.kills and time.monotonic() - began < args.seconds:
                kill = killed(disturbed, chance, usual / 10)
                if kill is None:
                    break
                kills.append(kill)
                step = newest(disturbed / "checkpoints")
                print(f"kill {len(kills)}, at step {step} of run {runs_done + 1}", flush=True)
            finished(disturbed)
            wrong, runs_done = apart(differences, quiet, disturbed), runs_done + 1
    seconds = time.monotonic() - began
    print(
        f"{len(kills)} kills in {seconds:.0f} s, {sum(k.training for k in kills)} of them between "
        f"the first and the last step and {sum(k.saving for k in kills)} with a checkpoint half "
        f"written; {runs_done} runs of {STEPS} steps ended"
    )
    print(f"not the same: {', '.join(wrong)}" if wrong else "each to the same bits")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
