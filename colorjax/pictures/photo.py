"""Photographs in and out, with their transparency, colour profile, EXIF, XMP and resolution.

A photo may come in any mode that Pillow decodes and is given as 8-bit sRGB, upright. `write_photo`
puts back what the format of the result has room for.
"""

import io
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from colorjax.errors import UserError
from colorjax.pictures import image_io, srgb

FORMATS = (*image_io.FORMATS, "GIF")
# No camera or editor comes near; more is not worth its memory, in any of EXIF, XMP and profile.
MAX_METADATA_BYTES = 16 * 2**20

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
# One JPEG segment: 64 KiB less the length field and the XMP namespace.
_JPEG_ROOM = {"EXIF": 65533, "XMP": 65504}
_JPEG_END = b"\xff\xd9"

_ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
# In a TIFF file these stand among the tags that say how the pixels are stored, which would be
# wrong for any other file: description, names, make, model, software, date, artist, host,
# copyright, the EXIF and GPS blocks.
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, _EXIF_IFD, _GPS_IFD)


class Metadata(NamedTuple):
    """What the file of the result is to carry; None where the photo has none.

    Attributes:
      exif: an EXIF block that begins with b"Exif\\0\\0"; its orientation is 1 and its thumbnail,
        which shows the picture as it was, is unlinked.
      xmp: an XMP packet, its orientation 1.
      dpi: horizontal and vertical resolution in dots per inch.
      icc_profile: a profile that is true of the pixels: that of sRGB, where the photo had one.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    icc_profile: bytes | None = None


class Photo(NamedTuple):
    """A photograph as it is meant to be seen.

    Attributes:
      rgb: uint8 [height, width, 3], sRGB, upright, not laid on anything where transparent.
      alpha: uint8 [height, width], 255 is opaque; None where the file has no transparency.
      metadata: what the file of the result is to carry.
      notices: sentences for the user: what was not taken as it is in the file.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = Metadata()
    notices: tuple[str, ...] = ()


def read_photo(
    source: str | os.PathLike | bytes, *, allow_truncated: bool = False, name: str | None = None
) -> Photo:
    """Reads a photograph: JPEG, PNG, WebP, TIFF, BMP, or the first frame of a GIF.

    Colours are converted to sRGB by the embedded profile (relative colorimetric, black point kept);
    a profile that cannot be used is ignored with a notice, CMYK without one is taken as plain ink,
    and PNG's gAMA and cHRM are not looked at. 16-bit gray is rounded to 8 bits; of 16-bit colour
    the upper 8 are taken. 32-bit floats in [0, 1] are black to white; other floats, and 32-bit or
    signed integers, run from their darkest to their lightest pixel, with a notice.

    Args:
      source: path of the file, or its bytes.
      allow_truncated: take what there is of a file that was cut short, with a notice. The rest is
        gray (JPEG) or black. A WebP or compressed TIFF file gives nothing.
      name: what messages call the photo; the path by default.

    Returns:
      The photo.

    Raises:
      UserError: as image_io.read_rgb; also where the file ends before its picture does, and for a
        kind of TIFF that Pillow does not read.
    """
    name = image_io.name_of(source, name)
    try:
        return _read(source, name)
    except image_io.CutShortError as error:
        sentence = f"{name}: is cut short: {error.reason}"
    try:
        photo = _read_part(source, name)
    # Nothing of the picture is there, so that the flag would be named in vain.
    except image_io.CutShortError as error:
        raise UserError(f"{name}: is cut short: {error.reason}") from error
    if not allow_truncated:
        raise UserError(f"{sentence}; --allow-truncated reads what is there")
    return photo._replace(notices=(f"{sentence}; what is there was read", *photo.notices))


def from_image(image: Image.Image) -> Photo:
    """The photo that a Pillow image is, of any mode, as if it had been read from a file.

    Raises:
      UserError: Pillow fails to decode it.
    """
    name = getattr(image, "filename", "") or "picture"
    try:
        # Loading and turning leave their traces in an image, and it is not ours.
        return _taken_apart(image.copy(), name)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error}") from error


def as_image(rgb_u8: np.ndarray, photo: Photo) -> Image.Image:
    """A picture with the transparency of a photo, and its metadata in `info`: mode RGB or RGBA."""
    image = Image.fromarray(with_alpha(rgb_u8, photo.alpha))
    image.info = {name: value for name, value in photo.metadata._asdict().items() if value}
    return image


def write_photo(
    target: str | os.PathLike | BinaryIO,
    rgb_u8: np.ndarray,
    photo: Photo | None = None,
    *,
    format: str | None = None,
) -> tuple[str, ...]:
    """Writes a picture with the transparency and the metadata of a photo.

    JPEG has quality 95 and full colour resolution, WebP quality 95, TIFF is deflated. A file is
    written aside and then renamed: however the call ends, nobody finds half of one. A stream gets
    everything at once, or nothing if the picture cannot be encoded; it need not seek.

    Args:
      target: path that ends in .jpg, .jpeg, .png, .tif, .tiff or .webp, or a binary stream. An
        existing file is replaced.
      rgb_u8: uint8 [height, width, 3], sRGB.
      photo: where alpha and metadata come from; None for neither.
      format: one of the suffixes, with or without the dot; goes before the suffix of a path, and
        must be given for a stream.

    Returns:
      Sentences for the user: what the format could not keep. A JPEG is laid on white.

    Raises:
      UserError: an unknown suffix, a picture too large for the format, a folder that is missing or
        cannot be written to, a full disk, a broken stream.
      ValueError: rgb_u8 is no such array, or not of the size of the alpha.
    """
    is_stream = hasattr(target, "write")
    name = str(getattr(target, "name", "output")) if is_stream else os.fspath(target)
    kind = _kind(name, format)
    photo = photo or Photo(rgb_u8)
    image_io.check_rgb_u8(rgb_u8)
    if photo.alpha is not None and photo.alpha.shape != rgb_u8.shape[:2]:
        raise ValueError(f"alpha is {photo.alpha.shape}, the picture {rgb_u8.shape[:2]}")
    if max(rgb_u8.shape) > _MAX_SIDE.get(kind, math.inf):
        height, width, _ = rgb_u8.shape
        raise UserError(
            f"{name}: has {width} x {height} pixels, more than the {_MAX_SIDE[kind]} a side that "
            f"{kind} holds; want .png or .tif"
        )
    data, notices = _encode(kind, name, rgb_u8, photo)
    if is_stream:
        _write_stream(target, data, name)
    else:
        with image_io.written_aside(target) as aside:
            aside.write_bytes(data)
    return notices


def _read(source: str | os.PathLike | bytes, name: str, *, cut_short: bool = False) -> Photo:
    """Reads a photo; if it is known to be cut short, what there is of it."""
    with image_io.opened(source, name, FORMATS) as image:
        frames = _count_frames(image)
        if cut_short:
            _load_part(image)
        return _taken_apart(image, name, frames)


def _taken_apart(image: Image.Image, name: str, notices: tuple[str, ...] = ()) -> Photo:
    """The photo that a Pillow image is."""
    image.load()
    metadata, profile, left_out = _metadata(image)
    colour, alpha, scaled = srgb.split(image_io.upright(image), image)
    rgb, icc_profile, unconverted = srgb.to_srgb(colour, profile)
    notices = (*notices, *left_out, *scaled, *unconverted)
    return Photo(
        np.asarray(rgb),
        alpha,
        metadata._replace(icc_profile=icc_profile),
        tuple(f"{name}: {notice}" for notice in notices),
    )


def _read_part(source: str | os.PathLike | bytes, name: str) -> Photo:
    """Reads what there is of a photo that is cut short."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(b"\xff\xd8"):
        # With an end marker libjpeg itself fills in the rest, in progressive files too.
        data += _JPEG_END
    return _read(data, name, cut_short=True)


def _load_part(image: Image.Image) -> None:
    """Decodes up to where the file ends.

    Pillow's own switch for this, ImageFile.LOAD_TRUNCATED_IMAGES, holds for the whole process:
    while it was on, what another thread reads would be let through half gray without a word.
    """
    try:
        image.load()
    except OSError:
        # No tile is left to do, so the next load takes the pixels as they are.
        image.tile = []


def _count_frames(image: Image.Image) -> tuple[str, ...]:
    """A notice if there are more frames than the one that is taken."""
    # The further pictures in a phone's JPEG are previews and depth maps of the first.
    if image.format == "MPO":
        return ()
    try:
        frames = getattr(image, "n_frames", 1)
    # A damaged later frame does not concern the first.
    except Exception:
        image.seek(0)
        return ()
    what = "pages" if image.format == "TIFF" else "frames"
    return (f"has {frames} {what}, only the first is taken",) if frames > 1 else ()


def _metadata(image: Image.Image) -> tuple[Metadata, bytes | None, list[str]]:
    """What a decoded image carries, its colour profile as it is in the file, and what is left out.

    The image must not have been turned yet by anything but its own loading.
    """
    found = {
        "EXIF": _exif(image),
        "XMP": image.info.get("xmp"),
        "colour profile": image.info.get("icc_profile"),
    }
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
            found["EXIF"] = _settled_exif(found["EXIF"])
        except (struct.error, KeyError):
            notices.append("has a damaged EXIF block, which is left out")
            found["EXIF"] = None
    if found["XMP"]:
        pattern = rb'(tiff:Orientation(?:=["\']|>))[2-8]'
        found["XMP"] = re.sub(pattern, rb"\g<1>1", found["XMP"].rstrip(b"\0"))
    return (
        Metadata(found["EXIF"], found["XMP"], _dpi(image)),
        found["colour profile"],
        notices,
    )


def _exif(image: Image.Image) -> bytes | None:
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
        kept[_ORIENTATION] = 1
        return kept.tobytes()
    # Here too a damaged file may raise anything, and the pixels are sound.
    except Exception:
        return None


def _settled_exif(exif: bytes) -> bytes:
    """Sets the orientation to 1 and unlinks the thumbnail.

    In place, as makers' notes hold offsets that writing the block anew would break.

    Raises:
      struct.error, KeyError: the block is damaged.
    """
    block = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", block, entry)
        if tag == _ORIENTATION:
            struct.pack_into(order + ("I" if kind == 4 else "H"), block, entry + 8, 1)
    thumbnail_link = start + 2 + 12 * count
    # Some writers leave the link out.
    if thumbnail_link + 4 <= len(block):
        struct.pack_into("I", block, thumbnail_link, 0)
    return b"Exif\0\0" + bytes(block)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution, if it can be one."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow says 1 where a TIFF says nothing; a JPEG holds 16 bits.
    return (x, y) if 1.0 < x < 65536.0 and 1.0 < y < 65536.0 else None


def _kind(name: str, format: str | None) -> str:
    """The Pillow name of the format to write."""
    suffix = Path(name).suffix if format is None else "." + format.removeprefix(".")
    if suffix.lower() not in SUFFIXES:
        *others, last = SUFFIXES
        raise UserError(
            f"{name}: photos are written as {', '.join(others)} or {last}, not {suffix!r}"
        )
    return SUFFIXES[suffix.lower()]


def _encode(
    kind: str, name: str, rgb_u8: np.ndarray, photo: Photo
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the file, and notices of what it does not keep."""
    alpha, metadata, notices = photo.alpha, photo.metadata, []
    if kind == "JPEG":
        metadata, notices = _fit_for_jpeg(metadata, name)
        if alpha is not None and alpha.min() < 255:
            notices.append(f"{name}: a JPEG has no transparency, so the photo is laid on white")
            rgba = Image.fromarray(with_alpha(rgb_u8, alpha))
            rgb_u8 = np.asarray(image_io.on_white(rgba))
        alpha = None
    pixels = with_alpha(rgb_u8, alpha)
    if kind == "TIFF":
        try:
            _tiff_tags(metadata).tobytes()
        # The parsers of the tags raise anything, and the pixels must not be lost for their sake.
        except Exception:
            notices.append(f"{name}: the photo's EXIF block does not fit a TIFF and is left out")
            metadata = metadata._replace(exif=None)
        return _encode_tiff(pixels, metadata), tuple(notices)
    options = {"icc_profile": metadata.icc_profile, "dpi": metadata.dpi, "exif": metadata.exif}
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0, "xmp": metadata.xmp}
    elif kind == "WEBP":
        options |= {"quality": 95, "use_sharp_yuv": True, "xmp": metadata.xmp}
    elif metadata.xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        text = metadata.xmp.decode("utf-8", "replace")
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", text)
    buffer = io.BytesIO()
    given = {key: value for key, value in options.items() if value is not None}
    Image.fromarray(pixels).save(buffer, kind, **given)
    return buffer.getvalue(), tuple(notices)


def _fit_for_jpeg(metadata: Metadata, name: str) -> tuple[Metadata, list[str]]:
    """Leaves out what a JPEG segment cannot hold."""
    notices = []
    for kind, room in _JPEG_ROOM.items():
        field = kind.lower()
        size = len(getattr(metadata, field) or b"")
        if size > room:
            notices.append(
                f"{name}: a JPEG holds at most {room} bytes of {kind}, so the photo's {size} are "
                "left out"
            )
            metadata = metadata._replace(**{field: None})
    return metadata, notices


def _encode_tiff(pixels: np.ndarray, metadata: Metadata) -> bytes:
    """A deflated TIFF: uint8 [height, width, 3 or 4] -> bytes.

    Pillow writes compressed TIFFs through libtiff, which loses the EXIF and GPS blocks; its tables
    of tags, written here, keep them.
    """
    height, width, channels = pixels.shape
    rows = max(1, 2**18 // (width * channels))
    strips = [_deflated(pixels[top : top + rows]) for top in range(0, height, rows)]
    tags = _tiff_tags(metadata)
    tags[256], tags[257], tags[277], tags[278] = width, height, channels, rows
    tags[258], tags[262], tags[284] = (8,) * channels, 2, 1
    # Deflate, of differences to the pixel on the left.
    tags[259], tags[317] = 8, 2
    if channels == 4:
        tags[338] = 2
    sizes = [len(strip) for strip in strips]
    # Pillow adds where the strips begin, and must not take the small numbers for 16-bit ones.
    tags.tagtype[273] = tags.tagtype[279] = TiffTags.LONG
    tags[273], tags[279] = tuple(np.cumsum([0, *sizes[:-1]]).tolist()), tuple(sizes)
    buffer = io.BytesIO()
    tags.save(buffer)
    buffer.write(b"".join(strips))
    return buffer.getvalue()


def with_alpha(rgb_u8: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """uint8 [h, w, 3] and [h, w] as one [h, w, 4]; [h, w, 3] where there is no alpha."""
    return rgb_u8 if alpha is None else np.dstack([rgb_u8, alpha])


def _tiff_tags(metadata: Metadata) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags that hold metadata; raises nearly anything if the EXIF block is damaged."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_ORIENTATION] = 1
    if metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag, value in _described(exif).items():
            tags[tag] = value
    if metadata.xmp:
        tags[700] = metadata.xmp
    if metadata.icc_profile:
        tags[34675] = metadata.icc_profile
    if metadata.dpi:
        tags[282], tags[283], tags[296] = *metadata.dpi, 2
    return tags


def _described(exif: Image.Exif) -> dict:
    """The tags of an EXIF block that are right in a file of any format."""
    blocks = (_EXIF_IFD, _GPS_IFD)
    return {t: exif.get_ifd(t) if t in blocks else exif[t] for t in _DESCRIPTIVE_TAGS if t in exif}


def _deflated(rows: np.ndarray) -> bytes:
    """Horizontal differences, modulo 256, compressed: uint8 [rows, width, channels] -> bytes."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.tobytes(), 6)


def _write_stream(stream: BinaryIO, data: bytes, name: str) -> None:
    try:
        left = memoryview(data)
        while left:
            # A raw stream may take a part and say how much; None is said by those that take all.
            taken = stream.write(left)
            left = left[len(left) if taken is None else taken :]
        if hasattr(stream, "flush"):
            stream.flush()
    except OSError as error:
        raise UserError(f"{name}: cannot be written: {error.strerror or error}") from error
