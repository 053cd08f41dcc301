"""Reads and writes texts other than EXIF and XMP: IPTC captions, JPEG comments, PNG texts."""

import struct
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from colorjax.pictures.formats import png_file

COMMENT = "Comment"  # the PNG keyword for the text that a JPEG stores as its comment
_IPTC_RESOURCE = 0x0404  # the id of IPTC among Photoshop's image resources
_PHOTOSHOP = b"Photoshop 3.0\0"
_XMP = "XML:com.adobe.xmp"
_RAW_IPTC = "Raw profile type iptc"

Texts = tuple[tuple[str, str], ...]


def read_iptc(image: Image.Image) -> bytes | None:
    """Returns the IPTC records of a file: the IIM datasets without their container."""
    if isinstance(image.info.get("iptc"), bytes):
        return image.info["iptc"]
    if image.format == "PNG":
        return _iptc_from_raw_profile(image.info.get(_RAW_IPTC, ""))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _iptc_from_tiff(image.tag_v2)
    resources = image.info.get("photoshop")
    return resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else None


def read_texts(image: Image.Image) -> Texts:
    """Returns (keyword, text) pairs; a comment has the keyword `COMMENT`."""
    # A string is a PNG text with the keyword `texts`.
    if isinstance(texts := image.info.get("texts"), tuple):
        return texts
    if image.format == "PNG":
        # Pillow's `text` attribute fails for a truncated PNG.
        return tuple(
            (png_file.original_keyword(str(key)), text)
            for key, text in image.info.items()
            if is_text(key, text)
        )
    comments = [data for kind, data in getattr(image, "applist", ()) if kind == "COM"]
    comments = comments or [image.info.get("comment")]
    return tuple(
        (COMMENT, _decode_comment(data)) for data in comments if isinstance(data, bytes) and data
    )


def is_text(key: Any, value: Any) -> bool:
    """Whether an entry of `Image.info` is a text of a PNG, whose other entries are no strings."""
    return isinstance(value, str) and not str(key).startswith(png_file.NON_TEXT_PREFIXES)


def jpeg_segment(iptc: bytes) -> bytes:
    """Returns a JPEG segment (APP13) that holds IPTC records, at most 65 kB."""
    body = _PHOTOSHOP + _as_resource(iptc)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def png_texts(iptc: bytes | None, texts: Texts, xmp: bytes | None = None) -> PngImagePlugin.PngInfo:
    """Returns PNG chunks that hold IPTC, texts and XMP.

    IPTC is stored in the form that ImageMagick and ExifTool use. XMP comes first, because its mark
    is searched for only near the beginning of a file.
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
    """Adds IPTC and texts to the tags of a TIFF; returns the keywords of texts without a tag."""
    if iptc:
        tags.tagtype[Tag.IPTCNAA] = 7  # the type for raw bytes, which are never byte-swapped
        tags[Tag.IPTCNAA] = iptc
    omitted = []
    for keyword, text in texts:
        if keyword in (COMMENT, "Description") and Tag.ImageDescription not in tags:
            tags[Tag.ImageDescription] = text.encode()  # Pillow accepts only ASCII strings
        else:
            omitted.append(keyword)
    return omitted


def _decode_comment(data: bytes) -> str:
    """Decodes a comment, whose encoding is not declared: as UTF-8 if valid, else as Latin-1."""
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return data.rstrip(b"\0").decode("latin-1")


def _as_resource(iptc: bytes) -> bytes:
    """Wraps IPTC records in an unnamed Photoshop resource, padded to an even length."""
    return (
        struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    )


def _iptc_from_resources(data: bytes) -> bytes | None:
    """Finds the IPTC records among Photoshop resources; None if they are missing or damaged."""
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


def _iptc_from_raw_profile(text: str) -> bytes | None:
    """Decodes IPTC records from hexadecimal text that follows a name and a length."""
    try:
        data = bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None
    data = data.removeprefix(_PHOTOSHOP)
    return (data if data.startswith(b"\x1c") else _iptc_from_resources(data)) or None


def _iptc_from_tiff(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bytes | None:
    """Returns the IPTC records of a TIFF.

    Some writers declare the records as 32-bit numbers, of which Pillow would return only the first.
    So the raw bytes are read. They are correct unless the writer byte-swapped the numbers as well.
    """
    data = tags._tagdata.get(Tag.IPTCNAA, b"")
    if data[3:4] == b"\x1c" != data[:1] and len(data) % 4 == 0:
        data = np.frombuffer(data, "<u4").astype(">u4").tobytes()
    if data:
        return data
    return _iptc_from_resources(tags._tagdata.get(Tag.ImageResources, b""))
