"""Photographs out: with transparency, and of the metadata what the format has room for."""

import io
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags
from PIL.ExifTags import Base as Tag

from colorjax.errors import UserError
from colorjax.pictures import arrays, captions, image_io, mark
from colorjax.pictures.formats import name_of_format, png_file
from colorjax.pictures.metadata import Metadata, has_resolution, tiff_tags
from colorjax.pictures.photo import Photo, from_image, with_alpha

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
DEEP = ("PNG", "TIFF")  # what 16 bits a channel are written as
QUALITY = 95  # of JPEG and WebP, unless told
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
# One JPEG segment: 64 KiB less the length field and the XMP namespace.
_JPEG_ROOM = {"EXIF": 65533, "XMP": 65504, "IPTC": 65506}
_JPEG_COMMENT_ROOM = 65533


def write_photo(
    target: str | os.PathLike | BinaryIO,
    rgb: np.ndarray,
    photo: Photo | None = None,
    *,
    format: str | None = None,
    quality: int = QUALITY,
    overwrite: bool = True,
) -> tuple[str, ...]:
    """Writes a picture with the transparency and the metadata of a photo.

    JPEG has full colour resolution, TIFF is deflated. A file is written aside and then renamed:
    however the call ends, nobody finds half of one. A stream gets everything at once, or nothing if
    the picture cannot be encoded; it need not seek.

    Args:
      target: path that ends in one of `SUFFIXES`, or a binary stream. An
        existing file is replaced unless told otherwise.
      rgb: uint8 or uint16 [height, width, 3], sRGB. 16 bits are written as PNG and TIFF, and
        rounded to 8 for other formats.
      photo: where alpha and metadata come from; None for neither.
      format: one of the suffixes, with or without the dot; goes before the suffix of a path, and
        must be given for a stream.
      quality: of JPEG and WebP, from 1 to 100.
      overwrite: whether an existing file is replaced.

    Returns:
      Sentences for the user: what the format could not keep. A JPEG is laid on white.

    Raises:
      UserError: an unknown suffix, a picture too large for the format, a folder that is missing or
        cannot be written to, a full disk, a broken stream, a file that is there and may not be
        replaced.
      ValueError: rgb is no such array, or not of the size of the alpha.
    """
    name, kind = check_target(target, format)
    photo = photo or Photo(rgb)
    _check(rgb, photo.alpha)
    rgb = rgb if kind in DEEP else image_io.eight_bits(rgb)
    if max(rgb.shape) > _MAX_SIDE.get(kind, math.inf):
        height, width, _ = rgb.shape
        raise UserError(
            f"{name}: has {width} x {height} pixels, more than the {_MAX_SIDE[kind]} a side that "
            f"{kind} holds; want .png or .tif"
        )
    data, notices = _encode(kind, name, rgb, photo, quality)
    if not isinstance(target, str | os.PathLike):
        _write_stream(target, data, name)
    else:
        with image_io.atomic_write(target, overwrite=overwrite) as aside:
            aside.write_bytes(data)
    return notices


def save(
    image: Image.Image, target: str | os.PathLike | BinaryIO, *, format: str | None = None
) -> tuple[str, ...]:
    """Writes what `Colorizer.colorize` gave as the command does: with all that `image.info` holds.

    Args:
      image: a Pillow image; of any mode, but written in 8-bit sRGB.
      target, format: as in `write_photo`.

    Returns:
      Sentences for the user: what could not be kept.

    Raises:
      UserError: as `write_photo`, and where Pillow fails to decode the image.
    """
    check_target(target, format)
    photo = from_image(image)
    return photo.notices + write_photo(target, photo.rgb, photo, format=format)


def check_target(target: str | os.PathLike | BinaryIO, format: str | None) -> tuple[str, str]:
    """What messages call a target, and the Pillow name of the format to write.

    Raises:
      UserError: no format, or one that is not written.
      TypeError: neither a path nor a stream.
    """
    if isinstance(target, str | os.PathLike):
        name = os.fspath(target)
    elif not hasattr(target, "write"):
        raise TypeError(f"target is of type {type(target).__name__}, want a path or a stream")
    else:
        name = str(getattr(target, "name", "output"))
    suffix = Path(name).suffix if format is None else "." + format.removeprefix(".")
    if suffix.lower() not in SUFFIXES:
        *others, last = SUFFIXES
        raise UserError(
            f"{name}: photos are written as {', '.join(others)} or {last}, not {suffix!r}"
        )
    return name, SUFFIXES[suffix.lower()]


def holds_16_bits(name: str, format: str | None) -> bool:
    """Whether a target of this name or format is written with 16 bits a channel, if there are."""
    suffix = Path(name).suffix if format is None else "." + format.removeprefix(".")
    return SUFFIXES.get(suffix.lower()) in DEEP


def _check(rgb: np.ndarray, alpha: np.ndarray | None) -> None:
    """Raises ValueError unless they are a picture and its transparency."""
    if rgb.dtype not in (np.uint8, np.uint16) or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"want uint8 or uint16 [height, width, 3], got {rgb.dtype} {rgb.shape}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ValueError(f"alpha is {alpha.shape}, the picture {rgb.shape[:2]}")


def _encode(
    kind: str, name: str, rgb: np.ndarray, photo: Photo, quality: int
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the file, and notices of what it does not keep."""
    alpha, metadata, notices = photo.alpha, *_fitting(kind, photo.metadata)
    if kind == "JPEG":
        if alpha is not None and alpha.min() < 255:
            notices.append("a JPEG has no transparency, so the photo is laid on white")
            rgba = Image.fromarray(with_alpha(rgb, alpha))
            rgb = np.asarray(image_io.on_white(rgba))
        alpha = None
    pixels = with_alpha(rgb, alpha)
    if kind == "TIFF":
        data, left_out = _encode_tiff(pixels, metadata)
    else:
        data, left_out = _encode_by_pillow(kind, pixels, metadata, quality)
    return data, tuple(f"{name}: {notice}" for notice in (*notices, *left_out))


def _fitting(kind: str, metadata: Metadata) -> tuple[Metadata, list[str]]:
    """Leaves out what a format has no place for, with notices."""
    notices, held_in = [], {"EXIF": metadata.exif, "XMP": metadata.xmp, "IPTC": metadata.iptc}
    for field, room in (_JPEG_ROOM if kind == "JPEG" else {}).items():
        size = len(held_in[field] or b"")
        if size > room:
            notices.append(
                f"a JPEG holds at most {room} bytes of {field}, so the photo's {size} are left out"
            )
            held_in[field] = None
    xmp = held_in["XMP"] or mark.alone(metadata.xmp)
    metadata = metadata._replace(exif=held_in["EXIF"], xmp=xmp, iptc=held_in["IPTC"])
    if kind == "WEBP" and metadata.iptc:
        notices.append("a WebP has no place for IPTC captions, so the photo's are left out")
        metadata = metadata._replace(iptc=None)
    if kind == "WEBP" and metadata.dpi and not has_resolution(metadata.exif):
        x, y = metadata.dpi
        notices.append(
            f"a WebP has no place for a resolution, so the photo's {x:g} x {y:g} dots per inch are "
            "left out"
        )
    if kind in ("JPEG", "WEBP"):
        held = [one for one in metadata.texts if kind == "JPEG" and one[0] == captions.COMMENT]
        held = held if len(_comment(held)) <= _JPEG_COMMENT_ROOM else []
        if left := [keyword for keyword, _ in metadata.texts if (keyword, _) not in held]:
            notices.append(_no_place(kind, left))
        metadata = metadata._replace(texts=tuple(held))
    return metadata, notices


def _no_place(kind: str, keywords: Sequence[str]) -> str:
    """The notice of texts that are left out."""
    texts = ", ".join(dict.fromkeys(keywords))
    return f"a {name_of_format(kind)} has no place for the photo's texts: {texts} left out"


def _comment(texts: Sequence[tuple[str, str]]) -> bytes:
    """All comments as the one that Pillow writes."""
    return "\n".join(text for _, text in texts).encode("utf-8", "replace")


def _encode_by_pillow(
    kind: str, pixels: np.ndarray, metadata: Metadata, quality: int
) -> tuple[bytes, Sequence[str]]:
    """JPEG, WebP or PNG: [height, width, 3 or 4] -> bytes, and no notices."""
    options: dict[str, Any] = {
        "icc_profile": metadata.icc_profile,
        "dpi": metadata.dpi,
        "exif": metadata.exif,
    }
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0, "xmp": metadata.xmp}
        options["comment"] = _comment(metadata.texts) or None
        options["extra"] = captions.jpeg_segment(metadata.iptc) if metadata.iptc else None
    elif kind == "WEBP":
        options |= {"quality": quality, "use_sharp_yuv": True, "xmp": metadata.xmp}
    else:
        options["pnginfo"] = captions.png_texts(metadata.iptc, metadata.texts, metadata.xmp)
    given = {key: value for key, value in options.items() if value is not None}
    if pixels.dtype == np.uint16:
        return png_file.encode_deep(pixels, **given), ()
    buffer = io.BytesIO()
    # Only the writer of JPEG takes mode RGBX.
    image = arrays.as_image(pixels) if kind == "JPEG" else Image.fromarray(pixels)
    image.save(buffer, kind, **given)
    return buffer.getvalue(), ()


def _encode_tiff(pixels: np.ndarray, metadata: Metadata) -> tuple[bytes, Sequence[str]]:
    """A deflated TIFF: [height, width, 3 or 4] -> bytes, and notices of what is left out.

    Pillow writes compressed TIFFs through libtiff, which loses the EXIF and GPS blocks; its tables
    of tags, written here, keep them.
    """
    height, width, channels = pixels.shape
    rows = max(1, 2**18 // (width * channels * pixels.itemsize))
    strips = [_deflated(pixels[top : top + rows]) for top in range(0, height, rows)]
    tags, notices = _tiff_tags(metadata)
    tags[Tag.ImageWidth], tags[Tag.ImageLength], tags[Tag.RowsPerStrip] = width, height, rows
    tags[Tag.SamplesPerPixel] = channels
    tags[Tag.BitsPerSample] = (8 * pixels.itemsize,) * channels
    tags[Tag.PhotometricInterpretation], tags[Tag.PlanarConfiguration] = 2, 1
    # Deflate, of differences to the pixel on the left.
    tags[Tag.Compression], tags[Tag.Predictor] = 8, 2
    if channels == 4:
        tags[Tag.ExtraSamples] = 2
    sizes = [len(strip) for strip in strips]
    # Pillow adds where the strips begin, and must not take the small numbers for 16-bit ones.
    tags.tagtype[Tag.StripOffsets] = tags.tagtype[Tag.StripByteCounts] = TiffTags.LONG
    tags[Tag.StripOffsets] = tuple(np.cumsum([0, *sizes[:-1]]).tolist())
    tags[Tag.StripByteCounts] = tuple(sizes)
    buffer = io.BytesIO()
    tags.save(buffer)
    buffer.write(b"".join(strips))
    return buffer.getvalue(), notices


def _tiff_tags(metadata: Metadata) -> tuple[TiffImagePlugin.ImageFileDirectory_v2, list[str]]:
    """The tags that hold metadata, and notices of what they cannot."""
    notices = []
    try:
        tiff_tags(metadata).tobytes()
    # The parsers of the tags raise anything, and the pixels must not be lost for their sake.
    except Exception:
        notices.append("the photo's EXIF block does not fit a TIFF and is left out")
        metadata = metadata._replace(exif=None)
    tags = tiff_tags(metadata)
    if left := captions.add_to_tiff(tags, metadata.iptc, metadata.texts):
        notices.append(_no_place("TIFF", left))
    return tags, notices


def _deflated(rows: np.ndarray) -> bytes:
    """Horizontal differences, modulo 256 or 65536, compressed: [rows, width, channels] -> bytes."""
    differences = rows.astype(rows.dtype.newbyteorder("<"))
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
