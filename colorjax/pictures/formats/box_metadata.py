"""Reads the metadata in the boxes of JPEG 2000 and JPEG XL files, which Pillow does not read."""

import os
from pathlib import Path

from PIL import Image

from colorjax.pictures.formats import boxes

# The kinds of metadata by the identifiers of `uuid` boxes, as Adobe and ExifTool write them.
_KINDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}
_EXIF = b"JpgTiffExif->JP2"
_RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"  # the namespace that tells XMP from other XML
_BROTLI_NAMES = {b"Exif": "EXIF", b"xml ": "XMP"}


def read(source: str | os.PathLike | bytes, image: Image.Image) -> tuple[dict, tuple[str, ...]]:
    """Reads the metadata of a JPEG 2000 or JPEG XL file.

    Args:
      source: path or bytes of the file.
      image: the same file, opened by Pillow.

    Returns:
      Entries for `Image.info`: `icc_profile`, `xmp` and `iptc`, as far as the file has them;
      notices of what is not read. Both are empty for other formats, and for a JPEG within a JPEG XL
      file, whose decoder reads them.

    Raises:
      OSError: the file cannot be read.
    """
    is_jxl = image.format == "JXL"
    if not is_jxl and image.format != "JPEG2000" or getattr(image, "jpeg", False):
        return {}, ()
    data = memoryview(source if isinstance(source, bytes) else Path(source).read_bytes())
    found = _read_blocks(data)
    if is_jxl:
        compressed = [bytes(content[:4]) for content in boxes.contents(data, b"brob")]
        names = [name for kind, name in _BROTLI_NAMES.items() if kind in compressed]
        return found, tuple(f"has {name} compressed by Brotli, which is left out" for name in names)
    if profile := _read_profile(data):
        found["icc_profile"] = profile
    # Programs disagree on whether its orientation applies, as no standard says so.
    has_exif = any(content[:16] == _EXIF for content in boxes.contents(data, b"uuid"))
    return found, ("has EXIF in a box of JPEG 2000, which is left out",) if has_exif else ()


def _read_blocks(data: memoryview) -> dict[str, bytes]:
    """Returns the XMP and IPTC of a file; of several boxes of a kind, the first is taken."""
    found: dict[str, bytes] = {}
    for kind, content in boxes.walk(data):
        if kind == b"uuid" and (name := _KINDS.get(bytes(content[:16]))):
            found.setdefault(name, bytes(content[16:]))
        elif kind == b"xml " and _RDF in (text := bytes(content)):
            found.setdefault("xmp", text)
    return found


def _read_profile(data: memoryview) -> bytes | None:
    """Returns the ICC profile of a JPEG 2000 file, None if its colour space is given by a number.

    Only the first `colr` box counts (ISO/IEC 15444-1, I.5.3.3). Its method is 2 for a profile of
    restricted kind, and 3 for any profile (ISO/IEC 15444-2, M.11.7.3).
    """
    for header in boxes.contents(data, b"jp2h"):
        for colour in boxes.contents(header, b"colr"):
            return bytes(colour[3:]) if bytes(colour[:1]) in (b"\2", b"\3") else None
    return None
