"""From what a visitor chose, a `View`, to pictures and words."""

import html
import os
import uuid
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.coloring.api import Colorizer
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, writing
from colorjax.pictures.photo import Photo

PREVIEW, SAMPLE = 1600, 640  # most pixels of a side of what the page shows
HOURS = 6  # that a file is kept
FIRST_EXAMPLE = "mountain_lake"


class View(NamedTuple):
    """What the page shows: a photo, and how it is coloured."""

    path: str
    settings: Settings

    @property
    def name(self) -> str:
        return Path(self.path).name


def paint(colorizer: Colorizer, folder: Path, view: View) -> tuple[tuple[str, str], str]:
    """The files of before and after, at the size of the page, and what is said below them.

    Raises:
      UserError: the photo cannot be read, or a setting is wrong.
    """
    full = read(view)
    small = shrunk(full, PREVIEW)
    (after,) = colorizer.colorize_arrays([small.rgb], **view.settings._asdict())
    return (
        save(folder, on_white(small.rgb, small.alpha)),
        save(folder, on_white(after, small.alpha)),
    ), caption(view, full)


def draw_samples(
    colorizer: Colorizer, folder: Path, view: View, count: int
) -> list[tuple[str, str]]:
    """Files and captions of several colourings, of the seeds from that of the view on.

    Raises:
      UserError: as `paint`.
    """
    small = shrunk(read(view), SAMPLE)
    settings = view.settings._asdict()
    settings.pop("decode")
    found = colorizer.samples(small.rgb, count, **settings)
    return [
        (save(folder, on_white(np.asarray(one), small.alpha)), f"Draw {view.settings.seed + i}")
        for i, one in enumerate(found)
    ]


def full_size(colorizer: Colorizer, folder: Path, view: View) -> str:
    """The file of a view at the size of the photo, with its transparency and metadata: a PNG.

    Raises:
      UserError: as `paint`.
    """
    full = read(view)
    (rgb,) = colorizer.colorize_arrays([full.rgb], **view.settings._asdict())
    # A folder of its own, as the browser is to see the name.
    target = folder / uuid.uuid4().hex / f"{Path(view.name).stem}_color.png"
    target.parent.mkdir()
    writing.write_photo(target, rgb, full)
    return str(target)


def read(view: View) -> Photo:
    """The photo of a view, as much of it as there is."""
    if not os.path.exists(view.path):
        raise UserError(f"{view.name}: is deleted by now, {HOURS} hours on: please choose it again")
    return photo.read_photo(view.path, name=view.name, allow_truncated=True)


def shrunk(full: Photo, side: int) -> Photo:
    """A photo of at most `side` pixels a side."""
    height, width, _ = full.rgb.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgb, alpha = (
        None if x is None else np.asarray(Image.fromarray(x).resize(size, reducing_gap=2.0))
        for x in (full.rgb, full.alpha)
    )
    return full._replace(rgb=rgb, alpha=alpha)


def on_white(rgb_u8: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """What is seen of a picture on a white page: uint8 [h, w, 3]."""
    if alpha is None:
        return rgb_u8
    return np.asarray(image_io.on_white(Image.fromarray(photo.with_alpha(rgb_u8, alpha))))


def save(folder: Path, rgb_u8: np.ndarray) -> str:
    """Writes a picture under a name that nobody can guess."""
    path = folder / f"{uuid.uuid4().hex}.jpg"
    image_io.write(path, rgb_u8)
    return str(path)


def caption(view: View, full: Photo) -> str:
    """HTML: the name and size of a photo, and what is to be known about how it was read."""
    height, width, _ = full.rgb.shape
    notes = [notice.removeprefix(f"{view.name}: ") for notice in full.notices]
    if has_colour(full.rgb):
        notes.append("has colours of its own, which the network does not get to see")
    lines = [f"<b>{html.escape(view.name)}</b> &ensp; {width} &times; {height}"]
    lines += [f"This photo {html.escape(note)}." for note in notes]
    return "".join(f"<p>{line}</p>" for line in lines)


def has_colour(rgb_u8: np.ndarray) -> bool:
    """Whether a picture is clearly no gray one; a few thousand pixels tell."""
    step = max(1, int((rgb_u8.shape[0] * rgb_u8.shape[1] / 10_000) ** 0.5))
    return image_io.mean_chroma(rgb_u8[::step, ::step]) > 8.0


def write_examples(folder: Path) -> list[str]:
    """Writes the bundled photographs in gray; the first is the one that the page opens with."""
    paths = []
    for source in resources.files("colorjax.data").joinpath("sample").iterdir():
        if source.name.endswith(".jpg"):
            gray = Image.fromarray(image_io.read_rgb(source.read_bytes())).convert("L")
            image_io.write(folder / source.name, np.asarray(gray.convert("RGB")))
            paths.append(str(folder / source.name))
    return sorted(paths, key=lambda path: (Path(path).stem != FIRST_EXAMPLE, path))
