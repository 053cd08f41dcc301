"""Trains the paper's models and their alternatives under one budget and reports on them.

In the workdir: `report.md`, `report.html`, `figures/`, and a folder for each experiment with, next
to what every run leaves, `result.json` (how its training ended), `measured.json` and
`pictures.npz` (its best checkpoint on the test part, or on the hold-out where `data.test` is 0).
Only what is missing of these is made.
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
from colorjax.errors import Interrupted, UserError
from colorjax.models.build import build_model, build_task, predict
from colorjax.models.task import Example, Task, enlarge, summarize
from colorjax.ops import color
from colorjax.settings import Decoding, Settings, as_dict, changed, complete
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
STEP_COUNTS = ("num_steps", "log_every", "eval_every", "checkpoint_every")


def reproduce(config: Any, workdir: Path) -> list[dict[str, Any]]:
    """Runs the `experiments`, ((name, ((setting, value), ...)), ...), and writes the report.

    A run that has finished or failed is not repeated (delete its folder to do so); one that was
    stopped goes on and stops the whole until then. Returns a row an experiment: `run`, `settings`,
    `outcome`, `minutes`, `parameters`, and the `metrics` of its best checkpoint, empty unless it
    has finished. Raises UserError for experiments or decodings that the config does not have or
    that name no setting, and Interrupted for a fault that would end the other runs too.
    """
    if jax.process_count() > 1:
        raise UserError("a reproduction runs in one process")
    settings = complete(config)
    experiments = named_changes(settings, "experiments")
    decodings = named_decodings(settings)
    for field in ("decoded", "pictured"):
        check_names(field, getattr(settings, field), experiments)
    note_settings(settings, workdir)
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
    """A field ((name, ((dotted setting, value), ...)), ...) of the settings, checked."""
    if not getattr(settings, field):
        raise UserError(f"the config has no {field}, want --config=configs/reproduce.py or such")
    example = '(("batches", (("batch_size", 8),)),)'
    sweep.check_pairs(field, getattr(settings, field), f"its changes, such as {example}")
    known, named = flatten(as_dict(settings)), {}
    for name, changes in getattr(settings, field):
        if not re.fullmatch(r"[\w=+-][\w=+. -]*", name):  # it is to be a folder
            raise UserError(f"{field} has the name {name!r}, want letters, digits, _ = + - and .")
        if name in named:
            raise UserError(f"{field} has the name {name!r} twice")
        sweep.check_pairs(f"{field}, in {name!r},", changes, "its value", object)
        unknown = [setting for setting, _ in changes if setting not in known]
        if unknown:
            raise UserError(f"{field} names {unknown[0]!r} for {name!r}, which is no setting")
        named[name] = dict(changes)
    return named


def named_decodings(settings: Settings) -> dict[str, Changes]:
    """The `decodings`, which may change how scores are decoded alone, as `named_changes`."""
    named = named_changes(settings, "decodings")
    for name, changes in named.items():
        others = [setting for setting in changes if not setting.startswith("decoding.")]
        if others:
            raise UserError(f"decodings has {others[0]!r} for {name!r}, want decoding.* alone")
    return named


def check_names(field: str, names: Sequence[str], experiments: dict[str, Changes]) -> None:
    """Raises UserError if `names`, the setting `field`, has a run that is no experiment."""
    for name in names:
        if name not in experiments:
            raise UserError(f"{field} names {name!r}, which is none of the experiments")


def note_settings(settings: Settings, workdir: Path) -> None:
    """Keeps the settings, so that the workdir is enough to go on; warns if they were others.

    Raises UserError where they would replace those of a run, InUse where one is being trained.
    """
    with resume.locked(workdir):
        if (workdir / "record.json").exists():
            raise UserError(f"{workdir} holds a run, want another workdir for a reproduction")
        if (workdir / "config.json").exists():
            warn_of_changes(settings, read_settings(workdir), {}, {})
        write_settings(workdir, settings)


def train(settings: Settings, changes: Changes, folder: Path) -> bool:
    """One run, up to `result.json`; False if it was stopped by a signal. Counts its seconds."""
    before = read_json(folder / "seconds.json") if (folder / "seconds.json").exists() else 0.0
    started = time.perf_counter()

    def count() -> None:
        write_json(folder / "seconds.json", before + time.perf_counter() - started)

    try:
        row = sweep.run_one(settings, same_images(settings, changes), folder)
    except Interrupted:
        with contextlib.suppress(OSError):  # the disk may be what it is about
            count()
        raise
    count()
    if row is not None:
        write_json(folder / "result.json", row)
    return row is not None


def same_images(settings: Settings, changes: Changes) -> Changes:
    """Changes of the batch size get the numbers of steps that see as many photographs."""
    ratio = settings.batch_size / changes.get("batch_size", settings.batch_size)
    if ratio == 1:
        return changes
    counts = {name: max(1, round(ratio * getattr(settings, name))) for name in STEP_COUNTS}
    return counts | changes


def measure(folder: Path, decodings: dict[str, Changes]) -> None:
    """Measures and draws a run's best checkpoint, unless that has been done.

    Writes `measured.json` {"step", "asked": the decodings, "metrics": {decoding: metrics},
    "saturation": {"prediction" | "truth": [SATURATION_BINS] shares}, and, of a part to test on,
    "constant": metrics of the constant bin, which the record has of the hold-out}; and, uint8
    [n, h, w, 3] each, `pictures.npz`: gray, prediction and truth of a few of the photographs.
    """
    path, asked = folder / "measured.json", as_json(decodings)
    if path.exists() and read_json(path)["asked"] == asked:
        return
    settings = read_settings(folder)
    statistics = read_statistics(folder)
    model, task = build_model(settings), build_task(settings, statistics)
    ways = {OWN: settings.decoding}
    ways |= {name: changed(settings, changes).decoding for name, changes in decodings.items()}
    step, variables = load_variables(folder, model, averaged=settings.ema > 0)
    source, squares = opening.open_source(settings.data), evaluate.squares_of(settings)
    items = source.test or source.holdout
    draw(settings, model, task, items, variables, folder)
    average = evaluate.compile_average(
        squares, task, items, partial(measure_all, model=model, task=task, ways=ways)
    )
    averages = split_names(average(variables))
    saturation = {name: shares.tolist() for name, shares in averages.pop("saturation").items()}
    metrics = {name: summarize(averages[name]) for name in ways}  # jax has sorted the names
    measured = {"step": step, "asked": asked, "metrics": metrics, "saturation": saturation}
    if source.test:
        measured["constant"] = evaluate.measure_baseline(
            squares, task, source.test, statistics.counts
        )
    write_json(path, measured)


def measure_all(
    variables: Any, example: Example, *, model: nn.Module, task: Task, ways: dict[str, Decoding]
) -> dict[str, jax.Array]:
    """Every metric under every decoding, from one pass: {"decoding/metric": [b, ...]}.

    And `saturation/prediction`, `saturation/truth`: [b, SATURATION_BINS] shares of the pixels.
    """
    outputs = predict(model, variables, example.gray)
    measured = {
        f"{name}/{metric}": value
        for name, how in ways.items()
        for metric, value in task.measure(outputs, example, how).items()
    }
    prediction = enlarge(task.decode(outputs, ways[OWN]), example.gray.shape[-2])
    chroma = {"prediction": prediction, "truth": example.chroma}
    for name, x in chroma.items():
        rgb = task.colors(example.lightness, x)
        measured[f"saturation/{name}"] = saturation_shares(rgb)
    return measured


def saturation_shares(rgb: jax.Array) -> jax.Array:
    """Histograms of HSV saturation, sRGB [b, h, w, 3] in [0, 1] -> [b, SATURATION_BINS]."""
    saturation = color.rgb_to_hsv(rgb)[..., 1].reshape(rgb.shape[0], -1)
    index = jnp.minimum((saturation * SATURATION_BINS).astype(jnp.int32), SATURATION_BINS - 1)
    counts = jax.vmap(partial(jnp.bincount, length=SATURATION_BINS))(index)
    return counts / index.shape[-1]


def split_names(averages: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"a/b": x} -> {"a": {"b": x}}."""
    split: dict[str, dict[str, Any]] = {}
    for name, value in averages.items():
        first, _, rest = name.partition("/")
        split.setdefault(first, {})[rest] = value
    return split


def draw(
    settings: Settings, model: nn.Module, task: Task, items: Sequence, variables: Any, folder: Path
) -> None:
    """Writes `pictures.npz`, at most `figure_images` of the items, and one at least."""
    shown = opening.spread(items, max(settings.figure_images, 1))
    batch = {"rgb": evaluate.load_rgb(evaluate.squares_of(settings), shown)}
    step = parallel.compile_step(
        partial(steps.predict_step, model=model, task=task, how=settings.decoding),
        devices=jax.local_devices()[:1],
    )
    found = jax.device_get(step(variables, batch))
    pictures = {name: np.asarray(color.to_u8(x)) for name, x in found.items()}
    np.savez_compressed(
        folder / "pictures.npz",
        gray=pictures["gray"],
        prediction=pictures["prediction"],
        truth=pictures["truth"],
    )
