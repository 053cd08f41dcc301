"""Lists and inspects the pictures of each kind of source: folders, packed folders, TFDS, petals."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from colorjax.data import packed
from colorjax.errors import UserError, first_line
from colorjax.pictures import image_io
from colorjax.pictures.formats import SUFFIXES

SAMPLE_FOLDER = Path(__file__).parent / "sample"
# Side of the thumbnail whose chroma is measured.
_THUMBNAIL = 32


class Item(NamedTuple):
    """One picture, with a name that is the same in every run."""

    key: str
    data: Path | bytes | np.ndarray  # path, content of the file, or square: uint8 [size, size, 3]
    digest: str = ""  # sha256 of the file in hex, if it has been read already


class Inspection(NamedTuple):
    """The result of inspecting a picture before the split."""

    fraction: float = 1.0  # hash in [0, 1); the picture is held out if below the hold-out share
    chroma: float = 0.0  # `image_io.mean_chroma` of a thumbnail
    fault: str | None = None  # the error if the picture cannot be read
    digest: str = ""  # sha256 of the file, if it was read
    is_copy: bool = False  # lies outside the hold-out folders, and equals a file inside them


def hash_fraction(data: bytes) -> float:
    """Returns the first 53 bits of the sha256 of some bytes, as a fraction in [0, 1)."""
    return digest_fraction(hashlib.sha256(data).hexdigest())


def digest_fraction(digest: str) -> float:
    return (int(digest[:16], 16) >> 11) / 2**53


def parse_folders(place: str, kind: str = "folder") -> list[Path]:
    """Parses the PATH or PATH1,PATH2,... that follows `kind` and a colon in a source."""
    single = Path(place).expanduser()
    if single.exists() or "," not in place:
        return [single]
    folders = [Path(part).expanduser() for part in place.split(",")]
    for part, folder in zip(place.split(","), folders, strict=True):
        if not part or not folder.is_dir():
            raise UserError(
                f"{kind}:{place}: there is no folder {part!r}; commas separate folders, so one "
                "with a comma in its name must be given alone"
            )
    for inner in folders:
        for outer in folders:
            if inner is not outer and inner.resolve().is_relative_to(outer.resolve()):
                raise UserError(
                    f"{kind}:{place}: {inner} is {outer} or lies in it, and would count twice"
                )
    return folders


def folder_items(folders: list[Path]) -> tuple[list[Item], Callable[[int], Inspection]]:
    """Lists the pictures in folders; returns them, and a function that inspects one by index."""
    items: list[Item] = []
    paths: list[Path] = []
    for folder in folders:
        # With a single folder, keys are relative to it, so that it can be moved.
        prefix = f"{folder.as_posix()}/" if len(folders) > 1 else ""
        keys = _picture_keys(folder)
        found = [Item(prefix + key, folder / key) for key in keys]
        if not found:
            raise UserError(f"{folder}: holds no picture ({' '.join(SUFFIXES)})")
        items += found
        paths += [folder / key for key in keys]

    def inspect(index: int) -> Inspection:
        key = items[index].key
        try:
            data = paths[index].read_bytes()
            thumbnail = image_io.read_square(data, _THUMBNAIL, name=key)
        except UserError as error:
            return Inspection(fault=str(error))
        except OSError as error:
            return Inspection(fault=f"{key}: cannot be read: {error.strerror}")
        digest = hashlib.sha256(data).hexdigest()
        return Inspection(digest_fraction(digest), image_io.mean_chroma(thumbnail), digest=digest)

    return items, inspect


def packed_items(folders: list[Path]) -> tuple[list[Item], Callable[[int], Inspection]]:
    """Reads packed folders; returns their squares, and a function that inspects one by index."""
    items = []
    for folder in folders:
        prefix = f"{folder.as_posix()}/" if len(folders) > 1 else ""  # as in folder_items
        for key, square, digest in zip(*packed.unpack(folder), strict=True):
            items.append(Item(prefix + key, square, digest))

    def inspect(index: int) -> Inspection:
        _, square, digest = items[index]
        assert isinstance(square, np.ndarray)  # true for all packed items
        return Inspection(digest_fraction(digest), image_io.mean_chroma(square), digest=digest)

    return items, inspect


def _picture_keys(folder: Path) -> list[str]:
    """Returns the sorted paths of the pictures under a folder, relative to it, in POSIX form."""
    if not folder.exists():
        raise UserError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file, and a folder of pictures is wanted")

    def refuse(error: OSError):
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    keys, visited = [], {os.path.realpath(folder)}
    for parent, subfolders, files in os.walk(folder, onerror=refuse, followlinks=True):
        # Each folder is visited only once, as a link to a parent folder would never end.
        unvisited = {}
        for subfolder in sorted(subfolders):
            real = os.path.realpath(os.path.join(parent, subfolder))
            if not subfolder.startswith(".") and real not in visited:
                visited.add(real)
                unvisited[subfolder] = real
        subfolders[:] = unvisited
        keys += [
            Path(parent, file).relative_to(folder).as_posix()
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
    return sorted(keys)


class Records(Sequence):
    """The pictures of a TFDS split, as encoded files."""

    def __init__(self, name: str, records: Sequence):
        self._name, self._records = name, records

    def __len__(self) -> int:
        return len(self._records)

    def key(self, index: int) -> str:
        return f"{self._name}#{index}"

    def file(self, index: int) -> bytes:
        try:
            data = self._records[index]["image"]
        except (RuntimeError, OSError) as error:
            raise UserError(f"{self.key(index)}: cannot be read: {first_line(error)}") from error
        if not isinstance(data, bytes):  # None in a damaged file
            raise UserError(f"{self.key(index)}: cannot be read: its record has no picture")
        return data

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        return Item(self.key(index), self.file(index))


class Petals(Sequence):
    """The synthetic flowers of `petals`, as files that are rendered on access."""

    def __init__(self):
        from colorjax.data import petals  # imports jax, which other sources do not need

        self._petals = petals

    def __len__(self) -> int:
        return self._petals.COUNT

    def key(self, index: int) -> str:
        return f"petals#{index}"

    def file(self, index: int) -> bytes:
        return self._petals.png(index)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        return Item(self.key(index), self.file(index))


def inspector_by_key(items: Records | Petals, *, decode: bool) -> Callable[[int], Inspection]:
    """Returns a function that inspects pictures and hashes their keys for the fraction.

    Unless `decode`, it does not read the pictures, and so finds no chroma and no faults.
    """

    def inspect_key(index: int) -> Inspection:
        return Inspection(hash_fraction(items.key(index).encode()))

    def inspect(index: int) -> Inspection:
        key = items.key(index)
        try:
            thumbnail = image_io.read_square(items.file(index), _THUMBNAIL, name=key)
        except UserError as error:
            return Inspection(fault=str(error))
        return Inspection(hash_fraction(key.encode()), image_io.mean_chroma(thumbnail))

    return inspect if decode else inspect_key


def _tfds_builder(name: str, data_dir: str | os.PathLike | None) -> Any:
    """Returns the TFDS builder of a data set; raises UserError if there is none."""
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError  # a package that TFDS requires

    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ParseError, json.JSONDecodeError, OSError) as error:
        raise UserError(
            f"tfds:{name}: its dataset_info.json or features.json cannot be read: {error}"
        ) from error
    except ImportError as error:
        raise UserError(f"tfds:{name}: needs a package that is not installed: {error}") from error
    except (ValueError, AssertionError) as error:  # TFDS asserts that a version exists
        raise UserError(f"tfds:{name}: no such data set: {first_line(error)}") from error


def tfds_records(name: str, data_dir: str | os.PathLike | None) -> Records:
    """Opens the train split of a data set without importing TensorFlow.

    Raises UserError if there is no such data set or version, if it is damaged, not prepared as
    array_record, without a split `train` or without pictures, or if only TensorFlow can open it.
    """
    import tensorflow_datasets as tfds

    from colorjax.data.datasets import builders  # importing registers them with TFDS

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    prepare = f"tfds build {name} --file_format=array_record"
    prepare += f" --data_dir={data_dir}" if data_dir is not None else ""
    remedy = 'needs TensorFlow once: pip install "colorjax[tfds]", then'
    builder = _tfds_builder(name, data_dir)
    splits, features = builder.info.splits, builder.info.features
    if not splits and isinstance(builder, builders.PictureSet):
        name_and_config = builder.info.full_name.rpartition("/")[0]  # without the version
        prepare = f"python -m colorjax.data.prepare {name_and_config} --manual_dir=DIR"
        prepare += f" --data_dir={data_dir}" if data_dir is not None else ""
        raise UserError(f"tfds:{name}: is not prepared, which is done by {prepare}")
    if not splits:
        raise UserError(f"tfds:{name}: is not prepared, which {remedy} {prepare}")
    if "train" not in splits:
        raise UserError(f"tfds:{name}: has no split called train, only {', '.join(splits)}")
    if not isinstance(dict(features or {}).get("image"), tfds.features.Image):
        raise UserError(f"tfds:{name}: has no image feature called image, but {features}")
    try:
        records = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{name}: is prepared as {builder.info.file_format.value}, and array_record is "
            f"wanted; to convert it {remedy} tfds convert_format "
            f"--dataset_version_dir={builder.data_dir} --out_file_format=array_record"
        ) from error
    except (RuntimeError, OSError) as error:
        raise UserError(f"{builder.data_dir}: cannot be read: {first_line(error)}") from error
    return Records(f"{builder.info.full_name}/train", records)
