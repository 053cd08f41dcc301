"""Parses the directories (IFDs) of a TIFF file, and selects the page that is the photograph.

Pillow opens the first page, which is a thumbnail in some files. This module parses the directories
first, and can patch the file's bytes so that another page comes first.
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL.ExifTags import Base as Tag

from colorjax.errors import UserError
from colorjax.pictures.formats import HEAD_BYTES, detect_format

# The struct format character of each TIFF integer type.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
# A damaged directory may declare any count, and a chain of directories may be endless.
_MAX_VALUES, _MAX_PAGES = 2**22, 10_000
# Photometric interpretations of raw sensor data: colour filter array and linear raw.
_SENSOR_DATA = (32803, 34892)
_RAW_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILM", b"\0MRM")


class Page(NamedTuple):
    """One directory (IFD) of a TIFF file.

    Attributes:
      offset: position of the directory in the file.
      order: "<" or ">", the byte order of the file.
      is_big: whether the file is a BigTIFF, whose offsets have 8 bytes.
      numbers: the values of each integer tag.
      entry_offsets: position of each tag's entry in the file.
    """

    offset: int
    order: str
    is_big: bool
    numbers: dict[int, tuple[int, ...]]
    entry_offsets: dict[int, int]

    def first(self, tag: int, default: int = 0) -> int:
        """Returns the first value of a tag."""
        return self.numbers.get(tag, (default,))[0]

    @property
    def entry_format(self) -> str:
        """The struct format of a tag's entry: tag, type, count, and the value or its offset."""
        return self.order + ("HHQQ" if self.is_big else "HHII")

    @property
    def pixels(self) -> int:
        return self.first(Tag.ImageWidth) * self.first(Tag.ImageLength)

    @property
    def is_reduced(self) -> bool:
        """Whether the page is declared to be a reduced copy of another page."""
        return bool(self.first(Tag.NewSubfileType) & 1) or self.first(Tag.SubfileType) == 2


def choose_page(
    source: str | os.PathLike | bytes, name: str, number: int | None = None
) -> tuple[str | os.PathLike | bytes, Page | None, int]:
    """Makes the page that is the photograph the first page of a TIFF.

    Files in other formats, and files that cannot be read, are returned unchanged.

    Args:
      source: path or bytes of the file.
      name: the name of the file in messages.
      number: the page to take, from 1, thumbnails not counted; None takes the first.

    Returns:
      The file, patched if necessary; the page, None if there are no pages; the number of pages.

    Raises:
      UserError: the file is a camera's raw file, or has no such page.
    """
    try:
        with open_source(source) as file:
            head = file.read(HEAD_BYTES)
            if is_non_tiff_raw(head):
                raise UserError(raw_message(name))
            if detect_format(head) != "TIFF":
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
        source = with_first_page(data, page)
    return source, page, len(full)


def read_pages(file: BinaryIO, max_pages: int = _MAX_PAGES) -> list[Page]:
    """Returns the pages of a TIFF in order, up to the first unreadable one; [] for other files."""
    pages: list[Page] = []
    try:
        order, is_big, offset = _header(file)
        seen = set()
        while offset and offset not in seen and len(pages) < max_pages:
            seen.add(offset)
            page, offset = _read_directory(file, order, is_big, offset)
            pages.append(page)
    except (struct.error, KeyError, OSError, OverflowError, ValueError):
        # Pillow, which opens the file next, reports the error.
        pass
    return pages


def read_value(file: BinaryIO, page: Page, tag: int, max_bytes: int) -> bytes:
    """Returns the beginning of a byte tag's value; empty if the page lacks it.

    The value must have more bytes than fit into the entry itself: 4, or 8 in a BigTIFF.
    """
    if tag not in page.entry_offsets:
        return b""
    entry = struct.Struct(page.entry_format)
    file.seek(page.entry_offsets[tag])
    _, _, count, offset = entry.unpack(file.read(entry.size))
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError):  # the file is damaged
        return b""
    return file.read(min(count, max_bytes))


def refuse_raw(pages: list[Page], file: BinaryIO, name: str) -> None:
    """Raises UserError if a TIFF is a camera's raw file, which holds sensor data."""
    file.seek(8)
    is_raw = file.read(2) == b"CR" or any(
        page.first(Tag.PhotometricInterpretation) in _SENSOR_DATA or Tag.DNGVersion in page.numbers
        for page in (*pages, *_sub_pages(file, pages))
    )
    if is_raw:
        raise UserError(raw_message(name))


def raw_message(name: str) -> str:
    return (
        f"{name}: is a camera's raw file, want it developed to TIFF or JPEG first, as darktable "
        "and RawTherapee do"
    )


def is_non_tiff_raw(head: bytes) -> bool:
    """Whether a file's first bytes are those of a non-TIFF raw file: ORF, RW2, RAF, CR3 or MRW."""
    return head.startswith(_RAW_SIGNATURES) or head[4:12] == b"ftypcrx "


def full_pages(pages: list[Page], file: BinaryIO) -> list[Page]:
    """Returns the pages that are full pictures, without thumbnails and reduced copies.

    If all pages are reduced copies, the result is the largest full page among their sub-pages, or
    else the first page.
    """
    full = [page for page in pages if not page.is_reduced]
    if not full and pages:
        full_below = [page for page in _sub_pages(file, pages) if not page.is_reduced]
        full = [max(full_below, key=lambda page: page.pixels)] if full_below else pages[:1]
    return full


def with_first_page(data: bytes, page: Page) -> bytes:
    """Returns the file with `page` as its first page."""
    changed = bytearray(data)
    offset, code = (8, "Q") if page.is_big else (4, "I")
    struct.pack_into(page.order + code, changed, offset, page.offset)
    return bytes(changed)


def with_numbers(data: bytes, page: Page, numbers: dict[int, int | None]) -> bytes:
    """Returns the file with new values for existing tags of `page`; None removes the tag."""
    changed = bytearray(data)
    for tag, number in numbers.items():
        if tag not in page.entry_offsets:
            continue
        # A removed tag becomes an unknown one, because deleting its entry would shift all offsets.
        kind = 16 if page.is_big else 4
        fields = (65_000, kind, 1, 0) if number is None else (tag, kind, 1, number)
        struct.pack_into(page.entry_format, changed, page.entry_offsets[tag], *fields)
    return bytes(changed)


def _header(file: BinaryIO) -> tuple[str, bool, int]:
    """Returns the byte order, whether the file is a BigTIFF, and the first directory's offset."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 43:
        return order, True, struct.unpack_from(order + "Q", head, 8)[0]
    if version != 42:
        raise ValueError(f"version {version}")
    return order, False, struct.unpack_from(order + "I", head, 4)[0]


def _read_directory(file: BinaryIO, order: str, is_big: bool, offset: int) -> tuple[Page, int]:
    """Returns the page at `offset`, and the offset of the next one; 0 after the last."""
    word, entry = (order + "Q", order + "HHQ8s") if is_big else (order + "I", order + "HHI4s")
    counter, size = order + ("Q" if is_big else "H"), struct.calcsize(entry)
    file.seek(offset)
    (entry_count,) = struct.unpack(counter, file.read(struct.calcsize(counter)))
    start = file.tell()
    entries = file.read(min(entry_count, 65_536) * size)
    next_word = file.read(struct.calcsize(word))
    numbers, entry_offsets = {}, {}
    for i in range(len(entries) // size):
        tag, kind, count, value = struct.unpack_from(entry, entries, i * size)
        entry_offsets[tag] = start + i * size
        if kind not in _TYPES or not 0 < count <= _MAX_VALUES:
            continue
        code = f"{order}{count}{_TYPES[kind]}"
        value_bytes = struct.calcsize(code)
        if value_bytes > len(value):
            file.seek(struct.unpack(word, value)[0])
            value = file.read(value_bytes)
        if len(value) >= value_bytes:
            numbers[tag] = struct.unpack_from(code, value)
    is_complete = len(next_word) == struct.calcsize(word)
    next_offset = struct.unpack(word, next_word)[0] if is_complete else 0
    return Page(offset, order, is_big, numbers, entry_offsets), next_offset


def _sub_pages(file: BinaryIO, pages: list[Page]) -> Iterator[Page]:
    """Yields the sub-pages (SubIFDs) of pages; skips those that cannot be read."""
    for page in pages:
        for offset in page.numbers.get(Tag.SubIFDs, ())[:16]:
            try:
                yield _read_directory(file, page.order, page.is_big, offset)[0]
            except (struct.error, OSError, OverflowError, ValueError):
                continue


def open_source(source: str | os.PathLike | bytes) -> BinaryIO:
    """Opens a path, or wraps bytes, as a binary file."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
