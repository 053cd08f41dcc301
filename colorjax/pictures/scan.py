"""Scans: files whose samples are read beside Pillow, which drops 8 of 16 bits or knows them not."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from colorjax.pictures import arrays, image_io, matrix_profile, srgb
from colorjax.pictures.formats import by_signature, png_file, tiff_file, tiff_samples
from colorjax.pictures.formats.tiff_samples import Layout


class Samples(NamedTuple):
    """Upright pixels whose colours are still those of the file.

    Attributes:
      colour: uint8 or uint16 [height, width, 1 or 3], 0 is black.
      alpha: uint8 [height, width], or None.
      notices: what was left out.
    """

    colour: np.ndarray
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()


def chosen(
    source: str | os.PathLike | bytes, name: str, number: int | None = None
) -> tuple[str | os.PathLike | bytes, Layout | None, tuple[str, ...] | None]:
    """Of a TIFF the page that is the photograph; of any other file the file itself.

    Args:
      source: path or bytes of the file.
      name: what messages call it.
      number: the page to take, from 1 on, thumbnails not counted; None is the first, and has a
        notice of the others.

    Returns:
      The file, changed so that the page is its first; the page's layout, if it is to be read by
      `of_tiff`; a notice of further pages, None where Pillow must count them.

    Raises:
      UserError: it is the raw file of a camera, or has no such page.
    """
    source, page, count = tiff_file.choose(source, name, number)
    if page is None:
        return source, None, None
    is_told = number is None and count > 1
    notices = (f"has {count} pages, only the first is taken",) if is_told else ()
    return source, tiff_samples.layout_of(page), notices


def count_pages(source: str | os.PathLike | bytes) -> int:
    """How many pages a TIFF has, thumbnails not counted; 0 for any other file, readable or not."""
    try:
        if by_signature(image_io.head(source)) != "TIFF":
            return 0
        with tiff_file.open_source(source) as file:
            return len(tiff_file.full_pages(tiff_file.read_pages(file), file))
    except OSError:
        return 0


def openable(source: str | os.PathLike | bytes, layout: Layout | None) -> str | os.PathLike | bytes:
    """What Pillow opens for all that is not pixels."""
    if layout is None:
        return source
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    return tiff_samples.described_as_gray(data, layout)


def of_tiff(
    source: str | os.PathLike | bytes, layout: Layout, image: Image.Image, lenient: bool
) -> Samples:
    """The samples of a page of a TIFF; `image` is the same page, not decoded."""
    with tiff_file.open_source(source) as file:
        colour, alpha, notices = tiff_samples.read(file, layout, lenient=lenient)
    turn = image.getexif().get(Tag.Orientation, 1)
    alpha = None if alpha is None else image_io.turned(image_io.eight_bits(alpha), turn)
    return Samples(image_io.turned(colour, turn), alpha, notices)


def of_png(source: str | os.PathLike | bytes, image: Image.Image) -> Samples:
    """The samples of a PNG for which `png_file.is_deep` was true; `image` is the same, decoded."""
    colour, alpha = png_file.read_deep(source, image), None
    key = image.info.get("transparency")
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
    elif isinstance(key, tuple):
        alpha = np.where((colour == key).all(-1), 0, 255).astype(np.uint8)
    turn = image.getexif().get(Tag.Orientation, 1)
    alpha = None if alpha is None else image_io.turned(alpha, turn)
    return Samples(image_io.turned(colour, turn), alpha)


def of_gray(image: Image.Image) -> Samples:
    """Gray of more than 8 bits that Pillow has decoded in full: mode I;16, I or F."""
    upright = image_io.upright(image)
    colour, notices = srgb.gray(upright, image, 65535)
    key = image.info.get("transparency")
    alpha = np.where(colour == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None
    return Samples(colour[..., None], alpha, notices)


def to_srgb(
    colour: np.ndarray, profile: bytes | None, bits: int
) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    """Converts to sRGB, as `srgb.to_srgb` does.

    Args:
      colour: uint8 or uint16 [height, width, 1 or 3].
      profile: of the colour, if there is one.
      bits: most bits of the result.

    Returns:
      uint8 or uint16 [height, width, 3]; sRGB's profile if the image had a usable one; a notice if
      it had another, or if it can be applied to 8 bits alone.
    """
    if bits == 8 or colour.dtype == np.uint8:
        rgb, icc_profile, notices = srgb.to_srgb(_as_image(colour), profile)
        return arrays.pixels(rgb), icc_profile, notices
    in_gray = colour.shape[2] == 1
    found = matrix_profile.parse(profile) if profile else None
    if found is not None and (in_gray or found.matrix is not None):
        channels = np.broadcast_to(colour, (*colour.shape[:2], len(found.curves)))
        return (
            np.ascontiguousarray(matrix_profile.to_srgb(channels, found)),
            srgb.srgb_profile(),
            (),
        )
    notices = ()
    if profile:
        rgb, icc_profile, notices = srgb.to_srgb(_as_image(colour), profile)
        if icc_profile:
            notice = "has a colour profile of tables, which are applied to 8 of its 16 bits"
            return arrays.pixels(rgb), icc_profile, (*notices, notice)
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3))), None, notices


def _as_image(colour: np.ndarray) -> Image.Image:
    """Mode L or RGB."""
    small = image_io.eight_bits(colour)
    return Image.fromarray(small[..., 0] if small.shape[2] == 1 else small)
