"""A look at the boxes of a HEIF file before its decoder sees them.

pi-heif ends the process where the type of an item is no text. Those are looked for here, in the
boxes that tell of items (ISO/IEC 14496-12: meta, iinf, infe).
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_MOST_BOXES = 100_000


def misnamed(source: str | os.PathLike | bytes) -> bytes | None:
    """The type of an item, or of its content, that is no text; None if there is none."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    for item in _items(memoryview(data)):
        for kind in _types(bytes(item)):
            try:
                kind.decode()
            except UnicodeDecodeError:
                return kind
    return None


def _items(data: memoryview) -> Iterator[memoryview]:
    for meta in _inside(data, b"meta"):
        for table in _inside(meta[4:], b"iinf"):
            # By its version, the table's count of items has 2 bytes or 4.
            for start in (6, 8):
                yield from _inside(table[start:], b"infe")


def _types(item: bytes) -> Iterator[bytes]:
    """The type of an item, and that of its content, which follows its name."""
    version = item[0] if item else 0
    # The version with its flags, the item's number and that of its protection.
    place = 10 if version > 2 else 8
    if version > 1:
        yield item[place : place + 4]
        place += 4
    yield from item[place:].split(b"\0")[1:2]


def _inside(data: memoryview, wanted: bytes) -> Iterator[memoryview]:
    """What the boxes of one kind hold, as far as boxes follow one another."""
    place = 0
    for _ in range(_MOST_BOXES):
        if place + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        end = place + size if size else len(data)
        if end < place + head:
            return
        if kind == wanted:
            yield data[place + head : end]
        place = end
