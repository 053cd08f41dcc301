"""Photographs out: with transparency, and of the metadata what the format has room for."""

import io
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, TiffTags

from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.pictures.metadata import Metadata, tiff_tags
from colorjax.pictures.photo import Photo, with_alpha

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
QUALITY = 95  # of JPEG and WebP, unless told
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
# One JPEG segment: 64 KiB less the length field and the XMP namespace.
_JPEG_ROOM = {"EXIF": 65533, "XMP": 65504}


def write_photo(
    target: str | os.PathLike | BinaryIO,
    rgb_u8: np.ndarray,
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
      target: path that ends in .jpg, .jpeg, .png, .tif, .tiff or .webp, or a binary stream.
      rgb_u8: uint8 [height, width, 3], sRGB.
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
    data, notices = _encode(kind, name, rgb_u8, photo, quality)
    if is_stream:
        _write_stream(target, data, name)
    else:
        with image_io.written_aside(target, overwrite=overwrite) as aside:
            aside.write_bytes(data)
    return notices


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
    kind: str, name: str, rgb_u8: np.ndarray, photo: Photo, quality: int
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
            tiff_tags(metadata).tobytes()
        # The parsers of the tags raise anything, and the pixels must not be lost for their sake.
        except Exception:
            notices.append(f"{name}: the photo's EXIF block does not fit a TIFF and is left out")
            metadata = metadata._replace(exif=None)
        return _encode_tiff(pixels, metadata), tuple(notices)
    options = {"icc_profile": metadata.icc_profile, "dpi": metadata.dpi, "exif": metadata.exif}
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0, "xmp": metadata.xmp}
    elif kind == "WEBP":
        options |= {"quality": quality, "use_sharp_yuv": True, "xmp": metadata.xmp}
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
    tags = tiff_tags(metadata)
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
