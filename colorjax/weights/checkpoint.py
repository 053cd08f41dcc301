"""Orbax checkpoints of a training run, in `<workdir>/checkpoints`.

A checkpoint is the state (any pytree of arrays, no device axis) and a JSON record of the run:
its config, its position in the data and its metrics. The newest and the best are kept. One whose
files are not what was written is passed over, with a warning (`weights.passing_over`).
Every process calls every function here; process 0 alone writes, the others hear how it went.
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

from colorjax.errors import Interrupted, UserError
from colorjax.weights import digests, quiet_orbax
from colorjax.weights.sound_steps import SoundSteps


@dataclasses.dataclass
class Manager:
    """An open folder of checkpoints, and the step and bytes of the save last begun."""

    orbax: ocp.CheckpointManager
    folder: Path
    best_metric: str | None
    seen: SoundSteps
    step: int | None = None
    num_bytes: int = 0


class Unreadable(UserError):
    """A checkpoint is there and cannot be read."""


class Restored(NamedTuple):
    """A checkpoint as it was saved; the leaves of `state` are numpy arrays."""

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
    """Opens `<workdir>/checkpoints`, which is made unless `read_only`.

    The `keep_newest` last steps are kept, and the `keep_best` steps with the lowest
    (`best_mode="min"`) or highest ("max") `best_metric`. A checkpoint without that metric, or
    where it is not finite, is never a best one.

    Damaged steps are passed over, and moved aside unless `read_only`.

    Raises UserError if the folder cannot be made or written to or, with `read_only`, is not there,
    or if all of its steps are damaged.
    """
    quiet_orbax.silence()
    folder = _usable_folder(workdir, read_only)
    process = jax.process_index()
    seen = SoundSteps(folder, moves=not read_only and process == 0)
    seen.pass_over_damaged()
    options = ocp.CheckpointManagerOptions(
        create=False,
        read_only=read_only or process > 0,
        # In the calling thread a folder that cannot be made is an error of `save` itself.
        async_options=ocp.AsyncOptions(
            create_directories_asynchronously=False,
            post_finalization_callback=lambda: _sign(manager),
        ),
        step_name_format=seen,
        # Every process by itself: with Orbax's barriers all wait ten minutes if one cannot write.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}
        ),
        **_keeping(best_metric, best_mode, keep_newest, keep_best),
    )
    manager: Manager = Manager(
        ocp.CheckpointManager(folder, options=options), folder, best_metric, seen
    )
    return manager


def save(
    manager: Manager, step: int, state: Any, *, config: dict, position: dict, metrics: dict
) -> bool:
    """Copies `state` to the host and starts writing it as `step`; a save in flight ends first.

    `state` is a pytree of arrays (random keys as uint32), whole in process 0; it may be donated
    or changed as soon as this returns. `config` and `position` are what JSON can hold, `metrics`
    are numbers by name. A step that is there already is left as it is. Removes what a killed or
    failed save left behind, and old checkpoints once the new one is whole.

    Returns whether a checkpoint is being written. Raises UserError if the state does not fit on
    the disk, or if this or the previous checkpoint could not be written.
    """
    wait(manager)
    if _agreed(step in manager.orbax.all_steps()):
        return False
    metrics = {name: float(value) for name, value in metrics.items()}
    # Through JSON and back: mistakes show here, and later changes do not reach the writing thread.
    record = json.loads(json.dumps({"config": config, "position": position, "metrics": metrics}))
    rankable = math.isfinite(metrics.get(manager.best_metric, math.nan))
    manager.step = int(step)
    with _write_errors_told(manager):
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
    with _write_errors_told(manager):
        manager.orbax.wait_until_finished()
    manager.orbax.reload()


def close(manager: Manager) -> None:
    """Waits for the save in flight and ends Orbax's threads.

    Raises UserError if the checkpoint could not be written, in process 0 alone: a process that
    closes because it failed must not wait for the others.
    """
    try:
        with _write_errors_told(manager, agree=False):
            manager.orbax.wait_until_finished()
    finally:
        manager.orbax.close()


@contextlib.contextmanager
def closing(manager: Manager) -> Iterator[Manager]:
    """Closes `manager` on the way out, also when an error comes by, so that no save is cut off."""
    try:
        yield manager
    finally:
        close(manager)


def newest_step(manager: Manager) -> int | None:
    """The newest whole checkpoint's step, after the save in flight; None if there is none."""
    wait(manager)
    return _agreed(manager.orbax.latest_step())


def best_step(manager: Manager) -> int | None:
    """The step with the best `best_metric`; None if no checkpoint carries that metric."""
    wait(manager)
    step = None if manager.best_metric is None else manager.orbax.best_step()
    if step is not None and manager.best_metric not in manager.orbax.metrics(step):
        step = None
    return _agreed(step)


def restore(manager: Manager, like: Any, step: int | None = None) -> Restored:
    """Restores the checkpoint `step`, or the newest that can be read, as `like` is structured.

    `like` is a pytree of arrays or `jax.ShapeDtypeStruct`s with the wanted shapes and dtypes.
    Neither devices nor processes need be those of the save.

    Raises UserError if there is no such checkpoint, if it cannot be read, or if a parameter is
    missing, is not wanted, or has another shape or dtype; the sentence has the parameter's path.
    """
    while True:
        at = _existing_step(manager, step)
        try:
            return _restore(manager, like, at, partial=False)
        except Unreadable as error:
            older = [other for other in manager.orbax.all_steps() if other != at]
            if step is not None or not older or jax.process_count() > 1:
                raise
            manager.seen.pass_over(at, str(error), max(older))
            manager.orbax.reload()


def restore_variables(manager: Manager, like: dict, step: int | None = None) -> Restored:
    """As `restore`, but reads only those top-level entries of the state that `like` has.

    With `like = {"params": ..., "batch_stats": ...}` (the shapes of `model.init`, say) nothing
    need be known of the optimizer. `Restored.state` is then a dict like `like`.
    """
    return _restore(manager, like, _existing_step(manager, step), partial=True)


def read_record(workdir: str | os.PathLike, step: int | None = None) -> tuple[dict, dict, dict]:
    """Reads (config, position, metrics) of the checkpoint `step`, or the newest: JSON alone.

    Raises UserError if there is no such checkpoint or if it cannot be read.
    """
    manager = open_manager(workdir, read_only=True)
    with contextlib.closing(manager.orbax):
        step = _existing_step(manager, step)
        with _read_errors_told(manager, step):
            args = ocp.args.Composite(record=ocp.args.JsonRestore())
            record = manager.orbax.restore(step, args=args).record
    return record["config"], record["position"], record["metrics"]


def _restore(manager: Manager, like: Any, step: int, partial: bool) -> Restored:
    with _read_errors_told(manager, step):
        folder = manager.orbax.directory / str(step) / "state"
        saved = ocp.PyTreeCheckpointHandler().metadata(folder).tree
        if partial:
            saved = {name: saved[name] for name in like if name in saved}
        _check_same(_by_path(saved), _by_path(like), manager.folder / str(step))
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        # Orbax knows the saved tree as dicts and lists: paths carry it over to `like`.
        restore_args = ocp.args.PyTreeRestore(saved, as_numpy, partial_restore=partial)
        args = ocp.args.Composite(state=restore_args, record=ocp.args.JsonRestore())
        restored = manager.orbax.restore(step, args=args)
    leaves = _by_path(restored.state)
    state = jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in _by_path(like)])
    return Restored(state, **restored.record, step=step)


def _usable_folder(workdir: str | os.PathLike, read_only: bool) -> Path:
    folder = Path(os.path.abspath(workdir)) / "checkpoints"
    if read_only and not folder.is_dir():
        raise UserError(f"there is no checkpoint in {folder}: no such folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Interrupted(f"{folder} cannot be made: {error.strerror}") from error
    if not read_only and not os.access(folder, os.W_OK):
        raise Interrupted(f"{folder} cannot be written to")
    return folder


def _keeping(best_metric: str | None, best_mode: str, keep_newest: int, keep_best: int) -> dict:
    """Orbax's options for what to keep: its own policy for a `best_fn` deletes the newest."""
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


def _agreed(value: int | None) -> int | None:
    """Process 0's value, in every process."""
    told = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if value is None else value)))
    return None if told < 0 else told


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
        # The optimizer's state mirrors the parameters, which tell the user more.
        path = min(wrong, key=lambda path: not path.startswith("params/"))
        raise UserError(
            f"{path} is {saved.get(path, 'absent')} in the checkpoint {checkpoint} but"
            f" {wanted.get(path, 'absent')} in the model and optimizer that were asked for"
            + (f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else "")
        )


def _sign(manager: Manager) -> None:
    # Orbax calls this when all is written, before it gives the folder its name.
    (unnamed,) = manager.folder.glob(f"{manager.step}{ocp.utils.TMP_DIR_SUFFIX}*")
    digests.sign(unnamed)


def _remove_leftovers(manager: Manager) -> None:
    for leftover in manager.folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        # Right after a failure TensorStore may still be writing: then the next save removes it.
        shutil.rmtree(leftover, ignore_errors=True)


def _check_space(manager: Manager, host_state: Any) -> None:
    manager.folder.mkdir(parents=True, exist_ok=True)
    # The mebibyte is for the JSON and Orbax's own tables (about 30 kB).
    manager.num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(host_state)) + 2**20
    if manager.num_bytes > shutil.disk_usage(manager.folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _write_errors_told(manager: Manager, agree: bool = True) -> Iterator[None]:
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    if not (_agreed(error is not None) if agree else error):
        return
    what = f"the checkpoint of step {manager.step} could not be saved in {manager.folder}"
    if error is None:
        raise Interrupted(f"{what}: see what process 0 says")
    free = shutil.disk_usage(manager.folder).free
    _remove_leftovers(manager)
    manager.orbax.reload()  # Orbax has already forgotten the steps it meant to delete
    reason = _system_error(error)
    if reason is None:
        raise error
    whole = manager.orbax.latest_step()
    raise Interrupted(
        f"{what}: {reason} ({manager.num_bytes / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free);"
        + (" there is no earlier one" if whole is None else f" that of step {whole} is whole")
    ) from error


@contextlib.contextmanager
def _read_errors_told(manager: Manager, step: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = re.split(r"\n| \[tensorstore_spec", str(error))[0]
        raise Unreadable(f"{manager.folder / str(step)} cannot be read: {reason}") from error


def _system_error(error: BaseException | None) -> str | None:
    """What the system said, if that caused `error`; TensorStore tells it in the text alone."""
    while error is not None:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code:
            return os.strerror(int(code[1]))
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None
