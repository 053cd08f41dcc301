"""How far confidence and hints are to be trusted, on colour photographs of your own.

    python -m benchmarks.guesses confidence FOLDER --photos 200
    python -m benchmarks.guesses hints FOLDER --photos 100

`confidence`: how wrong the chroma is in each tenth of all pixels, by confidence. `hints`: PSNR by
the number of hints, which are the true colours of random pixels: the network's chroma with hints,
and hints alone, which the system of Levin et al. (2004) spreads. Photographs are taken at even
distances in the order of their paths.
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from colorjax.coloring import colorize, confidence, hints
from colorjax.coloring.network import borders, hint_propagation, shapes, tiles
from colorjax.coloring.settings import Settings
from colorjax.ops import color, propagation, resample
from colorjax.pictures import photo
from colorjax.weights.released import load_network

COUNTS = (1, 5, 10, 50)
TENTHS = 10


def chosen(folder: str, count: int) -> list[np.ndarray]:
    """As many photographs of a folder and those below it: uint8 [h, w, 3] each."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    places = np.linspace(0, len(paths), count, endpoint=False).astype(int)
    return [photo.read_photo(paths[i]).rgb for i in places]


def tenths(painter: colorize.Painter, photos: list[np.ndarray]) -> list[str]:
    """Rows of Markdown: confidence, and the mean distance of chroma from the truth."""
    sure, error = [], []
    for rgb in photos:
        ((_, (found,)),) = colorize.colorize(painter, [rgb], [Settings()])
        chroma, truth = (np.asarray(color.rgb_u8_to_luv(x))[..., 1:] for x in (found, rgb))
        error.append(np.hypot(*np.moveaxis(chroma - truth, -1, 0)).ravel())
        sure.append(confidence.of_photo(painter, rgb).ravel() / 255)
    sure, error = np.concatenate(sure), np.concatenate(error)
    rows = ["| confidence | mean chroma error |", "|---|---:|"]
    for part in np.array_split(np.argsort(sure, kind="stable"), TENTHS):
        rows.append(f"| {sure[part[0]]:.2f} to {sure[part[-1]]:.2f} | {error[part].mean():.1f} |")
    return rows


def by_count(painter: colorize.Painter, photos: list[np.ndarray]) -> list[str]:
    """Rows of Markdown: PSNR by the number of hints."""
    ours, alone = [], []
    for number, rgb in enumerate(photos):
        given = random_hints(rgb, max(COUNTS), seed=number)
        settings = [Settings(), *(Settings(hints=given[:n]) for n in COUNTS)]
        ((_, results),) = colorize.colorize(painter, [rgb], settings)
        ours.append([psnr(found, rgb) for found in results])
        few = [spread(painter, rgb, given[:n]) for n in (0, *COUNTS)]
        alone.append([psnr(found, rgb) for found in few])
    rows = [f"| hints | {' | '.join(map(str, (0, *COUNTS)))} |", "|---|" + "---:|" * 5]
    for name, found in {"network and hints": ours, "hints alone": alone}.items():
        rows.append(f"| {name} | {' | '.join(f'{x:.2f}' for x in np.mean(found, axis=0))} |")
    return rows


def random_hints(rgb: np.ndarray, count: int, seed: int) -> tuple[hints.Hint, ...]:
    """The true colours of random pixels."""
    rng = np.random.default_rng(seed)
    places = zip(*(rng.integers(0, side, count).tolist() for side in rgb.shape[:2]), strict=True)
    return tuple(hints.Hint(x, y, f"#{bytes(rgb[y, x]).hex()}") for y, x in places)


def spread(painter: colorize.Painter, rgb: np.ndarray, given: tuple[hints.Hint, ...]) -> np.ndarray:
    """The photograph with hints alone, from a direct solver; gray without any."""
    shape = [side // 2 for side in shapes.network_shape(*rgb.shape[:2], painter.size)]
    small = colorize.resized(rgb, tuple(shape))
    lightness = color.rgb_u8_to_luv(small)[..., :1]
    chroma = np.zeros((*shape, 2), np.float32)
    if given:
        map = hints.on_grid(given, rgb, borders.whole(rgb), tuple(shape))
        wanted = np.asarray(color.rgb_to_luv(map.colour))[..., 1:].reshape(-1, 2)
        trust = hint_propagation.HOLD * (map.number.ravel() > 0)
        weights = matrix(np.asarray(propagation.affinities(lightness, variances=(0.5, np.inf))))
        system = scipy.sparse.diags(np.asarray(weights.sum(1)).ravel() + trust) - weights
        found = scipy.sparse.linalg.spsolve(system.tocsc(), trust[:, None] * wanted)
        chroma = found.reshape(chroma.shape).astype(np.float32)
    fits = resample.guide_chroma(jnp.asarray(chroma), lightness)
    return tiles.full_size(painter.color_tile, fits, rgb)


def matrix(weights: np.ndarray) -> scipy.sparse.csr_matrix:
    """Affinities [8, h, w] as a sparse matrix [h w, h w]."""
    _, height, width = weights.shape
    number = np.pad(np.arange(height * width).reshape(height, width), 1, constant_values=-1)
    parts = []
    for weight, (down, right) in zip(weights, propagation.NEIGHBOURS, strict=True):
        other = number[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        inside = other >= 0
        parts.append((weight[inside], number[1:-1, 1:-1][inside], other[inside]))
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(height * width,) * 2)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((found.astype(float) - truth) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guesses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("confidence", "hints"))
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--model", help="a run or a released file; the bundled one unless given")
    given = parser.parse_args()
    painter = colorize.open_painter(load_network(given.model))
    measure = tenths if given.what == "confidence" else by_count
    print("\n".join(measure(painter, chosen(given.folder, given.photos))))


if __name__ == "__main__":
    main()
