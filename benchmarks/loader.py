"""Measures whether reading photographs keeps up with training: each alone, and both together.

Photographs are read from JPEG files, and from the decoded squares that `data.cache_dir` keeps.
"""

import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from benchmarks import harness, programs, report
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax.data import disk_cache, loader
from colorjax.data.places import Item
from colorjax.training import parallel
from colorjax.weights import devices as weights_devices

PHOTO = (500, 375)  # pixels, as in ImageNet
QUALITY = 90
# Of a call of the loader alone: its threads have prefetched two batches before the clock starts.
MIN_IMAGES = 64
STEPS = 4
THREADS = min(16, report.cores())


def measure(settings: Settings) -> list[Table]:
    """Returns a table: the loader, training on one random batch, and both together."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_photos(Path(folder), settings.images)
        mean_kb = sum(file.stat().st_size for file in files) / len(files) / 1000
        items = [Item(file.name, file) for file in files]
        decoded = disk_cache.cached(items, programs.load_size(settings), Path(folder) / "decoded")
        amounts, works = contenders(settings, {"JPEG": items, "decoded": decoded})
        harness.warm_up(works, 1)
        times = harness.interleave(works, settings.repeats)
    rows = [
        {
            "what": name,
            "images_per_s": amounts[name] / row["median_s"],
            "images": amounts[name],
            "median_s": row["median_s"],
            "least_s": row["least_s"],
            "most_s": row["most_s"],
            "times_s": row["times_s"],
        }
        for name, row in zip(works, harness.compare(times), strict=True)
    ]
    rates = {row["what"]: row["images_per_s"] for row in rows}
    alone = rates["training"]
    notes = [
        f"training on {kind} runs at {rates[f'training on {kind}'] / alone:.3g} of the speed "
        "on one random batch"
        for kind in ("JPEG", "decoded")
    ]
    notes += [
        f"the loader has {THREADS} threads",
        f"{settings.images} JPEGs of {PHOTO[0]} x {PHOTO[1]}, {mean_kb:.0f} kB each, not kept in "
        "memory",
    ]
    return [Table(f"loader and training, {settings.batch} x {settings.size}", rows, notes)]


def contenders(settings: Settings, sources: dict) -> tuple[dict[str, int], dict]:
    """Returns the number of images per call, and the calls, by name; `sources` is {kind: items}."""
    devices = jax.devices()[:1]
    step, state = programs.training(settings)
    compiled = parallel.compile_step(step, donate=True, devices=devices)
    placed = [weights_devices.place(state, devices)]
    random_batch = programs.random_batch(settings)
    count = max(STEPS, -(-MIN_IMAGES // settings.batch))

    def load(batches):
        for _ in range(count):
            next(batches)

    def train(next_batch):
        for _ in range(STEPS):
            placed[0], scalars = compiled(placed[0], next_batch())
        jax.block_until_ready((placed[0], scalars))

    works, images = {"training": lambda: train(lambda: random_batch)}, {"training": STEPS}
    for kind, items in sources.items():
        batches = loader.train_batches(
            items,
            size=programs.load_size(settings),
            batch_size=settings.batch,
            seed=0,
            cache_bytes=0,
            num_threads=THREADS,
        )
        works[f"loader, {kind}"] = partial(load, batches)
        works[f"training on {kind}"] = partial(train, partial(next, batches))
        images |= {f"loader, {kind}": count, f"training on {kind}": STEPS}
    return {name: n * settings.batch for name, n in images.items()}, works


def make_photos(folder: Path, count: int) -> list[Path]:
    """Writes random JPEGs with detail at every scale, which decode as slowly as photographs."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(count):
        file = folder / f"{i:04}.jpg"
        Image.fromarray(smooth(rng)).save(file, quality=QUALITY)
        files.append(file)
    return files


def smooth(rng: np.random.Generator) -> np.ndarray:
    """Returns noise of every scale, uint8 [h, w, 3]; finer noise has a smaller amplitude."""
    width, height = PHOTO
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 8, 16, 32, 64, 128):
        noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize(PHOTO, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float32) - 127.5) * (4 / cells) ** 0.6
    return np.clip(127.5 + 0.6 * total, 0, 255).astype(np.uint8)
