"""What a photograph's file carries besides pixels: EXIF, XMP, captions, resolution, profile."""

import contextlib
import struct
from typing import Any, NamedTuple

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from colorjax.pictures import captions, xmp
from colorjax.pictures.captions import Texts
from colorjax.pictures.formats import MAX_METADATA_BYTES

# What the decoder of HEIF calls, in an image's `info`, the way that it has turned the picture.
_TURNED_BY = "original_orientation"
# In a TIFF file these stand among the tags that say how the pixels are stored, which would be
# wrong for any other file: description, names, make, model, software, date, artist, host,
# copyright, the EXIF and GPS blocks.
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
    Tag.ExifOffset,
    Tag.GPSInfo,
)


class Metadata(NamedTuple):
    """What the file of the result is to carry; None where the photo has none.

    Attributes:
      exif: an EXIF block that begins with b"Exif\\0\\0"; its orientation is 1 and its thumbnail,
        which shows the picture as it was, is unlinked.
      xmp: an XMP packet, its orientation 1.
      dpi: horizontal and vertical resolution in dots per inch.
      icc_profile: a profile that is true of the pixels: that of sRGB, where the photo had one.
      iptc: IPTC records, as they are in the file.
      texts: keyword and text of the comments of a JPEG or GIF and of the texts of a PNG.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    icc_profile: bytes | None = None
    iptc: bytes | None = None
    texts: Texts = ()


def read_metadata(image: Image.Image) -> tuple[Metadata, bytes | None, list[str]]:
    """What a decoded image carries, its colour profile as it is in the file, and what is left out.

    The image must not have been turned yet by anything but its own loading.
    """
    found = {
        "EXIF": read_exif(image),
        "XMP": image.info.get("xmp"),
        "colour profile": image.info.get("icc_profile"),
        "IPTC": captions.read_iptc(image),
    }
    orientation = _orientation(image)
    is_turned = _TURNED_BY in image.info
    size = image.size[::-1] if orientation > 4 and not is_turned else image.size
    notices = []
    for kind, data in found.items():
        if not isinstance(data, bytes) or not data:
            found[kind] = None
        elif len(data) > MAX_METADATA_BYTES:
            notices.append(
                f"has {len(data)} bytes of {kind}, more than the {MAX_METADATA_BYTES} that are "
                "kept; they are left out"
            )
            found[kind] = None
    if found["EXIF"]:
        try:
            found["EXIF"] = _settled_exif(found["EXIF"], size)
        except (struct.error, KeyError):
            notices.append("has a damaged EXIF block, which is left out")
            found["EXIF"] = None
    if found["XMP"]:
        found["XMP"] = xmp.settled(found["XMP"].rstrip(b"\0"), orientation, size)
    kept = Metadata(found["EXIF"], found["XMP"], _dpi(image), None, found["IPTC"])
    return kept._replace(texts=captions.read_texts(image)), found["colour profile"], notices


def read_exif(image: Image.Image) -> bytes | None:
    """The EXIF block as it is in the file, or one made from the tags of a TIFF."""
    if image.format != "TIFF" and image.info.get("exif"):
        return image.info["exif"]
    kept = Image.Exif()
    try:
        # From a TIFF, or from hexadecimal text in a PNG.
        exif = image.getexif()
        kept.endian = exif.endian
        kept.update(_described(exif))
        if not len(kept):
            return None
        kept[Tag.Orientation] = 1
        return kept.tobytes()
    # Here too a damaged file may raise anything, and the pixels are sound.
    except Exception:
        return None


def note_orientation(image: Image.Image) -> None:
    """Has a TIFF, before it is decoded, say how it will be turned: Pillow does it and forgets."""
    if image.format == "TIFF":
        image.info[_TURNED_BY] = _orientation(image)


def _orientation(image: Image.Image) -> int:
    """By which way of turning, as EXIF counts them, the stored pixels get upright."""
    try:
        found = image.info.get(_TURNED_BY) or image.getexif().get(Tag.Orientation, 1)
    # A damaged EXIF block may raise anything, and then nothing is turned.
    except Exception:
        return 1
    return found if found in range(1, 9) else 1


def _settled_exif(exif: bytes, size: tuple[int, int]) -> bytes:
    """Sets the orientation to 1 and the sizes to `size`, and unlinks the thumbnail.

    In place, as makers' notes hold offsets that writing the block anew would break.

    Raises:
      struct.error, KeyError: the block is damaged.
    """
    block = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
    (start,) = struct.unpack_from(order + "I", block, 4)
    count = _settle_table(block, order, start, size)
    thumbnail_link = start + 2 + 12 * count
    # Some writers leave the link out.
    if thumbnail_link + 4 <= len(block):
        struct.pack_into("I", block, thumbnail_link, 0)
    return b"Exif\0\0" + bytes(block)


def _settle_table(
    block: bytearray, order: str, start: int, size: tuple[int, int], *, is_first: bool = True
) -> int:
    """Sets what `_settled_exif` does in one table and the EXIF table below; how many entries."""
    settled: dict[int, int] = {
        Tag.Orientation: 1,
        Tag.ImageWidth: size[0],
        Tag.ImageLength: size[1],
        Tag.ExifImageWidth: size[0],
        Tag.ExifImageHeight: size[1],
    }
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", block, entry)
        if tag in settled and kind in (3, 4):
            value = min(settled[tag], 65535) if kind == 3 else settled[tag]
            struct.pack_into(order + ("I" if kind == 4 else "H"), block, entry + 8, value)
        elif tag == Tag.ExifOffset and is_first:
            (below,) = struct.unpack_from(order + "I", block, entry + 8)
            # The rest of the block is no worse for a damaged table.
            with contextlib.suppress(struct.error):
                _settle_table(block, order, below, size, is_first=False)
    return count


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution, if it can be one."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow says 1 where a TIFF says nothing; a JPEG holds 16 bits.
    return (x, y) if 1.0 < x < 65536.0 and 1.0 < y < 65536.0 else None


def has_resolution(exif: bytes | None) -> bool:
    """Whether an EXIF block tells the resolution itself; a damaged one does not."""
    found = Image.Exif()
    try:
        found.load(exif or b"")
        return Tag.XResolution in found
    except Exception:
        return False


def _described(exif: Image.Exif) -> dict:
    """The tags of an EXIF block that are right in a file of any format."""
    blocks = (Tag.ExifOffset, Tag.GPSInfo)
    found = {t: exif.get_ifd(t) if t in blocks else exif[t] for t in _DESCRIPTIVE_TAGS if t in exif}
    return {tag: _as_in_file(value) for tag, value in found.items()}


def _as_in_file(value: Any) -> Any:
    """Words outside ASCII as their bytes: Pillow reads words as Latin-1, and writes ASCII."""
    if isinstance(value, dict):
        return {tag: _as_in_file(one) for tag, one in value.items()}
    is_beyond = isinstance(value, str) and not value.isascii()
    return value.encode("latin-1", "replace") if is_beyond else value


def tiff_tags(metadata: Metadata) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags that hold metadata; raises nearly anything if the EXIF block is damaged."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[Tag.Orientation] = 1
    if metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag, value in _described(exif).items():
            tags[tag] = value
    if metadata.xmp:
        tags[Tag.XMLPacket] = metadata.xmp
    if metadata.icc_profile:
        tags[Tag.InterColorProfile] = metadata.icc_profile
    if metadata.dpi:
        tags[Tag.XResolution], tags[Tag.YResolution], tags[Tag.ResolutionUnit] = *metadata.dpi, 2
    return tags
