"""How often each bin of colour occurs in a training set, and how rebalancing would weigh it."""

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
    """Counts the bins of the settings over the whole training set and plots them.

    Writes `prior.png` and `prior.json`: `counts` [G][Q] (of pixels), `centers` [G][Q][D], `prior`
    [G][Q] (frequencies, blurred by `rebalance.sigma`), `weights` [G][Q] (of the loss, at
    `rebalance.uniform`), `clipped`, `images` and `settings`. A run's own files in the workdir stay
    as they are. Returns what `prior.json` holds. Raises UserError for settings or data that do not
    fit, or several processes.
    """
    if jax.process_count() > 1:
        raise UserError("mode=prior runs in one process")
    settings = complete(config)
    check_training(settings)
    source, space = opening.open_source(settings.data), SPACES[settings.space]
    untold = build_task(settings, None)
    binning = untold.binning
    statistics = evaluate.measure_bins(evaluate.squares_of(settings), untold, source.train)
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
    """What the centres of the bins look like, sRGB [G, Q, 3], the other channel being gray."""
    gray = np.full((1, 3), 150, np.uint8)
    _, lightness, neutral = space.split(gray)
    groups, num_bins, channels = binning.centers.shape
    chroma = np.tile(np.asarray(neutral), (groups, num_bins, 1))
    for group in range(groups):
        first = group * channels
        chroma[group, :, first : first + channels] = binning.centers[group]
    return np.asarray(space.join(jnp.broadcast_to(lightness, (groups, num_bins, 1)), chroma))


def summary(result: dict[str, Any]) -> str:
    """A line for each group of bins."""
    lines = [
        f"{result['source']}: {result['images']} photographs, "
        f"{result['clipped']:.1%} of pixels outside the bins"
    ]
    groups = ("both channels",) if len(result["counts"]) == 1 else ("first", "second channel")
    for name, counts, weights in zip(groups, result["counts"], result["weights"], strict=True):
        seen = np.array(weights)[np.array(counts) > 0]
        lines.append(
            f"{name}: {len(seen)} of {len(counts)} bins occur, the fullest holds "
            f"{max(counts) / sum(counts):.1%}; weights {seen.min():.2g} to {seen.max():.2g}"
        )
    return "\n".join(lines)
