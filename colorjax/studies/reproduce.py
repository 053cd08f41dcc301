"""Trains the paper's models and their alternatives under one budget and reports on them.

In the workdir: `report.md`, `report.html`, `figures/`, and a folder for each experiment with, next
to what every run leaves, `result.json` (how its training ended), `measured.json` and
`pictures.npz` (its best checkpoint on the hold-out). Only what is missing of these is made.
"""

import re
import shlex
import sys
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
from colorjax.studies.sweep import Settings
from colorjax.training import evaluate, figures, parallel, steps
from colorjax.training.train import flatten, say, warn_of_changes
from colorjax.weights.runs import (
    as_json,
    load_variables,
    read_json,
    read_metrics,
    read_record,
    write_json,
)

SATURATION_BINS = 40
STEP_COUNTS = ("num_steps", "log_every", "eval_every", "checkpoint_every")
OWN = "own"  # the decoding that a run's config names
# Of a run, by the first setting that it changes: what its losses are drawn with.
THEMES = {
    "objective": "regression", "model": "structure", "space": "colour space",
    "optimizer": "optimizer, batch and seed", "batch_size": "optimizer, batch and seed",
    "seed": "optimizer, batch and seed", "bins": "bins and weights",
    "rebalance": "bins and weights", "decoding": "bins and weights",
}
BASE = "classification"  # the run that the others, regression apart, are compared with


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


def finished(folder: Path) -> bool:
    path = folder / "result.json"
    return path.exists() and read_json(path)["status"] == "finished"


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
    write_json(
        path, {"step": step, "asked": asked, "metrics": metrics, "saturation": saturation}
    )


def run_config(folder: Path) -> ConfigDict:
    """What the run was trained with, whatever the config says now."""
    return ConfigDict(read_json(folder / "config.json"))


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
    config: ConfigDict, model: nn.Module, task: Task, holdout: Sequence, variables: Any,
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


def read_row(folder: Path, settings: Settings) -> dict[str, Any]:
    """An experiment's row, from what its folder holds."""
    row = {"run": folder.name, "settings": settings, "outcome": "unfinished", "minutes": None,
           "parameters": None, "metrics": {}}
    if (folder / "record.json").exists():
        row["parameters"] = read_record(folder)["parameters"]
    if (folder / "seconds.json").exists():
        row["minutes"] = read_json(folder / "seconds.json") / 60
    if finished(folder):
        measured = read_json(folder / "measured.json")
        row["outcome"] = f"step {measured['step']} of {run_config(folder).num_steps}"
        row["metrics"] = measured["metrics"][OWN]
    elif (folder / "result.json").exists():
        row["outcome"] = read_json(folder / "result.json")["status"]
    return row


def gather(config: ConfigDict, workdir: Path, rows: Sequence[dict[str, Any]]) -> report.Content:
    """All that the report tells, from the folders of the runs."""
    done = [row["run"] for row in rows if row["metrics"]]
    measured = {run: read_json(workdir / run / "measured.json") for run in done}
    records = {
        row["run"]: read_record(workdir / row["run"])
        for row in rows if (workdir / row["run"] / "record.json").exists()
    }
    decodings = [
        {"run": run, "decoding": name, "metrics": metrics}
        for run in done for name, metrics in measured[run]["metrics"].items() if name != OWN
    ]
    base = BASE if BASE in done else next(iter(done), None)
    return report.Content(
        summary=summary(config, rows, records),
        data=data_sets(workdir, records),
        rows=rows,
        baseline=records[base]["constant"] if base else {},
        decodings=decodings,
        pictures=draw_all(config, workdir, rows, decodings, measured),
        how=how(config, records),
    )


def summary(config: ConfigDict, rows: Sequence[dict], records: dict[str, dict]) -> str:
    """One paragraph: what was run on what."""
    done = sum(bool(row["metrics"]) for row in rows)
    minutes = sum(row["minutes"] or 0 for row in rows)
    text = f"{done} of {len(rows)} runs have finished"
    if records:
        parameters = sorted(record["parameters"] / 1e6 for record in records.values())
        record = next(iter(records.values()))
        notes, session = record["data"], record["sessions"][-1]
        devices = session["devices"]
        text += (
            f", on `{record['source']}`: {notes['train']:,} photographs to train on and "
            f"{notes['holdout']:,} held out. Each saw {config.num_steps * config.batch_size:,} "
            f"photographs in batches of {config.batch_size} where nothing else is said, so "
            f"{config.num_steps:,} steps, at {config.data.crop_size}x{config.data.crop_size} "
            f"pixels. The networks have {parameters[0]:.2f} to {parameters[-1]:.2f} million "
            f"parameters. Encoder: {record['encoder']}. Device: {len(devices)} x {devices[0]}. "
            f"Training took {minutes:.1f} minutes in all"
        )
    return text + "."


def data_sets(workdir: Path, records: dict[str, dict]) -> list[dict[str, Any]]:
    """A row for each data set in use; clipping is that of the paper's bins where a run has them."""
    rows: dict[str, dict[str, Any]] = {}
    for run, record in records.items():
        config = run_config(workdir / run)
        of_paper = config.space == "luv" and config.bins.layout == "channels"
        if of_paper or record["source"] not in rows:
            rows[record["source"]] = {
                "source": record["source"], **record["data"], "clipped": record["bins"]["clipped"],
            }
    return list(rows.values())


def draw_all(
    config: ConfigDict, workdir: Path, rows: Sequence[dict], decodings: Sequence[dict],
    measured: dict[str, dict],
) -> dict[str, tuple[np.ndarray, str]]:
    """The report's figures with their captions; those that nothing is there for are left out."""
    shown = [run for run in config.pictured if run in measured]
    pictures = {}
    panels = loss_panels(config, workdir, rows)
    if panels:
        pictures["losses"] = figures.plot_losses(panels), (
            "Losses by photographs seen. Those of other objectives, spaces, bins or weights are "
            "not comparable; early ones may lie above the frame."
        )
    if shown:
        shares = {"truth": measured[shown[0]]["saturation"]["truth"]}
        shares |= {run: measured[run]["saturation"]["prediction"] for run in shown}
        pictures["saturation"] = figures.plot_saturation(shares), (
            "HSV saturation of the hold-out's pixels; dark ones may have any."
        )
    if measured:
        pictures["colorfulness"] = draw_colorfulness(rows, decodings), (
            "Colorfulness against PSNR on the hold-out: a prediction that dares more colour pays "
            "for it where the colour is wrong."
        )
    if shown:
        pictures["photographs"] = figures.image_grid(photographs(workdir, shown), []), (
            "Photographs of the hold-out: what the networks are given, what each run makes of it, "
            "and the truth."
        )
    return pictures


def loss_panels(
    config: ConfigDict, workdir: Path, rows: Sequence[dict]
) -> dict[str, dict[str, dict[str, list[figures.Point]]]]:
    """{theme: {run: {split: points}}} for `figures.plot_losses`; BASE stands first in each."""
    panels: dict[str, dict] = {}
    for row in rows:
        curves = loss_curves(workdir / row["run"], row["settings"].get("batch_size",
                                                                      config.batch_size))
        if any(curves.values()):
            panels.setdefault(theme(row["settings"]), {})[row["run"]] = curves
    base = panels.pop("", {})
    comparable = {name: base | runs for name, runs in panels.items() if name != "regression"}
    regression = {"regression": panels["regression"]} if "regression" in panels else {}
    return regression | (comparable or ({BASE: base} if base else {}))


def theme(settings: Settings) -> str:
    """What a run changes, one of the values of THEMES; "" for nothing."""
    first = next(iter(settings), "").partition(".")[0]
    return THEMES.get(first, first)


def loss_curves(folder: Path, batch_size: int) -> dict[str, list[figures.Point]]:
    curves: dict[str, list[figures.Point]] = {"train": [], "holdout": []}
    for line in read_metrics(folder):
        if line.get("loss") is not None:
            curves[line["split"]].append((line["step"] * batch_size, line["loss"]))
    return curves


def draw_colorfulness(rows: Sequence[dict], decodings: Sequence[dict]) -> np.ndarray:
    def point(row):
        return row["metrics"]["colorfulness"], row["metrics"]["psnr"]

    groups: dict[str, dict] = {}
    paths: dict[str, dict] = {}
    for row in rows:
        if row["metrics"]:
            name = theme(row["settings"]) or BASE
            groups.setdefault(name, {})[row["run"]] = point(row)
            truth = row["metrics"]["colorfulness_true"]
    for row in decodings:
        if row["decoding"].startswith("sample"):  # one draw, on no way from argmax to the mean
            groups.setdefault("one sample", {})[f"{row['run']}, {row['decoding']}"] = point(row)
        else:
            paths.setdefault(row["run"], {})[row["decoding"]] = point(row)
    return figures.plot_colorfulness(groups, paths, truth)


def photographs(workdir: Path, shown: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of pictures: input, each run's, truth; float [n, h, w, 3] in [0, 1]."""
    pictures = {run: np.load(workdir / run / "pictures.npz") for run in shown}
    first = pictures[shown[0]]
    columns = {"input": first["gray"]}
    columns |= {run: of_run["prediction"] for run, of_run in pictures.items()}
    columns["truth"] = first["truth"]
    return {name: x / 255.0 for name, x in columns.items()}


def how(config: ConfigDict, records: dict[str, dict]) -> dict[str, str]:
    """The command, the settings that all runs share, and the versions of the first run."""
    lists = ("experiments", "decodings", "decoded", "pictured", "sweep", "sweep_index")
    settings = flatten(config.to_dict())
    lines = [f"{name} = {value!r}" for name, value in settings.items() if name not in lists]
    told = {
        "Command": shlex.join(["python", *sys.orig_argv[1:]]),
        "Settings, where a run changes nothing": "\n".join(lines),
    }
    if records:
        session = next(iter(records.values()))["sessions"][-1]
        versions = [f"{name} {version}" for name, version in session["versions"].items()]
        told["Versions"] = "\n".join([*versions, f"started {session['time']}"])
    return told
