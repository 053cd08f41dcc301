"""The mark by which a result of ours is known, whatever its name: a line in its XMP."""

import io
import os
import re
import struct
from typing import BinaryIO

_SIGN = b"colorjax:Coloured"
_LINE = (
    b'<rdf:Description rdf:about="" xmlns:colorjax="urn:colorjax" '
    b'colorjax:Coloured="by a network"/>'
)
_BEGINNING = re.compile(rb"<rdf:RDF\b[^<>]*+(?<!/)>")
_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
# XMP stands before the pixels, but in WebP. A JPEG has up to 64 KiB each of EXIF, IPTC and a
# comment beside it.
_HEAD = 2**18


def marked(xmp: bytes | None) -> bytes | None:
    """An XMP packet with the mark, as its first words; as it was where we do not understand it.

    Args:
      xmp: the packet of the photo, or None where it has none.
    """
    packet = xmp or _PACKET
    found = _BEGINNING.search(packet)
    if _SIGN in packet or not found:
        return xmp
    return packet[: found.end()] + _LINE + packet[found.end() :]


def alone(xmp: bytes | None) -> bytes | None:
    """A packet of the mark alone, in place of one that has it; None for any other."""
    return marked(None) if _SIGN in (xmp or b"") else None


def is_marked(path: str | os.PathLike) -> bool:
    """Whether a file is a result of ours; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _is_marked(file)
    except OSError:
        return False


def is_marked_data(data: bytes) -> bool:
    """As `is_marked`, of the bytes of a file."""
    return _is_marked(io.BytesIO(data))


def _is_marked(file: BinaryIO) -> bool:
    head = file.read(_HEAD)
    if head[8:12] == b"WEBP":
        head = _webp_xmp(file)
    return _SIGN in head


def _webp_xmp(file: BinaryIO) -> bytes:
    """The beginning of the XMP of a WebP, whose chunks may come in any order; empty without."""
    at = 12
    while True:
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return b""
        kind, size = struct.unpack("<4sI", header)
        if kind == b"XMP ":
            return file.read(min(size, _HEAD))
        at += 8 + size + size % 2
