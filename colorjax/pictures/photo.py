"""Photographs in, with their transparency, colour profile, EXIF, XMP, captions and resolution.

A photo may come in any mode that Pillow decodes and is given as sRGB, upright, of 8 bits unless
16 are asked for and there.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from colorjax.errors import UserError
from colorjax.pictures import arrays, formats, image_io, scan, srgb
from colorjax.pictures.captions import read_iptc, read_texts
from colorjax.pictures.formats import libtiff, png_file
from colorjax.pictures.metadata import Metadata, note_orientation, read_exif, read_metadata

FORMATS = (*formats.FORMATS, "GIF")
_JPEG_END = b"\xff\xd9"


class Photo(NamedTuple):
    """A photograph as it is meant to be seen.

    Attributes:
      rgb: uint8 [height, width, 3], sRGB, upright, not laid on anything where transparent; uint16
        only where the reader was asked for that.
      alpha: uint8 [height, width], 255 is opaque; None where the file has no transparency.
      metadata: what the file of the result is to carry.
      notices: sentences for the user: what was not taken as it is in the file.
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
    """Reads a photograph of any of `FORMATS`, of several frames the first.

    Colours are converted to sRGB by the embedded profile (relative colorimetric, black point kept);
    a profile that cannot be used is ignored with a notice, CMYK without one is taken as plain ink,
    and PNG's gAMA and cHRM are not looked at. 32-bit floats in [0, 1] are black to white; other
    floats, and 32-bit or signed integers, run from their darkest to their lightest pixel, with a
    notice. Transparency has 8 bits. Of a TIFF the first page is taken that is not a thumbnail.

    Args:
      source: path of the file, or its bytes.
      allow_truncated: take what there is of a file that was cut short, with a notice. The rest is
        gray (JPEG) or black. A WebP or compressed TIFF file gives nothing.
      name: what messages call the photo; the path by default.
      bits: 8 rounds pixels of more bits to 8. 16 leaves gray and RGB of a TIFF or PNG, and 16-bit
        gray of any format, as they are: `rgb` is then uint16. A profile of tables brings them to 8.
      page: of a TIFF, from 1 on; None takes the first, with a notice if there are more.

    Returns:
      The photo.

    Raises:
      UserError: as image_io.read_rgb; also where the file ends before its picture does, for the
        raw file of a camera, and for a kind of TIFF that is not read.
    """
    name = image_io.name_of(source, name)
    try:
        return _read(source, name, bits=bits, page=page)
    except image_io.CutShortError as error:
        sentence = f"{name}: is cut short: {error.reason}"
    try:
        photo = _read_part(source, name, bits, page)
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
    libtiff.listen()
    try:
        # Loading and turning leave their traces in an image, and it is not ours.
        note_orientation(image)
        image_io.refuse_misread(image, name)
        key = png_file.transparent_gray(image)
        copied = image.copy()
        copied.info |= {"iptc": read_iptc(image), "texts": read_texts(image)}
        if key is not None:
            copied.info["transparency"] = key
        if image.format == "TIFF":
            copied.info["exif"] = read_exif(image)
        return _taken_apart(copied, image, name)
    except UserError:
        raise
    # As in image_io.opened, whatever is raised here is the picture's fault.
    except Exception as error:
        raise UserError(f"{name}: cannot be read: {image_io.reason_of(error)}") from error


def as_image(rgb_u8: np.ndarray, photo: Photo) -> Image.Image:
    """A picture with the transparency of a photo, and its metadata in `info`: mode RGB or RGBA."""
    image = Image.fromarray(with_alpha(rgb_u8, photo.alpha))
    image.info = {name: value for name, value in photo.metadata._asdict().items() if value}
    return image


def _read(
    source: str | os.PathLike | bytes,
    name: str,
    *,
    cut_short: bool = False,
    bits: int = 8,
    page: int | None = None,
) -> Photo:
    """Reads a photo; if it is known to be cut short, what there is of it."""
    source, layout, pages = scan.chosen(source, name, page)
    with image_io.opened(scan.openable(source, layout), name, FORMATS) as image:
        frames = _told_frames(image) if pages is None else pages
        note_orientation(image)
        if layout is not None:
            return _finished(
                scan.of_tiff(source, layout, image, cut_short), image, name, frames, bits
            )
        is_deep = bits == 16 and png_file.is_deep(image)
        if cut_short:
            _load_part(image)
        elif is_deep:
            image.load()
            return _finished(scan.of_png(source, image), image, name, frames, bits)
        key = png_file.transparent_gray(image)
        if key is not None:
            image.info["transparency"] = key
        return _taken_apart(image, image, name, frames, bits)


def _taken_apart(
    image: Image.Image, origin: Image.Image, name: str, notices: tuple[str, ...] = (), bits: int = 8
) -> Photo:
    """The photo that a Pillow image is; `origin` is the same as it was opened."""
    image.load()
    if bits == 16 and (image.mode.startswith("I") or image.mode == "F"):
        return _finished(scan.of_gray(image), image, name, notices, bits)
    metadata, profile, left_out = read_metadata(image)
    colour, alpha, scaled = srgb.split(image_io.upright(image), origin)
    rgb, icc_profile, unconverted = srgb.to_srgb(colour, profile)
    notices = (*notices, *_damage(), *left_out, *scaled, *unconverted)
    return Photo(
        arrays.pixels(rgb),
        alpha,
        metadata._replace(icc_profile=icc_profile),
        tuple(f"{name}: {notice}" for notice in notices),
    )


def _finished(
    samples: scan.Samples, image: Image.Image, name: str, notices: tuple[str, ...], bits: int
) -> Photo:
    """The photo of samples that were read beside Pillow, and of what Pillow says of their file."""
    metadata, profile, left_out = read_metadata(image)
    rgb, icc_profile, unconverted = scan.to_srgb(samples.colour, profile, bits)
    notices = (*notices, *_damage(), *left_out, *samples.notices, *unconverted)
    return Photo(
        rgb,
        samples.alpha,
        metadata._replace(icc_profile=icc_profile),
        tuple(f"{name}: {notice}" for notice in notices),
    )


def _read_part(source: str | os.PathLike | bytes, name: str, bits: int, page: int | None) -> Photo:
    """Reads what there is of a photo that is cut short."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(b"\xff\xd8"):
        # With an end marker libjpeg itself fills in the rest, in progressive files too.
        data += _JPEG_END
    return _read(data, name, cut_short=True, bits=bits, page=page)


def _load_part(image: Image.Image) -> None:
    """Decodes up to where the file ends.

    Pillow's own switch for this, ImageFile.LOAD_TRUNCATED_IMAGES, holds for the whole process:
    while it was on, what another thread reads would be let through half gray without a word.
    """
    try:
        image.load()
    except OSError:
        # No tile is left to do, so the next load takes the pixels as they are.
        if isinstance(image, ImageFile.ImageFile):
            image.tile = []


def _damage() -> tuple[str, ...]:
    """A notice if libtiff met an error and went on all the same, as it does with faxes."""
    said = libtiff.heard()
    return (f"is damaged ({said}); what could be read was taken",) if said else ()


def count_frames(image: Image.Image) -> int:
    """How many frames or pages an image has; 1 where that cannot be counted."""
    # The further pictures in a phone's JPEG are previews and depth maps of the first.
    if image.format == "MPO":
        return 1
    try:
        return getattr(image, "n_frames", 1)
    # A damaged later frame does not concern the first.
    except Exception:
        image.seek(0)
        return 1


def _told_frames(image: Image.Image) -> tuple[str, ...]:
    """A notice if there are more frames than the one that is taken."""
    frames = count_frames(image)
    what = "pages" if image.format == "TIFF" else "frames"
    return (f"has {frames} {what}, only the first is taken",) if frames > 1 else ()


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """[h, w, 3] of 8 or 16 bits and uint8 [h, w] as one [h, w, 4]; [h, w, 3] without alpha."""
    if alpha is None:
        return rgb
    return np.dstack([rgb, alpha if rgb.dtype == np.uint8 else alpha.astype(np.uint16) * 257])
