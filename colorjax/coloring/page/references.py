"""References of visitors: photos in colour whose colours theirs take over."""

from pathlib import Path
from typing import NamedTuple

from colorjax.coloring.api import Colorizer
from colorjax.coloring.network import memory, transfer
from colorjax.coloring.page.cache import VisitorCache
from colorjax.coloring.page.files import on_white, read, save, shrunk, stat_of
from colorjax.coloring.page.limits import check_cancelled

THUMB = 160  # pixels of the longer side


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


class KnownReference(NamedTuple):
    """What is kept of a reference: what photos are to know of it, and the file that shows it."""

    known: transfer.Reference
    thumbnail: str

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (*self.known.levels, self.known.chroma, self.known.there))


def lent(
    colorizer: Colorizer, folder: Path, kept: VisitorCache[KnownReference], reference: Reference
) -> KnownReference:
    """What is kept of a reference, which is looked at once, and again if it is kept no more.

    Raises:
      UserError: it is gone, cannot be read, is gray, or has extreme proportions.
    """
    state = stat_of(reference.path)
    key = reference.path, state.st_size, state.st_mtime_ns
    return kept.get(reference.owner, key, lambda: _look(colorizer, folder, reference))


def _look(colorizer: Colorizer, folder: Path, reference: Reference) -> KnownReference:
    full = read(reference.path)
    check_cancelled()
    known = colorizer.prepare_reference(full, name=reference.name)
    small = shrunk(full, THUMB)
    del full
    memory.give_back()
    return KnownReference(known, save(folder, on_white(small.rgb, small.alpha)))
