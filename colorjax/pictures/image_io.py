"""Pictures in and out: the only door through which image files are opened or replaced.

`read_rgb` and `read_square` give sRGB as uint8 [height, width, 3], upright, whatever the file held;
what else a photograph carries is kept by `photo`, which opens and replaces files here. Every fault
of a file is told as a UserError that names the file.
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
from colorjax.pictures import arrays, files, formats
from colorjax.pictures.formats import FORMATS, heif_file, libtiff, tiff_file

# A file of a few kilobytes may claim any size; this one is 450 MB when decoded.
MAX_PIXELS = 150_000_000
# Every line of a picture costs memory of its own, be it a single pixel wide.
MAX_SIDE = 1_000_000
# Pillow warns from 89 million pixels on, which are welcome here. What else it warns of, it either
# reads in spite of it, or says again in the error that becomes the file's own sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# From 1 MB on Pillow takes a PNG's profile or text for an attack, and refuses the picture.
PngImagePlugin.MAX_TEXT_CHUNK = formats.MAX_METADATA_BYTES
# Goes up with any change to what read_square gives, as squares are kept on disk.
DECODER_VERSION = 4
_WRITERS: dict[str, dict[str, Any]] = {
    # Colour is the point here, so its resolution is not halved.
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".png": {"format": "PNG"},
}


class CutShortError(UserError):
    """The file ends before its picture does; `reason` is what the decoder said."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: cannot be read: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple:
        # An exception is pickled by its message alone, and a pool of processes waits for it.
        return type(self), (self.name, self.reason)


def read_rgb(
    source: str | os.PathLike | bytes, *, min_side: int | None = None, name: str | None = None
) -> np.ndarray:
    """Reads a picture as sRGB, upright.

    The EXIF orientation is applied, transparency is laid on white, 16-bit gray is rounded to 8
    bits, and of several frames or pages the first is taken, as `tiff_file.choose` has it. Embedded
    colour profiles are ignored.

    Args:
      source: path of the file, or its bytes.
      min_side: where the format allows it (JPEG), decode at 1/2, 1/4 or 1/8 of the size as long as
        the shorter side keeps at least this many pixels. None decodes in full.
      name: what error messages call the picture; the path by default.

    Returns:
      uint8 [height, width, 3].

    Raises:
      UserError: the file is missing, empty, damaged, too large, or of none of `FORMATS`.
    """
    name = name_of(source, name)
    with opened(tiff_file.choose(source, name)[0], name) as image:
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
      fit: `crop`, the centre square; `scale`, all of the picture, its sides brought to one length.
      name: what error messages call the picture; the path by default.

    Returns:
      uint8 [size, size, 3].

    Raises:
      UserError: as read_rgb.
    """
    name = name_of(source, name)
    with opened(tiff_file.choose(source, name)[0], name) as image:
        # At twice the size the result is as good as a full decode; at the size itself, 4 dB worse.
        image.draft(None, (2 * size, 2 * size))
        image_rgb = _to_rgb(image)
        width, height = image_rgb.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        middle, whole = (left, top, left + side, top + side), (0, 0, width, height)
        square = image_rgb.resize(
            (size, size),
            Image.Resampling.BICUBIC,
            box=whole if fit == "scale" else middle,
            reducing_gap=2.0,
        )
        # Turning keeps the centre square where it is, and a small picture turns faster.
        return np.asarray(upright(square))


def resized_square(rgb_u8: np.ndarray, size: int) -> np.ndarray:
    """A square, uint8 [s, s, 3], brought to a size as `read_square` brings pictures to it."""
    if len(rgb_u8) == size:
        return rgb_u8
    image = Image.fromarray(rgb_u8)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))


def write(path: str | os.PathLike, rgb_u8: np.ndarray) -> None:
    """Writes a picture as PNG or JPEG, by the suffix of the path.

    It is written beside the target and then renamed, so that nobody sees half a file.

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
    with atomic_write(path) as aside:
        Image.fromarray(rgb_u8).save(aside, **_WRITERS[path.suffix.lower()])


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """`files.atomic_write`, whose OSError (no folder, permission or space) becomes a UserError."""
    try:
        with files.atomic_write(path, overwrite=overwrite) as aside:
            yield aside
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise UserError(f"{path}: is there already; --overwrite replaces it") from error
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_rgb_u8(rgb_u8: np.ndarray) -> None:
    """Raises ValueError unless it is uint8 [height, width, 3]."""
    if rgb_u8.dtype != np.uint8 or rgb_u8.ndim != 3 or rgb_u8.shape[2] != 3:
        raise ValueError(f"want uint8 [height, width, 3], got {rgb_u8.dtype} {rgb_u8.shape}")


@contextlib.contextmanager
def opened(
    source: str | os.PathLike | bytes, name: str | None = None, wanted: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Opens a picture without decoding it; whatever fails inside the block is the file's fault.

    Args:
      source: path of the file, or its bytes.
      name: what error messages call the picture; the path by default.
      wanted: formats that are let in, as Pillow calls them.

    Yields:
      A Pillow image of at most MAX_PIXELS pixels and MAX_SIDE a side, not yet decoded.

    Raises:
      CutShortError: the file ends before its picture does.
      UserError: the file is missing, empty, damaged, too large or of another format.
    """
    name = name_of(source, name)
    libtiff.listen()
    try:
        if (len(source) if isinstance(source, bytes) else os.stat(source).st_size) == 0:
            raise UserError(f"{name}: is empty (0 bytes)")
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_let_in(source, wanted, name)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{name}: has {image.width} x {image.height} pixels, "
                    f"more than the {MAX_PIXELS} that are read"
                )
            if max(image.size) > MAX_SIDE:
                raise UserError(
                    f"{name}: has {image.width} x {image.height} pixels, "
                    f"want at most {MAX_SIDE} a side"
                )
            refuse_misread(image, name)
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: {_unidentified(source, wanted)}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: has more than the {MAX_PIXELS} pixels that are read") from error
    # Pillow's parsers raise nearly every kind of exception when a file is damaged.
    except Exception as error:
        reason = reason_of(error)
        if "truncated" in reason.lower() or _is_short_webp(source):
            raise CutShortError(name, reason) from error
        raise UserError(f"{name}: cannot be read: {reason}") from error


def refuse_misread(image: Image.Image, name: str) -> None:
    """Raises for the TIFFs that Pillow decodes to something else than they hold, without a word."""
    if not isinstance(image, TiffImageFile):
        return
    tags, is_raw = image.tag_v2, image.info.get("compression", "raw") == "raw"
    want = None
    # libtiff hands numbers over in the machine's order, and Pillow turns them regardless.
    if image.mode in ("I", "F") and tags.prefix == b"MM" and not is_raw:
        want = "a compressed big-endian TIFF of 32-bit or signed numbers", "little-endian"
    # Of separate planes it takes 16 bits for 8, and the second one of gray with alpha for nothing.
    elif tags.get(Tag.PlanarConfiguration) == 2 and tags.get(Tag.SamplesPerPixel, 1) > 1:
        is_deep = is_raw and max(tags.get(Tag.BitsPerSample, (1,))) > 8
        if is_deep or image.mode not in ("RGB", "RGBA", "CMYK"):
            want = "a TIFF that keeps its channels apart", "interleaved"
    if want:
        raise UserError(f"{name}: is {want[0]}, want it {want[1]}")


def reason_of(error: Exception) -> str:
    """What an exception of a decoder says, in one line; its kind if it says nothing."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    of_libtiff = f" ({libtiff.heard()})" if libtiff.heard() else ""
    return " ".join(said.split()) + of_libtiff


def name_of(source: str | os.PathLike | bytes, name: str | None = None) -> str:
    """What messages call a picture: the given name, else the path."""
    return name or ("picture" if isinstance(source, bytes) else os.fspath(source))


def head(source: str | os.PathLike | bytes) -> bytes:
    """The first bytes, as many as tell the format."""
    if isinstance(source, bytes):
        return source[: formats.HEAD_BYTES]
    with open(source, "rb") as file:
        return file.read(formats.HEAD_BYTES)


def _let_in(
    source: str | os.PathLike | bytes, wanted: tuple[str, ...], name: str
) -> tuple[str, ...]:
    """The formats that Pillow is to try: one if the file begins like it, else the plainest."""
    found = formats.by_signature(head(source))
    if found in wanted:
        formats.made_ready(found, name)
        if found == "HEIF" and (kind := heif_file.misnamed(source)) is not None:
            raise UserError(f"{name}: is a damaged HEIF file: one of its items is a {kind!r}")
        return (found,)
    # The others have a beginning that is unmistakable, and loading their decoders takes time.
    return tuple(format for format in wanted if format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"))


def _unidentified(source: str | os.PathLike | bytes, wanted: tuple[str, ...]) -> str:
    """What to say of a file that no format wants: it may only look like one of them."""
    found = formats.by_signature(head(source))
    if found in wanted:
        kind = formats.name_of_format(found)
        return f"is a {kind} file, but a damaged one or of a kind that is not read"
    *others, last = (formats.name_of_format(format) for format in wanted)
    return f"is no {', '.join(others)} or {last} picture"


def _is_short_webp(source: str | os.PathLike | bytes) -> bool:
    """Whether a WebP file has fewer bytes than it says; its decoder does not tell why it fails."""
    try:
        start = head(source)
        size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return is_webp and size < 8 + int.from_bytes(start[4:8], "little")


def upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; the image itself where there is nothing to turn."""
    try:
        # Pillow would copy what is upright.
        is_turned = image.getexif().get(Tag.Orientation, 1) in range(2, 9)
        return ImageOps.exif_transpose(image) if is_turned else image
    # A damaged EXIF block gives no orientation; the pixels themselves are sound.
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB; decodes the pixels."""
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        eight_bits = sixteen_to_eight_bits(np.asarray(image))
        if is_white_zero(image):
            eight_bits = 255 - eight_bits
        return _with_info(Image.fromarray(eight_bits), image).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers, whose white is unknown")
    # Pillow takes any fourth sample for transparency, that of an infrared scan too.
    is_undeclared = isinstance(image, TiffImageFile) and Tag.ExtraSamples not in image.tag_v2
    if image.has_transparency_data and not (is_undeclared and image.mode == "RGBA"):
        return _with_info(on_white(image.convert("RGBA")), image)
    return image.convert("RGB")


def fitted(rgb_u8: np.ndarray, side: int) -> np.ndarray:
    """A picture made small, if need be, so that no side has more than `side` pixels."""
    image = Image.fromarray(rgb_u8)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(image)


def on_white(image: Image.Image) -> Image.Image:
    """Mode RGBA laid on white: mode RGB."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def sixteen_to_eight_bits(values: np.ndarray) -> np.ndarray:
    """The nearest of the 256 equal steps: [...], 0 to 65535 -> [...] uint8."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """An array of 16 bits rounded to 8, and one of 8 as it is."""
    return values if values.dtype == np.uint8 else sixteen_to_eight_bits(values)


def is_white_zero(image: Image.Image) -> bool:
    """Whether it is a TIFF that counts from white to black, which Pillow turns up to 8 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(Tag.PhotometricInterpretation) == 0


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8, to an array [height, width, ...]; others do nothing."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _with_info(image: Image.Image, origin: Image.Image) -> Image.Image:
    """Hands on the metadata of the picture that an image was made from."""
    image.info = {k: v for k, v in origin.info.items() if k != "transparency"}
    return image


def mean_chroma(rgb_u8: np.ndarray) -> float:
    """How colourful a picture is: the mean over its pixels of max(R, G, B) - min(R, G, B).

    Args:
      rgb_u8: uint8 [height, width, 3].

    Returns:
      8-bit levels in [0, 255]: 0 for grays. A tint over the whole picture, as sepia, counts as
      colour.
    """
    # Twenty times as fast as max(axis=-1) and min(axis=-1), and this is asked of every photograph.
    highest = np.maximum(np.maximum(rgb_u8[..., 0], rgb_u8[..., 1]), rgb_u8[..., 2])
    lowest = np.minimum(np.minimum(rgb_u8[..., 0], rgb_u8[..., 1]), rgb_u8[..., 2])
    return float(np.mean(highest - lowest))
