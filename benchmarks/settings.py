"""What all sections are told, and the examples that all contenders of a network get."""

from typing import NamedTuple

import numpy as np

OBJECTIVES = ("classification", "regression")
NUM_BINS = 50


class Settings(NamedTuple):
    """The size of what is measured."""

    size: int = 224  # side of the network's input
    batch: int = 2
    width: float = 1.0  # of the network; 1 is the paper's
    dtype: str = "float32"  # or bfloat16: the computation's
    repeats: int = 5  # rounds, in each of which every contender is timed once
    megapixels: float = 12.0  # of the picture whose colours are converted
    images: int = 400  # JPEGs in the loader's folder
    objective: str = "both"  # or one of OBJECTIVES: the networks that are measured
    platform: str = "cpu"  # as jax calls it: cpu or gpu

    def objectives(self) -> tuple[str, ...]:
        return OBJECTIVES if self.objective == "both" else (self.objective,)


def examples(settings: Settings) -> dict[str, np.ndarray]:
    """Random `gray` [b, s, s, 1] in [0, 255], `bins` int32 [b, s, s, 2], `target` [b, s, s, 2].

    `target` is chroma divided by 100. Plain numpy, so that a process may do without jax.
    """
    rng = np.random.default_rng(0)
    shape = (settings.batch, settings.size, settings.size)
    return {
        "gray": rng.uniform(0, 255, (*shape, 1)).astype(np.float32),
        "bins": rng.integers(0, NUM_BINS, (*shape, 2)).astype(np.int32),
        "target": rng.uniform(-1, 1, (*shape, 2)).astype(np.float32),
    }
