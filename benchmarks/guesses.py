"""Measures how reliable confidence and hints are on your own colour photographs.

    python -m benchmarks.guesses confidence FOLDER --photos 200
    python -m benchmarks.guesses hints FOLDER --photos 100

`confidence` sorts all pixels by confidence and prints the mean chroma error of each tenth. `hints`
prints the PSNR by the number of hints, which are the true colours of random pixels: for the
network's chroma with hints, and for hints alone, spread as by Levin et al. (2004). Photographs are
taken at regular intervals in the order of their paths.
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from colorjax.coloring import colorize, confidence, hints
from colorjax.coloring.network import borders, hint_propagation, shapes, tiles
from colorjax.coloring.settings import ColorSettings
from colorjax.data.places import folder_items
from colorjax.ops import color, propagation, resample
from colorjax.pictures import photo
from colorjax.weights.released import load_network

COUNTS = (1, 5, 10, 50)
TENTHS = 10


def pictures(folder: str) -> list[Path]:
    """Returns the picture files in a folder and its subfolders."""
    return [item.data for item in folder_items([Path(folder)])[0]]


def read_photos(folder: str, count: int) -> list[np.ndarray]:
    """Reads `count` photographs from a folder and its subfolders: uint8 [h, w, 3] each."""
    paths = pictures(folder)
    indices = np.linspace(0, len(paths), count, endpoint=False).astype(int)
    return [photo.read_photo(paths[i]).rgb for i in indices]


def tenths(painter: colorize.Painter, photos: list[np.ndarray]) -> list[str]:
    """Returns Markdown rows: confidence, and the mean distance of the chroma from the truth."""
    confidences, errors = [], []
    for rgb in photos:
        ((_, (result,)),) = colorize.colorize(painter, [rgb], [ColorSettings()])
        chroma, truth = (np.asarray(color.rgb_u8_to_luv(x))[..., 1:] for x in (result, rgb))
        errors.append(np.hypot(*np.moveaxis(chroma - truth, -1, 0)).ravel())
        confidences.append(confidence.of_photo(painter, rgb).ravel() / 255)
    sure, error = np.concatenate(confidences), np.concatenate(errors)
    rows = ["| confidence | mean chroma error |", "|---|---:|"]
    for part in np.array_split(np.argsort(sure, kind="stable"), TENTHS):
        rows.append(f"| {sure[part[0]]:.2f} to {sure[part[-1]]:.2f} | {error[part].mean():.1f} |")
    return rows


def by_count(painter: colorize.Painter, photos: list[np.ndarray]) -> list[str]:
    """Returns Markdown rows: PSNR by the number of hints."""
    combined, alone = [], []
    for number, rgb in enumerate(photos):
        given = random_hints(rgb, max(COUNTS), seed=number)
        settings = [ColorSettings(), *(ColorSettings(hints=given[:n]) for n in COUNTS)]
        ((_, results),) = colorize.colorize(painter, [rgb], settings)
        combined.append([psnr(result, rgb) for result in results])
        spread = [spread_hints(painter, rgb, given[:n]) for n in (0, *COUNTS)]
        alone.append([psnr(result, rgb) for result in spread])
    counts = (0, *COUNTS)
    rows = [f"| hints | {' | '.join(map(str, counts))} |", "|---|" + "---:|" * len(counts)]
    for name, values in {"network and hints": combined, "hints alone": alone}.items():
        rows.append(f"| {name} | {' | '.join(f'{x:.2f}' for x in np.mean(values, axis=0))} |")
    return rows


def random_hints(rgb: np.ndarray, count: int, seed: int) -> tuple[hints.Hint, ...]:
    """Returns hints at random pixels with their true colours."""
    rng = np.random.default_rng(seed)
    places = zip(*(rng.integers(0, side, count).tolist() for side in rgb.shape[:2]), strict=True)
    return tuple(hints.Hint(x, y, f"#{bytes(rgb[y, x]).hex()}") for y, x in places)


def spread_hints(
    painter: colorize.Painter, rgb: np.ndarray, given: tuple[hints.Hint, ...]
) -> np.ndarray:
    """Colours a photograph from hints alone, with a direct solver; gray if there are no hints."""
    shape = [side // 2 for side in shapes.network_shape(*rgb.shape[:2], painter.size)]
    small = colorize.resized(rgb, tuple(shape))
    lightness = color.rgb_u8_to_luv(small)[..., :1]
    chroma = np.zeros((*shape, 2), np.float32)
    if given:
        map = hints.on_grid(given, rgb, borders.whole(rgb), tuple(shape))
        target = np.asarray(color.rgb_to_luv(map.colour))[..., 1:].reshape(-1, 2)
        trust = hint_propagation.HINT_WEIGHT * (map.number.ravel() > 0)
        weights = matrix(np.asarray(propagation.affinities(lightness, variances=(0.5, np.inf))))
        system = scipy.sparse.diags(np.asarray(weights.sum(1)).ravel() + trust) - weights
        solution = scipy.sparse.linalg.spsolve(system.tocsc(), trust[:, None] * target)
        chroma = solution.reshape(chroma.shape).astype(np.float32)
    fits = resample.fit_guided_filter(jnp.asarray(chroma), lightness)
    return tiles.color_photo(painter.color_tile, fits, rgb)


def matrix(weights: np.ndarray) -> scipy.sparse.csr_matrix:
    """Converts affinities [8, h, w] to a sparse matrix [h w, h w]."""
    _, height, width = weights.shape
    number = np.pad(np.arange(height * width).reshape(height, width), 1, constant_values=-1)
    parts = []
    for weight, (down, right) in zip(weights, propagation.NEIGHBOURS, strict=True):
        other = number[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        inside = other >= 0
        parts.append((weight[inside], number[1:-1, 1:-1][inside], other[inside]))
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(height * width,) * 2)


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((result.astype(float) - truth) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guesses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("confidence", "hints"))
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--model", help="a run or a released file; default: the bundled one")
    arguments = parser.parse_args()
    painter = colorize.open_painter(load_network(arguments.model))
    measure = tenths if arguments.what == "confidence" else by_count
    print("\n".join(measure(painter, read_photos(arguments.folder, arguments.photos))))


if __name__ == "__main__":
    main()
