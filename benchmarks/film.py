"""Compares the flicker and PSNR of a film with those of its frames coloured one by one.

    python -m benchmarks.film                            # clips made of the bundled photographs
    python -m benchmarks.film CLIP.mp4 ...               # also colour clips, converted to gray
    python -m benchmarks.film --strip docs/film.jpg      # also draws some frames

The clips show the bundled photographs through a static, panning or zooming camera. Grain and
brightness differ from frame to frame, as in old films. Needs pip install 'colorjax[video]'.

    flicker   mean change of U and V along the motion, which is that of the clip without grain
    PSNR      in dB, of the predicted against the true colours, both with the gray clip's lightness
    gain      PSNR as a film minus PSNR one by one
    ratio     flicker as a film divided by flicker one by one
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
from colorjax.coloring.settings import ColorSettings
from colorjax.film import colour, flicker, scenes
from colorjax.film.files import reading
from colorjax.ops import color
from colorjax.weights.released import load_network

SAMPLE = Path(colorjax.__file__).parent / "data" / "sample"
PHOTOS = ("astronaut.jpg", "tea_garden.jpg", "sunset_street.jpg", "spices.jpg")
HEIGHT, WIDTH = 272, 480
GRAIN, GRAIN_SIZE = 6.0, 0.7  # standard deviation in 8-bit steps; sigma of the grain's blur
BRIGHTNESS = 0.03  # standard deviation of the relative brightness of a frame
SHOWN = 5  # frames in the strip


class Clip(NamedTuple):
    """A clip with known colours."""

    name: str
    kind: str
    truth: np.ndarray  # uint8 [n, h, w, 3], without grain
    gray: np.ndarray  # uint8 [n, h, w], the input


def camera(name: str, kind: str, count: int) -> np.ndarray:
    """Returns frames of a virtual camera over a photograph: uint8 [count, HEIGHT, WIDTH, 3]."""
    photo = np.asarray(Image.open(SAMPLE / name).convert("RGB"))
    height, width = photo.shape[:2]
    widest = min(width, height * WIDTH / HEIGHT)
    frames = []
    for share in np.linspace(0, 1, count):
        visible = widest * {"static": 1.0, "pan": 0.75, "zoom": 1 - 0.35 * share}[kind]
        middle = width / 2
        if kind == "pan":
            middle = visible / 2 + (width - visible) * (0.1 + 0.8 * share)
        scale = visible / WIDTH
        transform = np.float32(
            [[scale, 0, middle - visible / 2], [0, scale, height / 2 - scale * HEIGHT / 2]]
        )
        frames.append(
            cv2.warpAffine(
                cv2.GaussianBlur(photo, (0, 0), max(0.3, 0.4 * scale)),
                transform,
                (WIDTH, HEIGHT),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
        )
    return np.stack(frames)


def aged(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Converts frames to gray, and adds grain and flickering brightness."""
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
    """Returns gray frames with the luminance of colour frames: uint8 [n, h, w]."""
    no_chroma = jnp.asarray([1.0, 0.0, 0.0])
    return np.stack([np.asarray(as_rgb(luv(frame) * no_chroma))[..., 0] for frame in truth])


def synthetic_clips(count: int) -> Iterator[Clip]:
    """Yields clips of `count` frames, made of the bundled photographs."""
    rng = np.random.default_rng(0)
    for kind in ("static", "pan", "zoom"):
        for name in PHOTOS:
            truth = camera(name, kind, count)
            yield Clip(Path(name).stem, kind, truth, aged(truth, rng))


def read(path: str, count: int) -> Clip:
    """Reads a clip from a file, at most WIDTH wide, and converts it to gray."""
    with reading.open_film(path) as container:
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
    """Colours each frame as a photograph."""
    photos = [np.repeat(gray[..., None], 3, axis=-1) for gray in clip.gray]
    results = dict(colorize.colorize(painter, photos, [ColorSettings()]))
    return np.stack([results[i][0] for i in range(len(photos))])


def as_film(painter: colorize.Painter, clip: Clip) -> np.ndarray:
    """Colours a clip as a film, scene by scene."""
    film_painter = colour.open_film_painter(painter, ColorSettings())
    marks = list(scenes.marks(scenes.signature(gray) for gray in clip.gray))
    starts = [i for i, mark in enumerate(marks) if mark.begins]
    view = colour.View(borders.whole(clip.gray[0]))
    frames = []
    for start, stop in zip(starts, [*starts[1:], len(marks)], strict=True):
        flashes = [mark.flash for mark in marks[start:stop]]
        coloured = colour.run(film_painter, clip.gray[start:stop], view, None, flashes)
        frames += [frame.rgb for frame in coloured]
    return np.stack(frames)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(np.float32) - second) ** 2)))


def measure(painter: colorize.Painter, clip: Clip) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns the metrics of a clip, and its coloured frames by method."""
    moved = flicker.find_motions(list(grays(clip.truth)))
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


def draw_strip(path: Path, clip: Clip, pictures: dict[str, np.ndarray]) -> None:
    """Draws some frames of a clip: gray, coloured one by one, coloured as a film."""
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
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="colour films")
    parser.add_argument("--frames", type=int, default=24, help="number of frames of each clip")
    parser.add_argument(
        "--strip", type=Path, metavar="FILE", help="draw the clip that flickers most to FILE"
    )
    arguments = parser.parse_args(argv)
    print(describe(machine()), flush=True)
    painter = colorize.open_painter(load_network())
    by_title: dict[str, list[dict]] = {}
    worst = 0.0
    for clip in [
        *synthetic_clips(arguments.frames),
        *(read(file, arguments.frames) for file in arguments.clips),
    ]:
        numbers, pictures = measure(painter, clip)
        title = clip.name if clip.kind == "file" else clip.kind
        by_title.setdefault(title, []).append(numbers)
        text = f"{numbers['ratio']:.3f} of the flicker, {numbers['gain']:+.3f} dB"
        print(f"{clip.kind} {clip.name}: {text}", flush=True)
        if arguments.strip and numbers["flicker, photos"] > worst:
            worst = numbers["flicker, photos"]
            draw_strip(arguments.strip, clip, pictures)
    rows = [mean_row(title, numbers) for title, numbers in by_title.items()]
    print("\n" + render(Table(f"flicker of {arguments.frames} frames", rows)))


if __name__ == "__main__":
    main()
