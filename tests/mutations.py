"""Random damage to picture files, for fuzzing.

The name of a seed file and a number determine a mutant, which is the same in every run.
"""

import io
import random
import re
import struct
import zlib
from collections.abc import Callable

from colorjax.pictures.formats import tiff_file

# Values that replace sizes, offsets and counts.
EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
# Names of chunks and boxes, and markers of JPEG and JPEG 2000; numbers are next to them.
_LANDMARK = re.compile(rb"[A-Za-z]{4}|\xff[\x4f-\x93\xc0-\xfe]")


def mutant(data: bytes, name: str, number: int) -> bytes:
    """Applies one to eight changes to a seed."""
    rng, changed = random.Random(f"{name} {number}"), bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        rng.choice(CHANGES)(rng, changed)
        changed = changed or bytearray(1)
    # With wrong checksums, most PNGs would be rejected before anything else is read.
    return _summed(bytes(changed)) if rng.random() < 0.7 else bytes(changed)


def _place(rng: random.Random, data: bytearray) -> int:
    """Returns a random position, mostly in the headers."""
    return rng.randrange(max(1, min(len(data), rng.choice((64, 400, 10**6)))))


def _span(rng: random.Random, data: bytearray) -> slice:
    start = _place(rng, data)
    return slice(start, start + rng.choice((1, 2, 4, 8, 64, 1000)))


def _flip_bit(rng, data):
    data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set_byte(rng, data):
    data[_place(rng, data)] = rng.choice((0, 127, 255, rng.randrange(256)))


def _cut_short(rng, data):
    del data[max(1, rng.randrange(len(data) + 1)) :]


def _delete(rng, data):
    if len(data) > 20:
        del data[_span(rng, data)]


def _insert(rng, data):
    position = _place(rng, data)
    data[position:position] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))


def _double(rng, data):
    position = _place(rng, data)
    data[position:position] = data[_span(rng, data)]


def _blank(rng, data):
    span = _span(rng, data)
    data[span] = rng.choice((b"\0", b"\xff")) * len(data[span])


def _swap(rng, data):
    """Swaps two neighbouring pieces; a piece begins with its name or its size."""
    starts = _landmarks(data)
    if len(starts) < 3:
        return
    first = rng.randrange(len(starts) - 2)
    one, two, end = starts[first], *sorted(rng.sample(starts[first + 1 :], 2))
    data[one:end] = data[two:end] + data[one:two]


def _drop(rng, data):
    """Removes or duplicates a piece."""
    starts = _landmarks(data)
    if len(starts) > 1:
        first = rng.randrange(len(starts) - 1)
        piece = slice(starts[first], starts[first + 1])
        data[piece] = rng.choice((b"", 2 * data[piece]))


def _extreme(rng, data):
    """Replaces a number of a header by an extreme, nearly right or random one."""
    starts = _landmarks(data) or [0]
    position = max(0, rng.choice(starts) + rng.randrange(-8, 24))
    code = rng.choice("<>") + rng.choice("BHHIIIQ")
    size = struct.calcsize(code)
    if position + size <= len(data):
        (old,) = struct.unpack_from(code, data, position)
        new = rng.choice((*EXTREMES, old + 1, old - 1, 2 * old, rng.getrandbits(64)))
        struct.pack_into(code, data, position, new % 256**size)


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
    """Returns where table entries, chunks, boxes and segments begin, approximately."""
    if data[:2] in (b"II", b"MM"):
        pages = tiff_file.read_pages(io.BytesIO(data))
        return sorted(
            {position for page in pages for position in page.entry_offsets.values()} | {4}
        )
    found = [match.start() for match in _LANDMARK.finditer(data, 0, 65_536)]
    # The size of a chunk or box comes before its name.
    ahead = 4 if data[:4] == b"\x89PNG" or data[4:8] in (b"ftyp", b"jP  ", b"JXL ") else 0
    return [max(0, position - ahead) for position in found]


def _summed(data: bytes) -> bytes:
    """Corrects the checksums of a PNG; returns any other file unchanged."""
    if data[:4] != b"\x89PNG":
        return data
    changed = bytearray(data)
    position = 8
    while position + 12 <= len(changed):
        (size,) = struct.unpack_from(">I", changed, position)
        end = position + 8 + size
        if end + 4 > len(changed):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[position + 4 : end]))
        position = end + 4
    return bytes(changed)
