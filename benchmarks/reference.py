"""What a reference brings, on colour photographs of your own.

    python -m benchmarks.reference FOLDER --photos 100
    python -m benchmarks.reference FOLDER --photos 100 --speed

PSNR of photographs against their truths, without a reference and with each kind of it: the
photograph itself; its mirror image; another shot, which is 72% of its sides, darker or lighter;
the greater part of it, 60% of one side; a related one, another of the same folder, where that has
one of several; and an unrelated one, at random. Photographs are taken at even distances in the
order of their paths. `--speed`: processor seconds a photograph, with a reference and without.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.guesses import psnr
from colorjax.coloring import colorize, reference
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import photo
from colorjax.pictures.photo import Photo
from colorjax.weights.released import load_network

SHOT, PART = 0.72, 0.6  # of the sides
GAMMA = (0.8, 1.25)
SIDES = (480, 2000)  # of the photographs whose seconds are taken


SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def pictures(folder: str) -> list[Path]:
    return sorted(one for one in Path(folder).rglob("*") if one.suffix.lower() in SUFFIXES)


def read(path: Path) -> np.ndarray:
    return photo.read_photo(path).rgb


def references(
    rgb: np.ndarray, path: Path, folders: dict[Path, list[Path]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One of each kind."""
    height, width, _ = rgb.shape
    top, left = (int(rng.uniform(0, (1 - SHOT) * side)) for side in (height, width))
    crop = rgb[top : top + int(SHOT * height), left : left + int(SHOT * width)]
    found = {
        "the same": rgb,
        "mirrored": rgb[:, ::-1],
        "another shot": (255 * (crop / 255) ** rng.uniform(*GAMMA)).astype(np.uint8),
        "a part": rgb[:, : int(PART * width)] if rng.random() < 0.5 else rgb[: int(PART * height)],
    }
    of_many = len(folders) > 1
    alike = [one for one in folders[path.parent] if one != path]
    away = [one for parent in folders for one in folders[parent] if parent != path.parent]
    if of_many:
        found["related"] = read(alike[rng.integers(len(alike))])
    others = away if of_many else alike
    return found | {"unrelated": read(others[rng.integers(len(others))])}


def gains(painter: colorize.Painter, folder: str, count: int) -> list[str]:
    """Rows of Markdown: PSNR, how much it gains, and where it loses more than 1 dB."""
    paths = pictures(folder)
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    rng, found = np.random.default_rng(0), []
    for i in np.linspace(0, len(paths), count, endpoint=False).astype(int):
        rgb = read(paths[i])
        others = references(rgb, paths[i], folders, rng)
        settings = [Settings(), *(taken(painter, other) for other in others.values())]
        ((_, results),) = colorize.colorize(painter, [rgb], settings)
        found.append([psnr(result, rgb) for result in results])
    table = np.array(found)
    rows = ["| reference | PSNR | gain | 1 dB worse |", "|---|---:|---:|---:|"]
    for name, column in zip(["none", *others], table.T, strict=True):
        gain = column - table[:, 0]
        worse = 100 * np.mean(gain < -1)
        rows.append(f"| {name} | {column.mean():.2f} | {gain.mean():+.2f} | {worse:.0f}% |")
    return rows


def taken(painter: colorize.Painter, other: np.ndarray) -> Settings:
    """Settings with a reference; without one where it is refused, as nearly gray ones are."""
    try:
        return Settings(reference=reference.of_photo(painter, Photo(other)))
    except UserError:
        return Settings()


def seconds(painter: colorize.Painter, path: Path) -> list[str]:
    """Rows of Markdown: the least of several processor seconds, by the size of a photograph."""
    rows = ["| pixels | without | with a reference |", "|---|---:|---:|"]
    rgb = read(path)
    for side in SIDES:
        large = colorize.resized(rgb, (side, side))
        with_it = Settings(reference=reference.of_photo(painter, Photo(rgb)))
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(5):
            for given, settings in ((False, Settings()), (True, with_it)):
                start = time.process_time()
                list(colorize.colorize(painter, [large], [settings]))
                took[given].append(time.process_time() - start)
        rows.append(f"| {side} x {side} | {min(took[False]):.3f} | {min(took[True]):.3f} |")
    start = time.process_time()
    reference.of_photo(painter, Photo(rgb))
    return [*rows, "", f"To make the reference ready: {time.process_time() - start:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--model", help="a run or a released file; the bundled one unless given")
    given = parser.parse_args()
    painter = colorize.open_painter(load_network(given.model))
    if given.speed:
        print("\n".join(seconds(painter, pictures(given.folder)[0])))
    else:
        print("\n".join(gains(painter, given.folder, given.photos)))


if __name__ == "__main__":
    main()
