"""Opens sources of training pictures: the bundled sample, folders, packed folders, TFDS data sets.

A source has sequences of items for training, the hold-out set and, optionally, a test set, and
counts of the pictures that were left out. By default, the hold-out is a tenth (the paper, section
5.2).
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from math import floor
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

from tqdm import tqdm

from colorjax.data.places import (
    SAMPLE_FOLDER,
    Inspection,
    Item,
    Petals,
    Records,
    folder_items,
    inspector_by_key,
    packed_items,
    parse_folders,
    tfds_records,
)
from colorjax.errors import UserError

_MAX_FAULTS_LISTED = 20

_logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """Disjoint sets of pictures for training, hold-out and test.

    `notes` contains numbers of pictures: `found`, and among these `unreadable`, `near_gray`,
    `train`, `holdout`, and, if there are any, `test` and `copies`, which are left out because they
    equal pictures of hold-out or test set. `fingerprint` is a hash that differs if the hold-out
    has other pictures; it is set by `opening.open_source`.
    """

    name: str
    train: Sequence[Item]
    holdout: Sequence[Item]
    notes: dict[str, int]
    test: Sequence[Item] = ()
    fingerprint: str = ""


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

    A picture is held out if the sha256 of its file, as a number in [0, 1), is below `holdout`. It
    is in the test set if that number is in [holdout, holdout + test). So the split is the same on
    every machine, and does not depend on names, order and locations of the files. Pictures that are
    added later do not move others to another part, and equal files are in the same part.

    Args:
      source: one of
        `sample`: twelve photographs that come with the package;
        `folder:PATH`: all pictures under PATH (`pictures.formats.SUFFIXES`), except hidden ones;
        `folder:PATH1,PATH2,...`: those of several folders, none inside another. A path that
        contains a comma cannot be combined with others;
        `tfds:NAME`, such as `tfds:imagenette/320px`: the `train` split of a TFDS data set that has
        been prepared as array_record and has an image feature called `image`. Its full name and the
        index of the example are hashed, because hashing the files would require reading them all.
        Other splits are not used;
        `packed:DIR`, `packed:DIR1,DIR2,...`: folders made by `colorjax.data.packed`, with the same
        split as the original folders; their squares may differ in size;
        `petals`: the synthetic flowers of `colorjax.data.petals`; name and index are hashed.
      holdout: share of the pictures to hold out, in (0, 1).
      test: share of the pictures for the test set, in [0, 1 - holdout); 0 for no test set.
      holdout_folders: names of folders, such as `coco5k`. If there are any, hold-out and test set
        contain only pictures from these folders. Pictures of other folders are for training, except
        for copies (equal files) of pictures in hold-out or test set, which are left out.
      min_chroma: pictures are left out if the `mean_chroma` of a thumbnail of the centre square is
        below this; 8-bit levels, 0 disables the check. About 4 leaves out gray photographs and
        keeps pale ones (measured on 17,000 photographs). A TFDS data set is read once for this.
      max_unreadable: share of the pictures, in [0, 1], that may be unreadable and are left out with
        a warning. A TFDS data set is checked only if min_chroma is not 0.
      data_dir: folder of TFDS data sets; None for the default of TFDS (`~/tensorflow_datasets`, or
        the environment variable TFDS_DATA_DIR).

    Raises:
      UserError: the source does not exist, has no pictures or too many unreadable ones, or a
        required part of the split is empty.
    """
    if not 0 < holdout < 1:
        raise UserError(f"the hold-out share is {holdout}, and should lie between 0 and 1")
    if not 0 <= test < 1 - holdout:
        raise UserError(f"the test share is {test}, want at least 0 and below {1 - holdout:g}")
    items, inspect = _find_items(source, data_dir, decode=min_chroma > 0)
    inspections = _inspect_all(inspect, len(items))
    faults = [inspection.fault for inspection in inspections if inspection.fault]
    _report_faults(source, faults, len(inspections), max_unreadable)
    if isinstance(items, list):
        items = [
            item._replace(digest=inspection.digest)
            for item, inspection in zip(items, inspections, strict=True)
        ]
    inspections = _restrict_holdout(source, items, inspections, holdout_folders)
    opened = _split(source, items, inspections, (holdout, test), min_chroma)
    _logger.info("source %s: %s", source, opened.notes)
    if copies := opened.notes.get("copies"):
        text = "%s: leaving out %d pictures, which equal pictures of hold-out or test set"
        _logger.warning(text, source, copies)
    if not opened.train or not opened.holdout:
        raise UserError(f"{source}: {_empty_part_reason(opened, inspections, holdout, min_chroma)}")
    if test and not opened.test:
        raise UserError(f"{source}: no picture falls into the test share of {test:g}, want one")
    return opened


def _find_items(
    source: str, data_dir: str | os.PathLike | None, *, decode: bool
) -> tuple[Sequence[Item], Callable[[int], Inspection]]:
    """Returns the pictures of a source, and the function that inspects the one with an index.

    `decode`: whether inspections of TFDS and petals also decode the picture.
    """
    kind, _, place = source.partition(":")
    if source == "sample":
        return folder_items([SAMPLE_FOLDER])
    if kind == "folder" and place:
        return folder_items(parse_folders(place))
    if kind == "packed" and place:
        return packed_items(parse_folders(place, kind))
    if kind == "tfds" and place:
        records = tfds_records(place, data_dir)
        return records, inspector_by_key(records, decode=decode)
    if source == "petals":
        petals = Petals()
        return petals, inspector_by_key(petals, decode=decode)
    raise UserError(
        f"source {source!r} is none of sample, petals, folder:PATH, packed:DIR and tfds:NAME"
    )


def open_folders(place: str, max_unreadable: float = 0.1, min_chroma: float = 0.0) -> list[Item]:
    """Returns all pictures of `folder:PATH` or `folder:PATH1,PATH2,...`, without a split.

    Args:
      place: the part of the source after `folder:`.
      max_unreadable, min_chroma: as in `open_source`.

    Raises:
      UserError: as `open_source`, except for empty parts of a split; also if all pictures are
        nearly gray.
    """
    items, inspect = folder_items(parse_folders(place))
    inspections = _inspect_all(inspect, len(items))
    faults = [inspection.fault for inspection in inspections if inspection.fault]
    _report_faults(f"folder:{place}", faults, len(inspections), max_unreadable)
    readable = [
        (inspection.chroma, item._replace(digest=inspection.digest))
        for item, inspection in zip(items, inspections, strict=True)
        if not inspection.fault
    ]
    colourful = [item for chroma, item in readable if chroma >= min_chroma]
    if not colourful:
        reason = _all_gray_reason([chroma for chroma, _ in readable])
        raise UserError(f"folder:{place}: {reason}, want at least {min_chroma:g}")
    if len(colourful) < len(readable):
        gray = len(readable) - len(colourful)
        _logger.warning("folder:%s: leaving out %d pictures, nearly gray", place, gray)
    return colourful


def stub(items: Sequence[Item], index: int) -> Item:
    """Returns an item's key and digest; `data` is left empty if fetching it would take time."""
    if isinstance(items, Subset):
        return stub(items._items, items._indices[index])
    return Item(items.key(index), b"") if isinstance(items, Records | Petals) else items[index]


def fingerprint(items: Sequence[Item]) -> str:
    """Returns a sha256 in hex of the digests of some items, or of the keys of those without one.

    It needs no file to be read, so that replaced pictures of a TFDS data set go unnoticed.
    """
    stubs = (stub(items, index) for index in range(len(items)))
    texts = json.dumps([each.digest or each.key for each in stubs])
    return hashlib.sha256(texts.encode()).hexdigest()


class Subset(Sequence):
    """A lazy view of the items at some `indices` of a sequence."""

    def __init__(self, items: Sequence[Item], indices: list[int]):
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Subset(self._items, self._indices[index])
        return self._items[self._indices[index]]


def in_folder(key: str, folders: Iterable[str]) -> bool:
    """Whether a folder in the path `key` has one of these names."""
    return not set(key.split("/")[:-1]).isdisjoint(folders)


def _restrict_holdout(
    name: str, items: Sequence[Item], inspections: list[Inspection], holdout_folders: Sequence[str]
) -> list[Inspection]:
    """Moves pictures outside `holdout_folders` to training; changes nothing if none are named.

    Copies of pictures inside keep their fraction and are marked, since those may be held out.
    """
    if not holdout_folders:
        return inspections
    keys = [stub(items, i).key for i in range(len(items))]
    for folder in holdout_folders:
        if not any(in_folder(key, [folder]) for key in keys):
            raise UserError(f"{name}: there is no folder {folder!r} in it to hold pictures out of")
    inside = [in_folder(key, holdout_folders) for key in keys]
    # A digest is empty if the file was not read; such files are not known to be equal.
    digests = {one.digest for one, is_in in zip(inspections, inside, strict=True) if is_in} - {""}

    def restrict(inspection: Inspection, is_inside: bool) -> Inspection:
        if is_inside:
            return inspection
        if inspection.digest in digests:
            return inspection._replace(is_copy=True)
        return inspection._replace(fraction=1.0)

    return list(map(restrict, inspections, inside))


def _split(
    name: str,
    items: Sequence[Item],
    inspections: Sequence[Inspection],
    shares: tuple[float, float],
    min_chroma: float,
) -> Source:
    """Leaves out unreadable and nearly gray pictures and copies, and splits the rest.

    `shares` are the shares of hold-out and test.
    """
    holdout, test = shares
    readable = [i for i, inspection in enumerate(inspections) if not inspection.fault]
    colourful = [i for i in readable if inspections[i].chroma >= min_chroma]
    # A copy of a training picture is for training too.
    usable = [
        i
        for i in colourful
        if not inspections[i].is_copy or inspections[i].fraction >= holdout + test
    ]
    copies = len(colourful) - len(usable)
    train = Subset(items, [i for i in usable if inspections[i].fraction >= holdout + test])
    tested = Subset(
        items, [i for i in usable if holdout <= inspections[i].fraction < holdout + test]
    )
    held_out = Subset(items, [i for i in usable if inspections[i].fraction < holdout])
    notes = {
        "found": len(inspections),
        "unreadable": len(inspections) - len(readable),
        "near_gray": len(readable) - len(colourful),
        "train": len(train),
        "holdout": len(held_out),
        **({"test": len(tested)} if test else {}),
        **({"copies": copies} if copies else {}),
    }
    return Source(name, train, held_out, notes, tested)


def _empty_part_reason(
    opened: Source, inspections: Sequence[Inspection], holdout: float, min_chroma: float
) -> str:
    """Explains why a part of the split has no pictures, and suggests a remedy."""
    notes, usable = opened.notes, len(opened.train) + len(opened.holdout)
    readable = [inspection for inspection in inspections if not inspection.fault]
    if readable and not usable:
        reason = _all_gray_reason([inspection.chroma for inspection in readable])
        return (
            f"{reason} where data.min_chroma is {min_chroma:g}: want pictures in colour, or a "
            "lower data.min_chroma"
        )
    fractions = [one.fraction for one in readable if one.chroma >= min_chroma]
    share = _suggest_share(fractions, holdout)
    return (
        f"of {usable} usable pictures "
        f"({notes['unreadable']} more are unreadable and {notes['near_gray']} nearly gray) "
        f"{len(opened.holdout)} fall into the hold-out of {holdout:g} and {len(opened.train)} "
        "into training, and each needs one: "
        + (f"want data.holdout={share}, or more pictures" if share else "want more pictures")
    )


def _all_gray_reason(chromas: Sequence[float]) -> str:
    return (
        f"all {len(chromas)} readable pictures are nearly gray, the most colourful has a chroma "
        f"of {max(chromas):.2g}"
    )


def _suggest_share(fractions: Sequence[float], wanted: float) -> float | None:
    """Finds the hold-out share near `wanted` with the fewest digits that leaves no part empty.

    `fractions` are the pictures' hashes as in `Inspection`. Returns None if there is no such share.
    """
    least, most = min(fractions, default=1.0), max(fractions, default=1.0)
    for digits in range(1, 16):
        unit = 10**digits
        share = (floor(least * unit) + 1 if wanted <= least else floor(most * unit)) / unit
        if least < share <= most and share < 1:
            return share
    return None


def _inspect_all(inspect: Callable[[int], Inspection], count: int) -> list[Inspection]:
    """Inspects every picture, in threads: Pillow releases the GIL while decoding."""
    # Leaving a ThreadPool discards its queue, so that Ctrl-C ends a long scan at once.
    with ThreadPool(min(16, os.cpu_count() or 1)) as pool:
        inspections = pool.imap(inspect, range(count), chunksize=16)
        return list(tqdm(inspections, "looking at pictures", count, delay=1, disable=None))


def _report_faults(name: str, faults: list[str], found: int, max_unreadable: float) -> None:
    if len(faults) > max_unreadable * found or (faults and len(faults) == found):
        raise UserError(
            f"{name}: {len(faults)} of {found} pictures cannot be used, more than the share of "
            f"{max_unreadable:g} that may be left out (max_unreadable); the first is {faults[0]}"
        )
    if faults:
        listed = faults[:_MAX_FAULTS_LISTED]
        if len(faults) > len(listed):
            listed.append(f"and {len(faults) - len(listed)} more")
        text = "\n  ".join(listed)
        _logger.warning("%s: leaving out %d of %d pictures:\n  %s", name, len(faults), found, text)
