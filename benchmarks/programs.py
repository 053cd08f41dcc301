"""The training step that `configs/classify.py` trains by, at the size that is measured."""

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
    """Side of what crops are taken from, as much larger as the paper's setting has it."""
    return settings.size * 8 // 7


def training(settings: Settings) -> tuple[Callable, steps.TrainState]:
    """`steps.train_step` as `parallel.compile_step` takes it, and a fresh state."""
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
    """A batch as `loader.train_batches` gives it."""
    side = load_size(settings)
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 256, (settings.batch, side, side, 3), dtype=np.uint8),
        "example": np.arange(settings.batch, dtype=np.int32),
    }
