"""Finds, checks and reads the pictures in ZIP archives and folders, as JPEG or PNG files.

Archives are never extracted to disk: members are read into memory, so that no name in an archive
can refer to a path outside it.
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

# The share of pictures that may be unreadable; they are left out with a warning.
MAX_UNREADABLE = 0.1
# A member of an archive may declare any size; the largest pictures of these data sets have 15 MB.
MAX_BYTES = 256 * 2**20
# JPEG and PNG files are copied unchanged.
_COPIED_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MAX_FAULTS_LISTED = 20

_logger = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture file in an archive or folder.

    Attributes:
      container: the archive or folder.
      name: the path in the container.
      size: uncompressed size in bytes.
    """

    container: Path
    name: str
    size: int

    @property
    def key(self) -> str:
        """The name of the container and the path in it, such as `mirflickr25k.zip/im1.jpg`."""
        return f"{self.container.name}/{self.name}"


Read = Callable[[Picture], bytes]


def list_pictures(container: Path) -> list[Picture]:
    """Lists the picture files in a ZIP archive or under a folder, by suffix, without hidden ones.

    Returns:
      The pictures, sorted by name; other files are ignored.

    Raises:
      UserError: the file is not a ZIP archive or is truncated.
    """
    if container.is_dir():
        paths = [path for path in container.rglob("*") if path.is_file()]
        files = [
            Picture(container, path.relative_to(container).as_posix(), path.stat().st_size)
            for path in paths
        ]
    else:
        with _open_zip(container) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        files = [Picture(container, member.filename, member.file_size) for member in members]
    return sorted(file for file in files if _is_picture(file.name))


@contextlib.contextmanager
def reader(pictures: Sequence[Picture]) -> Iterator[Read]:
    """Opens the archives that contain the pictures, and yields a function that reads a picture.

    The function returns the file's bytes, and raises UserError if they cannot be read completely.
    """
    with contextlib.ExitStack() as stack:
        containers = {picture.container for picture in pictures}
        archives = {
            container: stack.enter_context(_open_zip(container))
            for container in containers
            if not container.is_dir()
        }

        def read(picture: Picture) -> bytes:
            if picture.size > MAX_BYTES:
                raise UserError(
                    f"{picture.key}: has {picture.size} bytes, more than the {MAX_BYTES} "
                    "that are read"
                )
            try:
                if picture.container in archives:
                    return archives[picture.container].read(picture.name)
                return (picture.container / picture.name).read_bytes()
            # zipfile raises RuntimeError for encryption and for unsupported compression.
            except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
                raise UserError(f"{picture.key}: cannot be read: {error}") from error

        yield read


def select(pictures: Sequence[Picture]) -> list[Picture]:
    """Removes unreadable pictures and duplicate files, and sorts the rest by the file's sha256.

    This order is as good as random, and is the same on every machine. Duplicates are removed so
    that no picture is both in training and held out.

    Raises:
      UserError: more than MAX_UNREADABLE of the pictures are unreadable, or an archive is.
    """
    unique: dict[bytes, Picture] = {}
    faults: list[str] = []
    with reader(pictures) as read:
        for picture in tqdm(pictures, "looking at pictures", delay=1, disable=None):
            try:
                data = read(picture)
                image_io.read_square(data, 8, name=picture.key)
            except UserError as error:
                faults.append(str(error))
            else:
                unique.setdefault(hashlib.sha256(data).digest(), picture)
    _report_left_out(faults, len(pictures), len(pictures) - len(faults) - len(unique))
    return [unique[digest] for digest in sorted(unique)]


def as_jpeg_or_png(data: bytes, name: str) -> bytes:
    """Converts a picture file to a format that every reader of TFDS data sets decodes.

    JPEG and PNG files are returned unchanged, with their EXIF data. Other files are converted to
    PNG with the pixels from `image_io.read_rgb`: upright 8-bit sRGB.

    Raises:
      UserError: as image_io.read_rgb.
    """
    if data.startswith(_COPIED_SIGNATURES):
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
            f"{path}: is not a ZIP archive, or its end is missing (an incomplete download?)"
        ) from error


def _is_picture(name: str) -> bool:
    """Whether a path has a picture's suffix and is not hidden.

    Archives made by macOS contain a hidden companion of every file.
    """
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _report_left_out(faults: list[str], found: int, copies: int) -> None:
    if len(faults) > MAX_UNREADABLE * found:
        raise UserError(
            f"{len(faults)} of {found} pictures cannot be read, more than the share of "
            f"{MAX_UNREADABLE:g} that may be left out; the first is {faults[0]}"
        )
    if faults:
        listed = "\n  ".join(faults[:_MAX_FAULTS_LISTED])
        _logger.warning("leaving out %d of %d pictures:\n  %s", len(faults), found, listed)
    if copies:
        _logger.warning("leaving out %d of %d pictures: copies of others", copies, found)
