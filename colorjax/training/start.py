"""Starts or resumes a run: opens its data, state, record and compiled functions."""

import datetime
import json
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jaxlib.version
import numpy as np
from absl import logging

from colorjax.data import loader, opening
from colorjax.data.sources import Source
from colorjax.errors import UserError
from colorjax.models.build import build_model, build_task
from colorjax.models.colorizer import ColorizationNet
from colorjax.models.task import Task
from colorjax.settings import Settings, as_dict, complete, without_effect
from colorjax.training import evaluate, parallel, resume, steps
from colorjax.training.augment import augmentation_of
from colorjax.training.console import say
from colorjax.training.meter import Clock
from colorjax.training.parallel import is_writer
from colorjax.training.setup import (
    build_optimizer,
    init_state,
    load_classifier,
    load_encoder,
    start_from,
    state_shapes,
    with_perception,
)
from colorjax.training.steps import TrainState
from colorjax.weights import checkpoint, devices, runs

CALIBRATION_IMAGES = 16
# Prefixes of the names of settings that change the hold-out loss of the same network.
_LOSS_SETTINGS = (
    "regression.",
    "bins.softness",
    "rebalance.",
    "data.load_size",
    "data.crop_size",
    "data.fit",
)


class Run(NamedTuple):
    """Everything that the training loop needs besides the state."""

    settings: Settings
    workdir: Path
    manager: checkpoint.Manager
    start: int  # steps that were done before the run was started or resumed
    first_example: int  # images that these steps consumed
    meter_snapshot: dict[str, Any]  # `Meter.snapshot` of the checkpoint
    batches: Iterator[steps.HostBatch]
    train_step: Callable[[TrainState, steps.HostBatch], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[Any], dict[str, float]]  # variables -> metrics of the hold-out
    draw: Callable[[Any], np.ndarray]  # variables -> figure
    clock: Clock
    baseline: dict[str, float]  # the constant predictor's metrics on the hold-out


def open_run(
    settings: Settings, workdir: Path, manager: checkpoint.Manager, clock: Clock
) -> tuple[Run, TrainState]:
    """Opens the data and compiled functions of a run, and the state to start or resume from."""
    if settings.num_seconds and jax.process_count() > 1:
        # Each process has its own clock, so they would end at different steps.
        raise UserError(f"num_seconds is {settings.num_seconds} with several processes, want 0")
    if is_writer():
        for sentence in without_effect(settings):
            logging.warning("%s", sentence)
    classifier = load_classifier(settings)  # before slow work, since a download may fail
    source = opening.open_source(settings.data)
    seen = [as_dict(settings), source.notes, source.fingerprint]
    parallel.check_same("settings or photographs", json.dumps(seen))
    model, tx = build_model(settings), build_optimizer(settings)
    state, position, record = init_or_restore(settings, workdir, source, model, tx, manager)
    first_example = position["examples"]
    task = build_task(settings, runs.as_statistics(record["bins"]))
    step_options = {
        "model": model,
        "task": with_perception(settings, task, classifier),
        "tx": tx,
        "augmentation": augmentation_of(settings),
        "average_decay": settings.ema,
    }
    batches, step = open_stream(settings, source, first_example, step_options)
    options = evaluate.eval_options(settings)
    run = Run(
        settings=settings,
        workdir=workdir,
        manager=manager,
        start=int(state.step),
        first_example=first_example,
        meter_snapshot=position.get("meter", {}),
        batches=clock.with_rates(batches),
        train_step=step,
        measure=evaluate.compile_metrics(options, model, task, source.holdout, settings.decoding),
        draw=evaluate.compile_figure(settings, model, task, source),
        clock=clock,
        baseline=record["constant"],
    )
    return run, devices.place(state)


def open_stream(
    settings: Settings, source: Source, first_example: int, step_options: dict[str, Any]
) -> tuple[Iterator[steps.HostBatch], Callable]:
    """Opens the training batches from `first_example` on, and compiles the step for them.

    `step_options` are the keyword arguments of `steps.train_step`. With `data.resident`, all
    photographs are stored on the devices, and batches contain only their indices.
    """
    data = settings.data
    weights = loader.folder_weights(source.train, dict(data.weights))
    batch_size, seed = settings.batch_size, settings.seed
    if data.resident:
        if jax.process_count() > 1:
            raise UserError("data.resident is True with several processes, want one")
        photos = devices.place(loader.decode_all(source.train, data.load_size, data.fit))
        step = parallel.compile_step(
            partial(steps.resident_step, **step_options), donate=True, constant=photos
        )
        indices = loader.train_indices(
            len(source.train),
            batch_size=batch_size,
            seed=seed,
            weights=weights,
            start=first_example,
        )
        return indices, step
    batches = loader.train_batches(
        source.train,
        size=data.load_size,
        fit=data.fit,
        batch_size=batch_size,
        seed=seed,
        weights=weights,
        start=first_example,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=data.num_threads,
    )
    return batches, parallel.compile_step(partial(steps.train_step, **step_options), donate=True)


def init_or_restore(
    settings: Settings,
    workdir: Path,
    source: Source,
    model: ColorizationNet,
    tx: Any,
    manager: checkpoint.Manager,
) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
    """Returns the initial or restored state, its position in the data, and the run's record."""
    if checkpoint.newest_step(manager) is None:
        state, record = init_run(settings, source, model, tx)
        position = {"examples": 0}
    else:
        before = runs.read_settings(workdir)
        resume.check_same_targets(workdir, before, settings)
        resume.check_same_optimizer(workdir, before, settings)
        like = state_shapes(settings, model, tx)
        restored, record = checkpoint.restore(manager, like), runs.read_record(workdir)
        warn_of_changes(settings, complete(restored.config), source.notes, record["data"])
        state, position = restored.state, restored.position
        record = measure_again(settings, source, record)
        say(f"resuming from step {restored.step} in {workdir}")
    session = {"step": int(state.step), **describe_environment()}
    record["sessions"] = [*record.get("sessions", []), session]
    if is_writer():
        runs.write_settings(workdir, settings)
        runs.write_json(workdir / "record.json", record)
    # Other hosts may have loaded different pretrained weights, or none.
    return parallel.from_writer(state), position, record


def init_run(
    settings: Settings, source: Source, model: ColorizationNet, tx: Any
) -> tuple[TrainState, dict[str, Any]]:
    """Returns the initial state and the record of a run that has no checkpoint."""
    task, options = build_task(settings, None), evaluate.eval_options(settings)
    calibration = evaluate.load_rgb(options, opening.spread(source.train, CALIBRATION_IMAGES))
    state = init_state(settings, model, tx)
    if settings.init_from:
        state, encoder = start_from(settings.init_from, state)
    else:
        state, encoder = load_encoder(settings.model, state, task.prepare(calibration).gray)
    sample = opening.spread(source.train, settings.data.statistics_images)
    statistics = evaluate.measure_bins(options, task, sample)
    record = {
        **measure_data(options, task, source, statistics.counts),
        "encoder": encoder,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "bins": runs.statistics_as_json(statistics),
    }
    say(summary(record))
    return state, record


def measure_again(settings: Settings, source: Source, record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record of a resumed run, measured again if it is of other data or sizes.

    Records of older versions, which do not have the sizes, are measured again too.
    """
    options = evaluate.eval_options(settings)
    described = describe_data(options, source)
    if all(record.get(name) == value for name, value in described.items()):
        return record
    before = record.get("measured_on", {}).get("holdout", source.fingerprint)
    if is_writer() and before != source.fingerprint and record["data"] == source.notes:
        logging.warning("other photographs are held out than before, as many as before")
    counts = runs.as_statistics(record["bins"]).counts
    return record | measure_data(options, build_task(settings, None), source, counts)


def describe_data(options: evaluate.EvalOptions, source: Source) -> dict[str, Any]:
    """Returns a record's entries on which its entry `constant` depends."""
    return {
        "source": source.name,
        "data": source.notes,
        "measured_on": {
            "holdout": source.fingerprint,
            "load_size": options.load_size,
            "crop_size": options.crop_size,
            "fit": options.fit,
        },
    }


def measure_data(
    options: evaluate.EvalOptions, task: Task, source: Source, counts: np.ndarray
) -> dict[str, Any]:
    """Returns a record's entries on the data; `counts` [G, Q] are the training set's bin counts."""
    return {
        **describe_data(options, source),
        "constant": evaluate.measure_baseline(options, task, source.holdout, counts),
    }


def describe_environment() -> dict[str, Any]:
    """Returns the time, devices and software versions for a run's record."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.version.__version__,
            "flax": flax.__version__,
        },
    }


def warn_of_changes(
    settings: Settings, old_settings: Settings, notes: dict[str, int], old_notes: dict[str, int]
) -> None:
    """Logs a warning for each difference from the settings and data of the checkpoint."""
    if not is_writer():
        return
    old, new = (runs.flatten(as_dict(each)) for each in (old_settings, settings))
    changes = [name for name in sorted(new) if old[name] != new[name]]
    for name in changes:
        logging.warning("%s was %r in this run, is %r now", name, old[name], new[name])
    if any(name.startswith(_LOSS_SETTINGS) for name in changes):
        logging.warning(
            "the loss of the hold-out is computed differently now, so the best checkpoint, which "
            "has the lowest loss, may be one from before: another workdir, with init_from, keeps "
            "them apart"
        )
    if notes != old_notes:
        logging.warning("the photographs have changed: %s then, %s now", old_notes, notes)


def summary(record: dict[str, Any]) -> str:
    data = ", ".join(f"{name} {count}" for name, count in record["data"].items())
    return (
        f"{record['source']}: {data}; {record['bins']['clipped']:.1%} of pixels outside the bins\n"
        f"{record['parameters']:,} parameters, encoder {record['encoder'].split(' (')[0]}, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )
