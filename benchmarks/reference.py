"""What a reference brings, on colour photographs of your own.

    python -m benchmarks.reference FOLDER --photos 100
    python -m benchmarks.reference FOLDER --photos 100 --speed

PSNR of photographs against their truths, without a reference and with each kind of it: the
photograph itself; its mirror image; another shot, which is 72% of its sides, darker or lighter;
the greater part of it, 60% of one side; a related one, another of the same folder, where that has
one of several; and an unrelated one, at random. Photographs are taken at even distances in the
order of their paths. `--speed`: seconds a photograph, with a reference and without.
"""

import argparse
import time
from collections.abc import Iterator
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
NAMES = "the same|mirrored|another shot|a part|related|unrelated".split("|")
SIDES = (480, 2000)  # of the photographs whose seconds are taken


SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def pictures(folder: str) -> list[Path]:
    return sorted(one for one in Path(folder).rglob("*") if one.suffix.lower() in SUFFIXES)


def read(path: Path) -> np.ndarray:
    return photo.read_photo(path).rgb


def references(
    rgb: np.ndarray, path: Path, folders: dict[Path, list[Path]], rng: np.random.Generator
) -> Iterator[np.ndarray | None]:
    """One of each kind, in the order of NAMES."""
    yield rgb
    yield rgb[:, ::-1]
    height, width, _ = rgb.shape
    top, left = (int(rng.uniform(0, (1 - SHOT) * side)) for side in (height, width))
    crop = rgb[top : top + int(SHOT * height), left : left + int(SHOT * width)]
    yield (255 * (crop / 255) ** rng.uniform(*GAMMA)).astype(np.uint8)
    yield rgb[:, : int(PART * width)] if rng.random() < 0.5 else rgb[: int(PART * height)]
    others = [one for one in folders[path.parent] if one != path]
    yield read(others[rng.integers(len(others))]) if len(folders) > 1 and others else None
    away = [one for folder in folders.values() for one in folder if one != path]
    if len(folders) > 1:
        away = [one for one in away if one.parent != path.parent]
    yield read(away[rng.integers(len(away))])


def gains(painter: colorize.Painter, folder: str, count: int) -> list[str]:
    """Rows of Markdown: PSNR, how much it gains, and where it loses more than 1 dB."""
    paths = pictures(folder)
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    rng, alone = np.random.default_rng(0), []
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for i in np.linspace(0, len(paths), count, endpoint=False).astype(int):
        rgb = read(paths[i])
        plain = measured(painter, rgb, None)
        alone.append(plain)
        for name, other in zip(NAMES, references(rgb, paths[i], folders, rng), strict=True):
            gain = np.nan if other is None else measured(painter, rgb, other) - plain
            found[name].append(gain)
    rows = [f"| no reference | {np.mean(alone):.2f} | | |"]
    for name, gained in found.items():
        if not np.isnan(gained).all():
            worse = 100 * np.mean(np.array(gained) < -1)
            total = np.mean(alone) + np.mean(gained)
            rows.append(f"| {name} | {total:.2f} | {np.mean(gained):+.2f} | {worse:.0f}% |")
    return ["| reference | PSNR | gain | 1 dB worse |", "|---|---:|---:|---:|", *rows]


def measured(painter: colorize.Painter, rgb: np.ndarray, other: np.ndarray | None) -> float:
    """PSNR of a photograph with a reference; one that is refused counts as none."""
    settings = Settings()
    if other is not None:
        try:
            settings = Settings(reference=reference.of_photo(painter, Photo(other)))
        except UserError:
            pass
    ((_, (result,)),) = colorize.colorize(painter, [rgb], [settings])
    return psnr(result, rgb)


def seconds(painter: colorize.Painter, path: Path) -> list[str]:
    """Rows of Markdown: the least of several seconds by the side of a square photograph."""
    rows = ["| pixels | without | with a reference |", "|---|---:|---:|"]
    rgb = read(path)
    for side in SIDES:
        large = colorize.resized(rgb, (side, side))
        with_it = Settings(reference=reference.of_photo(painter, Photo(rgb)))
        took = {one: [] for one in (False, True)}
        for _ in range(8):
            for given, settings in ((False, Settings()), (True, with_it)):
                start = time.perf_counter()
                list(colorize.colorize(painter, [large], [settings]))
                took[given].append(time.perf_counter() - start)
        rows.append(f"| {side} x {side} | {min(took[False]):.3f} | {min(took[True]):.3f} |")
    start = time.perf_counter()
    reference.of_photo(painter, Photo(rgb))
    return [*rows, "", f"To make the reference ready: {time.perf_counter() - start:.3f}"]


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
