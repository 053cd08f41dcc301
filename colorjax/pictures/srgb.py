"""Whatever Pillow decodes, as 8-bit sRGB and alpha, converted by the colour profile it carries."""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import TiffImageFile

from colorjax.pictures import image_io

# What the pixels of a profile's colour space may be.
_MODES_OF_SPACE = {"RGB": ("RGB", "L"), "GRAY": ("L",), "CMYK": ("CMYK",)}


def split(
    image: Image.Image, origin: Image.Image
) -> tuple[Image.Image, np.ndarray | None, tuple[str, ...]]:
    """Takes an image apart into 8-bit colour (mode L, RGB, CMYK or LAB), alpha and a notice.

    Args:
      image: decoded and upright.
      origin: the same as it was opened, for what only the file can say.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values, notices = gray(image, origin)
        key = image.info.get("transparency")
        alpha = None
        if isinstance(key, int):
            alpha = np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)
        return Image.fromarray(values), alpha, notices
    is_gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        keep = image.mode in ("L", "CMYK", "LAB")
        return image if keep else image.convert("L" if is_gray else "RGB"), None, ()
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # Of 16-bit colour only the upper 8 bits were decoded.
        image.info["transparency"] = tuple(value >> 8 for value in key)
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    colour = rgba.getchannel("R") if is_gray else rgba.convert("RGB")
    return colour, np.asarray(rgba.getchannel("A")), ()


def to_srgb(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Converts mode L, RGB, CMYK or LAB to sRGB.

    Returns:
      Mode RGB, or L where each gray stays what it is; sRGB's profile if the image had a usable one;
      a notice if it had another.
    """
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return _transformed(image, lab), srgb_profile() if profile else None, ()
    if profile is None:
        return _unconverted(image), None, ()
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if image.mode not in _MODES_OF_SPACE.get(space, ()):
            raise ValueError(f"it is for {space} and the pixels are {image.mode}")
        return _transformed(image, opened), srgb_profile(), ()
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notice = f"has a colour profile that cannot be used ({error}); it is ignored"
        return _unconverted(image), None, (notice,)


def _unconverted(image: Image.Image) -> Image.Image:
    """Mode RGB or L, of RGB, L or plain ink."""
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


@functools.cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, the same bytes in every run."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Its date of creation is now; a photo written twice should be the same.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def gray(
    image: Image.Image, origin: Image.Image, white: int = 255
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Gray of more than 8 bits, Pillow mode I;16, I or F.

    Returns:
      [height, width], uint8, or uint16 where `white` is 65535; a notice if white was unknown.
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
        # Pillow takes the bits of an unsigned number for a signed one.
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


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """The image in sRGB, and not touched if the profile says just that."""
    if image.mode == "L":
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        if profile.profile.xcolor_space.strip() == "RGB":
            ramp = ramp.convert("RGB")
        shades = _apply(ramp, profile, ImageCms.Flags.NOOPTIMIZE)
        if _is_near(shades, ramp):
            return image
        return Image.fromarray(np.asarray(shades)[0][np.asarray(image)])
    if image.mode == "RGB":
        # Most photos are sRGB, and a conversion would do nothing for them but round.
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        cube = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3))
        if _is_near(_apply(cube, profile), cube):
            return image
    return _apply(image, profile)


def _is_near(image: Image.Image, other: Image.Image) -> bool:
    """Whether two images differ by no more than rounding does."""
    one, two = (np.asarray(i.convert("RGB")).astype(int) for i in (image, other))
    return np.abs(one - two).max() <= 1


def _apply(image: Image.Image, profile: ImageCms.ImageCmsProfile, flags: int = 0) -> Image.Image:
    """Converts to sRGB.

    Its optimiser, which NOOPTIMIZE keeps off, is several times faster and wrong by up to 10 of 255
    in the shadows of a gray profile.
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
    assert converted is not None  # as it is only where the image itself is changed
    return converted
