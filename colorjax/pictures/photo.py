"""Reads photographs with their transparency, colour profile, EXIF, XMP, captions and resolution.

A photo may have any mode that Pillow decodes. It is returned as upright sRGB, with 8 bits per
channel unless the caller asks for 16 and the file has them.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from colorjax.errors import UserError
from colorjax.pictures import arrays, formats, image_io, mark, scan, srgb, xmp
from colorjax.pictures.captions import is_text, read_iptc, read_texts
from colorjax.pictures.formats import box_metadata, libtiff, png_file
from colorjax.pictures.metadata import (
    Metadata,
    as_decoded,
    read_exif,
    read_metadata,
    record_orientation,
)

FORMATS = (*formats.FORMATS, "GIF")
_JPEG_END = b"\xff\xd9"


class Photo(NamedTuple):
    """A decoded photograph in its display orientation.

    Attributes:
      rgb: uint8 [height, width, 3], upright sRGB, not composited on any background; uint16 only if
        the caller asked for 16 bits.
      alpha: uint8 [height, width], 255 is opaque; None if the file has no transparency.
      metadata: the metadata to write to the file of the result.
      notices: sentences for the user about what was ignored, converted or left out.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = Metadata()
    notices: tuple[str, ...] = ()


def read_photo(
    source: str | os.PathLike | bytes,
    *,
    allow_truncated: bool = False,
    name: str | None = None,
    bits: int = 8,
    page: int | None = None,
) -> Photo:
    """Reads a photograph in any of `FORMATS`; takes the first frame of several.

    Colours are converted to sRGB with the embedded profile (relative colorimetric intent, black
    point compensation). An unusable profile is ignored with a notice, CMYK without a profile is
    converted naively, and PNG's gAMA and cHRM chunks are ignored. 32-bit floats in [0, 1] map from
    black to white; other floats, and 32-bit or signed integers, are scaled so that the darkest
    pixel is black and the lightest white, with a notice. Alpha is reduced to 8 bits. In a TIFF, the
    first page that is not a thumbnail is read.

    Args:
      source: path of the file, or its bytes.
      allow_truncated: decode the available part of a truncated file, with a notice. The rest is
        gray (JPEG) or black. Nothing can be decoded from a truncated WebP or compressed TIFF.
      name: the name of the photo in messages; the path by default.
      bits: 8 rounds deeper pixels to 8 bits. 16 keeps the precision of gray and RGB in a TIFF or
        PNG, and of 16-bit gray in any format: `rgb` is then uint16. A colour profile with lookup
        tables still reduces them to 8 bits.
      page: number of the page of a TIFF, from 1; None takes the first, with a notice if there are
        more.

    Returns:
      The photo.

    Raises:
      UserError: as image_io.read_rgb; also if the file is truncated, is a camera's raw file, or is
        a kind of TIFF that is not supported.
    """
    name = image_io.name_of(source, name)
    try:
        return _read(source, name, bits=bits, page=page)
    except image_io.CutShortError as error:
        message = f"{name}: is cut short: {error.reason}"
    try:
        photo = _read_truncated(source, name, bits, page)
    # No pixel can be decoded, so the message does not suggest --allow-truncated.
    except image_io.CutShortError as error:
        raise UserError(f"{name}: is cut short: {error.reason}") from error
    if not allow_truncated:
        raise UserError(f"{message}; --allow-truncated reads what is there")
    return photo._replace(notices=(f"{message}; what is there was read", *photo.notices))


def from_image(image: Image.Image) -> Photo:
    """Converts a Pillow image of any mode to a photo, as if it had been read from a file.

    Raises:
      UserError: Pillow fails to decode it.
    """
    name = getattr(image, "filename", "") or "picture"
    libtiff.start_capture()
    try:
        record_orientation(image)
        image_io.refuse_misread_tiff(image, name)
        transparent_shade = png_file.transparent_gray(image)
        # Decoding and rotating modify an image, and this one belongs to the caller.
        copied = image.copy()
        # Pillow stores the texts of a PNG by their keywords, which may be names of other data.
        copied.info = {k: v for k, v in copied.info.items() if not is_text(k, v)}
        copied.info |= {"iptc": read_iptc(image), "texts": read_texts(image)}
        copied.info |= as_decoded(image)
        if transparent_shade is not None:
            copied.info["transparency"] = transparent_shade
        if image.format == "TIFF":
            copied.info["exif"] = read_exif(image)
        return _photo_of_image(copied, image, name)
    except UserError:
        raise
    # As in image_io.open_image, any exception here is caused by the picture.
    except Exception as error:
        raise UserError(f"{name}: cannot be read: {image_io.reason_of(error)}") from error


def marked(photo: Photo) -> Photo:
    """Returns a photo whose metadata marks its result as one of colorjax (`mark.marked`)."""
    return photo._replace(metadata=photo.metadata._replace(xmp=mark.marked(photo.metadata.xmp)))


def as_image(rgb_u8: np.ndarray, photo: Photo) -> Image.Image:
    """Returns a picture as a Pillow image with a photo's alpha and, in `info`, its metadata.

    The mode is RGB, or RGBA if the photo has transparency.
    """
    image = Image.fromarray(with_alpha(rgb_u8, photo.alpha))
    image.info = {name: value for name, value in photo.metadata._asdict().items() if value}
    return image


def _read(
    source: str | os.PathLike | bytes,
    name: str,
    *,
    is_truncated: bool = False,
    bits: int = 8,
    page: int | None = None,
) -> Photo:
    """Reads a photo, or its available part if it is known to be truncated."""
    source, layout, page_notice = scan.choose_page(source, name, page)
    with image_io.open_image(scan.pillow_source(source, layout), name, FORMATS) as image:
        notices = _frame_notice(image) if page_notice is None else page_notice
        notices = (*notices, *_add_from_boxes(image, source))
        record_orientation(image)
        if layout is not None:
            samples = scan.read_tiff(source, layout, image, is_truncated)
            return _photo_of_samples(samples, image, name, notices, bits)
        is_deep = bits == 16 and png_file.is_deep(image)
        if is_truncated:
            _load_truncated(image)
        elif is_deep:
            image.load()
            return _photo_of_samples(scan.read_png(source, image), image, name, notices, bits)
        transparent_shade = png_file.transparent_gray(image)
        if transparent_shade is not None:
            image.info["transparency"] = transparent_shade
        return _photo_of_image(image, image, name, notices, bits)


def _add_from_boxes(image: Image.Image, source: str | os.PathLike | bytes) -> tuple[str, ...]:
    """Adds the metadata that Pillow leaves in boxes to `info`; returns notices of what is lost."""
    found, notices = box_metadata.read(source, image)
    if "xmp" in found:
        # Pillow takes an orientation from XMP too, but these formats are not turned by it.
        found["xmp"] = xmp.normalized(found["xmp"], 1, image.size)
    image.info |= found
    return notices


def _photo_of_image(
    image: Image.Image, origin: Image.Image, name: str, notices: tuple[str, ...] = (), bits: int = 8
) -> Photo:
    """Converts a Pillow image to a photo; `origin` is the image as it was opened."""
    image.load()
    if bits == 16 and (image.mode.startswith("I") or image.mode == "F"):
        return _photo_of_samples(scan.read_gray(image), image, name, notices, bits)
    metadata, profile, left_out = read_metadata(image)
    colour, alpha, scaled = srgb.split(image_io.upright(image), origin)
    rgb, icc_profile, unconverted = srgb.to_srgb(colour, profile)
    notices = (*notices, *_damage_notice(), *left_out, *scaled, *unconverted)
    return Photo(
        arrays.pixels(rgb),
        alpha,
        metadata._replace(icc_profile=icc_profile),
        tuple(f"{name}: {notice}" for notice in notices),
    )


def _photo_of_samples(
    samples: scan.Samples, image: Image.Image, name: str, notices: tuple[str, ...], bits: int
) -> Photo:
    """Converts samples to a photo; `image` provides the metadata and the colour profile."""
    metadata, profile, left_out = read_metadata(image)
    rgb, icc_profile, unconverted = scan.to_srgb(samples.colour, profile, bits)
    notices = (*notices, *_damage_notice(), *left_out, *samples.notices, *unconverted)
    return Photo(
        rgb,
        samples.alpha,
        metadata._replace(icc_profile=icc_profile),
        tuple(f"{name}: {notice}" for notice in notices),
    )


def _read_truncated(
    source: str | os.PathLike | bytes, name: str, bits: int, page: int | None
) -> Photo:
    """Reads the available part of a truncated photo."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(b"\xff\xd8"):
        # Given an end marker, libjpeg fills in the missing part, in progressive files too.
        data += _JPEG_END
    return _read(data, name, is_truncated=True, bits=bits, page=page)


def _load_truncated(image: Image.Image) -> None:
    """Decodes a truncated image up to the end of its file.

    Pillow's own switch for this, ImageFile.LOAD_TRUNCATED_IMAGES, applies to the whole process:
    while it is on, other threads would silently accept half-gray images.
    """
    try:
        image.load()
    except OSError:
        # Without remaining tiles, the next load() keeps the pixels decoded so far.
        if isinstance(image, ImageFile.ImageFile):
            image.tile = []


def _damage_notice() -> tuple[str, ...]:
    """Returns a notice if libtiff reported an error but still decoded, as it does with faxes."""
    error = libtiff.captured_error()
    return (f"is damaged ({error}); what could be read was taken",) if error else ()


def count_frames(image: Image.Image) -> int:
    """Returns the number of frames or pages of an image; 1 if they cannot be counted."""
    # The other pictures in a phone's JPEG are previews and depth maps of the first.
    if image.format == "MPO":
        return 1
    try:
        return getattr(image, "n_frames", 1)
    # A damaged later frame does not matter, as only the first is used.
    except Exception:
        image.seek(0)
        return 1


def _frame_notice(image: Image.Image) -> tuple[str, ...]:
    """Returns a notice if the image has more frames than the one that is read."""
    frames = count_frames(image)
    unit = "pages" if image.format == "TIFF" else "frames"
    return (f"has {frames} {unit}, only the first is taken",) if frames > 1 else ()


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Appends the alpha channel to a picture.

    Args:
      rgb: uint8 or uint16 [h, w, 3].
      alpha: uint8 [h, w], or None.

    Returns:
      [h, w, 4] with the dtype of `rgb`; `rgb` itself if alpha is None.
    """
    if alpha is None:
        return rgb
    return np.dstack([rgb, alpha if rgb.dtype == np.uint8 else alpha.astype(np.uint16) * 257])
