"""How a program reacts to a signal to stop, from its first line to its last."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
each_signal = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])

PROGRAM = """
import signal, sys, time
from colorjax import stopping

def send(number):
    signal.raise_signal(number)

stopping.listen()
"""


def run_program(code, number):
    program = PROGRAM + f"number = {int(number)}\n" + code
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@each_signal
def test_a_signal_during_imports_ends_the_program_at_once(number):
    done = run_program(
        "try:\n    send(number)\nexcept BaseException:\n    pass\nprint('went on')", number
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == "colorjax: stopped\n"


@each_signal
def test_a_later_signal_raises_so_that_the_program_can_clean_up(number):
    code = """
stopping.start_raising()
try:
    send(number)
except stopping.Stopped:
    print("cleaned up")
sys.exit(stopping.status())
"""
    done = run_program(code, number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "cleaned up\n", "")


@each_signal
def test_deferred_code_is_notified_instead_of_interrupted(number):
    code = """
stopping.start_raising()
with stopping.deferred(lambda: print("notified")):
    assert not stopping.is_requested()
    send(number)
    send(number)  # timeout(1) sends a signal twice, which counts as one
    assert stopping.is_requested()
sys.exit(stopping.status())
"""
    done = run_program(code, number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "notified\n", "")


@each_signal
def test_a_second_signal_ends_the_program_at_once(number):
    code = """
stopping.REPEAT_WINDOW = 0.0
with stopping.deferred(lambda: None):
    send(number)
    time.sleep(0.01)
    send(number)
    print("went on")
"""
    done = run_program(code, number)
    assert (done.returncode, done.stdout) == (128 + number, "")


def test_a_stop_that_a_callback_swallows_is_still_requested():
    code = """
import gc, weakref
stopping.start_raising()
class Thing: pass
thing = Thing()
weakref.finalize(thing, send, number)
del thing
with stopping.deferred(lambda: None):
    print(stopping.is_requested())
sys.exit(stopping.status())
"""
    done = run_program(code, signal.SIGTERM)
    assert (done.returncode, done.stdout) == (143, "True\n"), done.stderr


def listens(process):
    """Returns whether a process catches SIGTERM, as colorjax does from its first line on."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux lists the caught signals"
)
@each_signal
def test_training_reacts_to_a_signal_before_jax_is_imported(number, tmp_path):
    command = [sys.executable, "-m", "colorjax.main", "--config=classify", f"--workdir={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        while not listens(process):
            assert process.poll() is None
            time.sleep(0.002)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "jaxlib" not in maps
    assert process.returncode == 128 + number and err == "colorjax: stopped\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "statuses, ended_with, stages",
    [
        ("130 0", 130, ["first"]),
        ("2 0", 2, ["first"]),
        ("0 143", 143, ["first", "second"]),
        ("0 0", 0, ["first", "second"]),
    ],
)
def test_the_release_script_ends_after_a_stage_that_did_not_finish(
    tmp_path, statuses, ended_with, stages
):
    launch = tmp_path / "launch"
    launch.mkdir()
    shutil.copy(ROOT / "launch" / "train_release.sh", launch)
    (launch / "run.sh").write_text(
        "#!/usr/bin/env bash\n"
        'echo "$1" >> calls\n'
        f"statuses=({statuses})\n"
        'exit "${statuses[$(($(wc -l < calls) - 1))]}"\n'
    )
    (launch / "run.sh").chmod(0o755)
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        ["launch/train_release.sh", "photos"],
        cwd=tmp_path,
        env={**os.environ, "RELEASE_WORKDIR": str(tmp_path / "run")},
        capture_output=True,
    )
    assert done.returncode == ended_with
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.rpartition(",")[2] for call in calls] == stages
    assert (tmp_path / "run" / "finished").exists() == (ended_with == 0)
