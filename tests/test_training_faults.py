"""External faults during training: no finished step is lost, and nothing waits forever."""

import errno
import os
import resource
import signal
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_logs import tensorboard_events
from test_train import tiny_config

from colorjax.errors import ResumableError, UserError
from colorjax.training import logs, train
from colorjax.training.console import progress, stop_signals
from colorjax.training.meter import Clock, Meter
from colorjax.training.start import Run
from colorjax.weights import checkpoint, runs

METRICS = {"loss": 1.0}


class State(NamedTuple):
    """A `steps.TrainState` of one number, as the loop needs no network."""

    step: Any
    params: Any
    batch_stats: Any = ()
    average: Any = ()


def add_batch(state, batch):
    total = state.params["total"] + batch
    scalars = {"loss": np.float32(1 / total), "grad_norm": np.float32(batch), "skipped": 0.0}
    return State(state.step + 1, {"total": total}), scalars


def numbers(at, error):
    """Yields 1, 2, 3 and so on, but raises `error` instead of yielding `at`."""
    for i in range(1, 1000):
        if i == at:
            raise error
        yield np.float32(i)


def run_loop(
    workdir, manager, batches, start=0, meter_state=None, total=0.0, log=None, stop_at=0, **c
):
    """Runs the loop on the state `total` after `start` steps; returns its result."""
    config = tiny_config(**{"eval_every": 100, "num_steps": 20, **c})
    state = State(np.int32(start), {"total": np.float32(total)})
    run = Run(
        config,
        workdir,
        manager,
        start,
        8 * start,
        meter_state or {},
        batches,
        add_batch,
        measure=lambda variables: METRICS,
        draw=lambda variables: np.zeros((8, 8, 3), np.uint8),
        clock=Clock(0.0, "constant"),
        baseline=METRICS,
    )
    with logs.open_logs(workdir, start, True) as own, progress(config.num_steps, start) as bar:
        return train.loop(run, state, log or own, bar, lambda step: step == stop_at)


@pytest.fixture
def manager(tmp_path):
    with checkpoint.closing(checkpoint.open_manager(tmp_path, best_metric="loss")) as manager:
        yield manager


def restored(manager):
    like = State(np.int32(0), {"total": np.float32(0)})
    return checkpoint.restore(manager, like)


def sum_to(step):
    return step * (step + 1) / 2


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.EIO, "Input/output error", "photo.jpg"), "photo.jpg: Input/output error"),
        (UserError("photo.jpg: cannot be read"), "photo.jpg: cannot be read"),
    ],
)
def test_steps_before_an_error_are_saved_and_the_message_says_so(tmp_path, manager, error, message):
    with pytest.raises(ResumableError) as caught:
        run_loop(tmp_path, manager, numbers(13, error))
    assert str(caught.value) == f"{message}; step 12 is saved, and the same command resumes from it"
    assert restored(manager).step == 12 and restored(manager).state.params["total"] == sum_to(12)
    assert restored(manager).position["examples"] == 12 * 8


def test_an_error_before_the_first_step_saves_nothing(tmp_path, manager):
    with pytest.raises(UserError, match="^photo.jpg$"):
        run_loop(tmp_path, manager, numbers(1, UserError("photo.jpg")))
    assert checkpoint.newest_step(manager) is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_full_disk_for_the_log_ends_the_run_with_a_checkpoint(tmp_path, manager):
    full = open("/dev/full", "a", buffering=1)
    with logs.open_logs(tmp_path / "other", 0, True) as other:
        log = other._replace(jsonl=full)
        with pytest.raises(UserError, match="No space left on device; step 5 is saved"):
            run_loop(tmp_path, manager, numbers(100, None), log=log, log_every=5)
    with pytest.raises(OSError):
        full.close()
    assert restored(manager).state.params["total"] == sum_to(5)


def test_a_failed_save_after_an_error_is_reported_too(tmp_path, manager, monkeypatch):
    def refused(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run_loop(tmp_path, manager, numbers(100, None), num_steps=2)
    monkeypatch.setattr(checkpoint, "_check_space", refused)
    with pytest.raises(UserError) as caught:
        run_loop(tmp_path, manager, numbers(4, UserError("photo.jpg")), start=2, total=3.0)
    message = str(caught.value)
    assert message.startswith("photo.jpg; the checkpoint of step 5 could not be saved")
    assert message.endswith("that of step 2 is whole")


def test_a_checkpoint_that_cannot_be_saved_is_reported_once(tmp_path, manager, monkeypatch):
    def refused(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "_check_space", refused)
    with pytest.raises(ResumableError) as caught:
        run_loop(tmp_path, manager, numbers(100, None), checkpoint_every=3)
    assert str(caught.value).count("the checkpoint of step 3 could not be saved") == 1


def test_unwritable_events_are_an_error_at_once_and_closing_raises_none(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    began = time.monotonic()
    try:
        with pytest.raises(OSError, match="File too large"):
            with logs.open_logs(tmp_path, 0, True) as log:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
                for step in range(1, 10_000):
                    logs.write_image(log, step, "noise", np.zeros((8, 8, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert time.monotonic() - began < 10


def test_logged_values_are_on_the_disk_at_each_checkpoint(tmp_path, manager):
    batches = numbers(100, None)

    def watched():
        for i, batch in enumerate(batches, start=1):
            if i == 8:
                steps = {
                    event.step for event in tensorboard_events(tmp_path) if event.summary.value
                }
                assert steps == set(range(1, 7))
                assert [row["step"] for row in runs.read_metrics(tmp_path)] == [*range(1, 8)]
            yield batch

    run_loop(tmp_path, manager, watched(), checkpoint_every=6, num_steps=9)


def rows(workdir):
    """The rows of training, without the speed."""
    found = [row for row in runs.read_metrics(workdir) if row["split"] == "train"]
    return [{name: x for name, x in row.items() if name != "images/s"} for row in found]


@pytest.mark.parametrize("stop_at", [1, 7, 10, 13])
def test_rows_of_training_are_the_same_with_and_without_a_stop(tmp_path, stop_at):
    for name, stops in (("whole", 0), ("parts", stop_at)):
        workdir = tmp_path / name
        with checkpoint.closing(checkpoint.open_manager(workdir, best_metric="loss")) as manager:
            batches = numbers(100, None)
            _, step = run_loop(workdir, manager, batches, log_every=5, stop_at=stops)
            if stops:
                assert step == stops
                found = restored(manager)
                meter_state, total = found.position["meter"], found.state.params["total"]
                run_loop(workdir, manager, batches, step, meter_state, total, log_every=5)
            assert restored(manager).step == 20
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert [row["step"] for row in rows(tmp_path / "parts")] == [5, 10, 15, 20]


def test_skipped_steps_in_a_row_are_counted_across_a_restart():
    meter = Meter(8)
    for _ in range(3):
        meter.add({"loss": np.float32(np.nan), "skipped": np.float32(1.0)})
    again = Meter(8, runs.as_json(meter.snapshot()))
    assert again.skipped_in_row == 3 and np.isnan(again.average()["loss"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_no_run_if_the_program_does_not_listen_for_them(number):
    received = []
    before = signal.signal(number, lambda *_: received.append(number))
    try:
        with stop_signals() as stop_requested:
            signal.raise_signal(number)
            assert not stop_requested(1)
    finally:
        signal.signal(number, before)
    assert received == [number]


def test_a_loss_that_diverged_is_not_a_resumable_error(tmp_path, manager, monkeypatch):
    def skip_batch(state, batch):
        scalars = {"loss": np.float32(np.nan), "grad_norm": np.float32(0), "skipped": 1.0}
        return state._replace(step=state.step + 1), scalars

    monkeypatch.setitem(globals(), "add_batch", skip_batch)
    with pytest.raises(train.Diverged, match="not finite for 2 steps in a row") as caught:
        run_loop(tmp_path, manager, numbers(100, None), max_skipped=2)
    assert not isinstance(caught.value, ResumableError) and "goes on" not in str(caught.value)


def test_a_full_disk_for_the_folder_of_a_run_is_a_resumable_error(tmp_path, monkeypatch):
    def refused(workdir):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(workdir))

    monkeypatch.setattr(train.resume, "locked", refused)
    with pytest.raises(ResumableError, match="No space left on device"):
        train.train(tiny_config(), tmp_path)
