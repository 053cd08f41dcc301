"""Trains the paper's models and their alternatives under one budget and reports on them.

In the workdir: `report.md`, `report.html`, `figures/`, and a folder for each experiment with, next
to what every run leaves, `result.json` (how its training ended), `measured.json` and
`pictures.npz` (its best checkpoint on the hold-out). Only what is missing of these is made.
"""

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
from ml_collections import ConfigDict

from colorjax.data import opening
from colorjax.errors import UserError
from colorjax.models.build import build_model, build_task
from colorjax.models.task import Example, Task, summarize
from colorjax.ops import color
from colorjax.studies import report, sweep
from colorjax.studies.gather import OWN, finished, gather, read_row, run_config
from colorjax.studies.sweep import Settings
from colorjax.training import evaluate, parallel, steps
from colorjax.training.begin import warn_of_changes
from colorjax.training.console import say
from colorjax.weights.runs import (
    as_json,
    flatten,
    load_variables,
    read_json,
    read_record,
    write_json,
)

SATURATION_BINS = 40
STEP_COUNTS = ("num_steps", "log_every", "eval_every", "checkpoint_every")


def reproduce(config: ConfigDict, workdir: Path) -> list[dict[str, Any]]:
    """Runs `config.experiments`, ((name, ((setting, value), ...)), ...), and writes the report.

    A run that has finished or failed is not repeated (delete its folder to do so); one that was
    stopped goes on and stops the whole until then. Returns a row an experiment: `run`, `settings`,
    `outcome`, `minutes`, `parameters`, and the hold-out's `metrics` at its best checkpoint, empty
    unless it has finished. Raises UserError for experiments or decodings that the config does not
    have or that name no setting.
    """
    if jax.process_count() > 1:
        raise UserError("a reproduction runs in one process")
    experiments = named_settings(config, "experiments")
    decodings = named_settings(config, "decodings")
    for field in ("decoded", "pictured"):
        check_names(config, field, experiments)
    note_config(config, workdir)
    for number, (name, settings) in enumerate(experiments.items(), start=1):
        folder = workdir / name
        if not (folder / "result.json").exists():
            say(f"run {number} of {len(experiments)}: {name}")
            if not train(config, settings, folder):
                break
        if finished(folder):
            measure(folder, decodings if name in config.decoded else {})
    rows = [read_row(workdir / name, settings) for name, settings in experiments.items()]
    report.write(workdir, gather(config, workdir, rows))
    say(f"see {workdir / 'report.html'}")
    return rows


def named_settings(config: ConfigDict, field: str) -> dict[str, Settings]:
    """A field ((name, ((dotted setting, value), ...)), ...) of the config, checked."""
    if not config.get(field):
        raise UserError(f"the config has no {field}, want --config=configs/reproduce.py or such")
    known, named = flatten(config.to_dict()), {}
    for name, settings in config[field]:
        if not re.fullmatch(r"[\w=+-][\w=+. -]*", name):  # it is to be a folder
            raise UserError(f"{field} has the name {name!r}, want letters, digits, _ = + - and .")
        if name in named:
            raise UserError(f"{field} has the name {name!r} twice")
        unknown = [setting for setting, _ in settings if setting not in known]
        if unknown:
            raise UserError(f"{field} names {unknown[0]!r} for {name!r}, which is no setting")
        named[name] = dict(settings)
    return named


def check_names(config: ConfigDict, field: str, experiments: dict[str, Settings]) -> None:
    """Raises UserError if `config[field]` names a run that is not among the experiments."""
    for name in config.get(field, ()):
        if name not in experiments:
            raise UserError(f"{field} names {name!r}, which is none of the experiments")


def note_config(config: ConfigDict, workdir: Path) -> None:
    """Keeps the config, so that the workdir is enough to go on; warns if it was another."""
    path = workdir / "config.json"
    if path.exists():
        warn_of_changes(config, read_json(path), {}, {})
    write_json(path, config.to_dict())


def train(config: ConfigDict, settings: Settings, folder: Path) -> bool:
    """One run, up to `result.json`; False if it was stopped by a signal. Counts its seconds."""
    before = read_json(folder / "seconds.json") if (folder / "seconds.json").exists() else 0.0
    started = time.perf_counter()
    row = sweep.run_one(config, same_images(config, settings), folder)
    write_json(folder / "seconds.json", before + time.perf_counter() - started)
    if row is not None:
        write_json(folder / "result.json", row)
    return row is not None


def same_images(config: ConfigDict, settings: Settings) -> Settings:
    """Settings with a batch size of their own get the steps that see as many photographs."""
    ratio = config.batch_size / settings.get("batch_size", config.batch_size)
    if ratio == 1:
        return settings
    return {name: max(1, round(ratio * config[name])) for name in STEP_COUNTS} | settings


def measure(folder: Path, decodings: dict[str, Settings]) -> None:
    """Measures and draws a run's best checkpoint, unless that has been done.

    Writes `measured.json` {"step", "asked": the decodings, "metrics": {decoding: metrics},
    "saturation": {"prediction" | "truth": [SATURATION_BINS] shares}} and, uint8 [n, h, w, 3] each,
    `pictures.npz`: gray, prediction and truth of a few photographs of the hold-out.
    """
    path, asked = folder / "measured.json", as_json(decodings)
    if path.exists() and read_json(path)["asked"] == asked:
        return
    config, statistics = run_config(folder), read_record(folder)["bins"]
    model = build_model(config)
    tasks = {OWN: build_task(config, statistics)}
    for name, settings in decodings.items():
        tasks[name] = build_task(changed(config, settings), statistics)
    step, variables = load_variables(config, model, folder)
    holdout = opening.open_source(config).holdout
    draw(config, model, tasks[OWN], holdout, variables, folder)
    average = evaluate.averager(
        config, tasks[OWN], holdout, partial(measure_all, model=model, tasks=tasks)
    )
    averages = split_names(average(variables))
    saturation = {name: shares.tolist() for name, shares in averages.pop("saturation").items()}
    metrics = {name: summarize(averages[name]) for name in tasks}  # jax has sorted the names
    write_json(path, {"step": step, "asked": asked, "metrics": metrics, "saturation": saturation})


def changed(config: ConfigDict, settings: Settings) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(settings)
    return config


def measure_all(
    variables: Any, example: Example, *, model: nn.Module, tasks: dict[str, Task]
) -> dict[str, jax.Array]:
    """Every metric under every decoding, from one pass: {"decoding/metric": [b, ...]}.

    And `saturation/prediction`, `saturation/truth`: [b, SATURATION_BINS] shares of the pixels.
    """
    outputs = model.apply(variables, example.gray)
    measured = {
        f"{name}/{metric}": value
        for name, task in tasks.items()
        for metric, value in task.measure(outputs, example).items()
    }
    chroma = {"prediction": tasks[OWN].decode(outputs), "truth": example.chroma}
    for name, x in chroma.items():
        rgb = tasks[OWN].colors(example.lightness, x)
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
    config: ConfigDict,
    model: nn.Module,
    task: Task,
    holdout: Sequence,
    variables: Any,
    folder: Path,
) -> None:
    """Writes `pictures.npz`, at most `config.figure_images` of the hold-out."""
    batch = {"rgb": evaluate.load_rgb(config, opening.spread(holdout, config.figure_images))}
    step = parallel.compile_step(
        partial(steps.predict_step, model=model, task=task), devices=jax.local_devices()[:1]
    )
    pictures = jax.device_get(step(variables, batch))
    np.savez_compressed(
        folder / "pictures.npz",
        **{name: np.asarray(color.to_u8(x)) for name, x in pictures.items()},
    )
