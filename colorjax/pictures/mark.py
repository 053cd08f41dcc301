"""The XMP mark that identifies a result of colorjax, whatever its file name."""

import io
import os
import re
import struct
from typing import BinaryIO

from PIL.ExifTags import Base as Tag

from colorjax.pictures.formats import detect_format, tiff_file

_MARK = b"colorjax:Coloured"
_MARK_ELEMENT = (
    b'<rdf:Description rdf:about="" xmlns:colorjax="urn:colorjax" '
    b'colorjax:Coloured="by a network"/>'
)
_RDF_START = re.compile(rb"<rdf:RDF\b[^<>]*+(?<!/)>")
_EMPTY_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
# In JPEG and PNG, XMP precedes the pixels. A JPEG may hold up to 64 KiB each of EXIF, IPTC and
# comment before it.
_HEAD_BYTES = 2**18


def marked(xmp: bytes | None) -> bytes | None:
    """Returns an XMP packet with the mark added at its beginning.

    A packet that is marked already, or has no `rdf:RDF` element, is returned unchanged.

    Args:
      xmp: the packet of the photo, or None if it has none.
    """
    packet = xmp or _EMPTY_PACKET
    found = _RDF_START.search(packet)
    if _MARK in packet or not found:
        return xmp
    return packet[: found.end()] + _MARK_ELEMENT + packet[found.end() :]


def mark_only(xmp: bytes | None) -> bytes | None:
    """Returns a packet that holds only the mark if `xmp` is marked, else None."""
    return marked(None) if _MARK in (xmp or b"") else None


def is_marked(path: str | os.PathLike) -> bool:
    """Whether a file is a result of colorjax; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _is_marked(file)
    except OSError:
        return False


def is_marked_data(data: bytes) -> bool:
    """Like `is_marked`, for the bytes of a file."""
    return _is_marked(io.BytesIO(data))


def _is_marked(file: BinaryIO) -> bool:
    head = file.read(_HEAD_BYTES)
    if head[8:12] == b"WEBP":
        head = _webp_xmp(file)
    elif detect_format(head) == "TIFF":
        pages = tiff_file.read_pages(file, max_pages=1)
        head = tiff_file.read_value(file, pages[0], Tag.XMLPacket, _HEAD_BYTES) if pages else b""
    return _MARK in head


def _webp_xmp(file: BinaryIO) -> bytes:
    """Returns the beginning of a WebP's XMP chunk, which may be anywhere; empty if it has none."""
    offset = 12
    while True:
        file.seek(offset)
        header = file.read(8)
        if len(header) < 8:
            return b""
        kind, size = struct.unpack("<4sI", header)
        if kind == b"XMP ":
            return file.read(min(size, _HEAD_BYTES))
        offset += 8 + size + size % 2
