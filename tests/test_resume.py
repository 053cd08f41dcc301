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
def held(tmp_path):
    """A folder that another process trains in, and the process."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / resume.LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield tmp_path / "run", process
        process.kill()


def test_a_folder_that_another_process_trains_in_is_refused_and_left_as_it_is(held):
    workdir, process = held
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


def test_training_is_refused_there_and_a_sweep_makes_no_row_of_it(held):
    workdir, _ = held
    for refused in (train.train, lambda config, folder: sweep.run_one(config, {}, folder)):
        with pytest.raises(resume.InUse):
            refused(tiny_config(), workdir)
    assert {path.name for path in workdir.iterdir()} == {resume.LOCK}


def test_the_lock_of_a_killed_process_is_gone_with_it(held):
    workdir, process = held
    process.kill()
    process.wait()
    assert (workdir / resume.LOCK).exists()
    with resume.locked(workdir):
        pass


def test_a_second_lock_in_the_same_process_is_refused_and_the_first_leaves_nothing(tmp_path):
    with resume.locked(tmp_path / "a" / "run"):
        with pytest.raises(resume.InUse):
            with resume.locked(tmp_path / "a" / "run"):
                pass
    assert not list((tmp_path / "a" / "run").iterdir())


def test_what_a_killed_process_had_half_written_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "figures").mkdir()
    parts = [tmp_path / f".{uuid.uuid4().hex}.part"]
    parts.append(tmp_path / "figures" / f".{uuid.uuid4().hex}.part")
    kept = [tmp_path / "movie.part", tmp_path / ".mine.part", tmp_path / "config.json"]
    for path in [*parts, *kept]:
        path.touch()
    with resume.locked(tmp_path):
        assert [path.exists() for path in [*parts, *kept]] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "name, other",
    [("space", "lab"), ("bins.layout", "joint"), ("bins.num_bins", 40), ("bins.high", 90.0)],
)
def test_a_run_is_not_gone_on_with_in_another_space_or_other_bins(tmp_path, name, other):
    old = tiny_config()
    resume.check_same_targets(tmp_path, old, old)
    changed = tiny_config(**{name: other})
    was = runs.flatten(as_dict(old))[name]
    with pytest.raises(UserError) as caught:
        resume.check_same_targets(tmp_path, old, changed)
    assert str(caught.value).startswith(
        f"{tmp_path} was trained with {name} {was!r} and cannot go on with {other!r}: want"
    )


def test_what_may_change_and_what_older_versions_lack_is_no_reason_to_refuse(tmp_path):
    old = as_dict(tiny_config())
    del old["bins"]["joint_width"]
    more = {"num_steps": 9, "bins.softness": 5.0, "decoding.method": "mean", "batch_size": 4}
    resume.check_same_targets(tmp_path, complete(old), tiny_config(**more))


@pytest.mark.parametrize(
    "name, other",
    [
        ("optimizer.name", "nesterov"),
        ("optimizer.clip_norm", 5.0),
        ("optimizer.weight_decay", 0.1),
        ("optimizer.encoder_rate", 0.5),
        ("accumulate", 2),
        ("ema", 0.9),
    ],
)
def test_settings_that_the_optimizer_s_state_depends_on_are_named_where_they_change(
    tmp_path, name, other
):
    old = tiny_config()
    was = runs.flatten(as_dict(old))[name]
    reason = f"with {name} {was!r}, and its optimizer cannot go on with {other!r}: want {was!r}"
    with pytest.raises(UserError, match=re.escape(reason)):
        resume.check_same_optimizer(tmp_path, old, tiny_config(**{name: other}))


def test_an_optimizer_goes_on_at_another_rate(tmp_path):
    more = {"optimizer.learning_rate": 0.1, "optimizer.schedule": "cosine"}
    resume.check_same_optimizer(tmp_path, tiny_config(), tiny_config(**more))
    clipped = [tiny_config(**{"optimizer.clip_norm": norm}) for norm in (1.0, 5.0)]
    resume.check_same_optimizer(tmp_path, *clipped)


def test_a_stage_after_another_wants_that_finished(tmp_path):
    resume.check_steps_before(tmp_path, None, 0)
    resume.check_steps_before(tmp_path, 300, 300)
    for done in (None, 0, 299):
        with pytest.raises(UserError, match=f"has {done or 0} steps, want the 300 of the stage"):
            resume.check_steps_before(tmp_path, done, 300)
