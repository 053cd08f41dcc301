"""How much less films flicker than the same frames coloured one by one, and what it costs.

    python -m benchmarks.film                            # clips made of the bundled photographs
    python -m benchmarks.film CLIP.mp4 ...               # clips in colour too, made gray
    python -m benchmarks.film --strip docs/film.jpg      # and draws some frames

Cameras that pan, zoom and stand still before the bundled photographs, with the grain and the
brightness of old films, which differ from frame to frame. Wants pip install 'colorjax[video]'.

    flicker   mean change of U and V along the motion, which is that of the clip without grain
    PSNR      in dB, of the colours on the lightness of what was coloured; gain is the film's
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import colorjax
from benchmarks.report import Table, describe, machine, render
from colorjax.coloring import colorize
from colorjax.coloring.network import borders
from colorjax.coloring.settings import Settings
from colorjax.film import colour, flicker, scenes
from colorjax.film.files import reading
from colorjax.ops import color
from colorjax.weights.released import load_network

SAMPLE = Path(colorjax.__file__).parent / "data" / "sample"
PHOTOS = ("astronaut.jpg", "tea_garden.jpg", "sunset_street.jpg", "spices.jpg")
HEIGHT, WIDTH = 272, 480
GRAIN, GRAIN_SIZE = 6.0, 0.7  # standard deviation in 8-bit steps; sigma of its blur
BRIGHTNESS = 0.03  # standard deviation of the gain of a frame
SHOWN = 5  # frames of a strip


class Clip(NamedTuple):
    """A clip whose colours are known."""

    name: str
    kind: str
    truth: np.ndarray  # uint8 [n, h, w, 3], without grain
    gray: np.ndarray  # uint8 [n, h, w], what is coloured


def camera(name: str, kind: str, count: int) -> np.ndarray:
    """Frames of a camera before a photograph: uint8 [count, HEIGHT, WIDTH, 3]."""
    photo = np.asarray(Image.open(SAMPLE / name).convert("RGB"))
    height, width = photo.shape[:2]
    most = min(width, height * WIDTH / HEIGHT)
    frames = []
    for share in np.linspace(0, 1, count):
        seen = most * {"static": 1.0, "pan": 0.75, "zoom": 1 - 0.35 * share}[kind]
        middle = width / 2
        if kind == "pan":
            middle = seen / 2 + (width - seen) * (0.1 + 0.8 * share)
        scale = seen / WIDTH
        place = np.float32(
            [[scale, 0, middle - seen / 2], [0, scale, height / 2 - scale * HEIGHT / 2]]
        )
        frames.append(
            cv2.warpAffine(
                cv2.GaussianBlur(photo, (0, 0), max(0.3, 0.4 * scale)),
                place,
                (WIDTH, HEIGHT),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
        )
    return np.stack(frames)


def aged(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gray frames with grain, and of a brightness that flickers."""
    frames = []
    for gray in grays(truth):
        grain = cv2.GaussianBlur(rng.normal(size=gray.shape).astype(np.float32), (0, 0), GRAIN_SIZE)
        gain = 1 + BRIGHTNESS * rng.normal()
        frames.append(np.clip(gray * gain + GRAIN * grain / grain.std() + 0.5, 0, 255))
    return np.stack(frames).astype(np.uint8)


@jax.jit
def luv(rgb_u8):
    return color.rgb_u8_to_luv(rgb_u8)


@jax.jit
def as_rgb(luv):
    return color.to_u8(color.luv_to_rgb(color.fit_chroma(luv)))


def grays(truth: np.ndarray) -> np.ndarray:
    """The grays of the luminance of colours: uint8 [n, h, w]."""
    no_chroma = jnp.asarray([1.0, 0.0, 0.0])
    return np.stack([np.asarray(as_rgb(luv(frame) * no_chroma))[..., 0] for frame in truth])


def made(count: int) -> Iterator[Clip]:
    """Clips of the bundled photographs."""
    rng = np.random.default_rng(0)
    for kind in ("static", "pan", "zoom"):
        for name in PHOTOS:
            truth = camera(name, kind, count)
            yield Clip(Path(name).stem, kind, truth, aged(truth, rng))


def read(path: str, count: int) -> Clip:
    """A clip of a file, at most WIDTH wide, and as gray as it is without its colours."""
    with reading.opened(path) as container:
        frames = []
        for frame in container.decode(video=0):
            width = min(WIDTH, frame.width)
            height = round(frame.height * width / frame.width)
            image = frame.to_image().resize((width, height), Image.Resampling.LANCZOS)
            frames.append(np.asarray(image))
            if len(frames) == count:
                break
    truth = np.stack(frames)
    return Clip(Path(path).stem, "file", truth, grays(truth))


def one_by_one(painter: colorize.Painter, clip: Clip) -> np.ndarray:
    """Each frame as a photograph."""
    photos = [np.repeat(gray[..., None], 3, axis=-1) for gray in clip.gray]
    found = dict(colorize.colorize(painter, photos, [Settings()]))
    return np.stack([found[i][0] for i in range(len(photos))])


def as_film(painter: colorize.Painter, clip: Clip) -> np.ndarray:
    """Scene by scene."""
    brush = colour.brush(painter, Settings())
    marks = list(scenes.marks(scenes.signature(gray) for gray in clip.gray))
    starts = [i for i, mark in enumerate(marks) if mark.begins]
    view = colour.View(borders.whole(clip.gray[0]))
    frames = []
    for start, stop in zip(starts, [*starts[1:], len(marks)], strict=True):
        flashes = [mark.flash for mark in marks[start:stop]]
        coloured = colour.run(brush, clip.gray[start:stop], view, None, flashes)
        frames += [found.rgb for found in coloured]
    return np.stack(frames)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(np.float32) - second) ** 2)))


def measured(painter: colorize.Painter, clip: Clip) -> tuple[dict, dict[str, np.ndarray]]:
    """Numbers of a clip, and its pictures."""
    moved = flicker.motions(list(grays(clip.truth)))
    lightness = [np.asarray(luv(np.repeat(g[..., None], 3, -1)))[..., :1] for g in clip.gray]
    truth = np.stack(
        [
            np.asarray(as_rgb(np.concatenate([light, np.asarray(luv(frame))[..., 1:]], -1)))
            for light, frame in zip(lightness, clip.truth, strict=True)
        ]
    )
    pictures = {"photos": one_by_one(painter, clip), "film": as_film(painter, clip)}
    numbers = {}
    for name, frames in {**pictures, "truth": truth}.items():
        chromas = [np.asarray(luv(frame))[..., 1:] for frame in frames]
        numbers[f"flicker, {name}"] = flicker.flicker(chromas, moved)
        if name != "truth":
            numbers[f"PSNR, {name}"] = psnr(frames, truth)
    numbers["gain"] = numbers["PSNR, film"] - numbers["PSNR, photos"]
    numbers["ratio"] = numbers["flicker, film"] / numbers["flicker, photos"]
    return numbers, pictures


def strip(path: Path, clip: Clip, pictures: dict[str, np.ndarray]) -> None:
    """Draws frames of a clip: gray, one by one, as a film."""
    chosen = np.linspace(0, len(clip.gray) - 1, SHOWN).round().astype(int)
    rows = [np.repeat(clip.gray[..., None], 3, -1), pictures["photos"], pictures["film"]]
    lines = [np.concatenate([row[i] for i in chosen], axis=1) for row in rows]
    image = Image.fromarray(np.concatenate(lines))
    image.thumbnail((1200, 1200), Image.Resampling.LANCZOS)
    image.save(path, quality=85)


def mean_row(title: str, rows: Sequence[dict]) -> dict:
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    means["ratio"] = means["flicker, film"] / means["flicker, photos"]
    return {"clips": title, **{name: round(mean, 3) for name, mean in means.items()}}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.film",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="films in colour")
    parser.add_argument("--frames", type=int, default=24, help="of each clip")
    parser.add_argument("--strip", type=Path, metavar="FILE", help="draw what flickers most there")
    arguments = parser.parse_args(argv)
    print(describe(machine()), flush=True)
    painter = colorize.open_painter(load_network())
    found: dict[str, list[dict]] = {}
    most = 0.0
    for clip in [*made(arguments.frames), *(read(c, arguments.frames) for c in arguments.clips)]:
        numbers, pictures = measured(painter, clip)
        title = clip.name if clip.kind == "file" else clip.kind
        found.setdefault(title, []).append(numbers)
        told = f"{numbers['ratio']:.3f} of the flicker, {numbers['gain']:+.3f} dB"
        print(f"{clip.kind} {clip.name}: {told}", flush=True)
        if arguments.strip and numbers["flicker, photos"] > most:
            most = numbers["flicker, photos"]
            strip(arguments.strip, clip, pictures)
    rows = [mean_row(title, numbers) for title, numbers in found.items()]
    print("\n" + render(Table(f"flicker of {arguments.frames} frames", rows)))


if __name__ == "__main__":
    main()
