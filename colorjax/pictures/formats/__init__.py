"""Which kinds of picture files are read: their suffixes, how they begin, and what decodes them.

The files beside this one know what is inside of such files where Pillow does not: the boxes of a
HEIF file, 16 bits of a PNG, the pages and samples of a TIFF, and what libtiff says of it.
"""

import importlib

from colorjax.errors import UserError

# Pillow knows dozens of formats; parsers that nobody needs are only a way in for hostile files.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF", "JPEG2000", "JXL")
# What a folder is searched for: first to train on, then to colour.
SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .hif .avif .jp2 .j2k .jpf .jpx "
    ".jxl".split()
)
PHOTO_SUFFIXES = (*SUFFIXES, ".gif")

# No camera or editor comes near; more is not worth its memory, in any one of what is kept.
MAX_METADATA_BYTES = 16 * 2**20

_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "JXL": "JPEG XL"}
# By how a file begins, the formats whose damaged files are worth a sentence of their own.
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
    b"\xff\x0a": "JXL",
}
# What files of boxes say that they are, first of all and then also; some only that they hold images
# of any codec.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AVIF_BRANDS = (b"avif", b"avis")
_PLAIN_BRANDS = (b"mif1", b"msf1")
HEAD_BYTES = 64  # those brands are among the first of them
# Decoders that Pillow does not come with: the module, and the package to install for it.
_DECODERS = {"HEIF": ("pi_heif", "pi-heif"), "JXL": ("pillow_jxl", "'colorjax[jxl]'")}


def name_of_format(format: str) -> str:
    """What people call a format that Pillow calls so."""
    return _NAMES.get(format, format)


def by_signature(head: bytes) -> str | None:
    """The format, as Pillow calls it, that a file of these first bytes must be; None if unknown.

    A file that begins so may be damaged still.

    Args:
      head: HEAD_BYTES bytes, or fewer of a shorter file.
    """
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    for signature, format in _SIGNATURES.items():
        if head.startswith(signature):
            return format
    return None


def _by_brands(head: bytes) -> str | None:
    first, size = head[8:12], int.from_bytes(head[:4], "big")
    others = [head[i : i + 4] for i in range(16, min(size, len(head)), 4)]
    if first in _PLAIN_BRANDS:
        is_avif = any(brand in _AVIF_BRANDS for brand in others)
        return "AVIF" if is_avif and not any(brand in _HEIF_BRANDS for brand in others) else "HEIF"
    if first in _HEIF_BRANDS:
        return "HEIF"
    return "AVIF" if first in _AVIF_BRANDS else None


def made_ready(format: str | None, name: str) -> None:
    """Loads the decoder of a format that has one of its own; only then, as most never need it.

    Raises:
      UserError: it is not installed. `name` is what the message calls the picture.
    """
    if format not in _DECODERS:
        return
    module, package = _DECODERS[format]
    try:
        decoder = importlib.import_module(module)
    except ImportError as error:
        kind = name_of_format(format)
        raise UserError(
            f"{name}: is a {kind} file, whose decoder is not installed: pip install {package}"
        ) from error
    if format == "HEIF":
        decoder.register_heif_opener()
