"""Where training pictures come from: the shipped sample, a folder, or a TFDS data set.

A source is two sequences of items, training and hold-out, and the counts of what was left out on
the way. The paper holds out 10% of its pictures (section 4).
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from colorjax.data import packed
from colorjax.data.datasets.pictures import SUFFIXES
from colorjax.errors import UserError
from colorjax.pictures import image_io

SAMPLE_FOLDER = Path(__file__).parent / "sample"
# Side of the thumbnail that near-gray pictures are found by.
_THUMBNAIL = 32
_MOST_FAULTS_LISTED = 20

_logger = logging.getLogger(__name__)


class Item(NamedTuple):
    """One picture, by a name that is stable from run to run."""

    key: str
    data: Path | bytes | np.ndarray  # file, its content, or the square: uint8 [size, size, 3]
    digest: str = ""  # sha256 of the file in hex, where it has been read already


class Source(NamedTuple):
    """Pictures to train on and pictures held out; no picture is in both.

    `notes` counts pictures: `found`, and of these `unreadable`, `near_gray`, `train`, `holdout`.
    """

    name: str
    train: Sequence[Item]
    holdout: Sequence[Item]
    notes: dict[str, int]


class _Look(NamedTuple):
    """What one look at a picture found."""

    share: float = 1.0  # held out if below the hold-out share
    chroma: float = 0.0
    fault: str | None = None  # why it cannot be read
    digest: str = ""  # sha256 of the file, if it was read


def open_source(
    source: str,
    *,
    holdout: float = 0.1,
    holdout_folders: Sequence[str] = (),
    min_chroma: float = 0.0,
    max_unreadable: float = 0.1,
    data_dir: str | os.PathLike | None = None,
) -> Source:
    """Opens a source of pictures and splits it into training and hold-out.

    A picture is held out when the sha256 of its file, read as a number in [0, 1), is below
    `holdout`. So the choice is the same on every machine and for every name, order and place of the
    files; pictures that are added later move no others; equal files stay on one side.

    Args:
      source: one of
        `sample`: twelve photographs that come with the package;
        `folder:PATH`: every JPEG, PNG, WebP, TIFF and BMP under PATH, hidden ones apart;
        `folder:PATH1,PATH2,...`: those of several folders, none of which lies in another. A path
        with a comma in it can be given alone only;
        `tfds:NAME`, as `tfds:imagenette/320px`: the `train` split of a TFDS data set that has been
        prepared as array_record and has an image feature called `image`. There the hash is that of
        the data set's full name and the example's index, because hashing the files would mean
        reading them all. The set's other splits are not used;
        `packed:DIR`: what `colorjax.data.packed` has made of folders, with the hold-out of those;
        `petals`: the painted flowers of `colorjax.data.petals`, of which again the name and index
        are hashed.
      holdout: share of the pictures to hold out, in (0, 1).
      holdout_folders: names of folders, such as `coco5k`; with any, only pictures that lie in one
        of them are held out.
      min_chroma: pictures whose `mean_chroma` (of a thumbnail of the centre square) is below this
        are left out; 8-bit levels, 0 is off. About 4 leaves out gray photographs and keeps pale
        ones (on 17,000 photographs). A TFDS data set is read through once for it.
      max_unreadable: share of the pictures, in [0, 1], that may be unreadable and be left out with
        a warning. A TFDS data set is looked through only if min_chroma is on.
      data_dir: where TFDS keeps its data sets; None is TFDS's own choice (`~/tensorflow_datasets`,
        or the environment variable TFDS_DATA_DIR).

    Raises:
      UserError: the source is not there, has no picture, has too many unreadable ones, or either
        part of the split comes out empty.
    """
    if not 0 < holdout < 1:
        raise UserError(f"the hold-out share is {holdout}, and should lie between 0 and 1")
    kind, _, place = source.partition(":")
    if source == "sample":
        items, look = _open_folders([SAMPLE_FOLDER])
    elif kind == "folder" and place:
        items, look = _open_folders(_folders(place))
    elif kind == "packed" and place:
        items, look = _open_packed(Path(place).expanduser())
    elif kind == "tfds" and place:
        items = _tfds_records(place, data_dir)
        look = _look_by_key(items, thorough=min_chroma > 0)
    elif source == "petals":
        items = _Petals()
        look = _look_by_key(items, thorough=min_chroma > 0)
    else:
        raise UserError(
            f"source {source!r} is none of sample, petals, folder:PATH, packed:DIR and "
            "tfds:NAME"
        )
    looks = _look_at_all(look, len(items))
    _report_faults(source, [one.fault for one in looks if one.fault], len(looks), max_unreadable)
    if isinstance(items, list):
        items = [item._replace(digest=one.digest) for item, one in zip(items, looks, strict=True)]
    looks = _kept_for_training(source, items, looks, holdout_folders)
    opened = _split(source, items, looks, holdout, min_chroma)
    _logger.info("source %s: %s", source, opened.notes)
    if not opened.train or not opened.holdout:
        raise UserError(
            f"{source}: of {len(opened.train) + len(opened.holdout)} usable pictures "
            f"({opened.notes['unreadable']} more are unreadable and {opened.notes['near_gray']} "
            "nearly gray) "
            f"{len(opened.holdout)} fall into the hold-out of {holdout:g} and {len(opened.train)} "
            "into training, and each needs one: add pictures or change the hold-out share"
        )
    return opened


def open_folders(place: str, max_unreadable: float = 0.1) -> list[Item]:
    """All pictures that `folder:PATH` or `folder:PATH1,PATH2,...` would find, for measuring alone.

    Args:
      place: what stands behind `folder:`.
      max_unreadable: as `open_source` has it.

    Raises:
      UserError: as `open_source` does, but for a split that leaves nothing to one side.
    """
    items, look = _open_folders(_folders(place))
    looks = _look_at_all(look, len(items))
    faults = [one.fault for one in looks if one.fault]
    _report_faults(f"folder:{place}", faults, len(looks), max_unreadable)
    return [
        item._replace(digest=one.digest)
        for item, one in zip(items, looks, strict=True)
        if not one.fault
    ]


def mean_chroma(rgb_u8: np.ndarray) -> float:
    """How colourful a picture is: the mean over its pixels of max(R, G, B) - min(R, G, B).

    Args:
      rgb_u8: uint8 [height, width, 3].

    Returns:
      8-bit levels in [0, 255]: 0 for grays. A tint over the whole picture, as sepia, counts as
      colour.
    """
    return float(np.mean(rgb_u8.max(axis=-1) - rgb_u8.min(axis=-1)))


def hash_share(data: bytes) -> float:
    """The first 53 bits of the sha256 of some bytes, as a fraction in [0, 1)."""
    return _share(hashlib.sha256(data).hexdigest())


def stub(items: Sequence[Item], index: int) -> Item:
    """An item's key and digest; `data` is left empty where fetching it takes time."""
    if isinstance(items, Subset):
        return stub(items._items, items._indices[index])
    return Item(items.key(index), b"") if isinstance(items, _Records | _Petals) else items[index]


class Subset(Sequence):
    """The items at some `indices` of a longer sequence, fetched when they are asked for."""

    def __init__(self, items: Sequence[Item], indices: list[int]):
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Subset(self._items, self._indices[index])
        return self._items[self._indices[index]]


def _share(digest: str) -> float:
    return (int(digest[:16], 16) >> 11) / 2**53


def in_folder(key: str, folders: Iterable[str]) -> bool:
    """Whether one of the folders that the path `key` goes through has one of these names."""
    return not set(key.split("/")[:-1]).isdisjoint(folders)


def _kept_for_training(
    name: str, items: Sequence[Item], looks: list[_Look], holdout_folders: Sequence[str]
) -> list[_Look]:
    """Looks by which no picture outside of `holdout_folders`, if any are named, is held out."""
    if not holdout_folders:
        return looks
    keys = [stub(items, i).key for i in range(len(items))]
    for folder in holdout_folders:
        if not any(in_folder(key, [folder]) for key in keys):
            raise UserError(f"{name}: there is no folder {folder!r} in it to hold pictures out of")
    return [
        one if in_folder(key, holdout_folders) else one._replace(share=1.0)
        for key, one in zip(keys, looks, strict=True)
    ]


def _split(
    name: str, items: Sequence[Item], looks: Sequence[_Look], holdout: float, min_chroma: float
) -> Source:
    """Leaves out what is unreadable or near gray, and splits the rest."""
    readable = [i for i, one in enumerate(looks) if not one.fault]
    kept = [i for i in readable if looks[i].chroma >= min_chroma]
    train = Subset(items, [i for i in kept if looks[i].share >= holdout])
    held_out = Subset(items, [i for i in kept if looks[i].share < holdout])
    notes = {
        "found": len(looks),
        "unreadable": len(looks) - len(readable),
        "near_gray": len(readable) - len(kept),
        "train": len(train),
        "holdout": len(held_out),
    }
    return Source(name, train, held_out, notes)


def _look_at_all(look: Callable[[int], _Look], count: int) -> list[_Look]:
    """Looks at every picture, in threads: Pillow decodes outside Python's lock."""
    # ThreadPool, since leaving it drops what is still queued: Ctrl-C ends a long scan at once.
    with ThreadPool(min(16, os.cpu_count() or 1)) as pool:
        looks = pool.imap(look, range(count), chunksize=16)
        return list(tqdm(looks, "looking at pictures", count, delay=1, disable=None))


def _report_faults(name: str, faults: list[str], found: int, max_unreadable: float) -> None:
    if len(faults) > max_unreadable * found:
        raise UserError(
            f"{name}: {len(faults)} of {found} pictures cannot be used, more than the share of "
            f"{max_unreadable:g} that may be left out; the first is {faults[0]}"
        )
    if faults:
        listed = faults[:_MOST_FAULTS_LISTED]
        if len(faults) > len(listed):
            listed.append(f"and {len(faults) - len(listed)} more")
        text = "\n  ".join(listed)
        _logger.warning("%s: leaving out %d of %d pictures:\n  %s", name, len(faults), found, text)


def _folders(place: str) -> list[Path]:
    """The folders that PATH or PATH1,PATH2,... names."""
    whole = Path(place).expanduser()
    if whole.exists() or "," not in place:
        return [whole]
    folders = [Path(part).expanduser() for part in place.split(",")]
    for part, folder in zip(place.split(","), folders, strict=True):
        if not part or not folder.is_dir():
            raise UserError(
                f"folder:{place}: there is no folder {part!r}; commas part folders, so one with a "
                "comma in its name must be given alone"
            )
    for inner in folders:
        for outer in folders:
            if inner is not outer and inner.resolve().is_relative_to(outer.resolve()):
                raise UserError(
                    f"folder:{place}: {inner} is {outer} or lies in it, and would count twice"
                )
    return folders


def _open_folders(folders: list[Path]) -> tuple[list[Item], Callable[[int], _Look]]:
    items = []
    for folder in folders:
        # Of one folder the keys are paths inside it, so that it may move.
        prefix = f"{folder.as_posix()}/" if len(folders) > 1 else ""
        found = [Item(prefix + key, folder / key) for key in _picture_keys(folder)]
        if not found:
            raise UserError(f"{folder}: holds no picture ({' '.join(SUFFIXES)})")
        items += found

    def look(index: int) -> _Look:
        key, path, _ = items[index]
        try:
            data = path.read_bytes()
            thumbnail = image_io.read_square(data, _THUMBNAIL, name=key)
        except UserError as error:
            return _Look(fault=str(error))
        except OSError as error:
            return _Look(fault=f"{key}: cannot be read: {error.strerror}")
        digest = hashlib.sha256(data).hexdigest()
        return _Look(_share(digest), mean_chroma(thumbnail), digest=digest)

    return items, look


def _open_packed(folder: Path) -> tuple[list[Item], Callable[[int], _Look]]:
    keys, digests, squares = packed.unpack(folder)
    items = [Item(*one) for one in zip(keys, squares, digests, strict=True)]

    def look(index: int) -> _Look:
        _, square, digest = items[index]
        return _Look(_share(digest), mean_chroma(square), digest=digest)

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


class _Records(Sequence):
    """The pictures of a TFDS split, as encoded files."""

    def __init__(self, name: str, records: Sequence):
        self._name, self._records = name, records

    def __len__(self) -> int:
        return len(self._records)

    def key(self, index: int) -> str:
        return f"{self._name}#{index}"

    def __getitem__(self, index: int) -> Item:
        return Item(self.key(index), self._records[index]["image"])


class _Petals(Sequence):
    """Painted flowers, as files that are made when they are asked for."""

    def __init__(self):
        from colorjax.data import petals  # loads jax, which other sources can do without

        self._petals = petals

    def __len__(self) -> int:
        return self._petals.COUNT

    def key(self, index: int) -> str:
        return f"petals#{index}"

    def __getitem__(self, index: int) -> Item:
        return Item(self.key(index), self._petals.png(index))


def _look_by_key(items: _Records | _Petals, *, thorough: bool) -> Callable[[int], _Look]:
    """Looks that split by the key alone; unless thorough, they read no picture, find no fault."""

    def glance(index: int) -> _Look:
        return _Look(hash_share(items.key(index).encode()))

    def look(index: int) -> _Look:
        key, data, _ = items[index]
        try:
            thumbnail = image_io.read_square(data, _THUMBNAIL, name=key)
        except UserError as error:
            return _Look(fault=str(error))
        return _Look(hash_share(key.encode()), mean_chroma(thumbnail))

    return look if thorough else glance


def _tfds_records(name: str, data_dir: str | os.PathLike | None) -> _Records:
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
    return _Records(f"{builder.info.full_name}/train", records)
