"""Reads a photograph's metadata: EXIF, XMP, captions, resolution and colour profile."""

import contextlib
import struct
from typing import Any, NamedTuple

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from colorjax.pictures import captions, xmp
from colorjax.pictures.captions import Texts
from colorjax.pictures.formats import MAX_METADATA_BYTES, jxl_file

# The key in `Image.info` under which the HEIF decoder stores the orientation that it has applied.
_ORIENTATION_KEY = "original_orientation"
# The tags of a TIFF that are also valid in other files. The rest describe how pixels are stored.
_DESCRIPTIVE_TAGS = (
    Tag.DocumentName,
    Tag.ImageDescription,
    Tag.Make,
    Tag.Model,
    Tag.PageName,
    Tag.Software,
    Tag.DateTime,
    Tag.Artist,
    Tag.HostComputer,
    Tag.Copyright,
    Tag.Rating,
    Tag.RatingPercent,
    Tag.XPTitle,
    Tag.XPComment,
    Tag.XPAuthor,
    Tag.XPKeywords,
    Tag.XPSubject,
    Tag.ExifOffset,
    Tag.GPSInfo,
)
_INTEROP = 0xA005  # in the EXIF directory, the offset of a directory of file-system rules


class Metadata(NamedTuple):
    """The metadata to write to the file of the result; None for what the photo does not have.

    Attributes:
      exif: an EXIF block that begins with b"Exif\\0\\0". Its orientation is 1, and its thumbnail,
        which shows the original picture, is unlinked.
      xmp: an XMP packet with orientation 1.
      dpi: horizontal and vertical resolution of the upright picture in dots per inch.
      icc_profile: the profile of the converted pixels: sRGB if the photo had a usable profile.
      iptc: IPTC records, unchanged.
      texts: (keyword, text) pairs: the comments of a JPEG or GIF, or the texts of a PNG.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    icc_profile: bytes | None = None
    iptc: bytes | None = None
    texts: Texts = ()


def read_metadata(image: Image.Image) -> tuple[Metadata, bytes | None, list[str]]:
    """Reads the metadata of a decoded image.

    The image must not have been rotated since it was loaded.

    Returns:
      The metadata, without a colour profile; the file's colour profile; notices of what is left
      out.
    """
    orientation = _orientation(image)
    is_upright = _ORIENTATION_KEY in image.info
    size = image.size[::-1] if orientation > 4 and not is_upright else image.size
    blocks, notices = _read_blocks(image)
    if blocks["EXIF"]:
        try:
            blocks["EXIF"] = _normalized_exif(blocks["EXIF"], size, is_turned=orientation > 4)
        except (struct.error, KeyError):
            notices.append("has a damaged EXIF block, which is left out")
            blocks["EXIF"] = None
    if blocks["XMP"]:
        if b"HasExtendedXMP" in blocks["XMP"]:
            notices.append("has extended XMP, which is left out")
        blocks["XMP"] = xmp.normalized(blocks["XMP"].rstrip(b"\0"), orientation, size)
    dpi = _dpi(image.info.get("dpi"))
    dpi = dpi[::-1] if dpi and orientation > 4 else dpi or _dpi_of_exif(blocks["EXIF"])
    metadata = Metadata(blocks["EXIF"], blocks["XMP"], dpi, None, blocks["IPTC"])
    return metadata._replace(texts=captions.read_texts(image)), blocks["colour profile"], notices


def _read_blocks(image: Image.Image) -> tuple[dict[str, bytes | None], list[str]]:
    """Returns the blocks of metadata as they are in the file, and notices of those left out."""
    blocks = {
        "EXIF": read_exif(image),
        "XMP": image.info.get("xmp"),
        "colour profile": image.info.get("icc_profile"),
        "IPTC": captions.read_iptc(image),
    }
    notices = []
    for kind, data in blocks.items():
        if not isinstance(data, bytes) or not data:
            blocks[kind] = None
        elif len(data) > MAX_METADATA_BYTES:
            notices.append(
                f"has {len(data)} bytes of {kind}, more than the {MAX_METADATA_BYTES} that are "
                "kept; they are left out"
            )
            blocks[kind] = None
    return blocks, notices


def read_exif(image: Image.Image) -> bytes | None:
    """Returns the EXIF block of the file, or one made from the tags of a TIFF."""
    if image.format != "TIFF" and image.info.get("exif"):
        return image.info["exif"]
    result = Image.Exif()
    try:
        # From a TIFF, or from hexadecimal text in a PNG.
        exif = image.getexif()
        result.endian = exif.endian
        result.update(_descriptive_tags(exif))
        if not len(result):
            return None
        result[Tag.Orientation] = 1
        return result.tobytes()
    # Pillow may raise any exception for damaged EXIF, while the pixels are still valid.
    except Exception:
        return None


def record_orientation(image: Image.Image) -> None:
    """Records a TIFF's orientation before decoding, because Pillow applies and then drops it."""
    if image.format == "TIFF":
        image.info[_ORIENTATION_KEY] = _orientation(image)


def as_decoded(image: Image.Image) -> dict[str | tuple[int, int], Any]:
    """Returns the entries of `info` that differ for a decoder that has turned the pixels.

    The decoder of JPEG XL applies the orientation of the codestream, which by the standard takes
    precedence over EXIF, but leaves EXIF unchanged. The entries are those that the decoder of HEIF
    sets in the same case. There are none for other formats, nor for a JPEG within a JPEG XL file,
    whose pixels have not been turned.
    """
    if image.format != "JXL" or getattr(image, "jpeg", False):
        return {}
    header = jxl_file.read_header(getattr(image, "fc", b""))
    entries: dict[str | tuple[int, int], Any] = {}
    entries[_ORIENTATION_KEY] = header.orientation if header else 1
    if exif := image.info.get("exif"):
        try:
            entries["exif"] = _normalized_exif(exif, image.size)
        # Nothing may be turned by a damaged block; an empty one is still reported as damaged.
        except (struct.error, KeyError):
            entries["exif"] = b"Exif\0\0"
    return entries


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8, of the stored pixels."""
    try:
        orientation = image.info.get(_ORIENTATION_KEY) or image.getexif().get(Tag.Orientation, 1)
    # Pillow may raise any exception for damaged EXIF; then the pixels are not rotated either.
    except Exception:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _normalized_exif(exif: bytes, size: tuple[int, int], *, is_turned: bool = False) -> bytes:
    """Sets the orientation to 1 and the sizes to `size`, and unlinks the thumbnail.

    If `is_turned`, rows have become columns, so the two resolutions are exchanged. The block is
    patched in place: serializing it again would break the offsets in maker notes.

    Raises:
      struct.error, KeyError: the block is damaged.
    """
    block = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
    (start,) = struct.unpack_from(order + "I", block, 4)
    count = _normalize_directory(block, order, start, size)
    if is_turned:
        _exchange_resolutions(block, order, start, count)
    thumbnail_link = start + 2 + 12 * count
    # Some writers omit the link.
    if thumbnail_link + 4 <= len(block):
        struct.pack_into("I", block, thumbnail_link, 0)
    return b"Exif\0\0" + bytes(block)


def _normalize_directory(
    block: bytearray, order: str, start: int, size: tuple[int, int], *, is_first: bool = True
) -> int:
    """Patches the orientation and sizes in one directory, and in the EXIF directory that it links.

    Returns:
      The number of entries of the directory.
    """
    new_values: dict[int, int] = {
        Tag.Orientation: 1,
        Tag.ImageWidth: size[0],
        Tag.ImageLength: size[1],
        Tag.ExifImageWidth: size[0],
        Tag.ExifImageHeight: size[1],
    }
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", block, entry)
        if tag in new_values and kind in (3, 4):
            value = min(new_values[tag], 65535) if kind == 3 else new_values[tag]
            struct.pack_into(order + ("I" if kind == 4 else "H"), block, entry + 8, value)
        elif tag == Tag.ExifOffset and is_first:
            (exif_start,) = struct.unpack_from(order + "I", block, entry + 8)
            # If this directory is damaged, the rest of the block is still usable.
            with contextlib.suppress(struct.error):
                _normalize_directory(block, order, exif_start, size, is_first=False)
    return count


def _exchange_resolutions(block: bytearray, order: str, start: int, count: int) -> None:
    """Exchanges the values of XResolution and YResolution in a directory that has both."""
    entries = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", block, entry)
        entries[tag] = slice(entry + 2, entry + 12)  # type, count, and value or offset
    x, y = entries.get(Tag.XResolution), entries.get(Tag.YResolution)
    if x and y:
        block[x], block[y] = block[y], block[x]


def _dpi(values: Any) -> tuple[float, float] | None:
    """Returns a pair of resolutions as floats; None if it is missing or implausible."""
    try:
        x, y = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow returns 1 for a TIFF without a resolution; a JPEG stores 16 bits.
    return (x, y) if 1.0 < x < 65536.0 and 1.0 < y < 65536.0 else None


def _dpi_of_exif(exif: bytes | None) -> tuple[float, float] | None:
    """Returns the resolution in an EXIF block; None if it has none, or only an aspect ratio."""
    parsed = Image.Exif()
    try:
        parsed.load(exif or b"")
        # Inches, which are the default, or centimetres.
        scale = {2: 1.0, 3: 2.54}[parsed.get(Tag.ResolutionUnit, 2)]
        return _dpi([scale * float(parsed[tag]) for tag in (Tag.XResolution, Tag.YResolution)])
    # Pillow may raise any exception for damaged EXIF.
    except Exception:
        return None


def has_resolution(exif: bytes | None) -> bool:
    """Whether an EXIF block contains the resolution; False if it is damaged."""
    parsed = Image.Exif()
    try:
        parsed.load(exif or b"")
        return Tag.XResolution in parsed
    except Exception:
        return False


def _descriptive_tags(exif: Image.Exif) -> dict:
    """Returns the tags of an EXIF block that are valid in a file of any format."""
    blocks = (Tag.ExifOffset, Tag.GPSInfo)
    tags = {t: exif.get_ifd(t) if t in blocks else exif[t] for t in _DESCRIPTIVE_TAGS if t in exif}
    # Pillow would copy this offset, but not what is there.
    if Tag.ExifOffset in tags:
        tags[Tag.ExifOffset] = {t: v for t, v in tags[Tag.ExifOffset].items() if t != _INTEROP}
    return {tag: _encode_text(value) for tag, value in tags.items()}


def _encode_text(value: Any) -> Any:
    """Converts non-ASCII text back to its bytes: Pillow reads text as Latin-1 but writes ASCII."""
    if isinstance(value, dict):
        return {tag: _encode_text(nested) for tag, nested in value.items()}
    is_non_ascii = isinstance(value, str) and not value.isascii()
    return value.encode("latin-1", "replace") if is_non_ascii else value


def tiff_tags(metadata: Metadata) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Returns the TIFF tags that hold metadata; may raise any exception if the EXIF is damaged."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[Tag.Orientation] = 1
    if metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag, value in _descriptive_tags(exif).items():
            tags[tag] = value
    if metadata.xmp:
        tags[Tag.XMLPacket] = metadata.xmp
    if metadata.icc_profile:
        tags[Tag.InterColorProfile] = metadata.icc_profile
    if metadata.dpi:
        tags[Tag.XResolution], tags[Tag.YResolution], tags[Tag.ResolutionUnit] = *metadata.dpi, 2
    return tags
