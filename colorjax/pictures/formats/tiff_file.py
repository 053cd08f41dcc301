"""The tables of a TIFF file: which pages it has, and which of them is the photograph.

Pillow opens the first page, which in some files is a thumbnail. Here the tables are looked at
first; the file's bytes may then be changed so that its first page is another.
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL.ExifTags import Base as Tag

from colorjax.errors import UserError
from colorjax.pictures.formats import HEAD_BYTES, by_signature

# Of the numbers in tables: code of their type, as struct calls it.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
# A damaged table may claim any count, and a chain of tables may have no end.
_MOST_NUMBERS, _MOST_PAGES = 2**22, 10_000
# The sensor's own pixels, with a colour filter before them or straightened out already.
_SENSOR_DATA = (32803, 34892)
_RAW_HEADS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILM", b"\0MRM")


class Page(NamedTuple):
    """One table of a TIFF file.

    Attributes:
      offset: where it stands in the file.
      order: "<" or ">", the byte order of the file.
      is_big: whether the file is a BigTIFF, whose offsets have 8 bytes.
      numbers: the numbers of each tag that holds integers.
      places: where the entry of each tag stands in the file.
    """

    offset: int
    order: str
    is_big: bool
    numbers: dict[int, tuple[int, ...]]
    places: dict[int, int]

    def one(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        return self.numbers.get(tag, (default,))[0]

    @property
    def pixels(self) -> int:
        return self.one(Tag.ImageWidth) * self.one(Tag.ImageLength)

    @property
    def is_reduced(self) -> bool:
        """Whether it says of itself that it is a smaller copy of another page."""
        return bool(self.one(Tag.NewSubfileType) & 1) or self.one(Tag.SubfileType) == 2


def choose(
    source: str | os.PathLike | bytes, name: str, number: int | None = None
) -> tuple[str | os.PathLike | bytes, Page | None, int]:
    """Has the page that is the photograph be a TIFF's first; any other file is left as it is.

    Args:
      source: path or bytes of the file; one that cannot be read is left as it is, too.
      name: what messages call it.
      number: the page to take, from 1 on, thumbnails not counted; None takes the first.

    Returns:
      The file, changed if need be; the page, None where there is none to choose; how many there
      are.

    Raises:
      UserError: it is the raw file of a camera, or has no such page.
    """
    try:
        with open_source(source) as file:
            head = file.read(HEAD_BYTES)
            if is_other_raw(head):
                raise UserError(raw_sentence(name))
            if by_signature(head) != "TIFF":
                return source, None, 0
            pages = read_pages(file)
            refuse_raw(pages, file, name)
            full = full_pages(pages, file)
    except OSError:
        return source, None, 0
    if not full:
        return source, None, 0
    if number is not None and not 1 <= number <= len(full):
        count = "1 page" if len(full) == 1 else f"{len(full)} pages"
        raise UserError(f"{name}: has {count}, want one of them and not page {number}")
    page = full[(number or 1) - 1]
    if page != pages[0]:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        source = with_first(data, page)
    return source, page, len(full)


def read_pages(file: BinaryIO) -> list[Page]:
    """The pages of a TIFF in their order, as far as the tables can be read; none of other files."""
    pages: list[Page] = []
    try:
        order, is_big, offset = _header(file)
        seen = set()
        while offset and offset not in seen and len(pages) < _MOST_PAGES:
            seen.add(offset)
            page, offset = _read_table(file, order, is_big, offset)
            pages.append(page)
    except (struct.error, KeyError, OSError, OverflowError, ValueError):
        # What is wrong is told by Pillow, which comes to it next.
        pass
    return pages


def refuse_raw(pages: list[Page], file: BinaryIO, name: str) -> None:
    """Raises UserError for the raw files of cameras, whose TIFF holds what the sensor saw."""
    file.seek(8)
    is_raw = file.read(2) == b"CR" or any(
        page.one(Tag.PhotometricInterpretation) in _SENSOR_DATA or Tag.DNGVersion in page.numbers
        for page in (*pages, *_sub_pages(file, pages))
    )
    if is_raw:
        raise UserError(raw_sentence(name))


def raw_sentence(name: str) -> str:
    return (
        f"{name}: is a camera's raw file, want it developed to TIFF or JPEG first, as darktable "
        "and RawTherapee do"
    )


def is_other_raw(head: bytes) -> bool:
    """Whether a file that begins so is a raw file which is no TIFF: ORF, RW2, RAF, CR3 or MRW."""
    return head.startswith(_RAW_HEADS) or head[4:12] == b"ftypcrx "


def full_pages(pages: list[Page], file: BinaryIO) -> list[Page]:
    """The pages that are pictures of their own: not the thumbnails and smaller copies.

    Where all pages are small copies, the largest of the pages below them, or else the first page.
    """
    full = [page for page in pages if not page.is_reduced]
    if not full and pages:
        below = [page for page in _sub_pages(file, pages) if not page.is_reduced]
        full = [max(below, key=lambda page: page.pixels)] if below else pages[:1]
    return full


def with_first(data: bytes, page: Page) -> bytes:
    """The file with `page` as its first."""
    changed = bytearray(data)
    place, code = (8, "Q") if page.is_big else (4, "I")
    struct.pack_into(page.order + code, changed, place, page.offset)
    return bytes(changed)


def with_numbers(data: bytes, page: Page, numbers: dict[int, int | None]) -> bytes:
    """The file with other numbers for tags that `page` has; None takes the tag away."""
    changed = bytearray(data)
    for tag, number in numbers.items():
        if tag not in page.places:
            continue
        entry = page.order + ("HHQQ" if page.is_big else "HHII")
        # A tag that nobody knows, as taking it out would move all that follows.
        kind = 16 if page.is_big else 4
        fields = (65_000, kind, 1, 0) if number is None else (tag, kind, 1, number)
        struct.pack_into(entry, changed, page.places[tag], *fields)
    return bytes(changed)


def _header(file: BinaryIO) -> tuple[str, bool, int]:
    """Byte order, whether it is a BigTIFF, and where the first table stands."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 43:
        return order, True, struct.unpack_from(order + "Q", head, 8)[0]
    if version != 42:
        raise ValueError(f"version {version}")
    return order, False, struct.unpack_from(order + "I", head, 4)[0]


def _read_table(file: BinaryIO, order: str, is_big: bool, offset: int) -> tuple[Page, int]:
    """A page, and where the next one stands; 0 after the last."""
    word, entry = (order + "Q", order + "HHQ8s") if is_big else (order + "I", order + "HHI4s")
    counter, size = order + ("Q" if is_big else "H"), struct.calcsize(entry)
    file.seek(offset)
    (count,) = struct.unpack(counter, file.read(struct.calcsize(counter)))
    start = file.tell()
    table = file.read(min(count, 65_536) * size)
    next_word = file.read(struct.calcsize(word))
    numbers, places = {}, {}
    for i in range(len(table) // size):
        tag, kind, many, value = struct.unpack_from(entry, table, i * size)
        places[tag] = start + i * size
        if kind not in _TYPES or not 0 < many <= _MOST_NUMBERS:
            continue
        code = f"{order}{many}{_TYPES[kind]}"
        length = struct.calcsize(code)
        if length > len(value):
            file.seek(struct.unpack(word, value)[0])
            value = file.read(length)
        if len(value) >= length:
            numbers[tag] = struct.unpack_from(code, value)
    is_whole = len(next_word) == struct.calcsize(word)
    following = struct.unpack(word, next_word)[0] if is_whole else 0
    return Page(offset, order, is_big, numbers, places), following


def _sub_pages(file: BinaryIO, pages: list[Page]) -> Iterator[Page]:
    """The pages below pages; those that cannot be read are passed over."""
    for page in pages:
        for offset in page.numbers.get(Tag.SubIFDs, ())[:16]:
            try:
                yield _read_table(file, page.order, page.is_big, offset)[0]
            except (struct.error, OSError, OverflowError, ValueError):
                continue


def open_source(source: str | os.PathLike | bytes) -> BinaryIO:
    """A file to read from: the path opened, or the bytes."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
