"""Where archives lie: folders of this machine, and object stores through pyarrow's file systems."""

import os
import posixpath
import uuid
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from colorjax.errors import UserError
from colorjax.pictures import files
from colorjax.pictures.formats import PHOTO_SUFFIXES
from colorjax.pictures.image_io import reason_of

# What pyarrow calls the file systems in which a file is there when all of it has come, or never.
OBJECT_STORES = ("s3", "gcs", "abfs")
EXTRA = "pip install 'colorjax[cluster]'"


class Entry(NamedTuple):
    """What a folder holds."""

    name: str
    is_folder: bool


class Store(NamedTuple):
    """A folder and all that is below it, in whatever file system.

    Paths are relative to it and have slashes; "" is the folder itself. All functions raise OSError
    for what does not work.

    Attributes:
      name: what messages call it.
      entries: of a folder, its files and folders in any order, one after the other.
      read: of a file, its bytes.
      is_there: whether there is a file of that path.
      put: writes a file, and the folders that it is in, whole or not at all; False where one is
        there, which is left as it is.
      remove: takes away a file.
      real: of a folder, one name for all ways that links lead to it.
    """

    name: str
    entries: Callable[[str], Iterator[Entry]]
    read: Callable[[str], bytes]
    is_there: Callable[[str], bool]
    put: Callable[[str, bytes], bool]
    remove: Callable[[str], None]
    real: Callable[[str], str]


def is_uri(place: str) -> bool:
    return "://" in place


def open_store(place: str) -> Store:
    """The store of a folder, or of a URI such as s3://bucket/folder; it need not be there.

    Raises UserError if pyarrow, which opens URIs, is not installed, or knows no such one.
    """
    if place.startswith("file://"):
        return local(place.removeprefix("file://"))
    if not is_uri(place):
        return local(place)
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise UserError(f"{place}: URIs are opened by pyarrow: {EXTRA}") from error
    try:
        system, top = fs.FileSystem.from_uri(place)
        return arrow(system, top, place)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{place}: cannot be opened: {reason_of(error)}; want s3://BUCKET/FOLDER, "
            "gs://BUCKET/FOLDER or a folder"
        ) from error


def local(folder: str) -> Store:
    """A folder of this machine, or of one that all machines share."""
    top = os.path.abspath(folder)

    def at(path: str) -> str:
        return os.path.join(top, path)

    def entries(path: str) -> Iterator[Entry]:
        with os.scandir(at(path)) as found:
            for one in found:
                if (entry := _entry(one)) is not None:
                    yield entry

    def read(path: str) -> bytes:
        with open(at(path), "rb") as file:
            return file.read()

    def put(path: str, data: bytes) -> bool:
        os.makedirs(os.path.dirname(at(path)), exist_ok=True)
        try:
            with files.atomic_write(at(path), overwrite=False) as aside:
                aside.write_bytes(data)
        except FileExistsError:
            return False
        return True

    return Store(
        folder,
        entries,
        read,
        is_there=lambda path: os.path.lexists(at(path)),
        put=put,
        remove=lambda path: os.unlink(at(path)),
        real=lambda path: os.path.realpath(at(path)),
    )


def _entry(found: os.DirEntry) -> Entry | None:
    """A file or folder; None for what is neither, as pipes and sockets would be waited for.

    What a link leads to cannot always be asked: it may lead to itself, or into a folder that is
    shut. Such a one is a photograph by its name, or else a folder, so that reading it, or looking
    into it, tells what is wrong.
    """
    try:
        is_folder = found.is_dir()
        return Entry(found.name, is_folder) if is_folder or found.is_file() else None
    except OSError:
        suffix = PurePath(found.name).suffix.lower()
        return Entry(found.name, suffix not in PHOTO_SUFFIXES)


def arrow(system: Any, top: str, name: str) -> Store:
    """A folder `top` of a file system of pyarrow's."""
    from pyarrow import fs

    def at(path: str) -> str:
        return posixpath.join(top, path) if path else top

    def entries(path: str) -> Iterator[Entry]:
        for one in system.get_file_info(fs.FileSelector(at(path))):
            yield Entry(one.base_name, one.type == fs.FileType.Directory)

    def read(path: str) -> bytes:
        # Else it would unpack what is called .gz.
        with system.open_input_stream(at(path), compression=None) as stream:
            return stream.read()

    def is_there(path: str) -> bool:
        return system.get_file_info(at(path)).type != fs.FileType.NotFound

    def put(path: str, data: bytes) -> bool:
        if is_there(path):
            return False
        target = aside = at(path)
        if system.type_name not in OBJECT_STORES:
            folder = posixpath.dirname(target)
            system.create_dir(folder, recursive=True)
            aside = posixpath.join(folder, f".{uuid.uuid4().hex}.part")
        with system.open_output_stream(aside, compression=None) as stream:
            stream.write(data)
        if aside != target:
            system.move(aside, target)
        return True

    return Store(
        name,
        entries,
        read,
        is_there,
        put,
        remove=lambda path: system.delete_file(at(path)),
        real=at,
    )
