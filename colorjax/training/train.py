"""Trains a network: (config, workdir) -> metrics. Run again on the same workdir, it goes on."""

import contextlib
import datetime
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jaxlib
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from colorjax.data import loader, opening
from colorjax.data.sources import Source
from colorjax.errors import UserError
from colorjax.models.build import build_model, build_task
from colorjax.models.colorizer import Colorizer
from colorjax.pictures import image_io
from colorjax.training import evaluate, figures, logs, parallel, setup, steps
from colorjax.training.parallel import is_writer
from colorjax.training.setup import (
    build_optimizer,
    check_config,
    init_state,
    load_encoder,
    state_shapes,
)
from colorjax.training.steps import TrainState
from colorjax.weights import checkpoint, devices, runs
from colorjax.weights.runs import flatten

CALIBRATION_IMAGES = 16


class Run(NamedTuple):
    """What the loop needs besides the state that it changes."""

    config: ConfigDict
    workdir: Path
    manager: checkpoint.Manager
    start: int  # steps done before
    first_example: int  # images consumed before
    batches: Iterator[steps.Batch]
    train_step: Callable[[TrainState, steps.Batch], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[Any], dict[str, float]]  # variables -> metrics of the hold-out
    draw: Callable[[Any], np.ndarray]  # variables -> figure
    clock: "Clock"
    baseline: dict[str, float]  # the constant predictor's metrics on the hold-out


def train(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Trains from scratch, or from the newest checkpoint in `workdir`, up to `config.num_steps`.

    Leaves config, record, metrics, figures and checkpoints in `workdir` and returns the hold-out's
    metrics at the last step; those of the best checkpoint where there is nothing left to train.
    Stopped by SIGINT or SIGTERM, it saves and returns an empty dict. Raises UserError for settings,
    data or a workdir that do not fit, and for a disk that cannot be written.
    """
    check_config(config)
    clock = Clock(config.get("num_seconds", 0.0), config.optimizer.schedule)
    try:
        with checkpoint.closing(
            checkpoint.open_manager(workdir, best_metric=runs.BEST_METRIC)
        ) as manager:
            done = checkpoint.newest_step(manager)
            if done is None or done < config.num_steps:
                return go_on(config, workdir, manager, clock)
        say(f"{workdir} has its {done} steps already: a larger num_steps goes on")
        return evaluate.evaluate(config, workdir)
    except OSError as error:
        raise UserError(f"{error.filename or workdir}: {error.strerror or error}") from error


def go_on(
    config: ConfigDict, workdir: Path, manager: checkpoint.Manager, clock: "Clock"
) -> dict[str, float]:
    """Trains from the newest checkpoint, or from the start where there is none."""
    run, state = open_run(config, workdir, manager, clock)
    with (
        logs.open_logs(workdir, run.start, is_writer()) as log,
        progress(config.num_steps, run.start) as bar,
        stop_signals() as stop_requested,
    ):
        metrics, step = loop(run, state, log, bar, stop_requested)
    finish(run, metrics, step)
    return metrics


def loop(
    run: Run, state: TrainState, log: logs.Logs, bar: tqdm, stop_requested: Callable[[int], bool]
) -> tuple[dict[str, float], int]:
    """The steps themselves; returns the hold-out's metrics, if all are done, and the last step."""
    config, meter = run.config, Meter(run.config.batch_size)
    for step in range(run.start + 1, config.num_steps + 1):
        state, scalars = run.train_step(state, next(run.batches))
        meter.add(scalars)
        bar.update()
        diverged = meter.skipped_in_row >= config.max_skipped
        final = step == config.num_steps or run.clock.is_over()
        stop = (stop_requested(step) or diverged) and not final
        evaluates = final or (step % config.eval_every == 0 and not stop)
        if evaluates or stop or step % config.log_every == 0:
            averages = meter.average()
            logs.write_scalars(log, step, "train", averages)
            shown = [name for name in ("loss", "images/s") if name in averages]
            bar.set_postfix({name: f"{averages[name]:.3g}" for name in shown})
        metrics = measure_and_draw(run, log, step, steps.variables(state)) if evaluates else {}
        if evaluates or stop or step % config.checkpoint_every == 0:
            save(run, step, state, metrics)
            meter.restart()
        if diverged:
            raise UserError(
                f"the loss was not finite for {config.max_skipped} steps in a row: step {step} has "
                f"the last good parameters, saved in {run.workdir}; want a lower learning rate "
                f"({config.optimizer.learning_rate}), or optimizer.clip_norm"
            )
        if stop or final:
            break
    return metrics, step


def open_run(
    config: ConfigDict, workdir: Path, manager: checkpoint.Manager, clock: "Clock"
) -> tuple[Run, TrainState]:
    """Opens data and compiled functions, and the state to go on from."""
    source = opening.open_source(config)
    parallel.check_same("settings or photographs", json.dumps([config.to_dict(), source.notes]))
    model, tx = build_model(config), build_optimizer(config)
    state, first_example, record = begin(config, workdir, source, model, tx, manager)
    task = build_task(config, record["bins"])
    settings = {
        "model": model, "task": task, "tx": tx, "crop_size": config.data.crop_size,
        "scale_jitter": config.data.get("scale_jitter", 0.0), "frames": config.get("frames", 0.0),
        "ageing": config.get("ageing", 0.0), "average_decay": config.get("ema", 0.0),
    }  # fmt: skip
    batches, step = open_stream(config, source, first_example, settings)
    run = Run(
        config, workdir, manager, int(state.step), first_example, clock.paced(batches), step,
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
        "batch_size": config.batch_size, "seed": config.seed, "weights": weights, "start": start,
    }  # fmt: skip
    if data.get("resident"):
        if jax.process_count() > 1:
            raise UserError("data.resident is True with several processes, want one")
        squares = devices.place(loader.stacked(source.train, data.load_size))
        step = parallel.compile_step(
            partial(steps.resident_step, **settings), donate=True, constant=squares
        )
        return loader.train_indices(len(source.train), **order), step
    batches = loader.train_batches(
        source.train, size=data.load_size, process_index=jax.process_index(),
        process_count=jax.process_count(), num_threads=data.num_threads, **order,
    )  # fmt: skip
    return batches, parallel.compile_step(partial(steps.train_step, **settings), donate=True)


def begin(
    config: ConfigDict, workdir: Path, source: Source, model: Colorizer, tx: Any,
    manager: checkpoint.Manager,
) -> tuple[TrainState, int, dict[str, Any]]:
    """The state to start or go on from, the images consumed before it, and the run's record."""
    if checkpoint.newest_step(manager) is None:
        state, first_example, record = begin_afresh(config, source, model, tx)
    else:
        like = state_shapes(config, model, tx)
        restored, record = checkpoint.restore(manager, like), runs.read_record(workdir)
        warn_of_changes(config, restored.config, source.notes, record["data"])
        state, first_example = restored.state, restored.position["examples"]
        say(f"goes on from step {restored.step} in {workdir}")
    record["sessions"] = [*record.get("sessions", []), {"step": int(state.step), **surroundings()}]
    if is_writer():
        runs.write_json(workdir / "config.json", config.to_dict())
        runs.write_json(workdir / "record.json", record)
    # Hosts may have found other pretrained weights, or none.
    return parallel.from_writer(state), first_example, record


def begin_afresh(
    config: ConfigDict, source: Source, model: Colorizer, tx: Any
) -> tuple[TrainState, int, dict[str, Any]]:
    """As `begin`, for a run without a checkpoint."""
    task = build_task(config, None)
    calibration = evaluate.load_rgb(config, opening.spread(source.train, CALIBRATION_IMAGES))
    state = init_state(config, model, tx)
    if config.get("init_from"):
        state, encoder = setup.start_from(config.init_from, state)
    else:
        state, encoder = load_encoder(config, state, task.prepare(calibration).gray)
    some = opening.spread(source.train, config.data.statistics_images)
    statistics = evaluate.measure_bins(config, task, some)
    record = {
        "source": source.name,
        "data": source.notes,
        "encoder": encoder,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "bins": statistics,
        "constant": evaluate.measure_baseline(config, task, source.holdout, statistics["counts"]),
    }
    say(summary(record))
    return state, 0, record


def surroundings() -> dict[str, Any]:
    """When, on what and with which versions a run starts or goes on."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__,
                     "jaxlib": jaxlib.__version__, "flax": flax.__version__},
    }


def warn_of_changes(
    config: ConfigDict, old_config: dict[str, Any], notes: dict[str, int], old_notes: dict[str, int]
) -> None:
    """One line for each thing that is not what it was when the run was saved."""
    if not is_writer():
        return
    old, new = flatten(old_config), flatten(runs.as_json(config.to_dict()))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            logging.warning("%s was %r in this run, is %r now", name, old.get(name), new.get(name))
    if notes != old_notes:
        logging.warning("the photographs have changed: %s then, %s now", old_notes, notes)


def measure_and_draw(run: Run, log: logs.Logs, step: int, variables: Any) -> dict[str, float]:
    """Measures the hold-out, on all processes together, and draws the figure on one."""
    metrics = run.measure(variables)
    logs.write_scalars(log, step, "holdout", metrics)
    if is_writer():
        (run.workdir / "figures").mkdir(exist_ok=True)
        picture = run.draw(variables)
        image_io.write(run.workdir / "figures" / f"step_{step:06d}.png", picture)
        logs.write_image(log, step, "gray_prediction_truth", picture)
        curves = figures.plot_curves(runs.read_metrics(run.workdir), run.baseline)
        image_io.write(run.workdir / "figures" / "curves.png", curves)
    return metrics


def save(run: Run, step: int, state: TrainState, metrics: dict[str, float]) -> None:
    examples = run.first_example + (step - run.start) * run.config.batch_size
    checkpoint.save(
        run.manager, step, state, config=runs.as_json(run.config.to_dict()),
        position={"examples": examples}, metrics=metrics,
    )


def finish(run: Run, metrics: dict[str, float], step: int) -> None:
    if not metrics:
        say(f"stopped at step {step} of {run.config.num_steps}, saved: the same command goes on")
        return
    say(evaluate.comparison(metrics, run.baseline))
    say(f"see {run.workdir / 'figures'}: step_{step:06d}.png and curves.png")


def summary(record: dict[str, Any]) -> str:
    data = ", ".join(f"{name} {count}" for name, count in record["data"].items())
    return (
        f"{record['source']}: {data}; {record['bins']['clipped']:.1%} of pixels outside the bins\n"
        f"{record['parameters']:,} parameters, encoder {record['encoder'].split(' (')[0]}, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )


class Clock:
    """Ends a run when its time is up, the learning rate falling to zero by then.

    For a machine that is had for so many seconds: they count from the making of the clock, so that
    reading and compiling are in them. Such a run cannot be repeated to the bit.
    """

    def __init__(self, num_seconds: float, schedule: str):
        self.end = time.perf_counter() + num_seconds if num_seconds else None
        self.schedule = schedule

    def is_over(self) -> bool:
        return self.end is not None and time.perf_counter() >= self.end

    def paced(self, batches: Iterator[steps.Batch]) -> Iterator[steps.Batch]:
        """The batches with the share of the learning rate that they are for, if there is an end."""
        if self.end is None:
            yield from batches
            return
        start = None  # of the second step: the first one compiles
        for i, batch in enumerate(batches):
            now = time.perf_counter()
            start = now if i == 1 else start
            passed = 0.0 if start is None else min((now - start) / (self.end - start), 1.0)
            rate = (1 + np.cos(np.pi * passed)) / 2 if self.schedule == "cosine" else 1.0
            yield {**batch, "rate": np.full(len(batch["example"]), rate, np.float32)}


class Meter:
    """Averages the scalars of the steps since it was last read, and counts images a second."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.rows: list[dict[str, float]] = []
        self.in_flight: dict[str, jax.Array] | None = None
        self.since: float | None = None
        self.timed = 0
        self.skipped_in_row = 0

    def add(self, scalars: dict[str, jax.Array]) -> None:
        """Takes a step's scalars and waits for those of the step before.

        One step in flight keeps the device busy; with more, progress and stopping would lag.
        """
        self._settle()
        self.in_flight = scalars
        if self.since is None:  # the first step compiles, which says nothing of the speed
            self._settle()
            self.restart()
        else:
            self.timed += 1

    def average(self) -> dict[str, float]:
        """Means over the steps that were not skipped, `skipped` their share, `images/s`."""
        self._settle()
        skipped = float(np.mean([row["skipped"] for row in self.rows]))
        kept = [row for row in self.rows if not row["skipped"]] or self.rows
        averages = {name: float(np.mean([row[name] for row in kept])) for name in kept[0]}
        averages["skipped"] = skipped
        if self.timed:
            averages["images/s"] = self.timed * self.batch_size / (time.perf_counter() - self.since)
        self.rows = []
        self.restart()
        return averages

    def restart(self) -> None:
        """Times from now on: what came between two steps was something else."""
        self.since, self.timed = time.perf_counter(), 0

    def _settle(self) -> None:
        if self.in_flight is not None:
            row = jax.device_get(self.in_flight)
            self.rows.append(row)
            self.skipped_in_row = self.skipped_in_row + 1 if row["skipped"] else 0
            self.in_flight = None


def progress(num_steps: int, start: int) -> tqdm:
    return tqdm(
        total=num_steps, initial=start, unit="step", dynamic_ncols=True, disable=not is_writer()
    )


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
    """Turns the first SIGINT or SIGTERM into a request that is asked for once a step.

    A second one does what it always does. Several processes agree on a step to stop at, through
    the service that `jax.distributed` starts; only SIGTERM reaches it.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    received = []

    def request(number, frame):
        received.append(number)
        signal.signal(number, previous[number])
        say("stopping after this step; once more to stop at once")

    previous = {n: signal.signal(n, request) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda step: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """A line for the user that leaves the progress bar whole."""
    if is_writer():
        tqdm.write(text)
