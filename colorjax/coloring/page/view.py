"""From what a visitor chose, a `View`, to pictures and words."""

import functools
import html
import os
import uuid
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page.limits import check_shape
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, writing
from colorjax.pictures.photo import Photo

PREVIEW, SAMPLE, THUMB = 1600, 640, 240  # most pixels of a side of what the page shows
KEPT = 16  # previews in memory, of up to 10 MB each; a slider is quick where nothing is read anew
HOURS = 6  # that a file is kept
FORMATS = {"PNG": ".png", "JPEG": ".jpg"}
FIRST_EXAMPLE = "mountain_lake"


class View(NamedTuple):
    """What the page shows: a photo, and how it is coloured."""

    path: str
    settings: Settings

    @property
    def name(self) -> str:
        return Path(self.path).name


class Preview(NamedTuple):
    """What the page needs of a photo.

    Attributes:
      small: the photo at the size of the page.
      height, width: of the photo itself.
      has_colour: whether it is clearly no gray one.
    """

    small: Photo
    height: int
    width: int
    has_colour: bool


def preview(path: str) -> Preview:
    """Reads a photo at the size of the page; the last ones read are kept.

    Raises:
      UserError: the photo is gone, cannot be read, or has extreme proportions.
    """
    state = _stat(path)
    return _preview(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=KEPT)
def _preview(path: str, size: int, changed: int) -> Preview:
    full = read(path)
    height, width, _ = full.rgb.shape
    return Preview(shrunk(full, PREVIEW), height, width, has_colour(full.rgb))


def paint(colorizer: Colorizer, folder: Path, view: View) -> tuple[tuple[str, str], str]:
    """The files of before and after, at the size of the page, and what is said below them.

    Raises:
      UserError: as `preview`, or a setting is wrong.
    """
    found = preview(view.path)
    small = found.small
    (after,) = colorizer.colorize_arrays([small.rgb], **view.settings._asdict())
    return (
        save(folder, on_white(small.rgb, small.alpha)),
        save(folder, on_white(after, small.alpha)),
    ), caption(view, found)


def thumbnail(folder: Path, path: str) -> str:
    """The file of a photo as small as a queue shows it.

    Raises:
      UserError: as `preview`.
    """
    small = shrunk(preview(path).small, THUMB)
    return save(folder, on_white(small.rgb, small.alpha))


def draw_samples(
    colorizer: Colorizer, folder: Path, view: View, count: int
) -> list[tuple[str, str]]:
    """Files and captions of several colourings, of the seeds from that of the view on.

    Raises:
      UserError: as `paint`.
    """
    small = shrunk(preview(view.path).small, SAMPLE)
    settings = view.settings._asdict()
    settings.pop("decode")
    found = colorizer.samples(small.rgb, count, **settings)
    return [
        (save(folder, on_white(np.asarray(one), small.alpha)), f"Draw {view.settings.seed + i}")
        for i, one in enumerate(found)
    ]


def full_size(
    colorizer: Colorizer, folder: Path, view: View, suffix: str = ".png"
) -> tuple[str, tuple[str, ...]]:
    """The file of a view at the size of the photo, and what the format could not keep.

    A PNG has the photo's transparency; a JPEG is laid on white. Both have its metadata.

    Raises:
      UserError: as `paint`, or the photo is too large for the format.
    """
    full = read(view.path)
    (rgb,) = colorizer.colorize_arrays([full.rgb], **view.settings._asdict())
    # A folder of its own, as the browser is to see the name.
    target = folder / uuid.uuid4().hex / f"{Path(view.name).stem}_color{suffix}"
    target.parent.mkdir()
    try:
        notices = writing.write_photo(target, rgb, full)
    except UserError as error:
        # Where the page has its files is nobody's business.
        raise UserError(str(error).replace(str(target), target.name)) from error
    return str(target), tuple(one.replace(str(target), target.name) for one in notices)


def read(path: str) -> Photo:
    """A photo, as much of it as there is.

    Raises:
      UserError: as `preview`.
    """
    _stat(path)
    name = Path(path).name
    full = photo.read_photo(path, name=name, allow_truncated=True)
    height, width, _ = full.rgb.shape
    check_shape(height, width, name)
    return full


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        name = Path(path).name
        raise UserError(
            f"{name}: is deleted by now, {HOURS} hours on: please choose it again"
        ) from error


def shrunk(full: Photo, side: int) -> Photo:
    """A photo of at most `side` pixels a side."""
    height, width, _ = full.rgb.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def resized(x: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(x).resize(size, reducing_gap=2.0))

    alpha = None if full.alpha is None else resized(full.alpha)
    return full._replace(rgb=resized(full.rgb), alpha=alpha)


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


def caption(view: View, found: Preview) -> str:
    """HTML: the name and size of a photo, and what is to be known about how it was read."""
    notes = [notice.removeprefix(f"{view.name}: ") for notice in found.small.notices]
    if found.has_colour:
        notes.append("has colours of its own, which the network does not get to see")
    lines = [f"<b>{html.escape(view.name)}</b> &ensp; {found.width} &times; {found.height}"]
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
