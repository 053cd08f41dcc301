"""Visitors' references: colour photos whose colours are transferred to other photos."""

from pathlib import Path
from typing import NamedTuple

from colorjax.coloring.api import Colorizer
from colorjax.coloring.network import memory, transfer
from colorjax.coloring.page.cache import VisitorCache
from colorjax.coloring.page.files import on_white, read, save, shrink, stat
from colorjax.coloring.page.limits import check_cancelled

THUMBNAIL_SIDE = 160  # pixels of the longer side


class Reference(NamedTuple):
    """A visitor's reference.

    Attributes:
      path: of its file.
      owner: the visitor's session.
    """

    path: str
    owner: str

    @property
    def name(self) -> str:
        return Path(self.path).name


class CachedReference(NamedTuple):
    """A cache entry: a reference's features and chroma, and the file of its thumbnail."""

    prepared: transfer.Reference
    thumbnail: str

    @property
    def nbytes(self) -> int:
        levels, chroma, coverage = self.prepared
        return sum(x.nbytes for x in (*levels, chroma, coverage))


def cached_reference(
    colorizer: Colorizer, folder: Path, cache: VisitorCache[CachedReference], reference: Reference
) -> CachedReference:
    """Returns a reference's cache entry; reads and prepares the reference if there is none.

    Raises:
      UserError: the file was deleted, cannot be read, is gray, or has an extreme aspect ratio.
    """
    status = stat(reference.path)
    key = reference.path, status.st_size, status.st_mtime_ns
    return cache.get(reference.owner, key, lambda: _prepare(colorizer, folder, reference))


def _prepare(colorizer: Colorizer, folder: Path, reference: Reference) -> CachedReference:
    full = read(reference.path)
    check_cancelled()
    prepared = colorizer.prepare_reference(full, name=reference.name)
    small = shrink(full, THUMBNAIL_SIDE)
    del full
    memory.trim()
    return CachedReference(prepared, save(folder, on_white(small.rgb, small.alpha)))
