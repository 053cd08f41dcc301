"""What a run begins or goes on with: its data, its state, its record and its compiled functions."""

import datetime
import json
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jaxlib
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from colorjax.data import loader, opening
from colorjax.data.sources import Source
from colorjax.errors import UserError
from colorjax.models.build import build_model, build_task
from colorjax.models.colorizer import Colorizer
from colorjax.models.task import Task
from colorjax.training import evaluate, going_on, parallel, steps
from colorjax.training.console import say
from colorjax.training.meter import Clock
from colorjax.training.parallel import is_writer
from colorjax.training.setup import (
    build_optimizer,
    init_state,
    load_encoder,
    start_from,
    state_shapes,
)
from colorjax.training.steps import TrainState
from colorjax.weights import checkpoint, devices, runs

CALIBRATION_IMAGES = 16


class Run(NamedTuple):
    """What the loop needs besides the state that it changes."""

    config: ConfigDict
    workdir: Path
    manager: checkpoint.Manager
    start: int  # steps done before
    first_example: int  # images consumed before
    metered: dict[str, Any]  # `Meter.keep` of the steps before
    batches: Iterator[steps.Batch]
    train_step: Callable[[TrainState, steps.Batch], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[Any], dict[str, float]]  # variables -> metrics of the hold-out
    draw: Callable[[Any], np.ndarray]  # variables -> figure
    clock: Clock
    baseline: dict[str, float]  # the constant predictor's metrics on the hold-out


def open_run(
    config: ConfigDict, workdir: Path, manager: checkpoint.Manager, clock: Clock
) -> tuple[Run, TrainState]:
    """Opens data and compiled functions, and the state to go on from."""
    source = opening.open_source(config)
    parallel.check_same("settings or photographs", json.dumps([config.to_dict(), source.notes]))
    model, tx = build_model(config), build_optimizer(config)
    state, position, record = begin(config, workdir, source, model, tx, manager)
    first_example = position["examples"]
    task = build_task(config, record["bins"])
    settings = {
        "model": model,
        "task": task,
        "tx": tx,
        "crop_size": config.data.crop_size,
        "scale_jitter": config.data.get("scale_jitter", 0.0),
        "frames": config.get("frames", 0.0),
        "ageing": config.get("ageing", 0.0),
        "average_decay": config.get("ema", 0.0),
    }
    batches, step = open_stream(config, source, first_example, settings)
    run = Run(
        config,
        workdir,
        manager,
        int(state.step),
        first_example,
        position.get("meter", {}),
        clock.paced(batches),
        step,
        measure=evaluate.evaluator(config, model, task, source.holdout),
        draw=evaluate.drawer(config, model, task, source),
        clock=clock,
        baseline=record["constant"],
    )
    return run, devices.place(state)


def open_stream(
    config: ConfigDict, source: Source, start: int, settings: dict[str, Any]
) -> tuple[Iterator[steps.Batch], Callable]:
    """The batches from example `start` on, and the compiled step that they are for.

    `settings` are those of `steps.train_step`. With `data.resident` the devices hold all
    photographs, and batches only say which: nothing else has to reach them.
    """
    data = config.data
    weights = loader.folder_weights(source.train, dict(data.get("weights", ())))
    order = {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "weights": weights,
        "start": start,
    }
    if data.get("resident"):
        if jax.process_count() > 1:
            raise UserError("data.resident is True with several processes, want one")
        squares = devices.place(loader.stacked(source.train, data.load_size))
        step = parallel.compile_step(
            partial(steps.resident_step, **settings), donate=True, constant=squares
        )
        return loader.train_indices(len(source.train), **order), step
    batches = loader.train_batches(
        source.train,
        size=data.load_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=data.num_threads,
        **order,
    )
    return batches, parallel.compile_step(partial(steps.train_step, **settings), donate=True)


def begin(
    config: ConfigDict,
    workdir: Path,
    source: Source,
    model: Colorizer,
    tx: Any,
    manager: checkpoint.Manager,
) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
    """The state to start or go on from, its position in the data, and the run's record."""
    if checkpoint.newest_step(manager) is None:
        state, record = begin_afresh(config, source, model, tx)
        position = {"examples": 0}
    else:
        going_on.check_same_targets(workdir, runs.read_config(workdir), config.to_dict())
        like = state_shapes(config, model, tx)
        restored, record = checkpoint.restore(manager, like), runs.read_record(workdir)
        warn_of_changes(config, restored.config, source.notes, record["data"])
        state, position = restored.state, restored.position
        if record["data"] != source.notes:
            task = build_task(config, record["bins"])
            record |= measure_data(config, task, source, record["bins"]["counts"])
        say(f"goes on from step {restored.step} in {workdir}")
    record["sessions"] = [*record.get("sessions", []), {"step": int(state.step), **surroundings()}]
    if is_writer():
        runs.write_json(workdir / "config.json", config.to_dict())
        runs.write_json(workdir / "record.json", record)
    # Hosts may have found other pretrained weights, or none.
    return parallel.from_writer(state), position, record


def begin_afresh(
    config: ConfigDict, source: Source, model: Colorizer, tx: Any
) -> tuple[TrainState, dict[str, Any]]:
    """The state and the record of a run without a checkpoint."""
    task = build_task(config, None)
    calibration = evaluate.load_rgb(config, opening.spread(source.train, CALIBRATION_IMAGES))
    state = init_state(config, model, tx)
    if config.get("init_from"):
        state, encoder = start_from(config.init_from, state)
    else:
        state, encoder = load_encoder(config, state, task.prepare(calibration).gray)
    some = opening.spread(source.train, config.data.statistics_images)
    statistics = evaluate.measure_bins(config, task, some)
    record = {
        **measure_data(config, task, source, statistics["counts"]),
        "encoder": encoder,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "bins": statistics,
    }
    say(summary(record))
    return state, record


def measure_data(config: ConfigDict, task: Task, source: Source, counts: Any) -> dict[str, Any]:
    """What a record says of the photographs; `counts` [G][Q] are the training set's bins."""
    return {
        "source": source.name,
        "data": source.notes,
        "constant": evaluate.measure_baseline(config, task, source.holdout, counts),
    }


def surroundings() -> dict[str, Any]:
    """When, on what and with which versions a run starts or goes on."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "flax": flax.__version__,
        },
    }


def warn_of_changes(
    config: ConfigDict, old_config: dict[str, Any], notes: dict[str, int], old_notes: dict[str, int]
) -> None:
    """One line for each thing that is not what it was when the run was saved."""
    if not is_writer():
        return
    old, new = runs.flatten(old_config), runs.flatten(runs.as_json(config.to_dict()))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            logging.warning("%s was %r in this run, is %r now", name, old.get(name), new.get(name))
    if notes != old_notes:
        logging.warning("the photographs have changed: %s then, %s now", old_notes, notes)


def summary(record: dict[str, Any]) -> str:
    data = ", ".join(f"{name} {count}" for name, count in record["data"].items())
    return (
        f"{record['source']}: {data}; {record['bins']['clipped']:.1%} of pixels outside the bins\n"
        f"{record['parameters']:,} parameters, encoder {record['encoder'].split(' (')[0]}, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )
