"""Measures finished models on photographs, beside colourings that know nothing of the picture."""

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

BATCH = 8  # photographs a device at a time
TRUTH, GRAY, MEAN = "truth", "gray", "mean chroma"  # rows of a table beside models
# Of `task.summarize`, what is shown; the rest are parts of these, or in a model's own units.
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
    """Every metric of each model and baseline, averaged over photographs.

    All see the same squares in one run. Baselines: no colour at all, and everywhere the mean
    chroma of the first model's training set.

    Args:
      networks: the models by name.
      photos: in colour, from `sources.open_folders`.
      size: side of the centre squares that are coloured and measured, a multiple of 16.

    Raises:
      UserError: the size will not do, or a model has the name of a baseline.
    """
    if size < QUANTUM or size % QUANTUM:
        raise UserError(f"size is {size}, want a multiple of {QUANTUM}")
    taken = {TRUTH, GRAY, MEAN} & networks.keys()
    if taken:
        raise UserError(f"a model is called {taken.pop()!r}, which is a baseline's name")
    first = next(iter(networks.values()))
    constants = {GRAY: np.zeros(2), MEAN: mean_chroma(first)}
    squares = evaluate.Squares(size, size, BATCH * jax.device_count(), num_threads)
    results = {
        name: measure_constant(squares, photos, chroma) for name, chroma in constants.items()
    }
    for name, network in networks.items():
        settings = network.config
        model, of_model = build_model(settings), build_task(settings, network.statistics)
        measure = evaluate.compile_metrics(squares, model, of_model, photos, settings.decoding)
        results[name] = measure(network.variables)
    return results


def mean_chroma(network: Network) -> np.ndarray:
    """U and V, averaged over the pixels of a model's training set: [2].

    Raises UserError if the model counts in another space.
    """
    if network.config.space != "luv":
        raise UserError(f"the first model's space is {network.config.space!r}, want 'luv'")
    counts, means = network.statistics.counts, network.statistics.means
    return (np.einsum("gq,gqd->gd", counts, means) / counts.sum(axis=1, keepdims=True)).ravel()


def measure_constant(
    squares: evaluate.Squares, items: Sequence, chroma: np.ndarray
) -> dict[str, float]:
    """The metrics of one chroma [2] everywhere."""
    everywhere = task.regression(space=SPACES["luv"])

    def measure(chroma, example):
        outputs = jnp.broadcast_to(chroma / task.CHROMA_SCALE, example.chroma.shape)
        return everywhere.measure(outputs, example, ARGMAX)

    average = evaluate.compile_average(squares, everywhere, items, measure)
    return task.summarize(average(np.float32(chroma)))


def table(results: dict[str, dict[str, Any]], shown: dict[str, str] = SHOWN) -> str:
    """Metrics as a table in Markdown.

    Args:
      results: {row: metrics}; a metric that a row lacks, or has as None, is left blank.
      shown: {metric: heading of its column}; columns that no row has are left out.
    """
    had = {key for metrics in results.values() for key in metrics}
    shown = {key: head for key, head in shown.items() if key in had}
    lines = []
    for name, metrics in results.items():
        cells = (metrics.get(key) for key in shown)
        lines.append([name, *("" if x is None else f"{x:.4g}" for x in cells)])
    return tables.table(["", *shown.values()], lines, right=1).removesuffix("\n")
