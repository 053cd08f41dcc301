"""Collects a reproduction's report from the folders of its runs, and draws its plots."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colorjax.settings import Settings, as_dict
from colorjax.studies import report
from colorjax.studies.sweep import Changes
from colorjax.training import figures
from colorjax.weights.runs import flatten, read_json, read_metrics, read_record, read_settings

OWN = "own"  # name of the decoding that a run's own config sets
# First setting that a run changes -> the group of runs that its losses are drawn with.
THEMES = {
    "objective": "regression",
    "model": "structure",
    "space": "colour space",
    "optimizer": "optimizer, batch and seed",
    "batch_size": "optimizer, batch and seed",
    "seed": "optimizer, batch and seed",
    "bins": "bins and weights",
    "rebalance": "bins and weights",
    "decoding": "bins and weights",
}
BASE = "classification"  # the run that all others except regression are compared with


def finished(folder: Path) -> bool:
    path = folder / "result.json"
    return path.exists() and read_json(path)["status"] == "finished"


def read_row(folder: Path, changes: Changes) -> dict[str, Any]:
    """Reads an experiment's row of the report from its folder."""
    row = {
        "run": folder.name,
        "settings": changes,
        "outcome": "unfinished",
        "minutes": None,
        "parameters": None,
        "metrics": {},
    }
    if (folder / "record.json").exists():
        row["parameters"] = read_record(folder)["parameters"]
    if (folder / "seconds.json").exists():
        row["minutes"] = read_json(folder / "seconds.json") / 60
    if finished(folder):
        measured = read_json(folder / "measured.json")
        row["outcome"] = f"step {measured['step']} of {read_settings(folder).num_steps}"
        row["metrics"] = measured["metrics"][OWN]
    elif (folder / "result.json").exists():
        row["outcome"] = read_json(folder / "result.json")["status"]
    return row


def gather(settings: Settings, workdir: Path, rows: Sequence[dict[str, Any]]) -> report.Content:
    """Collects the whole content of the report from the folders of the runs."""
    done = [row["run"] for row in rows if row["metrics"]]
    measured = {run: read_json(workdir / run / "measured.json") for run in done}
    records = {
        row["run"]: read_record(workdir / row["run"])
        for row in rows
        if (workdir / row["run"] / "record.json").exists()
    }
    decodings = [
        {"run": run, "decoding": name, "metrics": metrics}
        for run in done
        for name, metrics in measured[run]["metrics"].items()
        if name != OWN
    ]
    base = BASE if BASE in done else next(iter(done), None)
    return report.Content(
        summary=summary(settings, rows, records),
        data=data_sets(workdir, records),
        rows=rows,
        baseline=measured[base].get("constant", records[base]["constant"]) if base else {},
        decodings=decodings,
        pictures=draw_figures(settings, workdir, rows, decodings, measured),
        provenance=provenance(settings, records),
    )


def summary(settings: Settings, rows: Sequence[dict], records: dict[str, dict]) -> str:
    """Returns a paragraph that says what was run, on which data and on which device."""
    done = sum(bool(row["metrics"]) for row in rows)
    minutes = sum(row["minutes"] or 0 for row in rows)
    text = f"{done} of {len(rows)} runs have finished"
    if records:
        parameters = sorted(record["parameters"] / 1e6 for record in records.values())
        record = next(iter(records.values()))
        notes, session = record["data"], record["sessions"][-1]
        devices = session["devices"]
        tested = f", {notes['test']:,} in the test set" if notes.get("test") else ""
        text += (
            f", on `{record['source']}`: {notes['train']:,} photographs in the training set, "
            f"{notes['holdout']:,} in the hold-out set{tested}. "
            f"Each run saw {settings.num_steps * settings.batch_size:,} photographs at "
            f"{settings.data.crop_size}x{settings.data.crop_size} pixels, in "
            f"{settings.num_steps:,} steps with batches of {settings.batch_size} unless a run "
            f"changes them. The networks have {parameters[0]:.2f} to {parameters[-1]:.2f} million "
            f"parameters. Encoder: {record['encoder']}. Device: {len(devices)} x {devices[0]}. "
            f"Training took {minutes:.1f} minutes in all"
        )
    return text + "."


def data_sets(workdir: Path, records: dict[str, dict]) -> list[dict[str, Any]]:
    """Returns a row for each data set; `clipped` is that of the paper's bins if a run has them."""
    rows: dict[str, dict[str, Any]] = {}
    for run, record in records.items():
        settings = read_settings(workdir / run)
        has_paper_bins = settings.space == "luv" and settings.bins.layout == "channels"
        if has_paper_bins or record["source"] not in rows:
            rows[record["source"]] = {
                "source": record["source"],
                **record["data"],
                "clipped": record["bins"]["clipped"],
            }
    return list(rows.values())


def draw_figures(
    settings: Settings,
    workdir: Path,
    rows: Sequence[dict],
    decodings: Sequence[dict],
    measured: dict[str, dict],
) -> dict[str, tuple[np.ndarray, str]]:
    """Draws the report's figures, with captions; leaves out those that have no data yet."""
    shown = [run for run in settings.pictured if run in measured]
    pictures = {}
    panels = loss_panels(settings.batch_size, workdir, rows)
    if panels:
        pictures["losses"] = (
            figures.plot_losses(panels),
            (
                "Loss by the number of photographs seen. Losses of different objectives, spaces, "
                "bins or weights are not comparable; early values may lie above the frame."
            ),
        )
    if shown:
        shares = {"truth": measured[shown[0]]["saturation"]["truth"]}
        shares |= {run: measured[run]["saturation"]["prediction"] for run in shown}
        pictures["saturation"] = (
            figures.plot_saturation(shares),
            ("HSV saturation of the measured pixels; that of dark pixels is arbitrary."),
        )
    if measured:
        pictures["colorfulness"] = (
            draw_colorfulness(rows, decodings),
            (
                "Colorfulness against PSNR: a more colourful prediction loses PSNR where its "
                "colours are wrong."
            ),
        )
    if shown:
        pictures["photographs"] = (
            figures.image_grid(photographs(workdir, shown), []),
            (
                "Photographs that no network was trained on: the input of the networks, the "
                "prediction of each run, and the truth."
            ),
        )
    return pictures


def loss_panels(
    batch_size: int, workdir: Path, rows: Sequence[dict]
) -> dict[str, dict[str, dict[str, list[figures.Point]]]]:
    """Returns {theme: {run: {split: points}}} for `figures.plot_losses`.

    BASE comes first in every panel except that of regression, whose losses are not comparable.
    """
    panels: dict[str, dict] = {}
    for row in rows:
        curves = loss_curves(workdir / row["run"], row["settings"].get("batch_size", batch_size))
        if any(curves.values()):
            panels.setdefault(theme(row["settings"]), {})[row["run"]] = curves
    base = panels.pop("", {})
    comparable = {name: base | runs for name, runs in panels.items() if name != "regression"}
    regression = {"regression": panels["regression"]} if "regression" in panels else {}
    return regression | (comparable or ({BASE: base} if base else {}))


def theme(changes: Changes) -> str:
    """Returns what a run changes: a value of THEMES, else the setting's name, or "" for nothing."""
    first = next(iter(changes), "").partition(".")[0]
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
        if row["decoding"].startswith("sample"):  # not on the path from argmax to mean
            groups.setdefault("one sample", {})[f"{row['run']}, {row['decoding']}"] = point(row)
        else:
            paths.setdefault(row["run"], {})[row["decoding"]] = point(row)
    return figures.plot_colorfulness(groups, paths, truth)


def photographs(workdir: Path, shown: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns columns of pictures: input, each run's result, truth; [n, h, w, 3] in [0, 1]."""
    pictures = {run: np.load(workdir / run / "pictures.npz") for run in shown}
    first = pictures[shown[0]]
    columns = {"input": first["gray"]}
    columns |= {run: arrays["prediction"] for run, arrays in pictures.items()}
    columns["truth"] = first["truth"]
    return {name: x / 255.0 for name, x in columns.items()}


def provenance(settings: Settings, records: dict[str, dict]) -> dict[str, str]:
    """Returns the command, the settings that runs share, and the versions of the first run."""
    lists = ("experiments", "decodings", "decoded", "pictured", "sweep", "sweep_index")
    values = flatten(as_dict(settings))
    lines = [f"{name} = {value!r}" for name, value in values.items() if name not in lists]
    texts = {
        "Command": shlex.join(["python", *sys.orig_argv[1:]]),
        "Settings, unless a run changes them": "\n".join(lines),
    }
    if records:
        session = next(iter(records.values()))["sessions"][-1]
        versions = [f"{name} {version}" for name, version in session["versions"].items()]
        texts["Versions"] = "\n".join([*versions, f"started {session['time']}"])
    return texts
