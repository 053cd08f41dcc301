"""From what a visitor chose, a `View`, to pictures and words."""

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
from colorjax.coloring.page.files import on_white, read, save, shrunk, stat_of
from colorjax.coloring.page.limits import check_cancelled
from colorjax.coloring.page.references import KnownReference, Reference, lent
from colorjax.coloring.prepared import Prepared
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError
from colorjax.pictures import image_io, tint, writing
from colorjax.pictures.photo import Photo

PREVIEW, SAMPLE, THUMB = 1600, 640, 240  # most pixels of a side of what the page shows
# Of the photos that are kept, with what the network says of them; up to some 10 MB each.
PHOTOS_KEPT, BYTES_KEPT = 4, 200_000_000  # of one visitor; of all together
BYTES_LENT = 60_000_000  # of references, some 3 MB each
SWATCHES = 8
# The shares of doubt between which its picture goes from clear to opaque, and its longer side.
DOUBT, DOUBT_SIDE = (0.4, 0.8), 96
FORMATS = {"PNG": ".png", "JPEG": ".jpg"}
FIRST_EXAMPLE = "mountain_lake"


class View(NamedTuple):
    """What the page shows: a photo, and how it is coloured.

    Attributes:
      path: of the photo's file.
      settings: whose hints are at pixels of the photo, and not of its preview.
      owner: the visitor's session; nobody's for what all visitors share.
      reference: the visitor's, if any. The settings have none, as what is known of one is not kept
        for as long as the page is open.
    """

    path: str
    settings: Settings
    owner: str = ""
    reference: Reference | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name


class Preview(NamedTuple):
    """What the page needs of a photo.

    Attributes:
      small: the photo at the size of the page.
      prepared: its pixels, and what the network says of them.
      before: the file that shows it.
      height, width: of the photo itself.
      has_colours: whether it is one in colour.
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
    """What all views are made with: what colours, where files go, and what is kept of photos."""

    colorizer: Colorizer
    folder: Path
    kept: VisitorCache[Preview]
    lent: VisitorCache[KnownReference]

    def drop(self, owner: str) -> None:
        """Drops all that is kept for an owner, who has left."""
        self.kept.drop(owner)
        self.lent.drop(owner)


def open_studio(colorizer: Colorizer, folder: Path) -> Studio:
    kept = VisitorCache[Preview](PHOTOS_KEPT, BYTES_KEPT)
    return Studio(colorizer, folder, kept, VisitorCache[KnownReference](1, BYTES_LENT))


def preview(studio: Studio, path: str, owner: str = "") -> Preview:
    """Reads a photo at the size of the page; the visitor's last ones are kept.

    Raises:
      UserError: the photo is gone, cannot be read, or has extreme proportions.
    """
    state = stat_of(path)
    key = path, state.st_size, state.st_mtime_ns
    return studio.kept.get(owner, key, lambda: _preview(studio, path))


def _preview(studio: Studio, path: str) -> Preview:
    full = read(path)
    height, width, _ = full.rgb.shape
    small = shrunk(full, PREVIEW)
    has_colours = tint.has_colours(full.rgb)
    del full
    memory.give_back()
    before = save(studio.folder, on_white(small.rgb, small.alpha))
    prepared = studio.colorizer.prepare(small.rgb)
    return Preview(small, prepared, before, height, width, has_colours)


def paint(studio: Studio, view: View) -> tuple[tuple[str, str], str]:
    """The files of before and after, at the size of the page, and what is said below them.

    Raises:
      UserError: as `preview`, or a setting is wrong.
    """
    found = preview(studio, view.path, view.owner)
    small = found.small
    if not os.path.exists(found.before):  # it was old
        image_io.write(Path(found.before), on_white(small.rgb, small.alpha))
    after = found.prepared.array(fitted(chosen(studio, view), found, small))
    file = save(studio.folder, on_white(after, small.alpha))
    return (found.before, file), caption(view, found)


def chosen(studio: Studio, view: View) -> Settings:
    """The settings of a view, with what is to be known of its reference.

    Raises:
      UserError: as `lent`.
    """
    if view.reference is None:
        return view.settings
    return view.settings._replace(reference=borrow(studio, view.reference).known)


def borrow(studio: Studio, reference: Reference) -> KnownReference:
    return lent(studio.colorizer, studio.folder, studio.lent, reference)


def fitted(settings: Settings, found: Preview, small: Photo) -> Settings:
    """Settings whose hints are at the pixels of a smaller copy of the photo."""
    height, width, _ = small.rgb.shape
    check_inside(settings.hints, np.broadcast_to(np.uint8(0), (found.height, found.width, 3)))
    hints = tuple(
        one._replace(x=one.x * width // found.width, y=one.y * height // found.height)
        for one in settings.hints
    )
    return settings._replace(hints=hints)


def likely(studio: Studio, view: View, x: int, y: int, rebalance: float | None) -> tuple:
    """The network's `Guess`es for a pixel of the photo; none of a network that has no scores.

    Raises:
      UserError: as `preview`, or the pixel is outside of the photo.
    """
    if studio.colorizer.decode is None:
        return ()
    found = preview(studio, view.path, view.owner)
    height, width, _ = found.small.rgb.shape
    spot = x * width // found.width, y * height // found.height
    return found.prepared.likely(*spot, count=SWATCHES, rebalance=rebalance)


def make_ready(studio: Studio, view: View) -> None:
    """Has the program compiled that colours a photo by hints, if it is not yet."""
    found = preview(studio, view.path, view.owner)
    found.prepared.make_ready(fitted(chosen(studio, view), found, found.small))


def doubt(studio: Studio, view: View) -> str | None:
    """A small picture of how unsure the network is, as an address; None where it has no scores.

    It is a PNG with transparency: the surer the network, the clearer. All is opaque from
    DOUBT[1] on, and clear up to DOUBT[0].

    Raises:
      UserError: as `preview`.
    """
    if studio.colorizer.decode is None:
        return None
    sure = Image.fromarray(preview(studio, view.path, view.owner).prepared.confidence())
    sure.thumbnail((DOUBT_SIDE, DOUBT_SIDE), Image.Resampling.BOX)
    least, most = DOUBT
    alpha = np.clip((1 - np.asarray(sure) / 255 - least) / (most - least), 0, 1)
    alpha = np.round(255 * alpha).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.dstack([np.zeros_like(alpha), alpha])).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail(studio: Studio, path: str, owner: str = "") -> str:
    """The file of a photo as small as a queue shows it.

    Raises:
      UserError: as `preview`.
    """
    small = shrunk(preview(studio, path, owner).small, THUMB)
    return save(studio.folder, on_white(small.rgb, small.alpha))


def draw_samples(studio: Studio, view: View, count: int) -> list[tuple[str, str]]:
    """Files and captions of several colourings, of the seeds from that of the view on.

    Raises:
      UserError: as `paint`.
    """
    whole = preview(studio, view.path, view.owner)
    small = shrunk(whole.small, SAMPLE)
    settings = fitted(chosen(studio, view), whole, small)._asdict()
    settings.pop("decode")
    found = studio.colorizer.samples(small.rgb, count, **settings)
    files = [save(studio.folder, on_white(np.asarray(one), small.alpha)) for one in found]
    return [(file, f"Draw {view.settings.seed + i}") for i, file in enumerate(files)]


def full_size(studio: Studio, view: View, suffix: str = ".png") -> tuple[str, tuple[str, ...]]:
    """The file of a view at the size of the photo, and what the format could not keep.

    A PNG has the photo's transparency; a JPEG is laid on white. Both have its metadata.

    Raises:
      UserError: as `paint`, or the photo is too large for the format.
    """
    full = read(view.path)
    check_cancelled()
    (rgb,) = studio.colorizer.colorize_arrays([full.rgb], **chosen(studio, view)._asdict())
    # A folder of its own, as the browser is to see the name.
    check_cancelled()
    target = studio.folder / uuid.uuid4().hex / f"{Path(view.name).stem}_color{suffix}"
    target.parent.mkdir()
    try:
        notices = writing.write_photo(target, rgb, full)
    except UserError as error:
        # Where the page has its files is nobody's business.
        raise UserError(str(error).replace(str(target), target.name)) from error
    del full, rgb
    memory.give_back()
    return str(target), tuple(one.replace(str(target), target.name) for one in notices)


def caption(view: View, found: Preview) -> str:
    """HTML: the name and size of a photo, and what is to be known about how it was read."""
    notes = [notice.removeprefix(f"{view.name}: ") for notice in found.small.notices]
    if found.has_colours:
        notes.append("has colours of its own, which the network does not get to see")
    lines = [f"<b>{html.escape(view.name)}</b> &ensp; {found.width} &times; {found.height}"]
    lines += [f"This photo {html.escape(note)}." for note in notes]
    if view.reference is not None:
        lines.append(f"Colours from <b>{html.escape(view.reference.name)}</b>, where it is alike.")
    return "".join(f"<p>{line}</p>" for line in lines)


def write_examples(folder: Path) -> list[str]:
    """Writes the bundled photographs in gray; the first is the one that the page opens with."""
    paths = []
    for source in resources.files("colorjax.data").joinpath("sample").iterdir():
        if source.name.endswith(".jpg"):
            gray = Image.fromarray(image_io.read_rgb(source.read_bytes())).convert("L")
            image_io.write(folder / source.name, np.asarray(gray.convert("RGB")))
            paths.append(str(folder / source.name))
    return sorted(paths, key=lambda path: (Path(path).stem != FIRST_EXAMPLE, path))
