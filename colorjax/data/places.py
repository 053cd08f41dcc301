"""Where pictures lie: in folders, packed, in a TFDS data set, painted; and a first look at each."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colorjax.data import packed
from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.pictures.formats import SUFFIXES

SAMPLE_FOLDER = Path(__file__).parent / "sample"
# Side of the thumbnail that near-gray pictures are found by.
_THUMBNAIL = 32


class Item(NamedTuple):
    """One picture, by a name that is stable from run to run."""

    key: str
    data: Path | bytes | np.ndarray  # file, its content, or the square: uint8 [size, size, 3]
    digest: str = ""  # sha256 of the file in hex, where it has been read already


class Look(NamedTuple):
    """What one look at a picture found."""

    share: float = 1.0  # held out if below the hold-out share
    chroma: float = 0.0
    fault: str | None = None  # why it cannot be read
    digest: str = ""  # sha256 of the file, if it was read


def hash_share(data: bytes) -> float:
    """The first 53 bits of the sha256 of some bytes, as a fraction in [0, 1)."""
    return share_of(hashlib.sha256(data).hexdigest())


def share_of(digest: str) -> float:
    return (int(digest[:16], 16) >> 11) / 2**53


def folders_named(place: str, kind: str = "folder") -> list[Path]:
    """The folders that PATH or PATH1,PATH2,... names, behind `kind` and a colon."""
    whole = Path(place).expanduser()
    if whole.exists() or "," not in place:
        return [whole]
    folders = [Path(part).expanduser() for part in place.split(",")]
    for part, folder in zip(place.split(","), folders, strict=True):
        if not part or not folder.is_dir():
            raise UserError(
                f"{kind}:{place}: there is no folder {part!r}; commas part folders, so one with a "
                "comma in its name must be given alone"
            )
    for inner in folders:
        for outer in folders:
            if inner is not outer and inner.resolve().is_relative_to(outer.resolve()):
                raise UserError(
                    f"{kind}:{place}: {inner} is {outer} or lies in it, and would count twice"
                )
    return folders


def in_folders(folders: list[Path]) -> tuple[list[Item], Callable[[int], Look]]:
    items: list[Item] = []
    paths: list[Path] = []
    for folder in folders:
        # Of one folder the keys are paths inside it, so that it may move.
        prefix = f"{folder.as_posix()}/" if len(folders) > 1 else ""
        keys = _picture_keys(folder)
        found = [Item(prefix + key, folder / key) for key in keys]
        if not found:
            raise UserError(f"{folder}: holds no picture ({' '.join(SUFFIXES)})")
        items += found
        paths += [folder / key for key in keys]

    def look(index: int) -> Look:
        key = items[index].key
        try:
            data = paths[index].read_bytes()
            thumbnail = image_io.read_square(data, _THUMBNAIL, name=key)
        except UserError as error:
            return Look(fault=str(error))
        except OSError as error:
            return Look(fault=f"{key}: cannot be read: {error.strerror}")
        digest = hashlib.sha256(data).hexdigest()
        return Look(share_of(digest), image_io.mean_chroma(thumbnail), digest=digest)

    return items, look


def in_packed(folders: list[Path]) -> tuple[list[Item], Callable[[int], Look]]:
    items = []
    for folder in folders:
        prefix = f"{folder.as_posix()}/" if len(folders) > 1 else ""  # as of folders
        for key, square, digest in zip(*packed.unpack(folder), strict=True):
            items.append(Item(prefix + key, square, digest))

    def look(index: int) -> Look:
        _, square, digest = items[index]
        assert isinstance(square, np.ndarray)  # as all packed ones are
        return Look(share_of(digest), image_io.mean_chroma(square), digest=digest)

    return items, look


def _picture_keys(folder: Path) -> list[str]:
    """Paths of the pictures under a folder, relative to it, with forward slashes, sorted."""
    if not folder.exists():
        raise UserError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file, and a folder of pictures is wanted")

    def refuse(error: OSError):
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    keys, seen = [], {os.path.realpath(folder)}
    for here, subfolders, files in os.walk(folder, onerror=refuse, followlinks=True):
        # Links to folders are followed, but to each folder once: one that leads up has no end.
        unseen = {}
        for sub in sorted(subfolders):
            real = os.path.realpath(os.path.join(here, sub))
            if not sub.startswith(".") and real not in seen:
                seen.add(real)
                unseen[sub] = real
        subfolders[:] = unseen
        keys += [
            Path(here, file).relative_to(folder).as_posix()
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
        return self._records[index]["image"]

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        return Item(self.key(index), self.file(index))


class Petals(Sequence):
    """Painted flowers, as files that are made when they are asked for."""

    def __init__(self):
        from colorjax.data import petals  # loads jax, which other sources can do without

        self._petals = petals

    def __len__(self) -> int:
        return self._petals.COUNT

    def key(self, index: int) -> str:
        return f"petals#{index}"

    def file(self, index: int) -> bytes:
        return self._petals.png(index)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # there are no slices
        return Item(self.key(index), self.file(index))


def look_by_key(items: Records | Petals, *, thorough: bool) -> Callable[[int], Look]:
    """Looks that split by the key alone; unless thorough, they read no picture, find no fault."""

    def glance(index: int) -> Look:
        return Look(hash_share(items.key(index).encode()))

    def look(index: int) -> Look:
        key = items.key(index)
        try:
            thumbnail = image_io.read_square(items.file(index), _THUMBNAIL, name=key)
        except UserError as error:
            return Look(fault=str(error))
        return Look(hash_share(key.encode()), image_io.mean_chroma(thumbnail))

    return look if thorough else glance


def tfds_records(name: str, data_dir: str | os.PathLike | None) -> Records:
    """Opens the train split of a data set without importing TensorFlow."""
    import tensorflow_datasets as tfds

    from colorjax.data.datasets import builders  # importing registers them with TFDS

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    prepare = f"tfds build {name} --file_format=array_record"
    prepare += f" --data_dir={data_dir}" if data_dir is not None else ""
    how = 'needs TensorFlow once: pip install "colorjax[tfds]", then'
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except ValueError as error:
        first_line = next(iter(str(error).splitlines()), "")
        raise UserError(f"tfds:{name}: no such data set: {first_line}") from error
    splits, features = builder.info.splits, builder.info.features
    if not splits and isinstance(builder, builders.PictureSet):
        whole_name = builder.info.full_name.rpartition("/")[0]  # less the version
        prepare = f"python -m colorjax.data.prepare {whole_name} --manual_dir=DIR"
        prepare += f" --data_dir={data_dir}" if data_dir is not None else ""
        raise UserError(f"tfds:{name}: is not prepared, which is done by {prepare}")
    if not splits:
        raise UserError(f"tfds:{name}: is not prepared, which {how} {prepare}")
    if "train" not in splits:
        raise UserError(f"tfds:{name}: has no split called train, only {', '.join(splits)}")
    if not isinstance(dict(features or {}).get("image"), tfds.features.Image):
        raise UserError(f"tfds:{name}: has no image feature called image, but {features}")
    try:
        records = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{name}: is prepared as {builder.info.file_format.value}, and array_record is "
            f"wanted; to convert it {how} tfds convert_format "
            f"--dataset_version_dir={builder.data_dir} --out_file_format=array_record"
        ) from error
    return Records(f"{builder.info.full_name}/train", records)
