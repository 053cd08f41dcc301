"""The supported picture formats: their suffixes, signatures and decoders.

The other modules of this package cover what Pillow does not: the boxes of HEIF, JPEG 2000 and JPEG
XL files, 16-bit PNG, the pages and samples of a TIFF, and the errors that libtiff reports.
"""

import importlib

from colorjax.errors import UserError

# Pillow reads dozens of formats; parsers that are not needed only add attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF", "JPEG2000", "JXL")
# Suffixes that a folder is searched for: SUFFIXES for training, PHOTO_SUFFIXES for colouring.
SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .hif .avif .jp2 .j2k .jpf .jpx "
    ".jxl".split()
)
PHOTO_SUFFIXES = (*SUFFIXES, ".gif")

# The most bytes of each kind of metadata. No camera or editor writes nearly as much.
MAX_METADATA_BYTES = 16 * 2**20

_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "JXL": "JPEG XL"}
# Signatures at the beginning of a file. They also identify damaged files, for better messages.
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
# The brands in the `ftyp` box of a HEIF or AVIF file: one major brand, then compatible brands. The
# generic brands say only that the file holds images, of any codec.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_AVIF_BRANDS = (b"avif", b"avis")
_GENERIC_BRANDS = (b"mif1", b"msf1")
HEAD_BYTES = 64  # enough for every signature and for the first brands
# Decoders that are not part of Pillow: the module, and the package to install for it.
_DECODERS = {"HEIF": ("pi_heif", "pi-heif"), "JXL": ("pillow_jxl", "'colorjax[jxl]'")}


def name_of_format(format: str) -> str:
    """Returns the common name of a format, given Pillow's name of it."""
    return _NAMES.get(format, format)


def detect_format(head: bytes) -> str | None:
    """Detects the format of a file by its signature; returns Pillow's name of it, None if unknown.

    The file may still be damaged.

    Args:
      head: the first HEAD_BYTES bytes of the file, fewer if it is shorter.
    """
    if head[4:8] == b"ftyp":
        return _detect_by_brands(head)
    for signature, format in _SIGNATURES.items():
        if head.startswith(signature):
            return format
    return None


def _detect_by_brands(head: bytes) -> str | None:
    first, size = head[8:12], int.from_bytes(head[:4], "big")
    others = [head[i : i + 4] for i in range(16, min(size, len(head)), 4)]
    if first in _GENERIC_BRANDS:
        is_avif = any(brand in _AVIF_BRANDS for brand in others)
        return "AVIF" if is_avif and not any(brand in _HEIF_BRANDS for brand in others) else "HEIF"
    if first in _HEIF_BRANDS:
        return "HEIF"
    return "AVIF" if first in _AVIF_BRANDS else None


def load_decoder(format: str | None, name: str) -> None:
    """Imports the decoder of a format that Pillow cannot decode itself, on first use.

    Raises:
      UserError: the decoder is not installed. The message calls the picture `name`.
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
