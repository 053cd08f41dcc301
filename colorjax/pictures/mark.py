"""The mark by which a result of ours is known, whatever its name: a line in its XMP."""

import os

_SIGN = b"colorjax:Coloured"
_LINE = (
    b'<rdf:Description rdf:about="" xmlns:colorjax="urn:colorjax" '
    b'colorjax:Coloured="by a network"/>'
)
_END = b"</rdf:RDF>"
_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
# What a JPEG has room for; the mark is not worth the rest of a packet.
_ROOM = 65504
# XMP stands before the pixels, but in WebP, where it comes last. A JPEG has 64 KiB of EXIF first.
_HEAD, _TAIL = 2**17, 2**17


def marked(xmp: bytes | None) -> bytes | None:
    """An XMP packet with the mark; as it was where it is full, or no packet that we understand.

    Args:
      xmp: the packet of the photo, or None where it has none.
    """
    packet = xmp or _PACKET
    if _SIGN in packet:
        return packet
    before, end, after = packet.rpartition(_END)
    found = before + _LINE + end + after
    return found if end and len(found) <= _ROOM else xmp


def is_marked(path: str | os.PathLike) -> bool:
    """Whether a file is a result of ours; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_HEAD)
            if data[8:12] == b"WEBP" and _SIGN not in data:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                data = file.read(_TAIL)
    except OSError:
        return False
    return _SIGN in data


def is_marked_data(data: bytes) -> bool:
    """As `is_marked`, of the bytes of a file."""
    return _SIGN in data[:_HEAD] or (data[8:12] == b"WEBP" and _SIGN in data[-_TAIL:])
