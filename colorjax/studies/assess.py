"""Measures trained models on photographs, next to constant baselines."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.coloring.network.shapes import QUANTUM
from colorjax.data import places
from colorjax.errors import UserError
from colorjax.models import task
from colorjax.models.build import build_model, build_task
from colorjax.ops.spaces import SPACES
from colorjax.settings import ARGMAX
from colorjax.studies import tables
from colorjax.training import evaluate
from colorjax.weights.released import Network

BATCH = 8  # photographs per device
TRUTH, GRAY, MEAN = "truth", "gray", "mean chroma"  # rows that are not models
# The metrics of `task.summarize` that tables show, with their headings. The others are components
# of these, or their units differ between models.
SHOWN = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "l_reg": "L_reg",
    "acc_u": "Acc.U",
    "acc_v": "Acc.V",
    "sat_diff": "Sat. diff",
    "delta_saturation": "Sat. diff of the set",
    "auc": "AuC",
    "auc_rebalanced": "AuC, rebalanced",
    "delta_colorfulness": "delta colorfulness",
}


def assess(
    networks: dict[str, Network], photos: Sequence[places.Item], size: int, num_threads: int = 2
) -> dict[str, dict[str, float]]:
    """Returns every metric of each model and baseline, averaged over photographs.

    All of them are measured on the same squares. The baselines are gray, and the mean chroma of the
    first model's training set at every pixel.

    Args:
      networks: the models by name.
      photos: colour photographs from `sources.open_folders`.
      size: side of the centre squares that are coloured and measured, a multiple of 16.

    Raises:
      UserError: the size is not a multiple of 16, a model has the name of a baseline, or the first
        model's colour space is not CIELUV.
    """
    if size < QUANTUM or size % QUANTUM:
        raise UserError(f"size is {size}, want a multiple of {QUANTUM}")
    taken = {TRUTH, GRAY, MEAN} & networks.keys()
    if taken:
        raise UserError(f"a model is called {taken.pop()!r}, which is a baseline's name")
    first = next(iter(networks.values()))
    constants = {GRAY: np.zeros(2), MEAN: mean_chroma(first)}
    options = evaluate.EvalOptions(size, size, BATCH * jax.device_count(), num_threads)
    results = {
        name: measure_constant(options, photos, chroma) for name, chroma in constants.items()
    }
    for name, network in networks.items():
        settings = network.config
        model, model_task = build_model(settings), build_task(settings, network.statistics)
        measure = evaluate.compile_metrics(options, model, model_task, photos, settings.decoding)
        results[name] = measure(network.variables)
    return results


def mean_chroma(network: Network) -> np.ndarray:
    """Returns the mean U and V of the pixels of a model's training set: [2].

    Raises UserError if the model's colour space is not CIELUV.
    """
    if network.config.space != "luv":
        raise UserError(f"the first model's space is {network.config.space!r}, want 'luv'")
    counts, means = network.statistics.counts, network.statistics.means
    return (np.einsum("gq,gqd->gd", counts, means) / counts.sum(axis=1, keepdims=True)).ravel()


def measure_constant(
    options: evaluate.EvalOptions, items: Sequence, chroma: np.ndarray
) -> dict[str, float]:
    """Returns the metrics of the same chroma [2] at every pixel."""
    constant_task = task.regression(space=SPACES["luv"])

    def measure(chroma, example):
        outputs = jnp.broadcast_to(chroma / task.CHROMA_SCALE, example.chroma.shape)
        return constant_task.measure(outputs, example, ARGMAX)

    average = evaluate.compile_average(options, constant_task, items, measure)
    return task.summarize(average(np.float32(chroma)))


def table(results: dict[str, dict[str, Any]], shown: dict[str, str] = SHOWN) -> str:
    """Formats metrics as a Markdown table.

    Args:
      results: {row: metrics}; a metric that is missing or None leaves its cell blank.
      shown: {metric: heading of its column}; metrics that no row has get no column.
    """
    present = {key for metrics in results.values() for key in metrics}
    shown = {key: heading for key, heading in shown.items() if key in present}
    lines = []
    for name, metrics in results.items():
        cells = (metrics.get(key) for key in shown)
        lines.append([name, *("" if x is None else f"{x:.4g}" for x in cells)])
    return tables.table(["", *shown.values()], lines, right=1).removesuffix("\n")
