"""Reads scans whose samples Pillow would reduce from 16 to 8 bits, or cannot read at all."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from colorjax.pictures import arrays, image_io, matrix_profile, srgb
from colorjax.pictures.formats import detect_format, png_file, tiff_file, tiff_samples
from colorjax.pictures.formats.tiff_samples import Layout


class Samples(NamedTuple):
    """Upright pixels in the file's own colour space.

    Attributes:
      colour: uint8 or uint16 [height, width, 1 or 3], 0 is black.
      alpha: uint8 [height, width], or None.
      notices: sentences for the user about what was left out.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()


def choose_page(
    source: str | os.PathLike | bytes, name: str, number: int | None = None
) -> tuple[str | os.PathLike | bytes, Layout | None, tuple[str, ...] | None]:
    """Selects the page of a TIFF that is the photograph; other files are returned unchanged.

    Args:
      source: path or bytes of the file.
      name: the name of the file in messages.
      number: the page to take, from 1, thumbnails not counted; None takes the first, with a notice
        if there are more.

    Returns:
      The file, patched so that the page comes first; the page's layout, None if `read_tiff` is not
      needed for it; notices about further pages, None if the frames must be counted with Pillow.

    Raises:
      UserError: the file is a camera's raw file, or has no such page.
    """
    source, page, count = tiff_file.choose_page(source, name, number)
    if page is None:
        return source, None, None
    has_more = number is None and count > 1
    notices = (f"has {count} pages, only the first is taken",) if has_more else ()
    return source, tiff_samples.layout_of(page), notices


def count_pages(source: str | os.PathLike | bytes) -> int:
    """Returns the number of pages of a TIFF, without thumbnails; 0 for all other files."""
    try:
        if detect_format(image_io.read_head(source)) != "TIFF":
            return 0
        with tiff_file.open_source(source) as file:
            return len(tiff_file.full_pages(tiff_file.read_pages(file), file))
    except OSError:
        return 0


def pillow_source(
    source: str | os.PathLike | bytes, layout: Layout | None
) -> str | os.PathLike | bytes:
    """Returns a file that Pillow can open for the metadata, even if it cannot read the pixels."""
    if layout is None:
        return source
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    return tiff_samples.described_as_gray(data, layout)


def read_tiff(
    source: str | os.PathLike | bytes, layout: Layout, image: Image.Image, lenient: bool
) -> Samples:
    """Reads the samples of a TIFF page; `image` is the same page, not decoded."""
    with tiff_file.open_source(source) as file:
        colour, alpha, notices = tiff_samples.read(file, layout, lenient=lenient)
    orientation = image.getexif().get(Tag.Orientation, 1)
    if alpha is not None:
        alpha = image_io.apply_orientation(image_io.eight_bits(alpha), orientation)
    return Samples(image_io.apply_orientation(colour, orientation), alpha, notices)


def read_png(source: str | os.PathLike | bytes, image: Image.Image) -> Samples:
    """Reads the samples of a PNG for which `png_file.is_deep` was true; `image` is decoded."""
    colour, alpha = png_file.read_deep(source, image), None
    transparent = image.info.get("transparency")
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
    elif isinstance(transparent, tuple):
        alpha = np.where((colour == transparent).all(-1), 0, 255).astype(np.uint8)
    orientation = image.getexif().get(Tag.Orientation, 1)
    alpha = None if alpha is None else image_io.apply_orientation(alpha, orientation)
    return Samples(image_io.apply_orientation(colour, orientation), alpha)


def read_gray(image: Image.Image) -> Samples:
    """Reads gray of more than 8 bits that Pillow decodes completely: mode I;16, I or F."""
    upright = image_io.upright(image)
    colour, notices = srgb.scale_gray(upright, image, 65535)
    transparent, alpha = image.info.get("transparency"), None
    if isinstance(transparent, int):
        alpha = np.where(colour == transparent, 0, 255).astype(np.uint8)
    return Samples(colour[..., None], alpha, notices)


def to_srgb(
    colour: np.ndarray, profile: bytes | None, bits: int
) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    """Converts samples to sRGB, like `srgb.to_srgb`.

    Args:
      colour: uint8 or uint16 [height, width, 1 or 3].
      profile: the colour profile of the samples, or None.
      bits: the most bits per channel of the result.

    Returns:
      uint8 or uint16 [height, width, 3]; the sRGB profile if `profile` was usable, else None; a
      notice if it was unusable, or could be applied only to 8 bits.
    """
    if bits == 8 or colour.dtype == np.uint8:
        rgb, icc_profile, notices = srgb.to_srgb(_as_image(colour), profile)
        return arrays.pixels(rgb), icc_profile, notices
    is_gray = colour.shape[2] == 1
    parsed = matrix_profile.parse(profile) if profile else None
    if parsed is not None and (is_gray or parsed.matrix is not None):
        channels = np.broadcast_to(colour, (*colour.shape[:2], len(parsed.curves)))
        converted = np.ascontiguousarray(matrix_profile.to_srgb(channels, parsed))
        return converted, srgb.srgb_profile(), ()
    notices = ()
    if profile:
        rgb, icc_profile, notices = srgb.to_srgb(_as_image(colour), profile)
        if icc_profile:
            notice = "has a colour profile of tables, which are applied to 8 of its 16 bits"
            return arrays.pixels(rgb), icc_profile, (*notices, notice)
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3))), None, notices


def _as_image(colour: np.ndarray) -> Image.Image:
    """Converts samples to an 8-bit image of mode L or RGB."""
    colour_u8 = image_io.eight_bits(colour)
    return Image.fromarray(colour_u8[..., 0] if colour_u8.shape[2] == 1 else colour_u8)
