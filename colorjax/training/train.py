"""Trains a network: (config, workdir) -> metrics. A second call on the workdir resumes the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from colorjax.errors import ResumableError, UserError, describe_disk_fault, disk_faults
from colorjax.pictures import image_io
from colorjax.settings import Settings, as_dict, complete
from colorjax.training import evaluate, figures, logs, resume, steps
from colorjax.training.console import progress, say, stop_signals
from colorjax.training.meter import Clock, Meter
from colorjax.training.parallel import is_writer
from colorjax.training.setup import check_training
from colorjax.training.start import Run, open_run
from colorjax.training.steps import TrainState
from colorjax.weights import checkpoint, runs


class Diverged(UserError):
    """The loss is no longer finite; the same command would fail again."""


def train(config: Any, workdir: Path) -> dict[str, float]:
    """Trains from scratch, or from the newest checkpoint in `workdir`, up to `num_steps`.

    Writes config, record, metrics, figures and checkpoints to `workdir`. Returns the hold-out
    metrics at the last step or, if the run was already complete, those of the best checkpoint. On a
    stop request (`colorjax.stopping`), saves a checkpoint and returns an empty dict.

    Raises:
      UserError: settings, data or workdir are invalid, or another run uses the workdir.
      ResumableError: the disk cannot be written, or another external fault ended training.
    """
    settings = complete(config)
    check_training(settings)
    clock = Clock(settings.num_seconds, settings.optimizer.schedule)
    with disk_faults(workdir):
        with (
            resume.locked(workdir),
            checkpoint.closing(
                checkpoint.open_manager(workdir, best_metric=runs.BEST_METRIC)
            ) as manager,
        ):
            done = checkpoint.newest_step(manager)
            resume.check_steps_before(workdir, done, settings.steps_before)
            if done is None or done < settings.num_steps:
                return start_or_resume(settings, workdir, manager, clock)
        say(f"{workdir} has its {done} steps already: a larger num_steps continues it")
        return evaluate.evaluate(settings, workdir, on_holdout=True)


def start_or_resume(
    settings: Settings, workdir: Path, manager: checkpoint.Manager, clock: Clock
) -> dict[str, float]:
    """Trains from the newest checkpoint, or from the start if there is none."""
    run, state = open_run(settings, workdir, manager, clock)
    with (
        logs.open_logs(workdir, run.start, is_writer()) as log,
        progress(settings.num_steps, run.start) as bar,
        stop_signals() as stop_requested,
    ):
        metrics, step = loop(run, state, log, bar, stop_requested)
    finish(run, metrics, step)
    return metrics


def loop(
    run: Run, state: TrainState, log: logs.Logs, bar: tqdm, stop_requested: Callable[[int], bool]
) -> tuple[dict[str, float], int]:
    """Runs the training steps; returns the hold-out metrics, if complete, and the last step."""
    settings, meter = run.settings, Meter(run.settings.batch_size, run.meter_snapshot)
    step, metrics, stop, final = run.start, {}, False, run.start >= settings.num_steps
    try:
        while not stop and not final:
            state, scalars = run.train_step(state, next(run.batches))
            step += 1
            meter.add(scalars)
            if step == run.start + 1:
                bar.set_postfix_str("")  # removes the note that the step is being compiled
            bar.update()
            diverged = meter.skipped_in_row >= settings.max_skipped
            final = step == settings.num_steps or run.clock.is_over()
            stop = (stop_requested(step) or diverged) and not final
            evaluates = final or (step % settings.eval_every == 0 and not stop)
            # After a stop, the checkpoint keeps the scalars since the last row for the next row.
            if evaluates or diverged or step % settings.log_every == 0:
                averages = meter.average()
                logs.write_scalars(log, step, "train", averages)
                shown = [name for name in ("loss", "images/s") if name in averages]
                bar.set_postfix({name: f"{averages[name]:.3g}" for name in shown})
            metrics = measure_and_draw(run, log, step, steps.variables(state)) if evaluates else {}
            if evaluates or stop or step % settings.checkpoint_every == 0:
                save(run, step, state, metrics, meter, log)
                meter.restart()
            if diverged:
                raise Diverged(diverged_sentence(run, step))
    except (OSError, UserError) as error:
        kind = Diverged if isinstance(error, Diverged) else ResumableError
        raise kind(save_after_fault(run, step, state, meter, error)) from error
    return metrics, step


def diverged_sentence(run: Run, step: int) -> str:
    return (
        f"the loss was not finite for {run.settings.max_skipped} steps in a row: step {step} has "
        f"the last good parameters, saved in {run.workdir}; want a lower learning rate "
        f"({run.settings.optimizer.learning_rate}), or in another workdir optimizer.clip_norm"
    )


def save_after_fault(run: Run, step: int, state: TrainState, meter: Meter, error: Exception) -> str:
    """Saves the steps done before `error` ended the loop, and returns a sentence on the error.

    With several processes nothing is saved, because saving would wait for the processes that had
    no error.
    """
    message = describe_disk_fault(run.workdir, error) if isinstance(error, OSError) else str(error)
    if jax.process_count() > 1:
        return message
    try:
        if step == run.start or checkpoint.newest_step(run.manager) == step:
            return message
        save(run, step, state, {}, meter, None)
        checkpoint.wait(run.manager)
    except UserError as unsaved:
        return message if str(unsaved) == message else f"{message}; {unsaved}"
    return f"{message}; step {step} is saved, and the same command resumes from it"


def measure_and_draw(run: Run, log: logs.Logs, step: int, variables: Any) -> dict[str, float]:
    """Measures the hold-out on all processes, and draws the figures on one of them."""
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


def save(
    run: Run,
    step: int,
    state: TrainState,
    metrics: dict[str, float],
    meter: Meter,
    log: logs.Logs | None,
) -> None:
    """Saves a checkpoint, after flushing the log if one is given."""
    if log is not None:
        logs.flush(log)
    examples = run.first_example + (step - run.start) * run.settings.batch_size
    checkpoint.save(
        run.manager,
        step,
        state,
        config=runs.as_json(as_dict(run.settings)),
        position={"examples": examples, "meter": meter.snapshot()},
        metrics=metrics,
    )


def finish(run: Run, metrics: dict[str, float], step: int) -> None:
    if not metrics:
        say(f"stopped at step {step} of {run.settings.num_steps}, saved; the same command resumes")
        return
    say(evaluate.comparison(metrics, run.baseline))
    say(f"see {run.workdir / 'figures'}: step_{step:06d}.png and curves.png")
