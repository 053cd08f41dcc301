"""XMP of a photograph that was turned upright and stands alone: what must be changed in it.

Packets are edited as text, not parsed and written anew, so that all else stays as it was.
"""

import re
from bisect import bisect_right
from collections.abc import Callable

# Of other pictures in the file, or after it: gain maps, videos, depth, the rest of a long packet.
# Names that are in none of these namespaces stay, whatever they are about.
_GONE = {
    b"http://ns.adobe.com/hdr-gain-map/1.0/": rb".+",
    b"http://ns.apple.com/HDRGainMap/1.0/": rb".+",
    b"http://ns.google.com/photos/1.0/container/": rb".+",
    b"http://ns.google.com/photos/1.0/container/item/": rb".+",
    b"http://ns.google.com/photos/1.0/camera/": rb"(?:Motion|MicroVideo).*",
    b"http://ns.google.com/photos/1.0/depthmap/": rb".+",
    b"http://ns.google.com/photos/1.0/image/": rb".+",
    b"http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
}
# A packet may be megabytes of anything: no pattern here reads a byte again for every place where
# it could begin. So a quantifier keeps what it took (`++`, `*+`), and no tag runs into the next.
_DECLARED = re.compile(rb"xmlns:([\w-]++)\s*+=\s*+[\"']([^\"'<>]*+)[\"']")
_OPENING = re.compile(rb"<([\w-]++:[\w-]++)[^<>]*+>")
_CLOSING = re.compile(rb"</([\w-]++:[\w-]++)\s*+>")
_ATTRIBUTE = re.compile(rb"\s([\w-]++:[\w-]++)\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+')")
_SIDES = (rb"tiff:ImageWidth|exif:PixelXDimension", rb"tiff:ImageLength|exif:PixelYDimension")
_VALUE = rb"(\s*=\s*[\"']|>)"  # between the name and the value, of an attribute or an element
_NUMBER = re.compile(rb"(st(?:Area|Dim):([xywh])" + _VALUE + rb"\s*)([-+]?\d*\.?\d+)")
_RECTANGLE = re.compile(rb"(MPReg:Rectangle" + _VALUE + rb"\s*)([-+0-9.eE, ]+)")


def settled(packet: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """The packet of a picture alone, whose pixels were turned.

    Args:
      packet: XMP, encoded in UTF-8.
      orientation: by which the pixels were turned, as EXIF counts it, 1 to 8.
      size: width and height of the turned picture.
    """
    packet = re.sub(rb"(tiff:Orientation" + _VALUE + rb")[2-8]", rb"\g<1>1", packet)
    for names, length in zip(_SIDES, size, strict=True):
        packet = re.sub(rb"((?:" + names + rb")" + _VALUE + rb")\d+", rb"\g<1>%d" % length, packet)
    if orientation in range(2, 9):
        packet = _turned(packet, orientation, size)
    return _alone(packet)


def _alone(packet: bytes) -> bytes:
    """Without what tells of other pictures."""
    gone: dict[bytes, list[bytes]] = {}
    for prefix, uri in _DECLARED.findall(packet):
        if uri in _GONE:
            gone.setdefault(prefix, []).append(_GONE[uri])
    if not gone:
        return packet

    def is_gone(name: bytes) -> bool:
        prefix, _, rest = name.partition(b":")
        return any(re.fullmatch(names, rest) for names in set(gone.get(prefix, ())))

    packet = _changed(packet, is_gone, lambda element: b"")
    return _ATTRIBUTE.sub(lambda m: b"" if is_gone(m.group(1)) else m.group(), packet)


def _changed(
    packet: bytes, is_meant: Callable[[bytes], bool], change: Callable[[bytes], bytes]
) -> bytes:
    """With the elements of some names, the outermost of them, as `change` gives them."""
    ends: dict[bytes, list[int]] = {}
    for closing in _CLOSING.finditer(packet):
        ends.setdefault(closing.group(1), []).append(closing.end())
    parts, done = [], 0
    for opening in _OPENING.finditer(packet):
        name, (start, end) = opening.group(1), opening.span()
        if start < done or not is_meant(name):
            continue
        if not opening.group().endswith(b"/>"):
            later = ends.get(name, [])
            following = bisect_right(later, end)
            if following == len(later):
                continue  # is never closed
            end = later[following]
        parts += [packet[done:start], change(packet[start:end])]
        done = end
    return b"".join([*parts, packet[done:]])


def _turned(packet: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """With the regions of faces where the faces have gone."""

    def area(text: bytes) -> bytes:
        found = {key: float(value) for _, key, _, value in _NUMBER.findall(text)}
        if set(found) != {b"x", b"y", b"w", b"h"}:
            return text
        stored = size[::-1] if orientation > 4 else size
        whole = stored if b"pixel" in text else (1.0, 1.0)
        x, y, width, height = (found[key] for key in (b"x", b"y", b"w", b"h"))
        new = _moved(x, y, width, height, orientation, whole)
        by_key = dict(zip((b"x", b"y", b"w", b"h"), new, strict=True))
        return _NUMBER.sub(lambda m: m.group(1) + b"%.9g" % by_key[m.group(2)], text)

    def dimensions(text: bytes) -> bytes:
        found = {key: value for _, key, _, value in _NUMBER.findall(text)}
        if orientation < 5 or not {b"w", b"h"} <= set(found):
            return text
        other = {b"w": found[b"h"], b"h": found[b"w"]}
        return _NUMBER.sub(lambda m: m.group(1) + (other.get(m.group(2)) or m.group(4)), text)

    def rectangle(match: re.Match) -> bytes:
        try:
            left, top, width, height = (float(n) for n in match.group(3).split(b","))
        except ValueError:
            return match.group()
        x, y = left + width / 2, top + height / 2
        x, y, width, height = _moved(x, y, width, height, orientation, (1.0, 1.0))
        corner = x - width / 2, y - height / 2
        return match.group(1) + b"%.9g, %.9g, %.9g, %.9g" % (*corner, width, height)

    packet = _changed(packet, b"mwg-rs:Area".__eq__, area)
    packet = _changed(packet, b"mwg-rs:AppliedToDimensions".__eq__, dimensions)
    return _RECTANGLE.sub(rectangle, packet)


def _moved(
    x: float, y: float, width: float, height: float, orientation: int, whole: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Centre and sides of a region after turning; `whole` is width and height before it."""
    if orientation in (5, 6, 7, 8):
        x, y, width, height, whole = y, x, height, width, whole[::-1]
    if orientation in (2, 3, 6, 7):
        x = whole[0] - x
    if orientation in (3, 4, 7, 8):
        y = whole[1] - y
    return x, y, width, height
