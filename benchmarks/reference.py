"""Measures what a reference photograph gains on your own colour photographs.

    python -m benchmarks.reference FOLDER --photos 100
    python -m benchmarks.reference FOLDER --photos 100 --speed

Prints the PSNR without a reference and with each kind of reference: the photograph itself; its
mirror image; another shot (a crop of 72% of its sides, darker or lighter); a part (60% of one
side); a related photograph (another of the same folder, if there are several folders of several
photographs each); and an unrelated photograph (a random one). Photographs are taken at regular
intervals in the order of their paths. `--speed` prints processor seconds per photograph with and
without a reference.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.guesses import pictures, psnr
from colorjax.coloring import colorize, reference
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import photo
from colorjax.pictures.photo import Photo
from colorjax.weights.released import load_network

SHOT, PART = 0.72, 0.6  # share of the sides that a crop keeps
GAMMA = (0.8, 1.25)
SIDES = (480, 2000)  # pixels; sides of the photographs for `--speed`


def read(path: Path) -> np.ndarray:
    return photo.read_photo(path).rgb


def references(
    rgb: np.ndarray, path: Path, folders: dict[Path, list[Path]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns one reference of each kind for a photograph."""
    height, width, _ = rgb.shape
    top, left = (int(rng.uniform(0, (1 - SHOT) * side)) for side in (height, width))
    crop = rgb[top : top + int(SHOT * height), left : left + int(SHOT * width)]
    chosen = {
        "the same": rgb,
        "mirrored": rgb[:, ::-1],
        "another shot": (255 * (crop / 255) ** rng.uniform(*GAMMA)).astype(np.uint8),
        "a part": rgb[:, : int(PART * width)] if rng.random() < 0.5 else rgb[: int(PART * height)],
    }
    siblings = [other for other in folders[path.parent] if other != path]
    others = [other for parent in folders for other in folders[parent] if parent != path.parent]
    if others and min(map(len, folders.values())) > 1:
        chosen["related"] = read(siblings[rng.integers(len(siblings))])
    unrelated = others or siblings
    return chosen | {"unrelated": read(unrelated[rng.integers(len(unrelated))])}


def gains(painter: colorize.Painter, folder: str, count: int) -> list[str]:
    """Returns Markdown rows: PSNR, mean gain, and share of photographs that lose more than 1 dB."""
    paths = pictures(folder)
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    rng, psnrs = np.random.default_rng(0), []
    for i in np.linspace(0, len(paths), count, endpoint=False).astype(int):
        rgb = read(paths[i])
        others = references(rgb, paths[i], folders, rng)
        settings = [ColorSettings(), *(settings_for(painter, other) for other in others.values())]
        ((_, results),) = colorize.colorize(painter, [rgb], settings)
        psnrs.append([psnr(result, rgb) for result in results])
    table = np.array(psnrs)
    rows = ["| reference | PSNR | gain | 1 dB worse |", "|---|---:|---:|---:|"]
    for name, column in zip(["none", *others], table.T, strict=True):
        gain = column - table[:, 0]
        worse = 100 * np.mean(gain < -1)
        rows.append(f"| {name} | {column.mean():.2f} | {gain.mean():+.2f} | {worse:.0f}% |")
    return rows


def settings_for(painter: colorize.Painter, other: np.ndarray) -> ColorSettings:
    """Returns settings with a reference, or without it if it is refused as nearly gray."""
    try:
        return ColorSettings(reference=reference.prepare_reference(painter, Photo(other)))
    except UserError:
        return ColorSettings()


def seconds(painter: colorize.Painter, path: Path) -> list[str]:
    """Returns Markdown rows: the fastest of five runs in processor seconds, by photograph size."""
    rows = ["| pixels | without | with a reference |", "|---|---:|---:|"]
    rgb = read(path)
    for side in SIDES:
        large = colorize.resized(rgb, (side, side))
        with_reference = ColorSettings(reference=reference.prepare_reference(painter, Photo(rgb)))
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(5):
            for given, settings in ((False, ColorSettings()), (True, with_reference)):
                start = time.process_time()
                list(colorize.colorize(painter, [large], [settings]))
                took[given].append(time.process_time() - start)
        rows.append(f"| {side} x {side} | {min(took[False]):.3f} | {min(took[True]):.3f} |")
    start = time.process_time()
    reference.prepare_reference(painter, Photo(rgb))
    return [*rows, "", f"Preparing the reference: {time.process_time() - start:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--model", help="a run or a released file; default: the bundled one")
    arguments = parser.parse_args()
    painter = colorize.open_painter(load_network(arguments.model))
    if arguments.speed:
        print("\n".join(seconds(painter, pictures(arguments.folder)[0])))
    else:
        print("\n".join(gains(painter, arguments.folder, arguments.photos)))


if __name__ == "__main__":
    main()
