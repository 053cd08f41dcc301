"""Counts how often each colour bin occurs in a training set, and computes rebalancing weights."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.data import opening
from colorjax.errors import UserError
from colorjax.models import task
from colorjax.models.build import build_task
from colorjax.ops.bins import Binning
from colorjax.ops.spaces import SPACES, Space
from colorjax.pictures import image_io
from colorjax.settings import as_dict, complete
from colorjax.training import evaluate, figures
from colorjax.training.setup import check_training
from colorjax.weights import runs


def prior(config: Any, workdir: Path) -> dict[str, Any]:
    """Counts the pixels in each bin over the whole training set and plots them.

    Writes `prior.png` and `prior.json`: `counts` [G][Q] (pixels), `centers` [G][Q][D], `prior`
    [G][Q] (frequencies, blurred by `rebalance.sigma`), `weights` [G][Q] (of the loss, at
    `rebalance.uniform`), `clipped`, `images` and `settings`. If the workdir holds a run, its files
    are not changed. Returns the content of `prior.json`. Raises UserError for invalid settings or
    data, and if there are several processes.
    """
    if jax.process_count() > 1:
        raise UserError("mode=prior runs in one process")
    settings = complete(config)
    check_training(settings)
    source, space = opening.open_source(settings.data), SPACES[settings.space]
    unweighted = build_task(settings, None)
    binning = unweighted.binning
    statistics = evaluate.measure_bins(evaluate.eval_options(settings), unweighted, source.train)
    rebalance = settings.rebalance
    blurred, weights = task.rebalancing(
        statistics.counts, binning, space, rebalance.uniform, rebalance.sigma
    )
    result = {
        "source": source.name,
        "data": source.notes,
        "images": statistics.images,
        "clipped": statistics.clipped,
        "counts": statistics.counts.tolist(),
        "centers": binning.centers.tolist(),
        "prior": blurred.tolist(),
        "weights": weights.tolist(),
        "settings": as_dict(settings),
    }
    runs.write_json(workdir / "prior.json", result)
    picture = figures.plot_prior(
        binning.centers, statistics.counts, blurred, weights, colors(space, binning)
    )
    image_io.write(workdir / "prior.png", picture)
    print(summary(result))
    print(f"see {workdir / 'prior.png'}")
    return result


def colors(space: Space, binning: Binning) -> np.ndarray:
    """Returns the bins' centres as sRGB [G, Q, 3]; a channel outside the group is neutral."""
    gray = np.full((1, 3), 150, np.uint8)
    _, lightness, neutral = space.split(gray)
    groups, num_bins, channels = binning.centers.shape
    chroma = np.tile(np.asarray(neutral), (groups, num_bins, 1))
    for group in range(groups):
        first = group * channels
        chroma[group, :, first : first + channels] = binning.centers[group]
    return np.asarray(space.join(jnp.broadcast_to(lightness, (groups, num_bins, 1)), chroma))


def summary(result: dict[str, Any]) -> str:
    """Returns a line about the data, and one for each group of bins."""
    lines = [
        f"{result['source']}: {result['images']} photographs, "
        f"{result['clipped']:.1%} of pixels outside the bins"
    ]
    groups = ("both channels",) if len(result["counts"]) == 1 else ("first", "second channel")
    for name, counts, weights in zip(groups, result["counts"], result["weights"], strict=True):
        occurring = np.array(weights)[np.array(counts) > 0]
        lines.append(
            f"{name}: {len(occurring)} of {len(counts)} bins occur, the fullest holds "
            f"{max(counts) / sum(counts):.1%} of the pixels; "
            f"weights {occurring.min():.2g} to {occurring.max():.2g}"
        )
    return "\n".join(lines)
