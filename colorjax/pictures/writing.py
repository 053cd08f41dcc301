"""Writes photographs with their transparency and as much of their metadata as the format holds."""

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
DEEP = ("PNG", "TIFF")  # the formats that are written with 16 bits per channel
QUALITY = 95  # default for JPEG and WebP
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
# The capacity of one JPEG segment: 64 KiB minus the length field and, for XMP, the namespace.
_JPEG_MAX_BYTES = {"EXIF": 65533, "XMP": 65504, "IPTC": 65506}
_JPEG_COMMENT_MAX_BYTES = 65533


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

    JPEG is written without chroma subsampling, TIFF with Deflate compression. A file is written
    atomically: a partial file is never visible, however the call ends. A stream receives all bytes
    after encoding has succeeded, and none if it fails; it need not support seeking.

    Args:
      target: path that ends in one of `SUFFIXES`, or a binary stream.
      rgb: uint8 or uint16 [height, width, 3], sRGB. PNG and TIFF keep 16 bits; for other formats
        they are rounded to 8.
      photo: the photo whose alpha and metadata are written; None for neither.
      format: one of the suffixes, with or without the dot. It takes precedence over the suffix of a
        path, and is required for a stream.
      quality: of JPEG and WebP, from 1 to 100.
      overwrite: whether an existing file is replaced.

    Returns:
      Sentences for the user about what the format could not hold. For a JPEG, transparent photos
      are composited on white.

    Raises:
      UserError: the suffix is unknown, the picture is too large for the format, the folder is
        missing or not writable, the disk is full, the stream is broken, or the file exists and
        must not be replaced.
      ValueError: rgb is not such an array, or its size differs from that of the alpha channel.
    """
    name, kind = check_target(target, format)
    photo = photo or Photo(rgb)
    _check_arrays(rgb, photo.alpha)
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
        with image_io.atomic_write(target, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)
    return notices


def save(
    image: Image.Image, target: str | os.PathLike | BinaryIO, *, format: str | None = None
) -> tuple[str, ...]:
    """Writes an image from `Colorizer.colorize` as the command does, with the metadata in `info`.

    Args:
      image: a Pillow image of any mode; it is written in 8-bit sRGB.
      target, format: as in `write_photo`.

    Returns:
      Sentences for the user about what the format could not hold.

    Raises:
      UserError: as `write_photo`; also if Pillow fails to decode the image.
    """
    check_target(target, format)
    photo = from_image(image)
    return photo.notices + write_photo(target, photo.rgb, photo, format=format)


def check_target(target: str | os.PathLike | BinaryIO, format: str | None) -> tuple[str, str]:
    """Returns a target's name for messages, and Pillow's name of the format to write.

    Raises:
      UserError: the format is missing, or is not supported for writing.
      TypeError: target is neither a path nor a stream.
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
    """Whether 16-bit pixels keep their 16 bits in a target of this name or format."""
    suffix = Path(name).suffix if format is None else "." + format.removeprefix(".")
    return SUFFIXES.get(suffix.lower()) in DEEP


def _check_arrays(rgb: np.ndarray, alpha: np.ndarray | None) -> None:
    """Raises ValueError unless `rgb` is a picture and `alpha` is None or has the same size."""
    if rgb.dtype not in (np.uint8, np.uint16) or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"want uint8 or uint16 [height, width, 3], got {rgb.dtype} {rgb.shape}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ValueError(f"alpha is {alpha.shape}, the picture {rgb.shape[:2]}")


def _encode(
    kind: str, name: str, rgb: np.ndarray, photo: Photo, quality: int
) -> tuple[bytes, tuple[str, ...]]:
    """Returns the bytes of the file, and notices of what it does not hold."""
    alpha, metadata, notices = photo.alpha, *_drop_unsupported(kind, photo.metadata)
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


def _drop_unsupported(kind: str, metadata: Metadata) -> tuple[Metadata, list[str]]:
    """Removes the metadata that a format cannot hold; returns the rest, and notices."""
    notices, blocks = [], {"EXIF": metadata.exif, "XMP": metadata.xmp, "IPTC": metadata.iptc}
    for field, limit in (_JPEG_MAX_BYTES if kind == "JPEG" else {}).items():
        size = len(blocks[field] or b"")
        if size > limit:
            notices.append(
                f"a JPEG holds at most {limit} bytes of {field}, so the photo's {size} are left out"
            )
            blocks[field] = None
    xmp = blocks["XMP"] or mark.mark_only(metadata.xmp)
    metadata = metadata._replace(exif=blocks["EXIF"], xmp=xmp, iptc=blocks["IPTC"])
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
        texts = [pair for pair in metadata.texts if kind == "JPEG" and pair[0] == captions.COMMENT]
        texts = texts if len(_joined_comments(texts)) <= _JPEG_COMMENT_MAX_BYTES else []
        if omitted := [pair[0] for pair in metadata.texts if pair not in texts]:
            notices.append(_omitted_texts_notice(kind, omitted))
        metadata = metadata._replace(texts=tuple(texts))
    return metadata, notices


def _omitted_texts_notice(kind: str, keywords: Sequence[str]) -> str:
    """Returns the notice for texts that the format cannot hold."""
    texts = ", ".join(dict.fromkeys(keywords))
    return f"a {name_of_format(kind)} has no place for the photo's texts: {texts} left out"


def _joined_comments(texts: Sequence[tuple[str, str]]) -> bytes:
    """Joins all comments into the single JPEG comment that Pillow writes."""
    return "\n".join(text for _, text in texts).encode("utf-8", "replace")


def _encode_by_pillow(
    kind: str, pixels: np.ndarray, metadata: Metadata, quality: int
) -> tuple[bytes, Sequence[str]]:
    """Encodes JPEG, WebP or PNG: [height, width, 3 or 4] -> bytes, and no notices."""
    options: dict[str, Any] = {
        "icc_profile": metadata.icc_profile,
        "dpi": metadata.dpi,
        "exif": metadata.exif,
    }
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0, "xmp": metadata.xmp}
        options["comment"] = _joined_comments(metadata.texts) or None
        options["extra"] = captions.jpeg_segment(metadata.iptc) if metadata.iptc else None
    elif kind == "WEBP":
        options |= {"quality": quality, "use_sharp_yuv": True, "xmp": metadata.xmp}
    else:
        options["pnginfo"] = captions.png_texts(metadata.iptc, metadata.texts, metadata.xmp)
    given = {key: value for key, value in options.items() if value is not None}
    if pixels.dtype == np.uint16:
        return png_file.encode_deep(pixels, **given), ()
    buffer = io.BytesIO()
    # Only Pillow's JPEG encoder accepts mode RGBX.
    image = arrays.as_image(pixels) if kind == "JPEG" else Image.fromarray(pixels)
    image.save(buffer, kind, **given)
    return buffer.getvalue(), ()


def _encode_tiff(pixels: np.ndarray, metadata: Metadata) -> tuple[bytes, Sequence[str]]:
    """Encodes a Deflate-compressed TIFF: [height, width, 3 or 4] -> bytes, and notices.

    Pillow writes compressed TIFFs through libtiff, which loses the EXIF and GPS blocks. Here Pillow
    only serializes the tags, which keeps them; the strips are compressed and appended by this code.
    """
    height, width, channels = pixels.shape
    rows = max(1, 2**18 // (width * channels * pixels.itemsize))
    strips = [_compress_rows(pixels[top : top + rows]) for top in range(0, height, rows)]
    tags, notices = _tiff_tags(metadata)
    tags[Tag.ImageWidth], tags[Tag.ImageLength], tags[Tag.RowsPerStrip] = width, height, rows
    tags[Tag.SamplesPerPixel] = channels
    tags[Tag.BitsPerSample] = (8 * pixels.itemsize,) * channels
    tags[Tag.PhotometricInterpretation], tags[Tag.PlanarConfiguration] = 2, 1
    # Deflate, with the horizontal differencing predictor.
    tags[Tag.Compression], tags[Tag.Predictor] = 8, 2
    if channels == 4:
        tags[Tag.ExtraSamples] = 2
    sizes = [len(strip) for strip in strips]
    # Pillow adds the position of the first strip to the offsets, which are small at this point. So
    # their type is set here: Pillow would choose 16 bits.
    tags.tagtype[Tag.StripOffsets] = tags.tagtype[Tag.StripByteCounts] = TiffTags.LONG
    tags[Tag.StripOffsets] = tuple(np.cumsum([0, *sizes[:-1]]).tolist())
    tags[Tag.StripByteCounts] = tuple(sizes)
    buffer = io.BytesIO()
    tags.save(buffer)
    buffer.write(b"".join(strips))
    return buffer.getvalue(), notices


def _tiff_tags(metadata: Metadata) -> tuple[TiffImagePlugin.ImageFileDirectory_v2, list[str]]:
    """Returns the TIFF tags that hold metadata, and notices of what they cannot hold."""
    notices = []
    try:
        tiff_tags(metadata).tobytes()
    # Pillow's tag parsers may raise any exception; a bad EXIF block must not lose the pixels.
    except Exception:
        notices.append("the photo's EXIF block does not fit a TIFF and is left out")
        metadata = metadata._replace(exif=None)
    tags = tiff_tags(metadata)
    if omitted := captions.add_to_tiff(tags, metadata.iptc, metadata.texts):
        notices.append(_omitted_texts_notice("TIFF", omitted))
    return tags, notices


def _compress_rows(rows: np.ndarray) -> bytes:
    """Compresses horizontal differences, modulo 256 or 65536: [rows, width, channels] -> bytes."""
    differences = rows.astype(rows.dtype.newbyteorder("<"))
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.tobytes(), 6)


def _write_stream(stream: BinaryIO, data: bytes, name: str) -> None:
    try:
        remaining = memoryview(data)
        while remaining:
            # A raw stream may write only a part, and returns its size. None counts as all, because
            # the `write` of some objects returns nothing.
            written = stream.write(remaining)
            remaining = remaining[len(remaining) if written is None else written :]
        if hasattr(stream, "flush"):
            stream.flush()
    except OSError as error:
        raise UserError(f"{name}: cannot be written: {error.strerror or error}") from error
