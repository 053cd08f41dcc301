"""Walks the boxes of HEIF, JPEG 2000 and JPEG XL files (ISO/IEC 14496-12, 15444-1, 18181-2)."""

import struct
from collections.abc import Iterator

_MAX_BOXES = 100_000


def walk(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields type and content of the boxes in `data`, up to the first malformed box."""
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, offset)
        head = 8
        if size == 1 and offset + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, offset + 8), 16
        end = offset + size if size else len(data)
        if end < offset + head:
            return
        yield kind, data[offset + head : end]
        offset = end


def contents(data: memoryview, wanted: bytes) -> Iterator[memoryview]:
    """Yields the contents of the boxes of type `wanted`, as `walk` does."""
    return (content for kind, content in walk(data) if kind == wanted)
