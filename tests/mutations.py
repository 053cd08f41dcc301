"""What becomes of a picture file when bytes of it go wrong.

A mutant is told by the name of its seed and a number, and is the same in every run.
"""

import io
import random
import re
import struct
import zlib
from collections.abc import Callable

from colorjax.pictures.formats import tiff_file

# What sizes, offsets and counts are wrong by.
EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
# Names of chunks and boxes, and markers of JPEG and JPEG 2000, around which numbers stand.
_LANDMARK = re.compile(rb"[A-Za-z]{4}|\xff[\x4f-\x93\xc0-\xfe]")


def mutant(data: bytes, name: str, number: int) -> bytes:
    """One to eight changes of a seed."""
    chance, changed = random.Random(f"{name} {number}"), bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        chance.choice(CHANGES)(chance, changed)
        changed = changed or bytearray(1)
    # Else little of a PNG would get past the check of its sums.
    return _summed(bytes(changed)) if chance.random() < 0.7 else bytes(changed)


def _place(chance: random.Random, data: bytearray) -> int:
    """Mostly in the headers."""
    return chance.randrange(max(1, min(len(data), chance.choice((64, 400, 10**6)))))


def _span(chance: random.Random, data: bytearray) -> slice:
    start = _place(chance, data)
    return slice(start, start + chance.choice((1, 2, 4, 8, 64, 1000)))


def _flip_bit(chance, data):
    data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _set_byte(chance, data):
    data[_place(chance, data)] = chance.choice((0, 127, 255, chance.randrange(256)))


def _cut_short(chance, data):
    del data[max(1, chance.randrange(len(data) + 1)) :]


def _delete(chance, data):
    if len(data) > 20:
        del data[_span(chance, data)]


def _insert(chance, data):
    place = _place(chance, data)
    data[place:place] = chance.randbytes(chance.choice((1, 2, 4, 16, 300)))


def _double(chance, data):
    place = _place(chance, data)
    data[place:place] = data[_span(chance, data)]


def _blank(chance, data):
    span = _span(chance, data)
    data[span] = chance.choice((b"\0", b"\xff")) * len(data[span])


def _swap(chance, data):
    """Two neighbouring pieces change places; a piece begins with its name or its size."""
    starts = _landmarks(data)
    if len(starts) < 3:
        return
    first = chance.randrange(len(starts) - 2)
    one, two, end = starts[first], *sorted(chance.sample(starts[first + 1 :], 2))
    data[one:end] = data[two:end] + data[one:two]


def _drop(chance, data):
    """A piece is gone, or is there twice."""
    starts = _landmarks(data)
    if len(starts) > 1:
        first = chance.randrange(len(starts) - 1)
        piece = slice(starts[first], starts[first + 1])
        data[piece] = chance.choice((b"", 2 * data[piece]))


def _extreme(chance, data):
    """A number of a header becomes as small or as large as it can be, or nearly right."""
    starts = _landmarks(data) or [0]
    place = max(0, chance.choice(starts) + chance.randrange(-8, 24))
    code = chance.choice("<>") + chance.choice("BHHIIIQ")
    size = struct.calcsize(code)
    if place + size <= len(data):
        (old,) = struct.unpack_from(code, data, place)
        new = chance.choice((*EXTREMES, old + 1, old - 1, 2 * old, chance.getrandbits(64)))
        struct.pack_into(code, data, place, new % 256**size)


CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _cut_short,
    _delete,
    _insert,
    _double,
    _blank,
    _swap,
    _drop,
    _extreme,
    _extreme,
    _extreme,
)


def _landmarks(data: bytearray) -> list[int]:
    """Where entries of tables, chunks, boxes and segments begin, or nearly."""
    if data[:2] in (b"II", b"MM"):
        pages = tiff_file.read_pages(io.BytesIO(data))
        return sorted({place for page in pages for place in page.entry_offsets.values()} | {4})
    found = [match.start() for match in _LANDMARK.finditer(data, 0, 65_536)]
    # Before the name of a chunk or a box stands its size.
    ahead = 4 if data[:4] == b"\x89PNG" or data[4:8] in (b"ftyp", b"jP  ", b"JXL ") else 0
    return [max(0, place - ahead) for place in found]


def _summed(data: bytes) -> bytes:
    """A PNG with checksums that are right again; any other file as it is."""
    if data[:4] != b"\x89PNG":
        return data
    changed = bytearray(data)
    place = 8
    while place + 12 <= len(changed):
        (size,) = struct.unpack_from(">I", changed, place)
        end = place + 8 + size
        if end + 4 > len(changed):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[place + 4 : end]))
        place = end + 4
    return bytes(changed)
