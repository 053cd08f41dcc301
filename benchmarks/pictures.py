"""Makes gray photographs with film grain for benchmarks from the bundled photographs."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import harness

SAMPLE = harness.ROOT / "colorjax" / "data" / "sample"
CELL = 512  # side of the cells of a mosaic, pixels
GRAIN, QUALITY = 4.0, 92  # standard deviation of the grain in 8-bit steps; JPEG quality
# Ranges of megapixels and of width / height in a folder; both are sampled log-uniformly.
MEGAPIXELS, RATIOS = (0.2, 3.0), (0.5, 2.4)


def sample() -> list[Image.Image]:
    """Returns the bundled photographs in gray."""
    images = []
    for path in sorted(SAMPLE.glob("*.jpg")):
        with Image.open(path) as image:
            images.append(image.convert("L"))
    return images


def draw_mosaic(path: Path, megapixels: float) -> None:
    """Writes a 4:3 JPEG of so many megapixels, with the same amount of detail everywhere."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(width * 3 / 4)
    cells = [np.asarray(p.resize((CELL, CELL), Image.Resampling.BICUBIC)) for p in sample()]
    across, down = -(-width // CELL), -(-height // CELL)
    rows = [
        np.hstack([cells[(i * across + k) % len(cells)] for k in range(across)])
        for i in range(down)
    ]
    _write(path, np.vstack(rows)[:height, :width])


def draw_folder(folder: Path, count: int) -> None:
    """Writes JPEGs of many sizes and aspect ratios: resized crops of the bundled photographs."""
    rng, sources = np.random.default_rng(0), sample()
    for i in range(count):
        image = sources[i % len(sources)]
        ratio = float(np.exp(rng.uniform(*np.log(RATIOS))))
        width = min(image.width, round(image.height * ratio))
        height = min(image.height, round(width / ratio))
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        scale = (np.exp(rng.uniform(*np.log(MEGAPIXELS))) * 1e6 / (width * height)) ** 0.5
        part = image.crop((left, top, left + width, top + height))
        size = round(width * scale), round(height * scale)
        _write(folder / f"{i:03}.jpg", np.asarray(part.resize(size, Image.Resampling.BICUBIC)))


def _write(path: Path, gray: np.ndarray) -> None:
    grain = np.random.default_rng(1).normal(0, GRAIN, gray.shape).astype(np.float32)
    grainy = np.clip(gray + grain, 0, 255).astype(np.uint8)
    Image.fromarray(grainy).save(path, quality=QUALITY)
