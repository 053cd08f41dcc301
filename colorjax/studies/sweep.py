"""Trains every combination of a grid of settings, each in its own folder, and compares them."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from colorjax.errors import ResumableError, UserError, check_choice, first_line, quoted
from colorjax.pictures import image_io
from colorjax.settings import Settings, as_dict, complete, override
from colorjax.studies.tables import table
from colorjax.training import figures
from colorjax.training.console import say
from colorjax.training.resume import InUse
from colorjax.training.train import train
from colorjax.weights.runs import flatten, read_json, read_settings, write_json, write_text

Changes = dict[str, Any]  # of settings: dotted name -> value
TRAIN_MODE: Changes = {"mode": "train"}  # so that a run's own folder is resumed as a training run
# Metrics by which a sweep can choose its best run.
LOWER_IS_BETTER = ("loss", "l_reg", "sat_diff", "delta_colorfulness", "delta_colorfulness_absolute")
# Settings that do not change the results of a run, at most how fast it is and what it logs.
NO_RESULT = (
    "mode",
    "sweep",
    "sweep_by",
    "sweep_index",
    "experiments",
    "decodings",
    "decoded",
    "pictured",
    "log_every",
    "checkpoint_every",
    "steps_before",
    "figure_images",
    "data.cache_dir",
    "data.tfds_dir",
    "data.num_threads",
    "data.resident",
)


def sweep(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """Runs the grid `sweep`, ((name, values), ...), or only its run number `sweep_index`.

    A finished or failed run is not repeated (delete its folder to repeat it); a stopped run is
    resumed. Writes `sweep.json`, `sweep.md` and `sweep.png` and returns the table's rows: `run`,
    the changed settings, `status` and the metrics on the hold-out set. Raises UserError for an
    invalid grid or if the workdir has results of other settings, and ResumableError for a fault
    that would stop the other runs too.
    """
    if jax.process_count() > 1:
        raise UserError("a sweep runs in one process: start one for each sweep_index instead")
    settings = complete(config)
    runs, index = grid(settings), settings.sweep_index
    check_choice("sweep_by", settings.sweep_by, LOWER_IS_BETTER)
    if not -1 <= index < len(runs):
        raise UserError(f"sweep_index is {index}, want 0 to {len(runs) - 1}, or -1 for all")
    for changes in runs:
        check_same_run(settings, changes, workdir / run_name(changes))
    for number, changes in enumerate(runs):
        result = workdir / run_name(changes) / "result.json"
        if index in (-1, number) and not result.exists():
            say(f"run {number + 1} of {len(runs)}: {run_name(changes)}")
            row = run_one(settings, changes, result.parent)
            if row is None:
                break
            write_json(result, row)
    return report(workdir, runs, settings.sweep_by)


def grid(settings: Settings) -> list[Changes]:
    """Returns every combination of the values in `sweep`; the last name varies fastest.

    Raises UserError for an invalid grid, and if two combinations would share a folder.
    """
    known = flatten(as_dict(settings))
    if not settings.sweep:
        raise UserError('sweep is empty, want pairs such as (("batch_size", (4, 6)),)')
    check_pairs("sweep", settings.sweep, 'its values, such as (("batch_size", (4, 8)),)')
    for name, values in settings.sweep:
        if name not in known:
            raise UserError(f"sweep names {name!r}, which is not a setting")
        if not values:
            raise UserError(f"sweep has no values for {name!r}")
    names, values = zip(*settings.sweep, strict=True)
    if len(set(names)) < len(names):
        raise UserError(f"sweep has a setting twice in {', '.join(names)}, want each once")
    runs = [dict(zip(names, choice, strict=True)) for choice in itertools.product(*values)]
    check_folders(runs)
    return runs


def check_folders(runs: Sequence[Changes]) -> None:
    """Raises UserError if two runs have the same folder, since both would have the first's row."""
    folders: dict[str, Changes] = {}
    for changes in runs:
        name = run_name(changes)
        if name in folders:
            raise UserError(
                f"sweep has {quoted(folders[name])} and {quoted(changes)}, whose folders would "
                f"both be {name!r}: want values that differ in more than / \\ : ( ) and spaces"
            )
        folders[name] = changes


def check_pairs(field: str, pairs: Sequence[Any], want: str, kind: type = tuple) -> None:
    """Raises UserError unless the setting `field` has only pairs of a name and a `kind`."""
    for pair in pairs:
        good = isinstance(pair, tuple) and len(pair) == 2
        if not good or not isinstance(pair[0], str) or not isinstance(pair[1], kind):
            raise UserError(f"{field} has {quoted(pair)}, want pairs of a name and {want}")


def run_name(changes: Changes) -> str:
    """Returns the name of a run's folder: its changes, shortened and safe for a file name."""
    parts = [f"{name.rpartition('.')[2]}={value}" for name, value in changes.items()]
    return ",".join(parts).translate(str.maketrans("/\\: ()", "______"))


def check_same_run(settings: Settings, changes: Changes, folder: Path) -> None:
    """Raises UserError if a folder has the result of a run with other settings.

    Those in NO_RESULT may differ. A run that failed before its settings were stored is not checked;
    its row has no metrics.
    """
    if not (folder / "result.json").exists() or not (folder / "config.json").exists():
        return
    wanted = override(settings, TRAIN_MODE | changes)
    before, now = (flatten(as_dict(each)) for each in (read_settings(folder), wanted))
    for name, value in now.items():
        if name not in NO_RESULT and before[name] != value:
            raise UserError(
                f"{folder} has the result of a run with {name} {quoted(before[name])}, and the "
                f"config asks for {quoted(value)}: want another workdir, or that folder deleted"
            )


def run_one(settings: Settings, changes: Changes, workdir: Path) -> dict[str, Any] | None:
    """Trains one run and returns its row, or None if a signal stopped it.

    A failed run gets a row whose status gives the reason. Raises ResumableError and InUse for
    faults that are not the run's own; it gets no row then.
    """
    try:
        metrics = train(override(settings, TRAIN_MODE | changes), workdir)
    except (InUse, ResumableError):  # the run can still be finished, and gets its row then
        raise
    except (UserError, jax.errors.JaxRuntimeError) as error:
        # A setting of the wrong type, a diverged loss, too little memory: other runs may succeed.
        reason = first_line(error)
        say(f"failed: {reason}")
        return {"run": workdir.name, **changes, "status": f"failed: {reason}"}
    if not metrics:
        return None
    return {"run": workdir.name, **changes, "status": "finished", **metrics}


def report(workdir: Path, runs: list[Changes], by: str) -> list[dict[str, Any]]:
    """Writes the table of all runs so far as JSON, Markdown and a plot, and prints it.

    The best run is the one with the lowest metric `by`; runs where that is not finite have no rank.
    """
    rows = []
    for changes in runs:
        path = workdir / run_name(changes) / "result.json"
        unfinished = {"run": run_name(changes), **changes, "status": "unfinished"}
        rows.append(read_json(path) if path.exists() else unfinished)
    finished = [row for row in rows if row["status"] == "finished"]
    text = markdown(rows)
    if finished:
        ranked = [row for row in finished if math.isfinite(row.get(by, math.nan))]
        if ranked:
            best = min(ranked, key=lambda row: row[by])
            text += f"\nBest {by}: `{best['run']}`, {best[by]:.4g}\n"
        x, *others = runs[0]
        image_io.write(workdir / "sweep.png", figures.plot_sweep(finished, x, others))
    write_json(workdir / "sweep.json", rows)
    write_text(workdir / "sweep.md", text)
    say(text)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Returns a Markdown table with a column for every key; numbers have four digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "run"))

    def cell(value):
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return table(columns, [[cell(row.get(name, "")) for name in columns] for row in rows])
