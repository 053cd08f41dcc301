"""The pictures in ZIP archives and folders: found, looked at, and read as JPEG or PNG files.

Nothing is ever unpacked: a member of an archive is read by its name into memory, so that no name
in an archive can lead to a place on the disk.
"""

import contextlib
import hashlib
import logging
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.pictures.formats import SUFFIXES

# Share of the pictures that may be unreadable and be left out with a warning.
MAX_UNREADABLE = 0.1
# A member of an archive may claim any size; the largest of these data sets have 15 MB.
MAX_BYTES = 256 * 2**20
_KEPT_AS_THEY_ARE = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MOST_FAULTS_LISTED = 20

_logger = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture file: the archive or folder it is in, its path in there, and its bytes there."""

    place: Path
    name: str
    size: int

    @property
    def key(self) -> str:
        """The name of the archive or folder and the path in it: `mirflickr25k.zip/im1.jpg`."""
        return f"{self.place.name}/{self.name}"


Read = Callable[[Picture], bytes]


def list_pictures(place: Path) -> list[Picture]:
    """The picture files in a ZIP archive or under a folder, by their suffix, hidden ones apart.

    Returns:
      The pictures, sorted by name; everything else is passed over.

    Raises:
      UserError: the file is no ZIP archive or is cut short.
    """
    if place.is_dir():
        files = [file for file in place.rglob("*") if file.is_file()]
        found = [
            Picture(place, file.relative_to(place).as_posix(), file.stat().st_size)
            for file in files
        ]
    else:
        with _open_zip(place) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        found = [Picture(place, member.filename, member.file_size) for member in members]
    return sorted(picture for picture in found if _is_picture(picture.name))


@contextlib.contextmanager
def reader(pictures: Sequence[Picture]) -> Iterator[Read]:
    """Opens the archives that the pictures are in, and gives a function that reads a picture.

    The function gives the file's bytes, and raises UserError if they cannot be had whole.
    """
    with contextlib.ExitStack() as stack:
        places = {picture.place for picture in pictures}
        archives = {
            place: stack.enter_context(_open_zip(place)) for place in places if not place.is_dir()
        }

        def read(picture: Picture) -> bytes:
            if picture.size > MAX_BYTES:
                raise UserError(
                    f"{picture.key}: has {picture.size} bytes, more than the {MAX_BYTES} "
                    "that are read"
                )
            try:
                if picture.place in archives:
                    return archives[picture.place].read(picture.name)
                return (picture.place / picture.name).read_bytes()
            # RuntimeError is how zipfile tells of encryption and of unknown compression.
            except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
                raise UserError(f"{picture.key}: cannot be read: {error}") from error

        yield read


def select(pictures: Sequence[Picture]) -> list[Picture]:
    """Leaves out pictures that are unreadable and second copies, and puts the rest into an order.

    The order is that of the files' sha256: as good as random, and the same on every machine. Copies
    would otherwise end up on both sides of a hold-out.

    Raises:
      UserError: more than MAX_UNREADABLE of the pictures are unreadable, or an archive is.
    """
    kept: dict[bytes, Picture] = {}
    faults: list[str] = []
    with reader(pictures) as read:
        for picture in tqdm(pictures, "looking at pictures", delay=1, disable=None):
            try:
                data = read(picture)
                image_io.read_square(data, 8, name=picture.key)
            except UserError as error:
                faults.append(str(error))
            else:
                kept.setdefault(hashlib.sha256(data).digest(), picture)
    _report(faults, len(pictures), len(pictures) - len(faults) - len(kept))
    return [kept[digest] for digest in sorted(kept)]


def as_jpeg_or_png(data: bytes, name: str) -> bytes:
    """A picture file as one that every reader of TFDS data sets decodes.

    JPEG and PNG files stay as they are, with their EXIF data. Others become PNG: sRGB of 8 bits,
    upright, each pixel as `image_io.read_rgb` gives it.

    Raises:
      UserError: as image_io.read_rgb.
    """
    if data.startswith(_KEPT_AS_THEY_ARE):
        return data
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture.png")
        image_io.write(file, image_io.read_rgb(data, name=name))
        return file.read_bytes()


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: is no ZIP archive, or its end is missing, as when a download stops half-way"
        ) from error


def _is_picture(name: str) -> bool:
    """Whether a name ends like a picture's and is not hidden (macOS hides a twin of every file)."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _report(faults: list[str], found: int, copies: int) -> None:
    if len(faults) > MAX_UNREADABLE * found:
        raise UserError(
            f"{len(faults)} of {found} pictures cannot be read, more than the share of "
            f"{MAX_UNREADABLE:g} that may be left out; the first is {faults[0]}"
        )
    if faults:
        listed = "\n  ".join(faults[:_MOST_FAULTS_LISTED])
        _logger.warning("leaving out %d of %d pictures:\n  %s", len(faults), found, listed)
    if copies:
        _logger.warning("leaving out %d of %d pictures: copies of others", copies, found)
