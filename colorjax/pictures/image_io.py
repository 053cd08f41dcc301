"""Reads and writes image files; all other modules open and replace them through this one.

`read_rgb` and `read_square` return upright sRGB, uint8 [height, width, 3], whatever the file holds.
The module `photo`, which uses this one, also keeps metadata and transparency. Every problem with a
file is reported as a UserError that names the file.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import TiffImageFile

from colorjax.errors import UserError
from colorjax.pictures import arrays, files, formats, metadata
from colorjax.pictures.formats import FORMATS, heif_file, jxl_file, libtiff, png_file, tiff_file

# A file of a few kilobytes may declare any size; this one takes 450 MB when decoded.
MAX_PIXELS = 150_000_000
# Each row of an image has a memory overhead, even if it is a single pixel wide.
MAX_SIDE = 1_000_000
# Pillow warns about pictures of more than 89 million pixels, which are allowed here. Its other
# warnings are about files that it can read nevertheless, or are repeated in an error, which becomes
# the message about the file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# By default, Pillow refuses a PNG whose profile or text exceeds 1 MB, as a possible attack.
PngImagePlugin.MAX_TEXT_CHUNK = formats.MAX_METADATA_BYTES
# Must be incremented with any change to the results of read_square, which are cached on disk.
DECODER_VERSION = 5
_WRITERS: dict[str, dict[str, Any]] = {
    # No chroma subsampling, as colour is what matters here.
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".png": {"format": "PNG"},
}


class CutShortError(UserError):
    """The file is truncated; `reason` is the decoder's message."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: cannot be read: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple:
        # By default, only the message is pickled, and unpickling fails: a process pool would hang.
        return type(self), (self.name, self.reason)


def read_rgb(
    source: str | os.PathLike | bytes, *, min_side: int | None = None, name: str | None = None
) -> np.ndarray:
    """Reads a picture as upright sRGB.

    The EXIF orientation is applied, transparent pictures are composited on white, 16-bit gray is
    rounded to 8 bits, and the first of several frames is taken, or the page of a TIFF that
    `tiff_file.choose_page` selects. Embedded colour profiles are ignored.

    Args:
      source: path of the file, or its bytes.
      min_side: decode at 1/2, 1/4 or 1/8 of the size if the format allows it (JPEG) and the shorter
        side keeps at least this many pixels. None decodes at full size.
      name: the name of the picture in messages; the path by default.

    Returns:
      uint8 [height, width, 3].

    Raises:
      UserError: the file is missing, empty, damaged or too large, or has none of `FORMATS`.
    """
    name = name_of(source, name)
    with open_image(tiff_file.choose_page(source, name)[0], name) as image:
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        return arrays.pixels(upright(_to_rgb(image)))


def read_square(
    source: str | os.PathLike | bytes, size: int, *, fit: str = "crop", name: str | None = None
) -> np.ndarray:
    """Reads a picture as a square of a given size; smaller pictures are enlarged.

    Args:
      source: path of the file, or its bytes.
      size: side of the result in pixels.
      fit: `crop` takes the centre square; `scale` takes the whole picture and changes its aspect
        ratio to 1.
      name: the name of the picture in messages; the path by default.

    Returns:
      uint8 [size, size, 3].

    Raises:
      UserError: as read_rgb.
    """
    name = name_of(source, name)
    with open_image(tiff_file.choose_page(source, name)[0], name) as image:
        # Decoding at twice the size is as good as a full decode; at the size itself, 4 dB worse.
        image.draft(None, (2 * size, 2 * size))
        image_rgb = _to_rgb(image)
        width, height = image_rgb.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        centre, whole = (left, top, left + side, top + side), (0, 0, width, height)
        square = image_rgb.resize(
            (size, size),
            Image.Resampling.BICUBIC,
            box=whole if fit == "scale" else centre,
            reducing_gap=2.0,
        )
        # Rotation does not move the centre square, and a small picture is faster to rotate.
        return np.asarray(upright(square))


def resized_square(rgb_u8: np.ndarray, size: int) -> np.ndarray:
    """Resizes a square, uint8 [s, s, 3], in the same way as `read_square`."""
    if len(rgb_u8) == size:
        return rgb_u8
    image = Image.fromarray(rgb_u8)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))


def write(path: str | os.PathLike, rgb_u8: np.ndarray) -> None:
    """Writes a picture atomically as PNG or JPEG, depending on the suffix of the path.

    Args:
      path: ends in .png, .jpg or .jpeg; an existing file is replaced.
      rgb_u8: uint8 [height, width, 3].

    Raises:
      UserError: another suffix, or the folder is missing or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"{path}: pictures are written as .png, .jpg or .jpeg, not {path.suffix!r}")
    check_rgb_u8(rgb_u8)
    with atomic_write(path) as temporary:
        Image.fromarray(rgb_u8).save(temporary, **_WRITERS[path.suffix.lower()])


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Like `files.atomic_write`, but raises UserError instead of OSError.

    Its message names the path and the reason, such as an existing file or a full disk.
    """
    try:
        with files.atomic_write(path, overwrite=overwrite) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise UserError(f"{path}: exists already; --overwrite replaces it") from error
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_rgb_u8(rgb_u8: np.ndarray) -> None:
    """Raises ValueError unless it is uint8 [height, width, 3]."""
    if rgb_u8.dtype != np.uint8 or rgb_u8.ndim != 3 or rgb_u8.shape[2] != 3:
        raise ValueError(f"want uint8 [height, width, 3], got {rgb_u8.dtype} {rgb_u8.shape}")


@contextlib.contextmanager
def open_image(
    source: str | os.PathLike | bytes, name: str | None = None, wanted: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Opens a picture without decoding it; exceptions in the block become errors about the file.

    Args:
      source: path of the file, or its bytes.
      name: the name of the picture in messages; the path by default.
      wanted: the accepted formats, by Pillow's names.

    Yields:
      A Pillow image of at most MAX_PIXELS pixels and MAX_SIDE a side, not yet decoded.

    Raises:
      CutShortError: the file is truncated.
      UserError: the file is missing, empty, damaged, too large or in another format.
    """
    name = name_of(source, name)
    libtiff.start_capture()
    try:
        if (len(source) if isinstance(source, bytes) else os.stat(source).st_size) == 0:
            raise UserError(f"{name}: is empty (0 bytes)")
        candidates = _candidate_formats(source, wanted, name)
        source = png_file.with_distinct_keywords(source)
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=candidates) as image:
            _refuse_large(image.size, name)
            refuse_misread_tiff(image, name)
            image.info |= metadata.as_decoded(image)
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: {_unidentified_reason(source, wanted)}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: has more than the {MAX_PIXELS} pixels that are read") from error
    # Pillow's parsers raise nearly every kind of exception when a file is damaged.
    except Exception as error:
        reason = reason_of(error)
        if "truncated" in reason.lower() or _is_short_webp(source):
            raise CutShortError(name, reason) from error
        raise UserError(f"{name}: cannot be read: {reason}") from error


def _refuse_large(size: tuple[int, int], name: str) -> None:
    """Raises UserError for a width and height that exceed MAX_PIXELS or MAX_SIDE."""
    pixels = f"{name}: has {size[0]} x {size[1]} pixels"
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"{pixels}, more than the {MAX_PIXELS} that are read")
    if max(size) > MAX_SIDE:
        raise UserError(f"{pixels}, want at most {MAX_SIDE} a side")


def refuse_misread_tiff(image: Image.Image, name: str) -> None:
    """Raises UserError for TIFFs that Pillow decodes incorrectly without an error."""
    if not isinstance(image, TiffImageFile):
        return
    tags, is_uncompressed = image.tag_v2, image.info.get("compression", "raw") == "raw"
    problem = None
    # libtiff returns values in the machine's byte order, but Pillow swaps their bytes regardless.
    if image.mode in ("I", "F") and tags.prefix == b"MM" and not is_uncompressed:
        problem = "a compressed big-endian TIFF of 32-bit or signed numbers", "little-endian"
    # In planar files Pillow reads 16-bit planes as 8-bit ones, and ignores the alpha plane of gray.
    elif tags.get(Tag.PlanarConfiguration) == 2 and tags.get(Tag.SamplesPerPixel, 1) > 1:
        is_deep = is_uncompressed and max(tags.get(Tag.BitsPerSample, (1,))) > 8
        if is_deep or image.mode not in ("RGB", "RGBA", "CMYK"):
            problem = "a TIFF that keeps its channels apart", "interleaved"
    if problem:
        raise UserError(f"{name}: is {problem[0]}, want it {problem[1]}")


def reason_of(error: Exception) -> str:
    """Returns the message of a decoder's exception in one line; its type if it has no message.

    An error captured from libtiff is added.
    """
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    libtiff_error = f" ({libtiff.captured_error()})" if libtiff.captured_error() else ""
    return " ".join(message.split()) + libtiff_error


def name_of(source: str | os.PathLike | bytes, name: str | None = None) -> str:
    """Returns the name of a picture in messages: the given name, else the path."""
    return name or ("picture" if isinstance(source, bytes) else os.fspath(source))


def read_head(source: str | os.PathLike | bytes) -> bytes:
    """Returns the first bytes of a file, enough to detect its format."""
    if isinstance(source, bytes):
        return source[: formats.HEAD_BYTES]
    with open(source, "rb") as file:
        return file.read(formats.HEAD_BYTES)


def _candidate_formats(
    source: str | os.PathLike | bytes, wanted: tuple[str, ...], name: str
) -> tuple[str, ...]:
    """Returns the formats for Pillow to try: the one whose signature matches, else common ones."""
    found = formats.detect_format(read_head(source))
    if found in wanted:
        formats.load_decoder(found, name)
        if found == "HEIF" and (kind := heif_file.find_invalid_type(source)) is not None:
            raise UserError(f"{name}: is a damaged HEIF file: one of its items is a {kind!r}")
        if found == "JXL":
            _check_jxl(source, wanted, name)
        return (found,)
    # The other formats always have their signature, and their decoders take time to load.
    return tuple(format for format in wanted if format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"))


def _check_jxl(source: str | os.PathLike | bytes, wanted: tuple[str, ...], name: str) -> None:
    """Raises UserError for a JPEG XL file that is too large: its decoder decodes it on opening."""
    header = jxl_file.read_header(
        source if isinstance(source, bytes) else Path(source).read_bytes()
    )
    if header is None:
        raise UserError(f"{name}: {_unidentified_reason(source, wanted)}")
    _refuse_large((header.width, header.height), name)


def _unidentified_reason(source: str | os.PathLike | bytes, wanted: tuple[str, ...]) -> str:
    """Returns the message for a file that no decoder accepts; its signature may still match one."""
    found = formats.detect_format(read_head(source))
    if found in wanted:
        kind = formats.name_of_format(found)
        return f"is a {kind} file, but a damaged one or of a kind that is not read"
    *others, last = (formats.name_of_format(format) for format in wanted)
    return f"is not a {', '.join(others)} or {last} picture"


def _is_short_webp(source: str | os.PathLike | bytes) -> bool:
    """Whether a WebP file is shorter than it declares, which its decoder does not report."""
    try:
        start = read_head(source)
        size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return is_webp and size < 8 + int.from_bytes(start[4:8], "little")


def upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; returns the image itself if it is upright already."""
    try:
        # exif_transpose would copy an upright image.
        needs_rotation = image.getexif().get(Tag.Orientation, 1) in range(2, 9)
        return ImageOps.exif_transpose(image) if needs_rotation else image
    # Damaged EXIF may raise any exception, while the pixels are valid.
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decodes an image, and converts it from any mode to RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        eight_bits = sixteen_to_eight_bits(np.asarray(image))
        if is_white_zero(image):
            eight_bits = 255 - eight_bits
        return _copy_info(Image.fromarray(eight_bits), image).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers, whose white is unknown")
    # Pillow treats any fourth sample of a TIFF as alpha, even the infrared channel of a scan.
    is_undeclared = isinstance(image, TiffImageFile) and Tag.ExtraSamples not in image.tag_v2
    if image.has_transparency_data and not (is_undeclared and image.mode == "RGBA"):
        return _copy_info(on_white(image.convert("RGBA")), image)
    return image.convert("RGB")


def fitted(rgb_u8: np.ndarray, side: int) -> np.ndarray:
    """Shrinks a picture, if necessary, so that no side exceeds `side` pixels."""
    image = Image.fromarray(rgb_u8)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(image)


def on_white(image: Image.Image) -> Image.Image:
    """Composites an image of mode RGBA on white; returns mode RGB."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def sixteen_to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Rounds values from 0 to 65535 to 8 bits: [...] -> uint8 [...]."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Rounds a 16-bit array to 8 bits; returns a uint8 array unchanged."""
    return values if values.dtype == np.uint8 else sixteen_to_eight_bits(values)


def is_white_zero(image: Image.Image) -> bool:
    """Whether it is a TIFF in which zero is white. Pillow inverts these only up to 8 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(Tag.PhotometricInterpretation) == 0


def apply_orientation(values: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8, to an array [height, width, ...]; ignores others."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _copy_info(image: Image.Image, origin: Image.Image) -> Image.Image:
    """Copies the metadata of the image that `image` was converted from, except transparency."""
    image.info = {k: v for k, v in origin.info.items() if k != "transparency"}
    return image


def mean_chroma(rgb_u8: np.ndarray) -> float:
    """Measures how colourful a picture is: the mean over pixels of max(R, G, B) - min(R, G, B).

    Args:
      rgb_u8: uint8 [height, width, 3].

    Returns:
      8-bit levels in [0, 255]; 0 for a gray picture. A uniform tint, such as sepia, counts as
      colour.
    """
    # Twenty times as fast as max(axis=-1) and min(axis=-1); this runs for every photograph.
    highest = np.maximum(np.maximum(rgb_u8[..., 0], rgb_u8[..., 1]), rgb_u8[..., 2])
    lowest = np.minimum(np.minimum(rgb_u8[..., 0], rgb_u8[..., 1]), rgb_u8[..., 2])
    return float(np.mean(highest - lowest))
