"""Orbax checkpoints of a training run, in `<workdir>/checkpoints`.

A checkpoint consists of the state (any pytree of arrays, no device axis) and a JSON record of the
run: its config, its position in the data and its metrics. The newest and the best checkpoints are
kept. A checkpoint whose files are damaged is skipped with a warning (`weights.sound_steps`).
All processes must call the functions here together; only process 0 writes, and it broadcasts
whether that succeeded.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from colorjax.errors import ResumableError, UserError
from colorjax.weights import digests, quiet_orbax
from colorjax.weights.sound_steps import SoundSteps


@dataclasses.dataclass
class Manager:
    """An open folder of checkpoints, and the step and size in bytes of the latest save started."""

    orbax: ocp.CheckpointManager
    folder: Path
    best_metric: str | None
    sound_steps: SoundSteps
    step: int | None = None
    num_bytes: int = 0


class Unreadable(UserError):
    """A checkpoint exists but cannot be read."""


class Restored(NamedTuple):
    """A restored checkpoint; the leaves of `state` are numpy arrays."""

    state: Any
    config: dict
    position: dict
    metrics: dict[str, float]
    step: int


def open_manager(
    workdir: str | os.PathLike,
    *,
    best_metric: str | None = None,
    best_mode: str = "min",
    keep_newest: int = 1,
    keep_best: int = 1,
    read_only: bool = False,
) -> Manager:
    """Opens `<workdir>/checkpoints`, and creates it unless `read_only`.

    Keeps the `keep_newest` newest steps and the `keep_best` steps with the lowest
    (`best_mode="min"`) or highest ("max") `best_metric`. A checkpoint that lacks the metric, or
    where it is not finite, never counts as a best one.

    Damaged steps are skipped and, unless `read_only`, renamed (see `SoundSteps`).

    Raises UserError if the folder cannot be created or written to, if it does not exist and
    `read_only` is set, or if it has steps and all of them are damaged.
    """
    quiet_orbax.silence()
    folder = _open_folder(workdir, read_only)
    process = jax.process_index()
    sound_steps = SoundSteps(folder, renames=not read_only and process == 0)
    sound_steps.skip_damaged()
    options = ocp.CheckpointManagerOptions(
        create=False,
        read_only=read_only or process > 0,
        # Folders are created in the calling thread, so that `save` itself raises if it fails.
        async_options=ocp.AsyncOptions(
            create_directories_asynchronously=False,
            post_finalization_callback=lambda: _write_digests(manager),
        ),
        step_name_format=sound_steps,
        # Each process acts alone: with Orbax's barriers, all wait ten minutes if one cannot write.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}
        ),
        **_retention(best_metric, best_mode, keep_newest, keep_best),
    )
    manager: Manager = Manager(
        ocp.CheckpointManager(folder, options=options), folder, best_metric, sound_steps
    )
    return manager


def save(
    manager: Manager, step: int, state: Any, *, config: dict, position: dict, metrics: dict
) -> bool:
    """Copies `state` to the host and starts writing it as `step`, after waiting for earlier saves.

    `state` is a pytree of arrays (random keys as uint32) and must be complete in process 0. It may
    be donated or changed as soon as this function returns. `config` and `position` are JSON data,
    `metrics` maps names to numbers. An existing step is not overwritten. Files left by a killed or
    failed save are removed, and so are old checkpoints once the new one is complete.

    Returns whether a checkpoint is being written. Raises UserError if the state does not fit on
    the disk, or if this or the previous checkpoint could not be written.
    """
    wait(manager)
    if _broadcast(step in manager.orbax.all_steps()):
        return False
    metrics = {name: float(value) for name, value in metrics.items()}
    # The round trip through JSON raises errors here, and copies the data for the writing thread.
    record = json.loads(json.dumps({"config": config, "position": position, "metrics": metrics}))
    rankable = math.isfinite(metrics.get(manager.best_metric, math.nan))
    manager.step = int(step)
    with _reporting_write_errors(manager):
        if jax.process_index() == 0:
            host_state = jax.tree.map(np.asarray, jax.device_get(state))
            _remove_leftovers(manager)
            _check_space(manager, host_state)
            manager.orbax.save(
                manager.step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(host_state), record=ocp.args.JsonSave(record)
                ),
                metrics=metrics if rankable else None,
                force=True,  # otherwise a step below the newest is skipped in silence
            )
    return True


def wait(manager: Manager) -> None:
    """Waits for the save in flight. Raises UserError if it could not be written."""
    with _reporting_write_errors(manager):
        manager.orbax.wait_until_finished()
    manager.orbax.reload()


def close(manager: Manager) -> None:
    """Waits for the save in flight and ends Orbax's threads.

    Raises UserError, only in process 0, if the checkpoint could not be written: a process that
    closes because of an error must not wait for the others.
    """
    try:
        with _reporting_write_errors(manager, broadcast=False):
            manager.orbax.wait_until_finished()
    finally:
        manager.orbax.close()


@contextlib.contextmanager
def closing(manager: Manager) -> Iterator[Manager]:
    """Closes `manager` on exit, also after an error, so that no save is interrupted."""
    try:
        yield manager
    finally:
        close(manager)


def newest_step(manager: Manager) -> int | None:
    """Waits for the save in flight, and returns the newest step; None if there is none."""
    wait(manager)
    return _broadcast(manager.orbax.latest_step())


def best_step(manager: Manager) -> int | None:
    """Returns the step with the best `best_metric`; None if no checkpoint has that metric."""
    wait(manager)
    step = None if manager.best_metric is None else manager.orbax.best_step()
    if step is not None and manager.best_metric not in manager.orbax.metrics(step):
        step = None
    return _broadcast(step)


def restore(manager: Manager, like: Any, step: int | None = None) -> Restored:
    """Restores the checkpoint `step`, or the newest readable one, in the structure of `like`.

    `like` is a pytree of arrays or `jax.ShapeDtypeStruct`s with the wanted shapes and dtypes. The
    numbers of devices and processes may differ from those of the save.

    Raises UserError if there is no such checkpoint, if it cannot be read, or if a parameter is
    missing, unexpected, or of another shape or dtype; the message contains the parameter's path.
    """
    while True:
        candidate = _existing_step(manager, step)
        try:
            return _restore(manager, like, candidate, partial=False)
        except Unreadable as error:
            older = [other for other in manager.orbax.all_steps() if other != candidate]
            if step is not None or not older or jax.process_count() > 1:
                raise
            manager.sound_steps.skip(candidate, str(error), max(older))
            manager.orbax.reload()


def restore_variables(manager: Manager, like: dict, step: int | None = None) -> Restored:
    """Like `restore`, but reads only the top-level entries of the state that `like` has.

    With `like = {"params": ..., "batch_stats": ...}`, for example the shapes of `model.init`, the
    optimizer need not be known. `Restored.state` is then a dict like `like`.
    """
    return _restore(manager, like, _existing_step(manager, step), partial=True)


def read_record(workdir: str | os.PathLike, step: int | None = None) -> tuple[dict, dict, dict]:
    """Reads only the JSON record (config, position, metrics) of `step`, or of the newest step.

    Raises UserError if there is no such checkpoint or if it cannot be read.
    """
    manager = open_manager(workdir, read_only=True)
    with contextlib.closing(manager.orbax):
        step = _existing_step(manager, step)
        with _reporting_read_errors(manager, step):
            args = ocp.args.Composite(record=ocp.args.JsonRestore())
            record = manager.orbax.restore(step, args=args).record
    return record["config"], record["position"], record["metrics"]


def _restore(manager: Manager, like: Any, step: int, partial: bool) -> Restored:
    with _reporting_read_errors(manager, step):
        folder = manager.orbax.directory / str(step) / "state"
        saved = ocp.PyTreeCheckpointHandler().metadata(folder).tree
        if partial:
            saved = {name: saved[name] for name in like if name in saved}
        _check_same(_by_path(saved), _by_path(like), manager.folder / str(step))
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        # Orbax restores a tree of dicts and lists; matching paths map its leaves to `like`.
        restore_args = ocp.args.PyTreeRestore(saved, as_numpy, partial_restore=partial)
        args = ocp.args.Composite(state=restore_args, record=ocp.args.JsonRestore())
        restored = manager.orbax.restore(step, args=args)
    leaves = _by_path(restored.state)
    state = jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in _by_path(like)])
    return Restored(state, **restored.record, step=step)


def _open_folder(workdir: str | os.PathLike, read_only: bool) -> Path:
    folder = Path(os.path.abspath(workdir)) / "checkpoints"
    if read_only and not folder.is_dir():
        raise UserError(f"there is no checkpoint in {folder}: no such folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResumableError(f"{folder} cannot be made: {error.strerror}") from error
    if not read_only and not os.access(folder, os.W_OK):
        raise ResumableError(f"{folder} cannot be written to")
    return folder


def _retention(best_metric: str | None, best_mode: str, keep_newest: int, keep_best: int) -> dict:
    """Returns Orbax's options for which checkpoints to keep.

    The policy is explicit, because Orbax's own policy for a `best_fn` deletes the newest.
    """
    worst = math.inf if best_mode == "min" else -math.inf
    newest = ocp.checkpoint_managers.LatestN(keep_newest)
    if best_metric is None:
        return {"preservation_policy": newest}
    best = ocp.checkpoint_managers.BestN(
        get_metric_fn=lambda metrics: metrics.get(best_metric, worst),
        reverse=best_mode == "min",
        n=keep_best,
        keep_checkpoints_without_metrics=False,
    )
    either = ocp.checkpoint_managers.AnyPreservationPolicy([newest, best])
    return {"preservation_policy": either, "best_fn": best.get_metric_fn, "best_mode": best_mode}


def _broadcast(value: int | None) -> int | None:
    """Returns the value of process 0 in every process."""
    received = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if value is None else value)))
    return None if received < 0 else received


def _existing_step(manager: Manager, step: int | None) -> int:
    newest = newest_step(manager)
    if newest is None:
        raise UserError(f"there is no checkpoint in {manager.folder}")
    steps = manager.orbax.all_steps()
    if step is not None and step not in steps:
        raise UserError(f"there is no step {step} in {manager.folder}, which has {steps}")
    return newest if step is None else step


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _check_same(saved: dict[str, Any], wanted: dict[str, Any], checkpoint: Path) -> None:
    saved, wanted = (
        {path: f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}" for path, leaf in leaves.items()}
        for leaves in (saved, wanted)
    )
    wrong = [path for path in saved | wanted if saved.get(path) != wanted.get(path)]
    if wrong:
        # The optimizer state mirrors the parameters, whose paths are clearer to the user.
        path = min(wrong, key=lambda path: not path.startswith("params/"))
        raise UserError(
            f"{path} is {saved.get(path, 'absent')} in the checkpoint {checkpoint} but"
            f" {wanted.get(path, 'absent')} in the model and optimizer that were asked for"
            + (f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else "")
        )


def _write_digests(manager: Manager) -> None:
    # Orbax calls this when all files are written, before it renames the temporary folder.
    (folder,) = manager.folder.glob(f"{manager.step}{ocp.utils.TMP_DIR_SUFFIX}*")
    digests.write(folder)


def _remove_leftovers(manager: Manager) -> None:
    for leftover in manager.folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        # Right after a failure TensorStore may still be writing; the next save removes the rest.
        shutil.rmtree(leftover, ignore_errors=True)


def _check_space(manager: Manager, host_state: Any) -> None:
    manager.folder.mkdir(parents=True, exist_ok=True)
    # The extra mebibyte is for the JSON and for Orbax's metadata (about 30 kB).
    manager.num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(host_state)) + 2**20
    if manager.num_bytes > shutil.disk_usage(manager.folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _reporting_write_errors(manager: Manager, broadcast: bool = True) -> Iterator[None]:
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    if not (_broadcast(error is not None) if broadcast else error):
        return
    fault = f"the checkpoint of step {manager.step} could not be saved in {manager.folder}"
    if error is None:
        raise ResumableError(f"{fault}: see what process 0 says")
    free = shutil.disk_usage(manager.folder).free
    _remove_leftovers(manager)
    manager.orbax.reload()  # Orbax already dropped the steps that it was going to delete
    reason = _system_error(error)
    if reason is None:
        raise error
    latest = manager.orbax.latest_step()
    raise ResumableError(
        f"{fault}: {reason} ({manager.num_bytes / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free);"
        + (" there is no earlier one" if latest is None else f" that of step {latest} is whole")
    ) from error


@contextlib.contextmanager
def _reporting_read_errors(manager: Manager, step: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = re.split(r"\n| \[tensorstore_spec", str(error))[0]
        raise Unreadable(f"{manager.folder / str(step)} cannot be read: {reason}") from error


def _system_error(error: BaseException | None) -> str | None:
    """Returns the system error that caused `error`; TensorStore has it only in its message."""
    while error is not None:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code:
            return os.strerror(int(code[1]))
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None
