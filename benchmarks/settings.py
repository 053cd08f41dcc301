"""The settings of all sections, and the examples that all implementations of a network get."""

from typing import NamedTuple

import numpy as np

OBJECTIVES = ("classification", "regression")
NUM_BINS = 50


class Settings(NamedTuple):
    """Settings of the benchmarks."""

    size: int = 224  # side of the network's input, pixels
    batch: int = 2
    width: float = 1.0  # width factor of the network; 1 is the paper's
    dtype: str = "float32"  # of the computation; or bfloat16
    repeats: int = 5  # rounds; each times every contender once
    megapixels: float = 12.0  # of the picture in the section `colors`
    images: int = 400  # JPEGs in the loader's folder
    objective: str = "both"  # of the measured networks; or one of OBJECTIVES
    platform: str = "cpu"  # jax's name of the backend: cpu or gpu

    def objectives(self) -> tuple[str, ...]:
        return OBJECTIVES if self.objective == "both" else (self.objective,)


def examples(settings: Settings) -> dict[str, np.ndarray]:
    """Returns random `gray` [b, s, s, 1] in [0, 255], `bins` int32 and `target` [b, s, s, 2].

    `target` is chroma divided by 100. All are numpy arrays, so that a process can do without jax.
    """
    rng = np.random.default_rng(0)
    shape = (settings.batch, settings.size, settings.size)
    return {
        "gray": rng.uniform(0, 255, (*shape, 1)).astype(np.float32),
        "bins": rng.integers(0, NUM_BINS, (*shape, 2)).astype(np.int32),
        "target": rng.uniform(-1, 1, (*shape, 2)).astype(np.float32),
    }
