"""Converts any image that Pillow decodes to 8-bit sRGB and alpha, using its colour profile."""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import TiffImageFile

from colorjax.pictures import image_io

# The Pillow modes that a profile of each colour space can be applied to.
_MODES_OF_SPACE = {"RGB": ("RGB", "L"), "GRAY": ("L",), "CMYK": ("CMYK",)}


def split(
    image: Image.Image, origin: Image.Image
) -> tuple[Image.Image, np.ndarray | None, tuple[str, ...]]:
    """Splits an image into 8-bit colour (mode L, RGB, CMYK or LAB), alpha, and notices.

    Args:
      image: a decoded, upright image.
      origin: the image as it was opened, which still has the tags of its file.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values, notices = scale_gray(image, origin)
        transparent = image.info.get("transparency")
        alpha = None
        if isinstance(transparent, int):
            alpha = np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8)
        return Image.fromarray(values), alpha, notices
    is_gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        keep = image.mode in ("L", "CMYK", "LAB")
        return image if keep else image.convert("L" if is_gray else "RGB"), None, ()
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:
        # Pillow decodes only the upper 8 bits of 16-bit colour.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    colour = rgba.getchannel("R") if is_gray else rgba.convert("RGB")
    return colour, np.asarray(rgba.getchannel("A")), ()


def to_srgb(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Converts an image of mode L, RGB, CMYK or LAB to sRGB.

    Returns:
      An image of mode RGB, or of mode L if gray levels need no conversion; the sRGB profile if
      `profile` was usable, else None; a notice if it was unusable.
    """
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return _convert(image, lab), srgb_profile() if profile else None, ()
    if profile is None:
        return _as_rgb(image), None, ()
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if image.mode not in _MODES_OF_SPACE.get(space, ()):
            raise ValueError(f"it is for {space} and the pixels are {image.mode}")
        return _convert(image, opened), srgb_profile(), ()
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notice = f"has a colour profile that cannot be used ({error}); it is ignored"
        return _as_rgb(image), None, (notice,)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Converts an image without a profile to mode RGB, if it is not RGB or L already."""
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


@functools.cache
def srgb_profile() -> bytes:
    """Returns an ICC profile of sRGB, with the same bytes in every run."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # A fixed creation date makes the files of two runs identical.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def scale_gray(
    image: Image.Image, origin: Image.Image, white: int = 255
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scales gray of more than 8 bits, Pillow mode I;16, I or F, to the range from 0 to `white`.

    Returns:
      [height, width], uint8, or uint16 if `white` is 65535; a notice if the file does not define
      the value of white.
    """
    values, kind = np.asarray(image), np.uint8 if white == 255 else np.uint16
    tags = origin.tag_v2 if isinstance(origin, TiffImageFile) else {}
    notices: tuple[str, ...] = ()
    if image.mode.startswith("I;16"):
        if tags.get(Tag.BitsPerSample) == (12,):
            shades = np.rint(values / 4095 * white).astype(kind)
        else:
            shades = image_io.eight_bits(values) if white == 255 else values.astype(kind)
    else:
        is_unsigned = image.mode == "I" and tags.get(Tag.SampleFormat, (1,))[0] == 1
        # Pillow returns unsigned 32-bit values as signed ones.
        values = values.view(np.uint32) if is_unsigned else values
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if image.mode == "F" and low >= 0.0 and high <= 1.0:
            low, high = 0.0, 1.0
        else:
            notices = (f"has pixels from {low:g} to {high:g}, which are taken as black and white",)
        precise = values if image.mode == "F" else values.astype(np.float64)
        scaled = (precise - low) * (white / ((high - low) or 1.0))
        shades = np.rint(np.nan_to_num(np.clip(scaled, 0.0, white))).astype(kind)
    return (white - shades if image_io.is_white_zero(origin) else shades), notices


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Converts an image to sRGB; returns it unchanged if its profile equals sRGB up to rounding."""
    if image.mode == "L":
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        if profile.profile.xcolor_space.strip() == "RGB":
            ramp = ramp.convert("RGB")
        shades = _apply_profile(ramp, profile, ImageCms.Flags.NOOPTIMIZE)
        if _is_nearly_equal(shades, ramp):
            return image
        return Image.fromarray(np.asarray(shades)[0][np.asarray(image)])
    if image.mode == "RGB":
        # Most photos are sRGB already, and a conversion would only add rounding errors.
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        cube = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3))
        if _is_nearly_equal(_apply_profile(cube, profile), cube):
            return image
    return _apply_profile(image, profile)


def _is_nearly_equal(image: Image.Image, other: Image.Image) -> bool:
    """Whether two images differ by no more than rounding errors."""
    first, second = (np.asarray(i.convert("RGB")).astype(int) for i in (image, other))
    return np.abs(first - second).max() <= 1


def _apply_profile(
    image: Image.Image, profile: ImageCms.ImageCmsProfile, flags: int = 0
) -> Image.Image:
    """Converts an image to sRGB with LittleCMS.

    The optimization of LittleCMS, which the flag NOOPTIMIZE disables, is several times faster, but
    its error is up to 10 of 255 levels in the shadows of a gray profile.
    """
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags | ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None is returned only for in-place conversion
    return converted
