"""Builds the training step of `configs/classify.py` at the size of a benchmark."""

import runpy
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.harness import ROOT
from benchmarks.settings import Settings
from colorjax.models import build
from colorjax.settings import complete
from colorjax.training import setup, steps
from colorjax.training.augment import augmentation_of


def load_size(settings: Settings) -> int:
    """Returns the side of the images that are cropped, in the paper's proportion to the crop."""
    return settings.size * 8 // 7


def training(settings: Settings) -> tuple[Callable, steps.TrainState]:
    """Returns `steps.train_step`, ready for `parallel.compile_step`, and an initial state."""
    config = runpy.run_path(str(ROOT / "configs" / "classify.py"))["get_config"]()
    config.data.load_size, config.data.crop_size = load_size(settings), settings.size
    config.batch_size = settings.batch
    config.model.width, config.model.dtype = settings.width, settings.dtype
    run = complete(config)
    model, tx = build.build_model(run), setup.build_optimizer(run)
    step = partial(
        steps.train_step,
        model=model,
        task=build.build_task(run, None),
        tx=tx,
        augmentation=augmentation_of(run),
    )
    return step, setup.init_state(run, model, tx)


def random_batch(settings: Settings) -> dict[str, np.ndarray]:
    """Returns a random batch in the format of `loader.train_batches`."""
    side = load_size(settings)
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 256, (settings.batch, side, side, 3), dtype=np.uint8),
        "example": np.arange(settings.batch, dtype=np.int32),
    }
