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


def start(*args, devices=1, before=()):
    environment = {
        **os.environ,
        "XLA_FLAGS": xla_flags(devices),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [*before, sys.executable, "-m", "colorjax.main", *args],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*args, **kwargs):
    process = start(*args, **kwargs)
    out, err = ended(process)
    return process.returncode, out, err


def ended(process):
    try:
        return process.communicate(timeout=240)
    finally:
        process.kill()


def sentence(*args, **kwargs):
    """What a refused call says: one line, without a traceback, and status 2."""
    code, _, err = run(*args, **kwargs)
    return line_of(code, err)


def line_of(code, err):
    assert code == 2 and "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("colorjax: ")]
    assert len(lines) == 1, err
    return lines[0]


# Imports once, which takes seconds, and then goes on as one process for each command.
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


def sentences(folder, commands):
    """`sentence` of each of several calls, whose words go through an empty folder."""
    called = [sys.executable, "-c", FORKING, json.dumps(commands), str(folder)]
    done = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    codes = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert len(codes) == len(commands), done.stdout
    return [line_of(code, (folder / str(i)).read_text()) for i, code in enumerate(codes)]


def folder_of(tmp_path, count):
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
    ("positional", "'positional' is no flag"),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What each of MISTAKES is told, and the folder that none of them is to fill."""
    workdir = tmp_path_factory.mktemp("refused")
    commands = [[*TINY, f"--workdir={workdir}", argument] for argument, _ in MISTAKES]
    said = sentences(tmp_path_factory.mktemp("said"), commands)
    return dict(zip(MISTAKES, said, strict=True)), workdir


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[0])
def test_a_mistake_on_the_command_line_is_one_sentence(refusals, mistake):
    said, workdir = refusals
    assert mistake[1] in said[mistake]
    assert not [path for path in workdir.rglob("*") if path.is_file()]


def test_a_batch_that_does_not_divide_by_the_devices_is_one_sentence(tmp_path):
    said = sentence(*TINY, f"--workdir={tmp_path}", "--config.batch_size=6", devices=4)
    assert "batch_size is 6, want a positive multiple of the 4 devices" in said


def test_a_missing_config_and_a_missing_variant_are_one_sentence(tmp_path):
    file, variant, neither = sentences(
        tmp_path, [["--config=configs/none.py"], ["--config=configs/classify.py:papr"], []]
    )
    assert "config file configs/none.py does not exist" in file
    assert "no variant 'papr'" in variant
    assert "neither --config nor --workdir" in neither


class Finished(NamedTuple):
    """A run of TINY, and what its command left and said."""

    workdir: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return Finished(workdir, *run(*TINY, f"--workdir={workdir}"))


def test_a_run_is_measured_from_its_folder_alone(finished, tmp_path):
    assert finished.code == 0, finished.err
    workdir = shutil.copytree(finished.workdir, tmp_path / "run")
    code, again, err = run(
        f"--workdir={workdir}", "--mode=eval", "--config.model.final_features=(128,64,64)"
    )
    assert code == 0, err
    table = again[again.index("hold-out") :]
    assert "psnr" in table and "constant bin" in table and table in finished.out
    assert "final_featurs" in sentence(f"--workdir={workdir}", "--config.model.final_featurs=1")


def test_a_workdir_without_a_run_is_one_sentence(tmp_path):
    assert "config.json is missing" in sentence(f"--workdir={tmp_path}", "--mode=eval")


def test_an_empty_folder_and_a_hold_out_of_nothing_are_one_sentence(tmp_path):
    empty, two, said = (tmp_path / name for name in ("empty", "two", "said"))
    for folder in (empty, two, said):
        folder.mkdir()
    command = [*TINY, f"--workdir={tmp_path / 'run'}"]
    few = [folder_of(two, 2), "--config.data.holdout=0.000001"]
    none, all_of_them = sentences(said, [[*command, folder_of(empty, 0)], [*command, *few]])
    assert "holds no picture" in none
    assert "0 fall into the hold-out" in all_of_them


def test_a_disk_that_fills_up_is_one_sentence(finished, tmp_path):
    # A limit on the size of files stands in for a full disk: writing past it fails alike. The
    # programs are those of the finished run: kept ones are read, and none is kept half written.
    limit = ["bash", "-c", 'ulimit -f 30; exec "$@"', "bash"]
    said = sentence(
        *TINY,
        f"--workdir={tmp_path}",
        "--config.checkpoint_every=1",
        before=[*limit, "env", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1e9"],
    )
    assert "the checkpoint of step 1 could not be saved" in said
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") >= 1


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_other_devices_and_ends_the_same(tmp_path):
    stopped = start(*TINY, f"--workdir={tmp_path / 'stopped'}", "--config.num_steps=500", devices=2)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert stopped.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    out, err = ended(stopped)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert "saved: the same command goes on" in out
    step = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert step < 490
    more = f"--config.num_steps={step + 3}"
    for name in ("stopped", "whole"):
        code, out, err = run(*TINY, more, f"--workdir={tmp_path / name}")
        assert code == 0, err
        assert (f"goes on from step {step}" in out) == (name == "stopped")
    config = tiny_config(optimizer__name="nesterov")
    one, two = (newest_state(tmp_path / name, config) for name in ("stopped", "whole"))
    assert one.step == two.step == step + 3
    assert one.position == two.position
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-4), one.state, two.state)


def start_two(*args, differing=((), ())):
    """Two processes of two devices each on this machine."""
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
def test_two_processes_train_together_and_end_as_one_does(tmp_path):
    measured = "--config.eval_every=2"
    together = start_two(measured, f"--workdir={tmp_path / 'two'}")
    ends = [ended(process) for process in together]
    assert [process.returncode for process in together] == [0, 0], ends
    assert "hold-out" in ends[0][0] and "hold-out" not in ends[1][0]
    code, _, err = run(*TINY, measured, f"--workdir={tmp_path / 'one'}")
    assert code == 0, err
    config = tiny_config(optimizer__name="nesterov")
    one, two = (newest_state(tmp_path / name, config) for name in ("one", "two"))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), one.state, two.state)
    for key, value in one.metrics.items():
        assert two.metrics[key] == pytest.approx(value, rel=1e-4)


def test_two_processes_with_other_settings_stop_with_a_sentence_and_do_not_wait(tmp_path):
    together = start_two(
        f"--workdir={tmp_path}", differing=(["--config.seed=0"], ["--config.seed=1"])
    )
    started = time.monotonic()
    for process in together:
        _, err = ended(process)
        assert process.returncode == 2, err
        assert "settings or photographs of process 1 differ from those of process 0" in err
    assert time.monotonic() - started < 120


def test_help_needs_no_config():
    _, out, err = run("--help")
    assert "--workdir" in out + err and "Traceback" not in err


def test_a_run_says_where_it_is_and_what_it_reached(finished):
    code, out, err = finished[1:]
    assert code == 0
    assert "train 11, holdout 1" in out and "constant bin" in out
    assert "4/4" in err and "loss=" in err and "images/s=" in err
    noise = [line for line in err.splitlines() if "step/s" not in line and "s/step" not in line]
    assert [line for line in noise if line.strip()] == []
