"""Updates a photograph's XMP packet for a result that is upright and the only picture in its file.

Packets are edited as text rather than parsed and serialized, so that everything else is unchanged.
"""

import re
from bisect import bisect_right
from collections.abc import Callable

# Properties, by namespace, that describe other data in the original file or after its end: gain
# maps, videos, depth maps, the rest of a long packet. Names in other namespaces are kept.
_REMOVED = {
    b"http://ns.adobe.com/hdr-gain-map/1.0/": rb".+",
    b"http://ns.apple.com/HDRGainMap/1.0/": rb".+",
    b"http://ns.google.com/photos/1.0/container/": rb".+",
    b"http://ns.google.com/photos/1.0/container/item/": rb".+",
    b"http://ns.google.com/photos/1.0/camera/": rb"(?:Motion|MicroVideo).*",
    b"http://ns.google.com/photos/1.0/depthmap/": rb".+",
    b"http://ns.google.com/photos/1.0/image/": rb".+",
    b"http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
}
# A packet may be megabytes of arbitrary bytes, so these patterns must run in linear time: the
# quantifiers are possessive (`++`, `*+`), and a match cannot extend from one tag into the next.
_NAMESPACE = re.compile(rb"xmlns:([\w-]++)\s*+=\s*+[\"']([^\"'<>]*+)[\"']")
_OPENING = re.compile(rb"<([\w-]++:[\w-]++)[^<>]*+>")
_CLOSING = re.compile(rb"</([\w-]++:[\w-]++)\s*+>")
_ATTRIBUTE = re.compile(rb"\s([\w-]++:[\w-]++)\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+')")
_SIDES = (rb"tiff:ImageWidth|exif:PixelXDimension", rb"tiff:ImageLength|exif:PixelYDimension")
_VALUE = rb"(\s*=\s*[\"']|>)"  # separates a name and its value, in an attribute or an element
_NUMBER = re.compile(rb"(st(?:Area|Dim):([xywh])" + _VALUE + rb"\s*)([-+]?\d*\.?\d+)")
_RECTANGLE = re.compile(rb"(MPReg:Rectangle" + _VALUE + rb"\s*)([-+0-9.eE, ]+)")


def normalized(packet: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """Returns the packet for an upright picture that is alone in its file.

    Args:
      packet: XMP, encoded in UTF-8.
      orientation: the EXIF orientation, 1 to 8, that was applied to the pixels.
      size: width and height of the upright picture.
    """
    packet = re.sub(rb"(tiff:Orientation" + _VALUE + rb")[2-8]", rb"\g<1>1", packet)
    for names, length in zip(_SIDES, size, strict=True):
        packet = re.sub(rb"((?:" + names + rb")" + _VALUE + rb")\d+", rb"\g<1>%d" % length, packet)
    if orientation in range(2, 9):
        packet = _turn_regions(packet, orientation, size)
    return _without_other_pictures(packet)


def _without_other_pictures(packet: bytes) -> bytes:
    """Removes the properties in `_REMOVED`."""
    removed: dict[bytes, list[bytes]] = {}
    for prefix, uri in _NAMESPACE.findall(packet):
        if uri in _REMOVED:
            removed.setdefault(prefix, []).append(_REMOVED[uri])
    if not removed:
        return packet

    def is_removed(name: bytes) -> bool:
        prefix, _, rest = name.partition(b":")
        return any(re.fullmatch(names, rest) for names in set(removed.get(prefix, ())))

    packet = _edit_elements(packet, is_removed, lambda element: b"")
    return _ATTRIBUTE.sub(lambda m: b"" if is_removed(m.group(1)) else m.group(), packet)


def _edit_elements(
    packet: bytes, is_selected: Callable[[bytes], bool], change: Callable[[bytes], bytes]
) -> bytes:
    """Applies `change` to the outermost elements whose names are selected."""
    ends: dict[bytes, list[int]] = {}
    for closing in _CLOSING.finditer(packet):
        ends.setdefault(closing.group(1), []).append(closing.end())
    parts, done = [], 0
    for opening in _OPENING.finditer(packet):
        name, (start, end) = opening.group(1), opening.span()
        if start < done or not is_selected(name):
            continue
        if not opening.group().endswith(b"/>"):
            later = ends.get(name, [])
            following = bisect_right(later, end)
            if following == len(later):
                continue  # the element is never closed
            end = later[following]
        parts += [packet[done:start], change(packet[start:end])]
        done = end
    return b"".join([*parts, packet[done:]])


def _turn_regions(packet: bytes, orientation: int, size: tuple[int, int]) -> bytes:
    """Moves the face regions to where the faces are in the upright picture."""

    def area(text: bytes) -> bytes:
        found = {key: float(value) for _, key, _, value in _NUMBER.findall(text)}
        if set(found) != {b"x", b"y", b"w", b"h"}:
            return text
        stored = size[::-1] if orientation > 4 else size
        extent = stored if b"pixel" in text else (1.0, 1.0)
        x, y, width, height = (found[key] for key in (b"x", b"y", b"w", b"h"))
        new = _turn_region(x, y, width, height, orientation, extent)
        by_key = dict(zip((b"x", b"y", b"w", b"h"), new, strict=True))
        return _NUMBER.sub(lambda m: m.group(1) + b"%.9g" % by_key[m.group(2)], text)

    def dimensions(text: bytes) -> bytes:
        found = {key: value for _, key, _, value in _NUMBER.findall(text)}
        if orientation < 5 or not {b"w", b"h"} <= set(found):
            return text
        swapped = {b"w": found[b"h"], b"h": found[b"w"]}
        return _NUMBER.sub(lambda m: m.group(1) + (swapped.get(m.group(2)) or m.group(4)), text)

    def rectangle(match: re.Match) -> bytes:
        try:
            left, top, width, height = (float(n) for n in match.group(3).split(b","))
        except ValueError:
            return match.group()
        x, y = left + width / 2, top + height / 2
        x, y, width, height = _turn_region(x, y, width, height, orientation, (1.0, 1.0))
        corner = x - width / 2, y - height / 2
        return match.group(1) + b"%.9g, %.9g, %.9g, %.9g" % (*corner, width, height)

    packet = _edit_elements(packet, b"mwg-rs:Area".__eq__, area)
    packet = _edit_elements(packet, b"mwg-rs:AppliedToDimensions".__eq__, dimensions)
    return _RECTANGLE.sub(rectangle, packet)


def _turn_region(
    x: float, y: float, width: float, height: float, orientation: int, extent: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Applies an EXIF orientation to a region.

    Args:
      x, y: centre of the region in the stored picture.
      width, height: sides of the region.
      orientation: 1 to 8.
      extent: width and height of the stored picture.

    Returns:
      Centre and sides of the region in the upright picture.
    """
    if orientation in (5, 6, 7, 8):
        x, y, width, height, extent = y, x, height, width, extent[::-1]
    if orientation in (2, 3, 6, 7):
        x = extent[0] - x
    if orientation in (3, 4, 7, 8):
        y = extent[1] - y
    return x, y, width, height
