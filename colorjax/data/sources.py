"""Where training pictures come from: the shipped sample, folders, packed ones, or a TFDS data set.

A source is sequences of items, for training, the hold-out and, where asked for, a test, and the
counts of what was left out on the way. A tenth is the hold-out (the paper, section 5.2).
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from math import floor
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

from tqdm import tqdm

from colorjax.data.places import (
    SAMPLE_FOLDER,
    Item,
    Look,
    Petals,
    Records,
    folders_named,
    in_folders,
    in_packed,
    look_by_key,
    tfds_records,
)
from colorjax.errors import UserError

_MOST_FAULTS_LISTED = 20

_logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """Pictures to train on, pictures held out and pictures to test on; each is in one part alone.

    `notes` counts pictures: `found`, and of these `unreadable`, `near_gray`, `train`, `holdout`,
    and `test` where there is such a part.
    """

    name: str
    train: Sequence[Item]
    holdout: Sequence[Item]
    notes: dict[str, int]
    test: Sequence[Item] = ()


def open_source(
    source: str,
    *,
    holdout: float = 0.1,
    test: float = 0.0,
    holdout_folders: Sequence[str] = (),
    min_chroma: float = 0.0,
    max_unreadable: float = 0.1,
    data_dir: str | os.PathLike | None = None,
) -> Source:
    """Opens a source of pictures and splits it into training, hold-out and test.

    A picture is held out when the sha256 of its file, read as a number in [0, 1), is below
    `holdout`, and is to test on when it is in the share of `test` above that. So the choice is the
    same on every machine and for every name, order and place of the files; pictures that are added
    later move no others; equal files stay on one side.

    Args:
      source: one of
        `sample`: twelve photographs that come with the package;
        `folder:PATH`: every picture under PATH (`pictures.formats.SUFFIXES`), hidden ones apart;
        `folder:PATH1,PATH2,...`: those of several folders, none of which lies in another. A path
        with a comma in it can be given alone only;
        `tfds:NAME`, as `tfds:imagenette/320px`: the `train` split of a TFDS data set that has been
        prepared as array_record and has an image feature called `image`. There the hash is that of
        the data set's full name and the example's index, because hashing the files would mean
        reading them all. The set's other splits are not used;
        `packed:DIR`, `packed:DIR1,DIR2,...`: what `colorjax.data.packed` has made of folders, with
        the hold-out of those; squares of several may differ in size;
        `petals`: the painted flowers of `colorjax.data.petals`, of which again the name and index
        are hashed.
      holdout: share of the pictures to hold out, in (0, 1).
      test: share of the pictures to test on, in [0, 1 - holdout); 0 for no such part.
      holdout_folders: names of folders, such as `coco5k`; with any, only pictures that lie in one
        of them are held out or to test on.
      min_chroma: pictures whose `mean_chroma` (of a thumbnail of the centre square) is below this
        are left out; 8-bit levels, 0 is off. About 4 leaves out gray photographs and keeps pale
        ones (on 17,000 photographs). A TFDS data set is read through once for it.
      max_unreadable: share of the pictures, in [0, 1], that may be unreadable and be left out with
        a warning. A TFDS data set is looked through only if min_chroma is on.
      data_dir: where TFDS keeps its data sets; None is TFDS's own choice (`~/tensorflow_datasets`,
        or the environment variable TFDS_DATA_DIR).

    Raises:
      UserError: the source is not there, has no picture, has too many unreadable ones, or a part
        of the split that is wanted comes out empty.
    """
    if not 0 < holdout < 1:
        raise UserError(f"the hold-out share is {holdout}, and should lie between 0 and 1")
    if not 0 <= test < 1 - holdout:
        raise UserError(f"the test share is {test}, want at least 0 and below {1 - holdout:g}")
    kind, _, place = source.partition(":")
    items: Sequence[Item]
    if source == "sample":
        items, look = in_folders([SAMPLE_FOLDER])
    elif kind == "folder" and place:
        items, look = in_folders(folders_named(place))
    elif kind == "packed" and place:
        items, look = in_packed(folders_named(place, kind))
    elif kind == "tfds" and place:
        items = records = tfds_records(place, data_dir)
        look = look_by_key(records, thorough=min_chroma > 0)
    elif source == "petals":
        items = petals = Petals()
        look = look_by_key(petals, thorough=min_chroma > 0)
    else:
        raise UserError(
            f"source {source!r} is none of sample, petals, folder:PATH, packed:DIR and tfds:NAME"
        )
    looks = _look_at_all(look, len(items))
    _report_faults(source, [one.fault for one in looks if one.fault], len(looks), max_unreadable)
    if isinstance(items, list):
        items = [item._replace(digest=one.digest) for item, one in zip(items, looks, strict=True)]
    looks = _kept_for_training(source, items, looks, holdout_folders)
    opened = _split(source, items, looks, (holdout, test), min_chroma)
    _logger.info("source %s: %s", source, opened.notes)
    if not opened.train or not opened.holdout:
        raise UserError(f"{source}: {_why_empty(opened, looks, holdout, min_chroma)}")
    if test and not opened.test:
        raise UserError(f"{source}: no picture falls into the test share of {test:g}, want one")
    return opened


def open_folders(place: str, max_unreadable: float = 0.1, min_chroma: float = 0.0) -> list[Item]:
    """All pictures that `folder:PATH` or `folder:PATH1,PATH2,...` would find, in no parts.

    Args:
      place: what stands behind `folder:`.
      max_unreadable, min_chroma: as `open_source` has them.

    Raises:
      UserError: as `open_source` does, but for a split that leaves nothing to one side; all are
        nearly gray.
    """
    items, look = in_folders(folders_named(place))
    looks = _look_at_all(look, len(items))
    faults = [one.fault for one in looks if one.fault]
    _report_faults(f"folder:{place}", faults, len(looks), max_unreadable)
    readable = [
        (one.chroma, item._replace(digest=one.digest))
        for item, one in zip(items, looks, strict=True)
        if not one.fault
    ]
    found = [item for chroma, item in readable if chroma >= min_chroma]
    if not found:
        why = _all_gray([chroma for chroma, _ in readable])
        raise UserError(f"folder:{place}: {why}, want at least {min_chroma:g}")
    if len(found) < len(readable):
        gray = len(readable) - len(found)
        _logger.warning("folder:%s: leaving out %d pictures, nearly gray", place, gray)
    return found


def stub(items: Sequence[Item], index: int) -> Item:
    """An item's key and digest; `data` is left empty where fetching it takes time."""
    if isinstance(items, Subset):
        return stub(items._items, items._indices[index])
    return Item(items.key(index), b"") if isinstance(items, Records | Petals) else items[index]


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


def in_folder(key: str, folders: Iterable[str]) -> bool:
    """Whether one of the folders that the path `key` goes through has one of these names."""
    return not set(key.split("/")[:-1]).isdisjoint(folders)


def _kept_for_training(
    name: str, items: Sequence[Item], looks: list[Look], holdout_folders: Sequence[str]
) -> list[Look]:
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
    name: str,
    items: Sequence[Item],
    looks: Sequence[Look],
    shares: tuple[float, float],
    min_chroma: float,
) -> Source:
    """Leaves out what is unreadable or near gray, and splits the rest.

    `shares` are those of the hold-out and of the test.
    """
    holdout, test = shares
    readable = [i for i, one in enumerate(looks) if not one.fault]
    kept = [i for i in readable if looks[i].chroma >= min_chroma]
    train = Subset(items, [i for i in kept if looks[i].share >= holdout + test])
    tested = Subset(items, [i for i in kept if holdout <= looks[i].share < holdout + test])
    held_out = Subset(items, [i for i in kept if looks[i].share < holdout])
    notes = {
        "found": len(looks),
        "unreadable": len(looks) - len(readable),
        "near_gray": len(readable) - len(kept),
        "train": len(train),
        "holdout": len(held_out),
        **({"test": len(tested)} if test else {}),
    }
    return Source(name, train, held_out, notes, tested)


def _why_empty(opened: Source, looks: Sequence[Look], holdout: float, min_chroma: float) -> str:
    """What leaves a part of the split without pictures, and what would help."""
    notes, usable = opened.notes, len(opened.train) + len(opened.holdout)
    readable = [one for one in looks if not one.fault]
    if readable and not usable:
        gray = _all_gray([one.chroma for one in readable])
        return (
            f"{gray} where data.min_chroma is {min_chroma:g}: want pictures in colour, or a lower "
            "data.min_chroma"
        )
    kept = [one.share for one in readable if one.chroma >= min_chroma]
    share = _share_that_splits(kept, holdout)
    return (
        f"of {usable} usable pictures "
        f"({notes['unreadable']} more are unreadable and {notes['near_gray']} nearly gray) "
        f"{len(opened.holdout)} fall into the hold-out of {holdout:g} and {len(opened.train)} "
        "into training, and each needs one: "
        + (f"want data.holdout={share}, or more pictures" if share else "want more pictures")
    )


def _all_gray(chromas: Sequence[float]) -> str:
    return (
        f"all {len(chromas)} readable pictures are nearly gray, the most colourful has a chroma "
        f"of {max(chromas):.2g}"
    )


def _share_that_splits(shares: Sequence[float], wanted: float) -> float | None:
    """The roundest hold-out share near `wanted` with pictures on both sides; None without one."""
    least, most = min(shares, default=1.0), max(shares, default=1.0)
    for digits in range(1, 16):
        unit = 10**digits
        near = (floor(least * unit) + 1 if wanted <= least else floor(most * unit)) / unit
        if least < near <= most and near < 1:
            return near
    return None


def _look_at_all(look: Callable[[int], Look], count: int) -> list[Look]:
    """Looks at every picture, in threads: Pillow decodes outside Python's lock."""
    # ThreadPool, since leaving it drops what is still queued: Ctrl-C ends a long scan at once.
    with ThreadPool(min(16, os.cpu_count() or 1)) as pool:
        looks = pool.imap(look, range(count), chunksize=16)
        return list(tqdm(looks, "looking at pictures", count, delay=1, disable=None))


def _report_faults(name: str, faults: list[str], found: int, max_unreadable: float) -> None:
    if len(faults) > max_unreadable * found or (faults and len(faults) == found):
        raise UserError(
            f"{name}: {len(faults)} of {found} pictures cannot be used, more than the share of "
            f"{max_unreadable:g} that may be left out (max_unreadable); the first is {faults[0]}"
        )
    if faults:
        listed = faults[:_MOST_FAULTS_LISTED]
        if len(faults) > len(listed):
            listed.append(f"and {len(faults) - len(listed)} more")
        text = "\n  ".join(listed)
        _logger.warning("%s: leaving out %d of %d pictures:\n  %s", name, len(faults), found, text)
