"""Damaged checkpoints are skipped with a warning; undamaged ones are never given up."""

import shutil

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from colorjax.errors import UserError
from colorjax.weights import checkpoint, digests

STATE = {"params": np.arange(40, dtype=np.float32), "more": np.ones((3, 3), np.float32)}


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A run's folder with steps 1 and 2."""
    workdir = tmp_path_factory.mktemp("two")
    manager = checkpoint.open_manager(workdir, best_metric="loss", keep_newest=2)
    with checkpoint.closing(manager):
        for step in (1, 2):
            state = {name: x + step for name, x in STATE.items()}
            record = {"config": {"seed": step}, "position": {}, "metrics": {"loss": 1.0 / step}}
            checkpoint.save(manager, step, state, **record)
    return workdir


@pytest.fixture
def copied(two_steps, tmp_path):
    return shutil.copytree(two_steps, tmp_path / "run")


def flip(path, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    path.write_bytes(content)


def delete_digests(workdir):
    """Deletes the digests, which older versions did not write."""
    for path in workdir.glob("checkpoints/*/sha256.json"):
        path.unlink()


def newest(workdir, read_only=True):
    """Returns the newest step; checks that its content is that of its number."""
    manager = checkpoint.open_manager(workdir, best_metric="loss", read_only=read_only)
    with checkpoint.closing(manager):
        restored = checkpoint.restore(manager, STATE)
        assert_array_equal(restored.state["params"], STATE["params"] + restored.step)
        assert restored.config == {"seed": restored.step}
        assert checkpoint.newest_step(manager) == restored.step
    return restored.step


def test_every_file_of_a_step_has_a_digest_except_those_orbax_writes_last(two_steps):
    step = two_steps / "checkpoints" / "2"
    names = {path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file()}
    without_digest = []
    for name in sorted(names):
        flip(step / name)
        fault_found = digests.fault(step)
        if fault_found is None:
            without_digest.append(name)
        flip(step / name)
        assert digests.fault(step) is None
    assert "record/metadata" in names and "metrics/metrics" in names and len(names) > 8
    assert set(without_digest) <= {"_CHECKPOINT_METADATA", "commit_success.txt"}


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_in_an_array_is_never_used(copied, bit, caplog):
    arrays = [p for p in (copied / "checkpoints" / "2" / "state").rglob("d/*") if p.is_file()]
    flip(max(arrays, key=lambda path: path.stat().st_size), bit)
    assert newest(copied) == 1
    (message,) = caplog.messages
    assert f"{copied}/checkpoints/2 is damaged: state/" in message
    assert "is not what was written; step 1 is used instead" in message


def test_a_changed_config_in_a_checkpoint_is_never_used(copied, caplog):
    path = copied / "checkpoints" / "2" / "record" / "metadata"
    path.write_text(path.read_text().replace('"seed": 2', '"seed": 3'))
    assert newest(copied) == 1
    assert "record/metadata is not what was written; step 1 is used instead" in caplog.text


@pytest.mark.parametrize(
    "name, has_digests",
    [
        ("metrics/metrics", True),
        ("metrics/metrics", False),
        ("record/metadata", False),
        ("sha256.json", True),
    ],
)
def test_a_step_with_truncated_json_is_skipped_with_and_without_digests(
    copied, name, has_digests, caplog
):
    if not has_digests:
        delete_digests(copied)
    (copied / "checkpoints" / "2" / name).write_text("{")
    assert newest(copied) == 1
    assert f"checkpoints/2 is damaged: {name} is" in caplog.text


def test_an_empty_step_is_skipped(copied, caplog):
    (copied / "checkpoints" / "9999").mkdir()
    assert newest(copied, read_only=False) == 2
    assert "9999 is damaged: _CHECKPOINT_METADATA is missing; step 2 is used" in caplog.text


def test_a_run_sets_a_damaged_step_aside_and_a_reader_moves_nothing(copied, caplog):
    folder = copied / "checkpoints"
    flip(folder / "2" / "record" / "metadata")
    assert newest(copied) == 1 and {p.name for p in folder.iterdir()} == {"1", "2"}
    assert newest(copied, read_only=False) == 1
    assert "it is kept as damaged-2-1" in caplog.text
    with checkpoint.closing(checkpoint.open_manager(copied)) as manager:
        state = {name: x + 2 for name, x in STATE.items()}
        record = {"config": {"seed": 2}, "position": {}, "metrics": {}}
        assert checkpoint.save(manager, 2, state, **record)
    assert newest(copied) == 2
    assert {p.name for p in folder.iterdir()} == {"2", "damaged-2-1"}


def test_if_every_step_is_damaged_an_error_says_so_and_nothing_is_moved(copied):
    for step in ("1", "2"):
        flip(copied / "checkpoints" / step / "record" / "metadata")
    for read_only in (True, False):
        with pytest.raises(UserError, match="checkpoints/1 is damaged .* is no other checkpoint"):
            checkpoint.open_manager(copied, read_only=read_only)
    assert {p.name for p in (copied / "checkpoints").iterdir()} == {"1", "2"}


def test_checkpoints_of_older_versions_can_be_opened(copied, caplog):
    delete_digests(copied)
    assert newest(copied) == 2 and not caplog.messages


@pytest.mark.parametrize("read_only", [True, False])
def test_an_old_checkpoint_with_unreadable_arrays_is_skipped(copied, read_only, caplog):
    delete_digests(copied)
    for path in (copied / "checkpoints" / "2" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    assert newest(copied, read_only) == 1
    assert "checkpoints/2 cannot be read" in caplog.text
    assert "step 1 is used instead" in caplog.text


def test_a_damaged_step_requested_by_number_is_not_replaced(copied):
    delete_digests(copied)
    for path in (copied / "checkpoints" / "2" / "state").rglob("d/*"):
        path.write_bytes(b"")
    with checkpoint.closing(checkpoint.open_manager(copied, read_only=True)) as manager:
        with pytest.raises(UserError, match="checkpoints/2 cannot be read"):
            checkpoint.restore(manager, STATE, step=2)
