"""Kills a training run at random moments, again and again; compares it with an undisturbed run.

    python tests/soak.py --kills 100 --seconds 600

Every kill is a SIGKILL. Many hit a save, because a checkpoint is nearly always being written. No
start may fail. At the end every array of the newest checkpoint, and every row of metrics.jsonl
except the speed, must equal those of the undisturbed run. Exits with 1 otherwise.
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

# Caches every program, however small, so that a restarted run compiles nothing again.
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
    """What a run was doing when it was killed."""

    training: bool  # rather than reading, compiling or restoring
    saving: bool  # a checkpoint was half written


def run_training(workdir: Path) -> None:
    """Runs in the process of a training run."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    log = os.open(workdir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    jax.config.update("jax_num_cpu_devices", 1)
    train.train(tiny_config(**CONFIG), workdir)


def start_run(workdir: Path) -> multiprocessing.Process:
    """Starts a run in a new process, which has imported jax but not initialized it."""
    process = multiprocessing.get_context("fork").Process(target=run_training, args=(workdir,))
    process.start()
    return process


def exit_with_log(process: multiprocessing.Process, workdir: Path) -> None:
    """Exits with the end of the log of a run that failed."""
    log = workdir.with_suffix(".log").read_text(errors="replace").strip()
    sys.exit(f"a start of {workdir.name} failed with {process.exitcode}:\n{log[-2000:]}")


def run_to_end(workdir: Path) -> float:
    """Trains to the end without a kill; returns the seconds that it took."""
    start = time.monotonic()
    process = start_run(workdir)
    process.join()
    if process.exitcode:
        exit_with_log(process, workdir)
    return time.monotonic() - start


def run_and_kill(workdir: Path, rng: random.Random, startup_seconds: float) -> Kill | None:
    """Starts a run and kills it; returns None if the run ended before the kill.

    `startup_seconds` is the approximate time until the first step.
    """
    checkpoints = workdir / "checkpoints"
    process = start_run(workdir)
    before = newest(checkpoints)
    # One kill in five comes before the first step, the others up to two seconds after it.
    early = rng.random() < 0.2
    deadline = time.monotonic() + (rng.uniform(0, startup_seconds) if early else 1e9)
    while process.is_alive() and time.monotonic() < deadline and newest(checkpoints) == before:
        time.sleep(0.002)
    training = newest(checkpoints) != before
    process.join(rng.uniform(0, 2.0) if training else 0)
    if not process.is_alive():
        process.join()
        if process.exitcode:
            exit_with_log(process, workdir)
        return None
    process.kill()
    process.join()
    return Kill(training, bool(list(checkpoints.glob("*.orbax-checkpoint-tmp*"))))


def newest(checkpoints: Path) -> int:
    steps = [int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal()]
    return max(steps, default=0)


def rows(workdir: Path) -> list[dict]:
    drop = "images/s"  # differs between runs
    return [{k: v for k, v in row.items() if k != drop} for row in runs.read_metrics(workdir)]


def differences(undisturbed: Path, disturbed: Path) -> list[str]:
    """Returns the names of everything that is not identical to the bit in the two runs."""
    one, two = (newest_state(folder, tiny_config(**CONFIG)) for folder in (undisturbed, disturbed))
    paths = jax.tree_util.tree_leaves_with_path(one.state)
    pairs = zip(paths, jax.tree.leaves(two.state), strict=True)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    same = [a.tobytes() == b.tobytes() for (_, a), b in pairs]
    changed = [name for name, is_same in zip(names, same, strict=True) if not is_same]
    if (one.step, one.position) != (two.step, two.position):
        changed.append(f"position: {one.step} {one.position}, {two.step} {two.position}")
    return changed if rows(undisturbed) == rows(disturbed) else [*changed, "metrics.jsonl"]


def in_new_process(work: Callable, *arguments):
    """Calls a function in a new process and returns its result.

    Reading checkpoints initializes jax, and a process with an initialized jax cannot fork runs.
    """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="largest number of kills (50)")
    parser.add_argument(
        "--seconds", type=float, default=600, help="seconds during which runs are killed (600)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (0)")
    args = parser.parse_args()
    rng, kills, runs_done = random.Random(args.seed), [], 0
    with tempfile.TemporaryDirectory() as folder:
        quiet = Path(folder, "quiet")
        run_to_end(quiet)
        run_seconds = run_to_end(Path(folder, "again"))  # with the compiled programs in the cache
        start = time.monotonic()
        changed: list[str] = []
        while len(kills) < args.kills and time.monotonic() - start < args.seconds and not changed:
            disturbed = Path(folder, f"disturbed{runs_done}")
            while len(kills) < args.kills and time.monotonic() - start < args.seconds:
                kill = run_and_kill(disturbed, rng, run_seconds / 10)
                if kill is None:
                    break
                kills.append(kill)
                step = newest(disturbed / "checkpoints")
                print(f"kill {len(kills)}, at step {step} of run {runs_done + 1}", flush=True)
            run_to_end(disturbed)
            changed, runs_done = in_new_process(differences, quiet, disturbed), runs_done + 1
    seconds = time.monotonic() - start
    print(
        f"{len(kills)} kills in {seconds:.0f} s, {sum(k.training for k in kills)} of them between "
        f"the first and the last step and {sum(k.saving for k in kills)} with a checkpoint half "
        f"written; {runs_done} runs of {STEPS} steps ended"
    )
    print(
        f"different: {', '.join(changed)}"
        if changed
        else "all are bit-identical to the undisturbed run"
    )
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
