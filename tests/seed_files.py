"""Small valid picture files of every kind that is read, for tests that damage them."""

import numpy as np
from pictures import encode, noise
from PIL import Image
from test_captions import with_iptc
from test_formats import HEIC
from test_photo import png, source_with_everything, tiff


def seeds() -> dict[str, bytes]:
    """Returns small valid files by name, those of JPEG XL only if its decoder is installed."""
    rgba_u16 = np.random.default_rng(0).integers(0, 65536, (9, 9, 4), np.uint16)
    rgb, indexed = (
        noise(20, 20),
        [Image.fromarray(noise(12, 12, seed=i)).quantize(8) for i in (0, 1)],
    )
    tiled = {"photometric": "rgb", "tile": (16, 16)}
    return {
        "jpeg": source_with_everything("JPEG"),
        "captioned": with_iptc("JPEG"),
        "progressive": encode(rgb, "JPEG", progressive=True),
        "cmyk": encode(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
        "png": source_with_everything("PNG"),
        "palette png": encode(indexed[0], transparency=3),
        "16-bit png": png(rgba_u16, 16, 6),
        "tiff": source_with_everything("TIFF"),
        "16-bit tiff": tiff(rgba_u16, photometric="rgb", extrasamples=(2,), compression="zlib"),
        "bigtiff": tiff(rgba_u16[..., :3], photometric="rgb", bigtiff=True),
        "tiled tiff": tiff(rgb, compression="zlib", predictor=True, **tiled),
        "lzw tiff": encode(rgb, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encode(rgb, "TIFF", compression="jpeg"),
        "fax tiff": encode(Image.fromarray(rgb).convert("1"), "TIFF", compression="group4"),
        "webp": source_with_everything("WEBP"),
        "lossless webp": encode(rgb, "WEBP", lossless=True),
        "gif": encode(indexed[0], "GIF", save_all=True, append_images=indexed[1:]),
        "bmp": encode(rgb, "BMP"),
        "palette bmp": encode(indexed[0], "BMP"),
        "heif": HEIC,
        "avif": encode(noise(16, 16), "AVIF"),
        "jpeg 2000": encode(noise(16, 16), "JPEG2000"),
        "codestream": encode(noise(16, 16), "JPEG2000", no_jp2=True),
        **_jxl_seeds(),
    }


def _jxl_seeds() -> dict[str, bytes]:
    try:
        import pillow_jxl  # noqa: F401  (registers itself with Pillow)
    except ImportError:
        return {}
    exif = Image.Exif()
    exif[270] = "a street"
    return {
        "jxl": encode(noise(16, 16), "JXL"),
        "boxed jxl": encode(noise(16, 16), "JXL", exif=exif.tobytes(), lossless=True),
    }
