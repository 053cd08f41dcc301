import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from processes import xla_flags
from test_train import newest_state, tiny_config

ROOT = Path(__file__).parent.parent
TINY = [
    "--config=configs/classify.py",
    "--config.batch_size=8",
    "--config.num_steps=4",
    "--config.log_every=1",
    "--config.eval_every=100",
    "--config.figure_images=2",
    "--config.data.load_size=20",
    "--config.data.crop_size=16",
    "--config.model.width=0.0625",
    "--config.model.encoder_weights=none",
    "--config.optimizer.name=nesterov",
]


def start(*args, devices=1, prefix=()):
    environment = {
        **os.environ,
        "XLA_FLAGS": xla_flags(devices),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "colorjax.main", *args],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*args, **kwargs):
    process = start(*args, **kwargs)
    out, err = finish(process)
    return process.returncode, out, err


def finish(process):
    try:
        return process.communicate(timeout=240)
    finally:
        process.kill()


def message_of(*args, **kwargs):
    """The only line of a refused call, which has status 2 and no traceback."""
    code, _, err = run(*args, **kwargs)
    return only_line(code, err)


def only_line(code, err):
    assert code == 2 and "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("colorjax: ")]
    assert len(lines) == 1, err
    return lines[0]


# Imports once, which takes seconds, and then forks one process per command.
FORKING = """
import json, os, sys
from colorjax import main

for i, arguments in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        os.dup2(os.open(os.path.join(sys.argv[2], str(i)), os.O_WRONLY | os.O_CREAT), 2)
        sys.argv[1:] = arguments
        main.run()
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def messages_of(folder, commands):
    """The messages of several refused calls; their stderr goes through files in an empty folder."""
    called = [sys.executable, "-c", FORKING, json.dumps(commands), str(folder)]
    done = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    codes = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert len(codes) == len(commands), done.stdout
    return [only_line(code, (folder / str(i)).read_text()) for i, code in enumerate(codes)]


def photos_flag(tmp_path, count):
    for i in range(count):
        picture = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    return f"--config.data.source=folder:{tmp_path}"


MISTAKES = [
    ("--config.data.sorce=x", "no setting 'data.sorce', did you mean 'data.source'?"),
    ("--config.batchsize=8", "no setting 'batchsize', did you mean 'batch_size'?"),
    ("--config.dta.source=x", "no setting 'dta.source', did you mean 'data.source'?"),
    ("--config.seed.x=1", "no setting 'seed.x', did you mean 'seed'?"),
    ("--config.batch_size=0", "batch_size is 0, want a positive multiple"),
    ("--config.mode=foo", "mode is 'foo', want one of train, eval, prior, sweep, repr"),
    ("--num_processes=2", "want --multihost too"),
    ("--multihost", "--multihost wants --coordinator, --num_processes and --process_id"),
    ("--config.data.source=folder:no/such", "no/such"),
    ("positional", "'positional' is not a flag"),
]


CONFIG_MISTAKES = [
    (["--config=configs/none.py"], "config file configs/none.py does not exist"),
    (["--config=configs/classify.py:papr"], "no variant 'papr'"),
    ([], "neither --config nor --workdir"),
    (["--workdir={}", "--mode=eval"], "config.json is missing"),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """The messages for MISTAKES, then for CONFIG_MISTAKES; and a folder that must stay empty."""
    workdir = tmp_path_factory.mktemp("refused")
    commands = [[*TINY, f"--workdir={workdir}", argument] for argument, _ in MISTAKES]
    commands += [[one.format(workdir) for one in arguments] for arguments, _ in CONFIG_MISTAKES]
    return messages_of(tmp_path_factory.mktemp("stderr"), commands), workdir


@pytest.mark.parametrize("i", range(len(MISTAKES)), ids=[argument for argument, _ in MISTAKES])
def test_a_mistake_on_the_command_line_is_reported_in_one_line(refusals, i):
    messages, workdir = refusals
    assert MISTAKES[i][1] in messages[i]
    assert not [path for path in workdir.rglob("*") if path.is_file()]


@pytest.mark.parametrize("i", range(len(CONFIG_MISTAKES)))
def test_a_missing_config_variant_or_run_is_reported(refusals, i):
    assert CONFIG_MISTAKES[i][1] in refusals[0][len(MISTAKES) + i]


def test_a_batch_size_that_the_devices_do_not_divide_is_refused(tmp_path):
    message = message_of(*TINY, f"--workdir={tmp_path}", "--config.batch_size=6", devices=4)
    assert "batch_size is 6, want a positive multiple of the 4 devices" in message


class Finished(NamedTuple):
    """A finished run of TINY: its folder, exit status and output."""

    workdir: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return Finished(workdir, *run(*TINY, f"--workdir={workdir}"))


@pytest.mark.slow
def test_a_run_is_evaluated_from_its_folder_alone(finished, tmp_path):
    assert finished.code == 0, finished.err
    workdir = shutil.copytree(finished.workdir, tmp_path / "run")
    code, output, err = run(
        f"--workdir={workdir}", "--mode=eval", "--config.model.final_features=(128,64,64)"
    )
    assert code == 0, err
    table = output[output.index("hold-out") :]
    assert "psnr" in table and "constant bin" in table and table in finished.out
    assert "final_featurs" in message_of(f"--workdir={workdir}", "--config.model.final_featurs=1")


def test_folders_and_files_that_a_run_cannot_use_are_reported(tmp_path):
    empty, two, stderr = (tmp_path / name for name in ("empty", "two", "stderr"))
    for folder in (empty, two, stderr, tmp_path / "run/sweep.json"):
        folder.mkdir(parents=True)
    result = tmp_path / "run/seed=1/result.json"
    result.parent.mkdir()
    result.write_text('{"run": "seed=1", "seed": 1, "status": "failed"}')
    command = [*TINY, f"--workdir={tmp_path / 'run'}"]
    few = [photos_flag(two, 2), "--config.data.holdout=0.000001"]
    sweep = ["--mode=sweep", "--config.sweep=(('seed', (1,)),)"]
    without_photos, without_holdout, blocked = messages_of(
        stderr, [[*command, photos_flag(empty, 0)], [*command, *few], [*command, *sweep]]
    )
    assert "holds no picture" in without_photos
    assert "0 fall into the hold-out" in without_holdout
    assert "run/sweep.json" in blocked and "directory" in blocked.lower()


@pytest.mark.slow
def test_a_disk_that_fills_up_is_reported(finished, tmp_path):
    # A limit on the size of files stands in for a full disk. Compiled programs are read from the
    # cache of the finished run; the minimum compile time keeps new ones from being written.
    limit = ["bash", "-c", 'ulimit -f 30; exec "$@"', "bash"]
    message = message_of(
        *TINY,
        f"--workdir={tmp_path}",
        "--config.checkpoint_every=1",
        prefix=[*limit, "env", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1e9"],
    )
    assert "the checkpoint of step 1 could not be saved" in message
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") >= 1


@pytest.mark.slow
def test_a_stopped_run_resumes_on_other_devices_with_the_same_result(tmp_path):
    stopped = start(*TINY, f"--workdir={tmp_path / 'stopped'}", "--config.num_steps=500", devices=2)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert stopped.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    out, err = finish(stopped)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert "saved; the same command resumes" in out
    step = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert step < 490
    more = f"--config.num_steps={step + 3}"
    for name in ("stopped", "whole"):
        code, out, err = run(*TINY, more, f"--workdir={tmp_path / name}")
        assert code == 0, err
        assert (f"resuming from step {step}" in out) == (name == "stopped")
    config = tiny_config(optimizer__name="nesterov")
    one, two = (newest_state(tmp_path / name, config) for name in ("stopped", "whole"))
    assert one.step == two.step == step + 3
    assert one.position == two.position
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-4), one.state, two.state)


def start_two(*args, differing=((), ())):
    """Starts two processes of two devices each on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(
            *TINY,
            *args,
            *differing[i],
            "--multihost",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={i}",
            devices=2,
        )
        for i in range(2)
    ]


@pytest.mark.slow
def test_two_processes_train_together_to_the_result_of_one(tmp_path):
    measured = "--config.eval_every=2"
    together = start_two(measured, f"--workdir={tmp_path / 'two'}")
    ends = [finish(process) for process in together]
    assert [process.returncode for process in together] == [0, 0], ends
    assert "hold-out" in ends[0][0] and "hold-out" not in ends[1][0]
    code, _, err = run(*TINY, measured, f"--workdir={tmp_path / 'one'}")
    assert code == 0, err
    config = tiny_config(optimizer__name="nesterov")
    one, two = (newest_state(tmp_path / name, config) for name in ("one", "two"))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), one.state, two.state)
    for key, value in one.metrics.items():
        assert two.metrics[key] == pytest.approx(value, rel=1e-4)


@pytest.mark.slow
def test_two_processes_with_different_settings_stop_without_waiting(tmp_path):
    together = start_two(
        f"--workdir={tmp_path}", differing=(["--config.seed=0"], ["--config.seed=1"])
    )
    started = time.monotonic()
    for process in together:
        _, err = finish(process)
        assert process.returncode == 2, err
        assert "settings or photographs of process 1 differ from those of process 0" in err
    assert time.monotonic() - started < 120


def test_help_needs_no_config():
    _, out, err = run("--help")
    assert "--workdir" in out + err and "Traceback" not in err


def test_a_run_prints_its_progress_and_results(finished):
    code, out, err = finished[1:]
    assert code == 0
    assert "train 11, holdout 1" in out and "constant bin" in out
    assert "4/4" in err and "loss=" in err and "images/s=" in err
    noise = [line for line in err.splitlines() if "step/s" not in line and "s/step" not in line]
    assert [line for line in noise if line.strip()] == []
