"""Stores of files: local folders, and object stores through pyarrow's file systems."""

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

# pyarrow's names of the file systems that make a file visible only once it is complete.
OBJECT_STORES = ("s3", "gcs", "abfs")
INSTALL = "pip install 'colorjax[cluster]'"


class Entry(NamedTuple):
    """A file or folder in a folder, or a link to one."""

    name: str
    is_folder: bool
    is_link: bool = False


class Store(NamedTuple):
    """A folder and everything below it, in any file system.

    Paths are relative to the folder and use slashes; "" is the folder itself. All functions raise
    OSError if they fail.

    Attributes:
      name: the name of the store in messages.
      entries: yields the files and folders in a folder, in any order.
      read: returns the bytes of a file.
      exists: returns whether a path exists.
      put: writes a file atomically and creates its folders; returns False, and writes nothing, if
        the file exists.
      remove: deletes a file.
      real_path: returns the path of a folder with links resolved.
    """

    name: str
    entries: Callable[[str], Iterator[Entry]]
    read: Callable[[str], bytes]
    exists: Callable[[str], bool]
    put: Callable[[str, bytes], bool]
    remove: Callable[[str], None]
    real_path: Callable[[str], str]


def is_uri(location: str) -> bool:
    return "://" in location


def open_store(location: str) -> Store:
    """Opens the store of a folder or of a URI such as s3://bucket/folder; it need not exist.

    URIs are opened by pyarrow. Raises UserError if it is not installed or does not know the URI.
    """
    if location.startswith("file://"):
        return local(location.removeprefix("file://"))
    if not is_uri(location):
        return local(location)
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise UserError(f"{location}: opening a URI needs pyarrow: {INSTALL}") from error
    try:
        system, top = fs.FileSystem.from_uri(location)
        return arrow(system, top, location)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{location}: cannot be opened: {reason_of(error)}; want s3://BUCKET/FOLDER, "
            "gs://BUCKET/FOLDER or a folder"
        ) from error


def local(folder: str) -> Store:
    """Opens the store of a local folder, or of one on a shared file system."""
    top = os.path.abspath(folder)

    def full(path: str) -> str:
        return os.path.join(top, path)

    def entries(path: str) -> Iterator[Entry]:
        with os.scandir(full(path)) as found:
            for dir_entry in found:
                if (entry := _entry(dir_entry)) is not None:
                    yield entry

    def read(path: str) -> bytes:
        with open(full(path), "rb") as file:
            return file.read()

    def put(path: str, data: bytes) -> bool:
        os.makedirs(os.path.dirname(full(path)), exist_ok=True)
        try:
            with files.atomic_write(full(path), overwrite=False) as temporary:
                temporary.write_bytes(data)
        except FileExistsError:
            return False
        return True

    return Store(
        folder,
        entries,
        read,
        exists=lambda path: os.path.lexists(full(path)),
        put=put,
        remove=lambda path: os.unlink(full(path)),
        real_path=lambda path: os.path.realpath(full(path)),
    )


def _entry(found: os.DirEntry) -> Entry | None:
    """Returns a file or folder as an entry, and None for anything else, such as a pipe or socket.

    A link may have no reachable target: it may lead to itself, into a folder without permission, or
    to nothing. It then counts as a file if it is named like a photograph, and as a folder
    otherwise, so that reading or listing it later raises the error. A link to nothing with another
    suffix is a file too: it hides no photograph.
    """
    suffix, is_link = PurePath(found.name).suffix.lower(), found.is_symlink()
    try:
        is_folder = found.is_dir()
        if is_folder or found.is_file():
            return Entry(found.name, is_folder, is_link)
        # DirEntry says that a link to nothing is neither file nor folder.
        if is_link and not os.path.exists(found.path):
            return Entry(found.name, not suffix, is_link)
        return None
    except OSError:
        return Entry(found.name, suffix not in PHOTO_SUFFIXES, is_link)


def arrow(system: Any, top: str, name: str) -> Store:
    """Opens the store of a folder `top` in a pyarrow file system."""
    from pyarrow import fs

    def full(path: str) -> str:
        return posixpath.join(top, path) if path else top

    def entries(path: str) -> Iterator[Entry]:
        for info in system.get_file_info(fs.FileSelector(full(path))):
            yield Entry(info.base_name, info.type == fs.FileType.Directory)

    def read(path: str) -> bytes:
        # By default pyarrow decompresses files named .gz.
        with system.open_input_stream(full(path), compression=None) as stream:
            return stream.read()

    def exists(path: str) -> bool:
        return system.get_file_info(full(path)).type != fs.FileType.NotFound

    def put(path: str, data: bytes) -> bool:
        if exists(path):
            return False
        target = temporary = full(path)
        if system.type_name not in OBJECT_STORES:
            folder = posixpath.dirname(target)
            system.create_dir(folder, recursive=True)
            temporary = posixpath.join(folder, f".{uuid.uuid4().hex}.part")
        with system.open_output_stream(temporary, compression=None) as stream:
            stream.write(data)
        if temporary != target:
            system.move(temporary, target)
        return True

    return Store(
        name,
        entries,
        read,
        exists,
        put,
        remove=lambda path: system.delete_file(full(path)),
        real_path=full,
    )
