"""Checkpoints: which are kept, how they are restored, and what remains after a failed save."""

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import xla_flags

from colorjax.errors import UserError
from colorjax.weights import checkpoint

RECORD = {"config": {"lr": 1e-3}, "position": {"next_index": 7}, "metrics": {}}


class TupleState(NamedTuple):
    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    key: Any


class StructState(flax.struct.PyTreeNode):
    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    key: Any


def make_state(kind=TupleState, width=4, seed=0):
    """A state with every dtype of a run, and Adam moments that are not all zero."""
    rng = np.random.default_rng(seed)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 2, width)), jnp.float32)
    scale = jnp.asarray(rng.standard_normal(width), jnp.bfloat16)
    params = {"decoder": {"unit1": {"kernel": kernel}, "bn": {"scale": scale}}, "empty": {}}
    opt_state = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params)
    opt_state = jax.tree.map(
        lambda x: jnp.asarray(rng.integers(1, 99, x.shape), x.dtype), opt_state
    )
    batch_stats = {"bn": {"mean": jnp.asarray(rng.standard_normal(width), jnp.float32)}}
    return kind(jnp.int32(41), params, batch_stats, opt_state, jax.random.PRNGKey(seed))


def assert_same(found, wanted):
    """Same structure, dtypes, shapes and bits."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        b = np.asarray(b)
        assert type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def steps_on_disk(workdir):
    return sorted(path.name for path in (Path(workdir) / "checkpoints").iterdir())


@pytest.fixture
def opened(tmp_path):
    manager = checkpoint.open_manager(tmp_path, best_metric="l_reg")
    yield manager
    checkpoint.close(manager)


def run_child(code, *args, devices=1):
    """Starts Python on `code`, which writes its report to a file because gloo uses stdout."""
    env = dict(os.environ, XLA_FLAGS=xla_flags(devices))
    root = str(Path(__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join([root, str(Path(__file__).parent)])
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def finish(child):
    try:
        _, stderr = child.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()  # a distributed JAX ignores SIGTERM
        raise
    return stderr


# --- what is kept ---


@pytest.mark.parametrize(
    "mode, values, kept_after_each",
    [
        ("min", [5.0, 2.0, None, 4.0, 3.0, float("nan")], ["1", "2", "2 3", "2 4", "2 5", "2 6"]),
        ("max", [0.5, 0.9, 0.7, None, 0.95, 0.1], ["1", "2", "2 3", "2 4", "5", "5 6"]),
    ],
)
def test_newest_and_best_are_both_kept(tmp_path, mode, values, kept_after_each):
    manager = checkpoint.open_manager(tmp_path, best_metric="score", best_mode=mode)
    for step, (value, kept) in enumerate(zip(values, kept_after_each, strict=True), start=1):
        metrics = {} if value is None else {"score": value}
        state = {"params": np.full(3, step, np.float32)}
        checkpoint.save(manager, step, state, **{**RECORD, "metrics": metrics})
        newest, best = checkpoint.newest_step(manager), checkpoint.best_step(manager)
        assert steps_on_disk(tmp_path) == kept.split()
        assert (newest, best) == (step, int(kept.split()[0]))
    assert checkpoint.restore(manager, state).state["params"][0] == 6
    assert checkpoint.restore(manager, state, best).state["params"][0] == best
    checkpoint.close(manager)


def test_two_newest_are_kept_beside_the_best(tmp_path):
    manager = checkpoint.open_manager(tmp_path, best_metric="l_reg", keep_newest=2)
    for step, value in enumerate([1.0, 9.0, 8.0, 7.0], start=1):
        record = {**RECORD, "metrics": {"l_reg": value}}
        checkpoint.save(manager, step, {"params": np.ones(2)}, **record)
    checkpoint.close(manager)
    assert steps_on_disk(tmp_path) == ["1", "3", "4"]


def test_a_reopened_folder_still_knows_its_best(tmp_path):
    manager = checkpoint.open_manager(tmp_path, best_metric="l_reg")
    for step, value in [(1, 0.25), (2, 0.5)]:
        record = {**RECORD, "metrics": {"l_reg": value}}
        checkpoint.save(manager, step, {"params": np.ones(2)}, **record)
    checkpoint.close(manager)
    for read_only in (True, False):
        manager = checkpoint.open_manager(tmp_path, best_metric="l_reg", read_only=read_only)
        assert (checkpoint.newest_step(manager), checkpoint.best_step(manager)) == (2, 1)
        checkpoint.close(manager)
    other = checkpoint.open_manager(tmp_path, best_metric="psnr", best_mode="max", read_only=True)
    assert (checkpoint.newest_step(other), checkpoint.best_step(other)) == (2, None)
    checkpoint.close(other)


def test_without_the_metric_there_is_a_newest_and_no_best(opened):
    assert checkpoint.newest_step(opened) is None and checkpoint.best_step(opened) is None
    record = {**RECORD, "metrics": {"another": 1.0}}
    checkpoint.save(opened, 0, {"params": np.ones(2)}, **record)
    assert checkpoint.newest_step(opened) == 0 and checkpoint.best_step(opened) is None


def test_a_second_save_of_a_step_leaves_the_first(opened):
    first, second = {"params": np.zeros(2)}, {"params": np.ones(2)}
    assert checkpoint.save(opened, 3, first, **RECORD)
    assert not checkpoint.save(opened, 3, second, **RECORD)
    assert_same(checkpoint.restore(opened, first).state, first)


def test_a_step_below_the_newest_is_written_too(tmp_path):
    manager = checkpoint.open_manager(tmp_path, keep_newest=2)
    checkpoint.save(manager, 20, {"params": np.ones(2)}, **RECORD)
    checkpoint.save(manager, 10, {"params": np.ones(2)}, **RECORD)
    checkpoint.close(manager)
    assert steps_on_disk(tmp_path) == ["10", "20"]


# --- restoring ---


@pytest.mark.parametrize("kind", [TupleState, StructState])
def test_restore_is_exact_in_bits_dtypes_and_structure(opened, kind):
    state = make_state(kind)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(state)}
    assert dtypes == {"float32", "bfloat16", "int32", "uint32"}
    checkpoint.save(opened, 41, state, **{**RECORD, "metrics": {"l_reg": np.float32(0.5)}})
    shapes = jax.eval_shape(lambda: make_state(kind, seed=1))
    for like in (shapes, make_state(kind, seed=1)):
        restored = checkpoint.restore(opened, like)
        assert_same(restored.state, state)
        assert restored[1:] == ({"lr": 1e-3}, {"next_index": 7}, {"l_reg": 0.5}, 41)


def test_variables_are_restored_without_the_optimizer(opened):
    state = make_state()
    checkpoint.save(opened, 1, state, **RECORD)
    wanted = {"params": state.params, "batch_stats": state.batch_stats}
    restored = checkpoint.restore_variables(opened, jax.eval_shape(lambda: wanted))
    assert_same(restored.state, wanted)
    assert restored.config == RECORD["config"]


def test_record_is_read_from_the_folder_alone(opened, tmp_path):
    for step, value in [(1, 0.25), (2, 0.5)]:
        record = {"config": {"n": step}, "position": {}, "metrics": {"l_reg": value}}
        checkpoint.save(opened, step, {"params": np.ones(2)}, **record)
    checkpoint.wait(opened)
    assert checkpoint.read_record(tmp_path) == ({"n": 2}, {}, {"l_reg": 0.5})
    assert checkpoint.read_record(tmp_path, 1) == ({"n": 1}, {}, {"l_reg": 0.25})


def test_saved_arrays_may_be_donated_or_changed_at_once(opened):
    original = np.random.default_rng(0).standard_normal(500_000).astype(np.float32)
    device, host, position = jnp.array(original), original.copy(), {"next_index": 7}
    state = {"device": device, "host": host}
    checkpoint.save(opened, 1, state, **{**RECORD, "position": position})
    jax.block_until_ready(jax.jit(lambda x: x * 0, donate_argnums=0)(device))
    host[:] = 0
    position["next_index"] = 0
    assert device.is_deleted()
    like = jax.tree.map(lambda _: original, state)
    restored = checkpoint.restore(opened, like)
    assert_same(restored.state, like)
    assert restored.position == {"next_index": 7}


def test_a_record_that_json_cannot_hold_fails_at_once(opened):
    state = {"params": np.ones(2)}
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save(opened, 1, state, **{**RECORD, "config": {"dtype": np.float32}})
    assert checkpoint.newest_step(opened) is None
    assert checkpoint.save(opened, 1, state, **RECORD)


def test_relative_paths_and_spaces_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = checkpoint.open_manager("my first run")
    checkpoint.save(manager, 1, {"params": np.ones(2)}, **RECORD)
    checkpoint.close(manager)
    assert steps_on_disk(tmp_path / "my first run") == ["1"]
    assert checkpoint.read_record("my first run")[0] == RECORD["config"]


# --- error messages ---


def test_a_wrong_model_is_reported_with_path_and_both_shapes(opened, tmp_path):
    state = make_state()
    checkpoint.save(opened, 1, state, **RECORD)
    location = f"in the checkpoint {tmp_path / 'checkpoints' / '1'} but"

    def message_of(like):
        with pytest.raises(UserError) as caught:
            checkpoint.restore(opened, like)
        return str(caught.value)

    def with_unit1(unit1):
        decoder = {**state.params["decoder"], "unit1": unit1}
        return state._replace(params={**state.params, "decoder": decoder})

    path = "params/decoder/unit1/kernel"
    kernel = state.params["decoder"]["unit1"]["kernel"]
    misshapen = message_of(with_unit1({"kernel": kernel[..., :3]}))
    assert misshapen.startswith(
        f"{path} is float32 (3, 3, 2, 4) {location} float32 (3, 3, 2, 3) in the model"
    )
    other_dtype = message_of(with_unit1({"kernel": kernel.astype(jnp.bfloat16)}))
    assert other_dtype.startswith(
        f"{path} is float32 (3, 3, 2, 4) {location} bfloat16 (3, 3, 2, 4) in the model"
    )
    extra = message_of(with_unit1({}))
    assert extra.startswith(f"{path} is float32 (3, 3, 2, 4) {location} absent in the model")
    missing = message_of(with_unit1({"kernel": kernel, "bias": jnp.ones(4)}))
    assert missing.startswith(
        f"params/decoder/unit1/bias is absent {location} float32 (4,) in the model"
    )
    other_optimizer = message_of(state._replace(opt_state=optax.sgd(0.1).init(state.params)))
    assert other_optimizer.startswith(f"opt_state/1/0/count is int32 () {location} absent in")


def test_a_parameter_is_reported_before_its_optimizer_moments(opened):
    checkpoint.save(opened, 1, make_state(), **RECORD)
    # Two parameters, each with two moments of Adam, and one batch statistic.
    with pytest.raises(
        UserError, match=r"^params/decoder/bn/scale is .* asked for \(6 more differ"
    ):
        checkpoint.restore(opened, make_state(width=3))


def test_misshapen_variables_are_reported_too(opened):
    state = make_state()
    checkpoint.save(opened, 1, state, **RECORD)
    with pytest.raises(UserError, match="^batch_stats/bn/mean is float32 .4,. in .* float32 .5,."):
        checkpoint.restore_variables(opened, {"batch_stats": {"bn": {"mean": jnp.ones(5)}}})


def test_a_missing_checkpoint_is_reported_with_the_folder(opened, tmp_path):
    like = {"params": np.ones(2)}
    with pytest.raises(UserError, match=f"no checkpoint in {tmp_path}/checkpoints"):
        checkpoint.restore(opened, like)
    with pytest.raises(UserError, match=f"no checkpoint in {tmp_path}/nowhere/checkpoints"):
        checkpoint.read_record(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    checkpoint.save(opened, 4, like, **RECORD)
    with pytest.raises(UserError, match=r"no step 5 in .*checkpoints, which has \[4\]"):
        checkpoint.restore(opened, like, step=5)


def test_a_damaged_checkpoint_is_reported_with_its_folder(opened, tmp_path):
    like = {"params": np.ones(2)}
    checkpoint.save(opened, 4, like, **RECORD)
    checkpoint.wait(opened)
    for path in (tmp_path / "checkpoints" / "4" / "state").glob("**/d/*"):
        os.truncate(path, 10)
    with pytest.raises(UserError, match=f"{tmp_path}/checkpoints/4 cannot be read: OUT_OF_RANGE"):
        checkpoint.restore(opened, like)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/checkpoints cannot be made: Not a directory"):
        checkpoint.open_manager(tmp_path / "file")


# --- failed saves ---


def test_a_full_disk_is_reported_before_writing(opened, tmp_path, monkeypatch):
    state = {"params": np.ones(1_000_000, np.float32)}
    checkpoint.save(opened, 1, state, **RECORD)
    checkpoint.wait(opened)
    usage = collections.namedtuple("usage", "total used free")(9_000_000, 6_000_000, 3_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(UserError) as caught:
            checkpoint.save(opened, 2, state, **RECORD)
    assert str(caught.value) == (
        f"the checkpoint of step 2 could not be saved in {tmp_path / 'checkpoints'}: No space left"
        " on device (5.0 MB needed, 3.0 MB free); that of step 1 is whole"
    )
    assert steps_on_disk(tmp_path) == ["1"]
    assert checkpoint.save(opened, 2, state, **RECORD) and checkpoint.newest_step(opened) == 2


FAILING_WRITE = """
import json, resource, sys
import numpy as np
from colorjax.weights import checkpoint
from colorjax.errors import UserError

workdir, report = sys.argv[1:]
record = {"config": {}, "position": {}, "metrics": {"l_reg": 1.0}}
rng = np.random.default_rng(0)
state = {name: rng.standard_normal(30_000).astype(np.float32) for name in "abcdefghijkl"}
manager = checkpoint.open_manager(workdir, best_metric="l_reg")
checkpoint.save(manager, 1, state, **record)
checkpoint.wait(manager)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # fails like a full disk
messages = []
for end in (checkpoint.wait, checkpoint.newest_step, lambda m: checkpoint.save(m, 3, {}, **record)):
    try:
        checkpoint.save(manager, 2, state, **record)
        end(manager)
    except UserError as error:
        messages.append(str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
old = checkpoint.restore(manager, state)
same = all(np.array_equal(old.state[name], state[name]) for name in state)
checkpoint.save(manager, 3, state, **record)
checkpoint.close(manager)
checkpoint.read_record(workdir)
left = sorted(path.name for path in manager.folder.iterdir())
answer = {"messages": messages, "old": old.step, "same": same, "left": left}
open(report, "w").write(json.dumps(answer))
"""


def test_a_failed_write_is_reported_and_leaves_the_older_step_intact(tmp_path):
    child = run_child(FAILING_WRITE, tmp_path / "run", tmp_path / "report")
    # No log of a library may reach the user's terminal.
    assert finish(child) == "" and child.returncode == 0
    report = json.loads((tmp_path / "report").read_text())
    messages = report.pop("messages")
    assert len(messages) == 3
    for message in messages:
        assert message.startswith(
            f"the checkpoint of step 2 could not be saved in {tmp_path / 'run' / 'checkpoints'}:"
            " File too large (2.5 MB needed,"
        )
        assert message.endswith("MB free); that of step 1 is whole")
    assert report == {"old": 1, "same": True, "left": ["3"]}


KILLED_SAVE = """
import os, signal, sys
import numpy as np
from colorjax.weights import checkpoint

manager = checkpoint.open_manager(sys.argv[1])
record = {"config": {}, "position": {}, "metrics": {}}
state = {"params": np.random.default_rng(0).standard_normal(5_000_000)}
checkpoint.save(manager, 1, {"params": state["params"][:10]}, **record)
checkpoint.wait(manager)
checkpoint.save(manager, 2, state, **record)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_save_leaves_the_older_step_and_does_no_harm(tmp_path):
    child = run_child(KILLED_SAVE, tmp_path)
    finish(child)
    assert child.returncode == -signal.SIGKILL
    assert steps_on_disk(tmp_path) == ["1", "2.orbax-checkpoint-tmp"]
    like = {"params": np.random.default_rng(0).standard_normal(5_000_000)[:10]}
    reader = checkpoint.open_manager(tmp_path, read_only=True)
    assert checkpoint.newest_step(reader) == 1
    checkpoint.close(reader)
    manager = checkpoint.open_manager(tmp_path)
    restored = checkpoint.restore(manager, like)
    assert restored.step == 1
    assert_same(restored.state, like)
    assert checkpoint.save(manager, 3, like, **RECORD)
    checkpoint.close(manager)
    assert steps_on_disk(tmp_path) == ["3"]


def test_a_half_deleted_older_step_does_no_harm(tmp_path):
    like = {"params": np.ones(2)}
    manager = checkpoint.open_manager(tmp_path, best_metric="l_reg", keep_newest=2)
    for step in (1, 2):
        checkpoint.save(manager, step, like, **{**RECORD, "metrics": {"l_reg": 1.0 / step}})
    checkpoint.close(manager)
    shutil.rmtree(tmp_path / "checkpoints" / "1" / "state")
    shutil.rmtree(tmp_path / "checkpoints" / "1" / "metrics")
    (tmp_path / "checkpoints" / "1" / "_CHECKPOINT_METADATA").unlink()
    manager = checkpoint.open_manager(tmp_path, best_metric="l_reg")
    assert checkpoint.restore(manager, like).step == checkpoint.best_step(manager) == 2
    checkpoint.save(manager, 3, like, **RECORD)
    checkpoint.close(manager)
    assert steps_on_disk(tmp_path) == ["2", "3"]


# --- several processes ---

TWO_PROCESSES = """
import json, resource, sys
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from colorjax.weights import checkpoint
from colorjax.errors import UserError

workdir, report, address, rank = *sys.argv[1:4], int(sys.argv[4])
jax.distributed.initialize(address, 2, rank)
replicated = NamedSharding(Mesh(np.array(jax.devices()), ("device",)), PartitionSpec())
host = {"params": np.arange(50_000, dtype=np.float32) ** 0.5, "step": np.int32(3)}
put = lambda x: jax.make_array_from_callback(x.shape, replicated, lambda index: x[index])
state = jax.tree.map(put, host)
assert len(jax.devices()) == 4 and not state["params"].is_fully_addressable
manager = checkpoint.open_manager(workdir, best_metric="l_reg")
record = {"config": {"rank": rank}, "position": {"next_index": 7}}
for step, value in [(1, 0.25), (2, 0.5), (3, 0.75)]:
    checkpoint.save(manager, step, state, **record, metrics={"l_reg": value})
answer = {"steps": [checkpoint.newest_step(manager), checkpoint.best_step(manager)]}
restored = checkpoint.restore(manager, host)
answer["same"] = bool(np.array_equal(restored.state["params"], host["params"]))
answer["config"] = restored.config
if rank == 0:
    limit = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
try:
    checkpoint.save(manager, 4, state, **record, metrics={})
    checkpoint.wait(manager)
except UserError as error:
    answer["message"] = str(error)
answer["left"] = checkpoint.newest_step(manager)
checkpoint.close(manager)
open(report + str(rank), "w").write(json.dumps(answer))
"""


@pytest.mark.slow
def test_two_processes_share_checkpoints_and_failures(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    args = (tmp_path / "run", tmp_path / "report", address)
    children = [run_child(TWO_PROCESSES, *args, rank, devices=2) for rank in (0, 1)]
    try:
        for child in children:
            stderr = finish(child)
            assert child.returncode == 0, stderr
    finally:
        for child in children:
            child.kill()
    for rank, reason in enumerate(["File too large", "see what process 0 says"]):
        answer = json.loads((tmp_path / f"report{rank}").read_text())
        assert f"step 4 could not be saved in {tmp_path}/run/checkpoints: {reason}" in answer.pop(
            "message"
        )
        assert answer == {"steps": [3, 1], "same": True, "config": {"rank": 0}, "left": 3}
    # A single process with other devices than those two can read the checkpoints.
    reader = checkpoint.open_manager(tmp_path / "run", read_only=True)
    like = {"params": jax.ShapeDtypeStruct((50_000,), np.float32), "step": np.int32(0)}
    restored = checkpoint.restore(reader, like)
    np.testing.assert_array_equal(restored.state["params"], np.arange(5e4, dtype=np.float32) ** 0.5)
    checkpoint.close(reader)
