"""Reads the header of a JPEG XL file, whose decoder decodes all pixels to tell their number."""

from typing import NamedTuple

from colorjax.pictures.formats import boxes

_SIGNATURE = b"\xff\x0a"
# SizeHeader and the beginning of ImageMetadata take at most 73 bits.
_HEADER_BYTES = len(_SIGNATURE) + 10
# Width to height, by the `ratio` of a SizeHeader; 0 stands for a width of its own.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS = (9, 13, 18, 30)


class Header(NamedTuple):
    """The beginning of a codestream (ISO/IEC 18181-1: SizeHeader, ImageMetadata).

    Attributes:
      width, height: size of the stored picture in pixels.
      orientation: 1 to 8, as in EXIF, over which it takes precedence. Decoders apply it.
    """

    width: int
    height: int
    orientation: int


def read_header(data: bytes) -> Header | None:
    """Returns the header of a file; None if its codestream is missing or has another signature."""
    codestream = _beginning(data)
    if not codestream.startswith(_SIGNATURE):
        return None
    bits = _Bits(codestream[len(_SIGNATURE) : _HEADER_BYTES])
    is_small = bits.take(1)
    height = _read_side(bits, is_small)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        width = height * across // down
    else:
        width = _read_side(bits, is_small)
    is_default = bits.take(1)
    has_orientation = not is_default and bits.take(1)
    return Header(width, height, bits.take(3) + 1 if has_orientation else 1)


def _beginning(data: bytes) -> bytes:
    """Returns the first bytes of the codestream, which may be in several boxes."""
    if data.startswith(_SIGNATURE):
        return data[:_HEADER_BYTES]
    found = b""
    for kind, content in boxes.walk(memoryview(data)):
        if kind in (b"jxlc", b"jxlp"):
            # A partial codestream begins with its number, of 4 bytes.
            start = 4 if kind == b"jxlp" else 0
            found += content[start : start + _HEADER_BYTES]
            if len(found) >= _HEADER_BYTES:
                break
    return found[:_HEADER_BYTES]


class _Bits:
    """Takes numbers from bytes, beginning with the least significant bit; zeros after the end."""

    def __init__(self, data: bytes):
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value


def _read_side(bits: _Bits, is_small: int) -> int:
    """Reads a width or height: a multiple of 8 up to 256, or a number of one of four lengths."""
    return (bits.take(5) + 1) * 8 if is_small else bits.take(_SIZE_BITS[bits.take(2)]) + 1
