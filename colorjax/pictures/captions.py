"""Words that files carry beside EXIF and XMP: IPTC captions, JPEG comments, texts of a PNG."""

import struct

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import Base as Tag

COMMENT = "Comment"  # what a PNG calls the text that a JPEG keeps as its comment
# Of the resources that Photoshop keeps in a file, that of IPTC; and the tags of a TIFF for both.
_IPTC_RESOURCE = 0x0404
_PHOTOSHOP = b"Photoshop 3.0\0"
_XMP = "XML:com.adobe.xmp"
# Those of a PNG that hold what is kept by itself, and not words.
_NO_TEXTS = (_XMP, "Raw profile type ")
_RAW_IPTC = "Raw profile type iptc"

Texts = tuple[tuple[str, str], ...]


def read_iptc(image: Image.Image) -> bytes | None:
    """The IPTC records of a file (IIM datasets, without what is wrapped around them)."""
    if isinstance(image.info.get("iptc"), bytes):
        return image.info["iptc"]
    if image.format == "PNG":
        return _from_raw_profile(image.info.get(_RAW_IPTC, ""))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _from_tags(image.tag_v2)
    return image.info.get("photoshop", {}).get(_IPTC_RESOURCE)


def read_texts(image: Image.Image) -> Texts:
    """Keyword and text of each; a comment has the keyword `COMMENT`."""
    if "texts" in image.info:
        return image.info["texts"]
    if image.format == "PNG":
        # Whatever else Pillow says of a PNG is no string, and its `text` fails for one cut short.
        words = ((str(key), text) for key, text in image.info.items() if isinstance(text, str))
        return tuple((key, text) for key, text in words if not key.startswith(_NO_TEXTS))
    comments = [data for kind, data in getattr(image, "applist", ()) if kind == "COM"]
    comments = comments or [image.info.get("comment")]
    return tuple((COMMENT, _decoded(one)) for one in comments if isinstance(one, bytes) and one)


def jpeg_segment(iptc: bytes) -> bytes:
    """The segment of a JPEG that holds IPTC records; at most 65 kB of them."""
    body = _PHOTOSHOP + _as_resource(iptc)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def png_texts(iptc: bytes | None, texts: Texts, xmp: bytes | None = None) -> PngImagePlugin.PngInfo:
    """The chunks of a PNG that hold them; IPTC as ImageMagick and ExifTool have it.

    XMP comes first, as a mark in it is looked for near the beginning of a file.
    """
    chunks = PngImagePlugin.PngInfo()
    if xmp:
        chunks.add_itxt(_XMP, xmp.decode("utf-8", "replace"))
    for keyword, text in texts:
        chunks.add_text(keyword, text)
    if iptc:
        data = _as_resource(iptc).hex()
        lines = "\n".join(data[i : i + 72] for i in range(0, len(data), 72))
        chunks.add_text(_RAW_IPTC, f"\niptc\n{len(data) // 2:8d}\n{lines}\n", zip=True)
    return chunks


def add_to_tiff(
    tags: TiffImagePlugin.ImageFileDirectory_v2, iptc: bytes | None, texts: Texts
) -> list[str]:
    """Adds them to the tags of a TIFF; returns the keywords of texts that have no place there."""
    if iptc:
        tags.tagtype[Tag.IPTCNAA] = 7  # bytes, which nobody turns round
        tags[Tag.IPTCNAA] = iptc
    left = []
    for keyword, text in texts:
        if keyword in (COMMENT, "Description") and Tag.ImageDescription not in tags:
            tags[Tag.ImageDescription] = text.encode()  # of words Pillow takes ASCII alone
        else:
            left.append(keyword)
    return left


def _decoded(data: bytes) -> str:
    """Comments have no declared encoding: UTF-8 if they are that, else Latin-1."""
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return data.rstrip(b"\0").decode("latin-1")


def _as_resource(iptc: bytes) -> bytes:
    """IPTC records as a resource of Photoshop without a name, padded to an even length."""
    return (
        struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    )


def _from_resources(data: bytes) -> bytes | None:
    """The IPTC records among resources of Photoshop; None without, or where they are damaged."""
    offset = 0
    while data[offset : offset + 4] == b"8BIM" and len(data) >= offset + 12:
        (code,) = struct.unpack_from(">H", data, offset + 4)
        start = offset + 6 + 1 + data[offset + 6]
        start += start & 1
        if len(data) < start + 4:
            return None
        (size,) = struct.unpack_from(">I", data, start)
        if code == _IPTC_RESOURCE:
            return data[start + 4 : start + 4 + size]
        offset = start + 4 + size
        offset += offset & 1
    return None


def _from_raw_profile(text: str) -> bytes | None:
    """IPTC records out of hexadecimal text, below a name and a length."""
    try:
        data = bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None
    data = data.removeprefix(_PHOTOSHOP)
    return (data if data.startswith(b"\x1c") else _from_resources(data)) or None


def _from_tags(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bytes | None:
    """IPTC records of a TIFF.

    Some writers declare them to be 32-bit numbers, of which Pillow would give the first. The bytes
    are right as they stand in the file, but for those of writers that turned the numbers too.
    """
    found = tags._tagdata.get(Tag.IPTCNAA, b"")
    if found[3:4] == b"\x1c" != found[:1] and len(found) % 4 == 0:
        found = np.frombuffer(found, "<u4").astype(">u4").tobytes()
    if found:
        return found
    return _from_resources(tags._tagdata.get(Tag.ImageResources, b""))
