"""Trains the paper's models and their alternatives with one budget and reports on them.

The workdir gets `report.md`, `report.html`, `figures/`, and a folder for each experiment. Besides
the usual files of a run, that folder has `result.json` (how the training ended), and
`measured.json` and `pictures.npz` (results of its best checkpoint on the test set, or on the
hold-out set if `data.test` is 0). A second call only adds the files that are missing.
"""

import contextlib
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from colorjax.data import opening
from colorjax.errors import ResumableError, UserError
from colorjax.models.build import build_model, build_task, predict
from colorjax.models.task import Example, Task, enlarge, summarize
from colorjax.ops import color
from colorjax.settings import Decoding, Settings, as_dict, complete, override
from colorjax.studies import report, sweep
from colorjax.studies.gather import OWN, finished, gather, read_row
from colorjax.studies.sweep import Changes
from colorjax.training import evaluate, parallel, resume, steps
from colorjax.training.console import say
from colorjax.training.start import warn_of_changes
from colorjax.weights.runs import (
    as_json,
    flatten,
    load_variables,
    read_json,
    read_settings,
    read_statistics,
    write_json,
    write_settings,
)

SATURATION_BINS = 40
RESERVED = (OWN, "saturation")  # parts of the result of `measure_all` besides the decodings
STEP_COUNTS = ("num_steps", "log_every", "eval_every", "checkpoint_every")


def reproduce(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """Runs the `experiments`, ((name, ((setting, value), ...)), ...), and writes the report.

    A finished or failed run is not repeated (delete its folder to repeat it). A signal stops the
    current run and with it the reproduction; the next call resumes that run. Returns a row per
    experiment: `run`, `settings`, `outcome`, `minutes`, `parameters`, and the `metrics` of its best
    checkpoint, empty unless the run has finished. Raises UserError if experiments or decodings are
    missing or invalid or the workdir has results of other settings, and ResumableError for a fault
    that would stop the other runs too.
    """
    if jax.process_count() > 1:
        raise UserError("a reproduction runs in one process")
    settings = complete(config)
    experiments = named_changes(settings, "experiments")
    decodings = named_decodings(settings)
    for field in ("decoded", "pictured"):
        check_names(field, getattr(settings, field), experiments)
    for name, changes in experiments.items():
        sweep.check_same_run(settings, same_images(settings, changes), workdir / name)
    check_decodings(settings, experiments, decodings)
    save_settings(settings, workdir)
    for number, (name, changes) in enumerate(experiments.items(), start=1):
        folder = workdir / name
        if not (folder / "result.json").exists():
            say(f"run {number} of {len(experiments)}: {name}")
            if not train(settings, changes, folder):
                break
        if finished(folder):
            measure(folder, decodings if name in settings.decoded else {})
    rows = [read_row(workdir / name, changes) for name, changes in experiments.items()]
    report.write(workdir, gather(settings, workdir, rows))
    say(f"see {workdir / 'report.html'}")
    return rows


def named_changes(settings: Settings, field: str) -> dict[str, Changes]:
    """Validates a field ((name, ((dotted setting, value), ...)), ...): {name: changes}."""
    if not getattr(settings, field):
        raise UserError(f"the config has no {field}, want a config like configs/reproduce.py")
    example = '(("batches", (("batch_size", 8),)),)'
    sweep.check_pairs(field, getattr(settings, field), f"its changes, such as {example}")
    known, named = flatten(as_dict(settings)), {}
    for name, changes in getattr(settings, field):
        if not re.fullmatch(r"[\w=+-][\w=+. -]*", name):  # the name of a folder
            raise UserError(f"{field} has the name {name!r}, want letters, digits, _ = + - and .")
        if name in named:
            raise UserError(f"{field} has the name {name!r} twice")
        sweep.check_pairs(f"{field}, in {name!r},", changes, "its value", object)
        unknown = [setting for setting, _ in changes if setting not in known]
        if unknown:
            raise UserError(f"{field} names {unknown[0]!r} for {name!r}, which is not a setting")
        named[name] = dict(changes)
    return named


def named_decodings(settings: Settings) -> dict[str, Changes]:
    """Returns the `decodings` from `named_changes`; they may change only `decoding.*` settings.

    The names in RESERVED are refused, because `measure_all` uses them for other results.
    """
    named = named_changes(settings, "decodings")
    for name, changes in named.items():
        if name in RESERVED:
            raise UserError(f"decodings has the name {name!r}, which is reserved: want another")
        others = [setting for setting in changes if not setting.startswith("decoding.")]
        if others:
            raise UserError(f"decodings has {others[0]!r} for {name!r}, want decoding.* alone")
    return named


def check_decodings(
    settings: Settings, experiments: dict[str, Changes], decodings: dict[str, Changes]
) -> None:
    """Raises UserError if a run to be decoded cannot use one of the decodings.

    It would be found only after the run has been trained. An invalid experiment is left to its row.
    """
    for run in settings.decoded:
        try:
            trained = override(settings, same_images(settings, experiments[run]))
        except UserError:
            continue
        for name, changes in decodings.items():
            try:
                override(trained, changes)
            except UserError as error:
                raise UserError(f"decodings, in {name!r} for the run {run!r}: {error}") from error


def check_names(field: str, names: Sequence[str], experiments: dict[str, Changes]) -> None:
    """Raises UserError if one of `names`, the value of the setting `field`, is no experiment."""
    for name in names:
        if name not in experiments:
            raise UserError(f"{field} names {name!r}, which is none of the experiments")


def save_settings(settings: Settings, workdir: Path) -> None:
    """Writes the settings, so that the workdir suffices to resume; warns if they have changed.

    Raises UserError if the workdir holds a run, whose settings they would replace, and InUse if
    another process trains in it.
    """
    with resume.locked(workdir):
        if (workdir / "record.json").exists():
            raise UserError(f"{workdir} holds a run, want another workdir for a reproduction")
        if (workdir / "config.json").exists():
            warn_of_changes(settings, read_settings(workdir), {}, {})
        write_settings(workdir, settings)


def train(settings: Settings, changes: Changes, folder: Path) -> bool:
    """Trains one run and writes its `result.json` and `seconds.json`.

    Returns False if a signal stopped the run, which then has no `result.json` yet.
    """
    before = read_json(folder / "seconds.json") if (folder / "seconds.json").exists() else 0.0
    started = time.perf_counter()

    def save_seconds() -> None:
        write_json(folder / "seconds.json", before + time.perf_counter() - started)

    try:
        row = sweep.run_one(settings, same_images(settings, changes), folder)
    except ResumableError:
        with contextlib.suppress(OSError):  # a full disk may be the reason for the error
            save_seconds()
        raise
    save_seconds()
    if row is not None:
        write_json(folder / "result.json", row)
    return row is not None


def same_images(settings: Settings, changes: Changes) -> Changes:
    """Adapts the numbers of steps to a changed batch size: all runs see as many photographs.

    Invalid batch sizes change nothing here, and training refuses them.
    """
    ours, theirs = settings.batch_size, changes.get("batch_size", settings.batch_size)
    if type(theirs) is not int or min(ours, theirs) < 1 or ours == theirs:
        return changes
    ratio = ours / theirs
    counts = {name: max(1, round(ratio * getattr(settings, name))) for name in STEP_COUNTS}
    return counts | changes


def measure(folder: Path, decodings: dict[str, Changes]) -> None:
    """Measures and draws a run's best checkpoint, unless that has been done.

    Writes `measured.json` {"step", "asked": the requested decodings, "metrics": {decoding:
    metrics}, "saturation": {"prediction" | "truth": [SATURATION_BINS] shares}}. If there is a test
    set, "constant" has the metrics of the constant bin on it; `record.json` has those on the
    hold-out set. Also writes `pictures.npz` with `gray`, `prediction` and `truth` of a few
    photographs, uint8 [n, h, w, 3] each.
    """
    path, requested = folder / "measured.json", as_json(decodings)
    if path.exists() and read_json(path)["asked"] == requested:
        return
    settings = read_settings(folder)
    statistics = read_statistics(folder)
    model, task = build_model(settings), build_task(settings, statistics)
    by_name = {OWN: settings.decoding}
    by_name |= {name: override(settings, changes).decoding for name, changes in decodings.items()}
    step, variables = load_variables(folder, model, averaged=settings.ema > 0)
    source, options = opening.open_source(settings.data), evaluate.eval_options(settings)
    items = source.test or source.holdout
    draw(settings, model, task, items, variables, folder)
    average = evaluate.compile_average(
        options, task, items, partial(measure_all, model=model, task=task, decodings=by_name)
    )
    averages = split_names(average(variables))
    saturation = {name: shares.tolist() for name, shares in averages.pop("saturation").items()}
    metrics = {name: summarize(averages[name]) for name in by_name}  # jax has sorted the names
    measured = {"step": step, "asked": requested, "metrics": metrics, "saturation": saturation}
    if source.test:
        measured["constant"] = evaluate.measure_baseline(
            options, task, source.test, statistics.counts
        )
    write_json(path, measured)


def measure_all(
    variables: Any,
    example: Example,
    *,
    model: nn.Module,
    task: Task,
    decodings: dict[str, Decoding],
) -> dict[str, jax.Array]:
    """Computes every metric of every decoding in one forward pass: {"decoding/metric": [b, ...]}.

    Adds `saturation/prediction` and `saturation/truth`: [b, SATURATION_BINS] shares of the pixels.
    """
    outputs = predict(model, variables, example.gray)
    measured = {
        f"{name}/{metric}": value
        for name, decoding in decodings.items()
        for metric, value in task.measure(outputs, example, decoding).items()
    }
    prediction = enlarge(task.decode(outputs, decodings[OWN]), example.gray.shape[-2])
    chroma = {"prediction": prediction, "truth": example.chroma}
    for name, x in chroma.items():
        rgb = task.to_rgb(example.lightness, x)
        measured[f"saturation/{name}"] = saturation_shares(rgb)
    return measured


def saturation_shares(rgb: jax.Array) -> jax.Array:
    """Returns histograms of HSV saturation: sRGB [b, h, w, 3] in [0, 1] -> [b, SATURATION_BINS]."""
    saturation = color.rgb_to_hsv(rgb)[..., 1].reshape(rgb.shape[0], -1)
    index = jnp.minimum((saturation * SATURATION_BINS).astype(jnp.int32), SATURATION_BINS - 1)
    counts = jax.vmap(partial(jnp.bincount, length=SATURATION_BINS))(index)
    return counts / index.shape[-1]


def split_names(averages: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Nests a dictionary by the first part of its keys: {"a/b": x} -> {"a": {"b": x}}."""
    split: dict[str, dict[str, Any]] = {}
    for name, value in averages.items():
        first, _, rest = name.partition("/")
        split.setdefault(first, {})[rest] = value
    return split


def draw(
    settings: Settings, model: nn.Module, task: Task, items: Sequence, variables: Any, folder: Path
) -> None:
    """Writes `pictures.npz` with up to `figure_images` of the items, but at least one."""
    shown = opening.spread(items, max(settings.figure_images, 1))
    batch = {"rgb": evaluate.load_rgb(evaluate.eval_options(settings), shown)}
    step = parallel.compile_step(
        partial(steps.predict_step, model=model, task=task, decoding=settings.decoding),
        devices=jax.local_devices()[:1],
    )
    images = jax.device_get(step(variables, batch))
    pictures = {name: np.asarray(color.to_u8(x)) for name, x in images.items()}
    np.savez_compressed(
        folder / "pictures.npz",
        gray=pictures["gray"],
        prediction=pictures["prediction"],
        truth=pictures["truth"],
    )
