"""Checks the boxes of a HEIF file before the file is passed to its decoder.

pi-heif terminates the process if the type of an item is not valid UTF-8. This module finds such
types in the boxes that describe items (ISO/IEC 14496-12: meta, iinf, infe).
"""

import os
from collections.abc import Iterator
from pathlib import Path

from colorjax.pictures.formats import boxes


def find_invalid_type(source: str | os.PathLike | bytes) -> bytes | None:
    """Returns the first item type or content type that is invalid UTF-8; None if all are valid."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    for item in _items(memoryview(data)):
        for kind in _item_types(bytes(item)):
            try:
                kind.decode()
            except UnicodeDecodeError:
                return kind
    return None


def _items(data: memoryview) -> Iterator[memoryview]:
    for meta in boxes.contents(data, b"meta"):
        for table in boxes.contents(meta[4:], b"iinf"):
            # The item count has 2 or 4 bytes, depending on the version of the box.
            for start in (6, 8):
                yield from boxes.contents(table[start:], b"infe")


def _item_types(item: bytes) -> Iterator[bytes]:
    """Yields the type of an item, and the type of its content, which follows the item's name."""
    version = item[0] if item else 0
    # Skips version and flags, item ID and protection index.
    offset = 10 if version > 2 else 8
    if version > 1:
        yield item[offset : offset + 4]
        offset += 4
    yield from item[offset:].split(b"\0")[1:2]
