"""Renders a visitor's `View`, a photo and its settings, into pictures and captions."""

import base64
import html
import io
import os
import uuid
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax.coloring.api import Colorizer
from colorjax.coloring.hints import check_inside
from colorjax.coloring.network import memory
from colorjax.coloring.page.cache import VisitorCache
from colorjax.coloring.page.files import on_white, read, save, shrink, stat
from colorjax.coloring.page.limits import check_cancelled
from colorjax.coloring.page.references import CachedReference, Reference, cached_reference
from colorjax.coloring.prepared import Prepared
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, tint, writing
from colorjax.pictures.photo import Photo

# Pixels of the longer side, at most, of previews, samples and thumbnails.
PREVIEW_SIDE, SAMPLE_SIDE, THUMBNAIL_SIDE = 1600, 640, 240
# Cached previews, with what the network computed for them: up to some 10 MB each.
MAX_PREVIEWS, MAX_PREVIEW_BYTES = 4, 200_000_000  # per visitor; of all visitors together
MAX_REFERENCE_BYTES = 60_000_000  # of all cached references, some 3 MB each
MAX_SWATCHES = 8
# The mask is transparent up to the first uncertainty (1 - confidence), and opaque from the second.
UNCERTAINTY_RANGE = (0.4, 0.8)
MASK_SIDE = 96  # pixels of the mask's longer side
FORMATS = {"PNG": ".png", "JPEG": ".jpg"}
FIRST_EXAMPLE = "mountain_lake"


class View(NamedTuple):
    """A photo and its settings, from which everything that the page shows is derived.

    Attributes:
      path: of the photo's file.
      settings: their hints are at pixels of the photo itself, not of its preview. Their reference
        is unset, because a prepared reference is cached only for a limited time.
      owner: the visitor's session; empty for the examples, which all visitors share.
      reference: the visitor's reference, if any.
    """

    path: str
    settings: ColorSettings
    owner: str = ""
    reference: Reference | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name


class Preview(NamedTuple):
    """A cache entry: a photo at the size of the page.

    Attributes:
      small: the photo, scaled down.
      prepared: its pixels and the network's analysis of them.
      before: the file that shows the photo before colouring.
      height, width: of the original photo.
      has_colours: whether the original photo is in colour.
    """

    small: Photo
    prepared: Prepared
    before: str
    height: int
    width: int
    has_colours: bool

    @property
    def nbytes(self) -> int:
        return self.prepared.nbytes + (0 if self.small.alpha is None else self.small.alpha.nbytes)


class Studio(NamedTuple):
    """What is needed to render any view: the colorizer, the folder for files, and the caches."""

    colorizer: Colorizer
    folder: Path
    previews: VisitorCache[Preview]
    references: VisitorCache[CachedReference]

    def drop(self, owner: str) -> None:
        """Removes all items of a visitor from the caches."""
        self.previews.drop(owner)
        self.references.drop(owner)


def open_studio(colorizer: Colorizer, folder: Path) -> Studio:
    previews = VisitorCache[Preview](MAX_PREVIEWS, MAX_PREVIEW_BYTES)
    references = VisitorCache[CachedReference](1, MAX_REFERENCE_BYTES)
    return Studio(colorizer, folder, previews, references)


def load_preview(studio: Studio, path: str, owner: str = "") -> Preview:
    """Returns the preview of a photo; reads the photo if the preview is not in the cache.

    Raises:
      UserError: the photo was deleted, cannot be read, or has an extreme aspect ratio.
    """
    status = stat(path)
    key = path, status.st_size, status.st_mtime_ns
    return studio.previews.get(owner, key, lambda: _make_preview(studio, path))


def _make_preview(studio: Studio, path: str) -> Preview:
    full = read(path)
    height, width, _ = full.rgb.shape
    small = shrink(full, PREVIEW_SIDE)
    has_colours = tint.has_colours(full.rgb)
    del full
    memory.trim()
    before = save(studio.folder, on_white(small.rgb, small.alpha))
    prepared = studio.colorizer.prepare(small.rgb)
    return Preview(small, prepared, before, height, width, has_colours)


def paint(studio: Studio, view: View) -> tuple[tuple[str, str], str]:
    """Returns the files that show a photo before and after colouring, and its caption.

    Raises:
      UserError: as `load_preview`, or a setting is invalid.
    """
    preview = load_preview(studio, view.path, view.owner)
    small = preview.small
    if not os.path.exists(preview.before):  # deleted because of its age
        image_io.write(Path(preview.before), on_white(small.rgb, small.alpha))
    settings = scale_hints(settings_with_reference(studio, view), preview, small)
    after = preview.prepared.array(settings)
    file = save(studio.folder, on_white(after, small.alpha))
    return (preview.before, file), caption(view, preview)


def settings_with_reference(studio: Studio, view: View) -> ColorSettings:
    """Returns the settings of a view, including its prepared reference.

    Raises:
      UserError: as `cached_reference`.
    """
    if view.reference is None:
        return view.settings
    return view.settings._replace(reference=load_reference(studio, view.reference).prepared)


def load_reference(studio: Studio, reference: Reference) -> CachedReference:
    return cached_reference(studio.colorizer, studio.folder, studio.references, reference)


def scale_hints(settings: ColorSettings, preview: Preview, small: Photo) -> ColorSettings:
    """Moves hints from pixels of the original photo to those of a smaller copy.

    Raises:
      UserError: a hint is outside the photo.
    """
    height, width, _ = small.rgb.shape
    check_inside(settings.hints, np.broadcast_to(np.uint8(0), (preview.height, preview.width, 3)))
    hints = tuple(
        one._replace(x=one.x * width // preview.width, y=one.y * height // preview.height)
        for one in settings.hints
    )
    return settings._replace(hints=hints)


def likely(studio: Studio, view: View, x: int, y: int, rebalance: float | None) -> tuple:
    """Returns the likely colours of a pixel of the photo; none for a network without scores.

    Raises:
      UserError: as `load_preview`, or the pixel is outside the photo.
    """
    if studio.colorizer.decode is None:
        return ()
    preview = load_preview(studio, view.path, view.owner)
    height, width, _ = preview.small.rgb.shape
    spot = x * width // preview.width, y * height // preview.height
    return preview.prepared.likely(*spot, count=MAX_SWATCHES, rebalance=rebalance)


def precompile(studio: Studio, view: View) -> None:
    """Compiles the program that colours the photo by hints, unless this was done before."""
    preview = load_preview(studio, view.path, view.owner)
    settings = scale_hints(settings_with_reference(studio, view), preview, preview.small)
    preview.prepared.make_ready(settings)


def uncertainty_mask(studio: Studio, view: View) -> str | None:
    """Returns a mask of uncertainty as a data URL; None for a network without scores.

    The mask is a small PNG with an alpha channel. Alpha rises linearly with the uncertainty, from
    transparent at UNCERTAINTY_RANGE[0] to opaque at UNCERTAINTY_RANGE[1].

    Raises:
      UserError: as `load_preview`.
    """
    if studio.colorizer.decode is None:
        return None
    confidence = load_preview(studio, view.path, view.owner).prepared.confidence()
    image = Image.fromarray(confidence)
    image.thumbnail((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    low, high = UNCERTAINTY_RANGE
    alpha = np.clip((1 - np.asarray(image) / 255 - low) / (high - low), 0, 1)
    alpha = np.round(255 * alpha).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.dstack([np.zeros_like(alpha), alpha])).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail(studio: Studio, path: str, owner: str = "") -> str:
    """Writes the thumbnail of a photo for the visitor's queue, and returns its path.

    Raises:
      UserError: as `load_preview`.
    """
    small = shrink(load_preview(studio, path, owner).small, THUMBNAIL_SIDE)
    return save(studio.folder, on_white(small.rgb, small.alpha))


def draw_samples(studio: Studio, view: View, count: int) -> list[tuple[str, str]]:
    """Returns files and captions of samples with consecutive seeds, from the view's seed on.

    Raises:
      UserError: as `paint`.
    """
    preview = load_preview(studio, view.path, view.owner)
    small = shrink(preview.small, SAMPLE_SIDE)
    settings = scale_hints(settings_with_reference(studio, view), preview, small)._asdict()
    settings.pop("decode")
    samples = studio.colorizer.samples(small.rgb, count, **settings)
    files = [save(studio.folder, on_white(np.asarray(one), small.alpha)) for one in samples]
    return [(file, f"Draw {view.settings.seed + i}") for i, file in enumerate(files)]


def full_size(studio: Studio, view: View, suffix: str = ".png") -> tuple[str, tuple[str, ...]]:
    """Colours a photo at full size; returns the file, and notices of what was lost.

    A PNG keeps the photo's transparency; a JPEG is composited over white. Both keep its metadata,
    with a mark by which results are recognised in folders.

    Raises:
      UserError: as `paint`, or the photo is too large for the format.
    """
    full = read(view.path)
    check_cancelled()
    settings = settings_with_reference(studio, view)
    (rgb,) = studio.colorizer.colorize_arrays([full.rgb], **settings._asdict())
    check_cancelled()
    # The file has its own folder, because visitors see its name.
    target = studio.folder / uuid.uuid4().hex / f"{Path(view.name).stem}_color{suffix}"
    target.parent.mkdir()
    try:
        notices = writing.write_photo(target, rgb, photo.marked(full))
    except UserError as error:
        # Visitors must not see the path of the page's folder.
        raise UserError(str(error).replace(str(target), target.name)) from error
    del full, rgb
    memory.trim()
    return str(target), tuple(one.replace(str(target), target.name) for one in notices)


def caption(view: View, preview: Preview) -> str:
    """Returns HTML: the name and size of a photo, and notices about how it was read."""
    notes = [notice.removeprefix(f"{view.name}: ") for notice in preview.small.notices]
    if preview.has_colours:
        notes.append("has colours of its own, which the network does not get to see")
    lines = [f"<b>{html.escape(view.name)}</b> &ensp; {preview.width} &times; {preview.height}"]
    lines += [f"This photo {html.escape(note)}." for note in notes]
    if view.reference is not None:
        name = html.escape(view.reference.name)
        lines.append(f"Colours from <b>{name}</b>, wherever the two photos look alike.")
    return "".join(f"<p>{line}</p>" for line in lines)


def write_examples(folder: Path) -> list[str]:
    """Writes the bundled photographs in gray; returns their paths, FIRST_EXAMPLE first."""
    paths = []
    for source in resources.files("colorjax.data").joinpath("sample").iterdir():
        if source.name.endswith(".jpg"):
            gray = Image.fromarray(image_io.read_rgb(source.read_bytes())).convert("L")
            image_io.write(folder / source.name, np.asarray(gray.convert("RGB")))
            paths.append(str(folder / source.name))
    return sorted(paths, key=lambda path: (Path(path).stem != FIRST_EXAMPLE, path))
