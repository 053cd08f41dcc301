"""A run's folder: one run at a time, and no resuming with incompatible settings."""

import re
import subprocess
import sys
import uuid

import pytest
from test_train import tiny_config

from colorjax.errors import UserError
from colorjax.settings import as_dict, complete
from colorjax.studies import sweep
from colorjax.training import resume, train
from colorjax.weights import runs

HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def busy_folder(tmp_path):
    """A folder in which another process trains, and that process."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / resume.LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield tmp_path / "run", process
        process.kill()


def test_a_folder_that_another_process_trains_in_is_refused_unchanged(busy_folder):
    workdir, process = busy_folder
    part = workdir / f".{uuid.uuid4().hex}.part"
    part.touch()
    with pytest.raises(resume.InUse) as caught:
        with resume.locked(workdir):
            raise AssertionError("locked twice")
    assert str(caught.value) == (
        f"process {process.pid} is training in {workdir}: want another workdir, "
        "or wait until that process ends"
    )
    assert part.exists() and process.poll() is None


def test_training_and_sweeps_in_a_busy_folder_are_refused_without_a_result(busy_folder):
    workdir, _ = busy_folder
    for refused in (train.train, lambda config, folder: sweep.run_one(config, {}, folder)):
        with pytest.raises(resume.InUse):
            refused(tiny_config(), workdir)
    assert {path.name for path in workdir.iterdir()} == {resume.LOCK}


def test_a_lock_ends_when_its_process_is_killed(busy_folder):
    workdir, process = busy_folder
    process.kill()
    process.wait()
    assert (workdir / resume.LOCK).exists()
    with resume.locked(workdir):
        pass


def test_a_second_lock_in_a_process_is_refused_and_locks_leave_no_files(tmp_path):
    with resume.locked(tmp_path / "a" / "run"):
        with pytest.raises(resume.InUse):
            with resume.locked(tmp_path / "a" / "run"):
                pass
    assert not list((tmp_path / "a" / "run").iterdir())


def test_only_half_written_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "figures").mkdir()
    parts = [tmp_path / f".{uuid.uuid4().hex}.part"]
    parts.append(tmp_path / "figures" / f".{uuid.uuid4().hex}.part")
    kept = [tmp_path / "movie.part", tmp_path / ".mine.part", tmp_path / "config.json"]
    for path in [*parts, *kept]:
        path.touch()
    with resume.locked(tmp_path):
        assert [path.exists() for path in [*parts, *kept]] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "name, after",
    [("space", "lab"), ("bins.layout", "joint"), ("bins.num_bins", 40), ("bins.high", 90.0)],
)
def test_a_run_cannot_be_resumed_with_another_space_or_other_bins(tmp_path, name, after):
    old = tiny_config()
    resume.check_same_targets(tmp_path, old, old)
    changed = tiny_config(**{name: after})
    before = runs.flatten(as_dict(old))[name]
    with pytest.raises(UserError) as caught:
        resume.check_same_targets(tmp_path, old, changed)
    assert str(caught.value).startswith(
        f"{tmp_path} was trained with {name} {before!r} and cannot be resumed with {after!r}: want"
    )


def test_allowed_changes_and_settings_that_old_runs_lack_are_accepted(tmp_path):
    old = as_dict(tiny_config())
    del old["bins"]["joint_width"]
    changes = {"num_steps": 9, "bins.softness": 5.0, "decoding.method": "mean", "batch_size": 4}
    resume.check_same_targets(tmp_path, complete(old), tiny_config(**changes))


@pytest.mark.parametrize(
    "name, after",
    [
        ("optimizer.name", "nesterov"),
        ("optimizer.clip_norm", 5.0),
        ("optimizer.weight_decay", 0.1),
        ("optimizer.encoder_rate", 0.5),
        ("accumulate", 2),
        ("ema", 0.9),
    ],
)
def test_changed_settings_that_the_optimizer_state_depends_on_are_named(tmp_path, name, after):
    old = tiny_config()
    before = runs.flatten(as_dict(old))[name]
    reason = (
        f"with {name} {before!r}, and its optimizer cannot be resumed with {after!r}: "
        f"want {before!r}"
    )
    with pytest.raises(UserError, match=re.escape(reason)):
        resume.check_same_optimizer(tmp_path, old, tiny_config(**{name: after}))


def test_an_optimizer_can_be_resumed_at_another_learning_rate(tmp_path):
    changes = {"optimizer.learning_rate": 0.1, "optimizer.schedule": "cosine"}
    resume.check_same_optimizer(tmp_path, tiny_config(), tiny_config(**changes))
    clipped = [tiny_config(**{"optimizer.clip_norm": norm}) for norm in (1.0, 5.0)]
    resume.check_same_optimizer(tmp_path, *clipped)


def test_a_stage_requires_that_the_one_before_it_has_finished(tmp_path):
    resume.check_steps_before(tmp_path, None, 0)
    resume.check_steps_before(tmp_path, 300, 300)
    for done in (None, 0, 299):
        with pytest.raises(UserError, match=f"has {done or 0} steps, want the 300 of the stage"):
            resume.check_steps_before(tmp_path, done, 300)
