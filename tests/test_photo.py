"""Reading and writing of photographs: kinds of pixels, metadata and broken files."""

import contextlib
import io
import os
import re
import struct
import threading
import time
import zlib

import numpy as np
import pytest
import tifffile
from pictures import encode, noise
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin

from colorjax.errors import UserError
from colorjax.pictures import image_io, metadata, photo, writing

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6">by me</d></x:xmpmeta>'
XMP_UPRIGHT = XMP.replace(b'"6"', b'"1"')
# Linear sRGB to XYZ under D50, the white of colour profiles (Lindbloom).
XYZ_FROM_SRGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
XYZ_FROM_ADOBE_RGB = np.array(
    [
        [0.6097559, 0.2052401, 0.1492240],
        [0.3111242, 0.6256560, 0.0632197],
        [0.0194811, 0.0608902, 0.7448387],
    ]
)
XYZ_FROM_DISPLAY_P3 = np.array(
    [
        [0.5151187, 0.2919778, 0.1571035],
        [0.2411892, 0.6922441, 0.0665668],
        [-0.0010505, 0.0418791, 0.7840713],
    ]
)


def tiff(array, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def waves(height, width):
    """A smooth picture, which JPEG hardly changes."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack(
        [127 + 90 * np.sin(rows / a + columns / b) for a, b in ((29, 34), (40, 31), (35, 45))], -1
    ).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, bits, colour, *chunks: bytes) -> bytes:
    """A PNG of a kind that Pillow cannot write, from pixels [height, width, channels]."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).astype({8: ">u1", 16: ">u2"}[bits])
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def little_tiff(entries) -> bytes:
    """The beginning of a little-endian TIFF, from entries (tag, type, count, value or offset)."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)


def exif_block(orientation=6, order="<"):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0132] = "Maker", "1999:12:31 23:59:59"
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "1999:12:31 23:59:59", 0x927C: b"maker's own notes"}
    exif[0x8825] = {1: "N", 2: (46.0, 30.0, 0.5)}
    return exif.tobytes()


def exif_values(data: bytes) -> dict:
    exif = Image.open(io.BytesIO(data)).getexif()
    known = {tag: exif.get(tag) for tag in (0x010F, 0x0112, 0x0132)}
    return known | dict(exif.get_ifd(0x8769)) | dict(exif.get_ifd(0x8825))


def icc_profile(space: bytes, device: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 from its tags (ICC.1:2001-04, clause 6)."""
    table, body = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4xI4s4s4s12s4s", size, 0x02400000, device, space, pcs, b"", b"acsp")
    header += bytes(28) + xyz_number(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


def xyz_number(x, y, z):
    return struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))


def icc_matrix_profile(xyz_from_linear, gamma):
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    columns = {
        name: b"XYZ " + bytes(4) + xyz_number(*column)
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz_from_linear.T, strict=True)
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    white = {b"wtpt": b"XYZ " + bytes(4) + xyz_number(0.9642, 1.0, 0.8249)}
    return icc_profile(b"RGB ", b"mntr", b"XYZ ", columns | curves | white)


def gray_profile(gamma):
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + xyz_number(0.9642, 1.0, 0.8249)
    return icc_profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": curve, b"wtpt": white})


def odd_ink_profile():
    """A CMYK profile with 2 levels per ink, in which cyan ink is red, and any other is black."""
    lab_of_red, lab_of_white, lab_of_black = (138, 209, 198), (255, 128, 128), (0, 128, 128)
    grid = []
    for inks in np.ndindex(2, 2, 2, 2):
        others = any(inks[1:])
        grid += lab_of_black if others else lab_of_red if inks[0] else lab_of_white
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(grid) + ramp * 3
    return icc_profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": table, b"A2B1": table})


def srgb_from(rgb_u8, xyz_from_linear, gamma):
    """Converts colours by the definition of the profile, in plain arithmetic."""
    linear = (rgb_u8 / 255.0) ** gamma
    linear = linear @ (np.linalg.inv(XYZ_FROM_SRGB) @ xyz_from_linear).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def assert_close(got, want, steps=1):
    got, want = np.asarray(got, float), np.asarray(want, float)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= steps


def gray(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


# --- pixels ---


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_formats_are_read_bit_for_bit(format):
    rgb = noise(12, 14)
    image = Image.fromarray(rgb).quantize(200) if format == "GIF" else Image.fromarray(rgb)
    got = photo.read_photo(encode(image, format, lossless=True))
    np.testing.assert_array_equal(got.rgb, np.asarray(image.convert("RGB")))
    assert got.alpha is None and got.notices == ()
    assert got.metadata._replace(dpi=None) == metadata.Metadata()


def test_jpegs_in_colour_and_gray_are_read():
    rgb = waves(64, 80)
    assert_close(photo.read_photo(encode(rgb, "JPEG", quality=98, subsampling=0)).rgb, rgb, 4)
    got = photo.read_photo(encode(rgb[..., 0], "JPEG", quality=98))
    assert_close(got.rgb, gray(rgb[..., 0]), 4)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(format):
    bits = np.random.default_rng(0).integers(0, 2, (5, 19)).astype(bool)
    got = photo.read_photo(encode(Image.fromarray(bits), format))
    np.testing.assert_array_equal(got.rgb, gray(bits * 255))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_gray_tiffs_are_read_in_either_byte_order_and_polarity(
    dtype, compression, byteorder, photometric
):
    shades = np.array([[0, 3, 128, 200, 254, 255, 0, 255]])
    if dtype == "bool":
        shades = np.where(shades > 127, 255, 0)
    white = {"bool": 1, "uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    values = (shades / 255 * white).astype(dtype)
    options = {"byteorder": byteorder, "photometric": photometric, "compression": compression}
    if dtype == "bool":
        options["compression"] = None
    data = tiff(values, **options)
    if (dtype, byteorder, compression) == ("float32", ">", "zlib"):
        with pytest.raises(
            UserError, match="compressed big-endian TIFF of 32-bit or signed numbers, want"
        ):
            photo.read_photo(data)
    else:
        got = photo.read_photo(data)
        assert_close(got.rgb, gray(shades if photometric == "minisblack" else 255 - shades))
        assert got.notices == ()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colour_tiffs_of_8_and_16_bits_are_read(dtype, planar, byteorder):
    rgb = noise(6, 9)
    values = rgb.astype(dtype) * (257 if dtype == "uint16" else 1)
    values = values if planar == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": planar, "byteorder": byteorder}
    assert_close(photo.read_photo(tiff(values, **options, compression="zlib")).rgb, rgb)
    data = tiff(values, **options)
    if (dtype, planar) == ("uint16", "separate"):
        with pytest.raises(UserError, match="keeps its channels apart, want it interleaved"):
            photo.read_photo(data)
    else:
        assert_close(photo.read_photo(data).rgb, rgb)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_16_bit_pngs_are_read_with_their_alpha(colour):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = noise(5, 7, channels)
    got = photo.read_photo(png(values.astype(np.uint16) * 257, 16, colour))
    assert_close(got.rgb, values[..., :3] if colour in (2, 6) else gray(values[..., 0]))
    if colour in (4, 6):
        np.testing.assert_array_equal(got.alpha, values[..., -1])
    else:
        assert got.alpha is None


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_16_bit_png_becomes_alpha(channels):
    values = np.array([[0, 40_000, 65_535]])[..., None].repeat(channels, -1)
    key = struct.pack(">H", 40_000) * channels
    got = photo.read_photo(png(values, 16, channels - 1, chunk(b"tRNS", key)))
    np.testing.assert_array_equal(got.alpha, [[255, 0, 255]])
    assert_close(got.rgb, gray([[0, 40_000 / 257, 255]]))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("as_image", [False, True])
def test_the_transparent_shade_of_a_gray_png_has_the_pngs_bit_depth(bits, as_image):
    # Four pixels of the shade 1, four of 0.
    row = "".join(f"{value:0{bits}b}" for value in (1, 1, 1, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", 1))
    data += chunk(b"IDAT", zlib.compress(b"\0" + int(row, 2).to_bytes(bits, "big")))
    data += chunk(b"IEND", b"")
    got = photo.from_image(Image.open(io.BytesIO(data))) if as_image else photo.read_photo(data)
    np.testing.assert_array_equal(got.alpha, [[0] * 4 + [255] * 4])


def test_12_bit_gray_has_its_white_at_4095():
    # 0, 2048 and 4095 in 12 bits each, and 4 bits of padding.
    strip = bytes.fromhex("000800fff0")
    entries = [(256, 3, 1, 3), (257, 3, 1, 1), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 200), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 5)]
    data = little_tiff(entries).ljust(200, b"\0") + strip
    assert_close(photo.read_photo(data).rgb, gray([[0, 128, 255]]))


@pytest.mark.parametrize(
    ("values", "shades", "notice"),
    [
        (np.float32([[0, 0.5, 1]]), [[0, 128, 255]], None),
        (np.float32([[0.25, 0.5, 0.75]]), [[64, 128, 191]], None),
        (np.float32([[-1, 0, 3]]), [[0, 64, 255]], "from -1 to 3, which are taken as black and"),
        (np.float32([[0, np.nan, np.inf, 10]]), [[0, 0, 255, 255]], "from 0 to 10, "),
        (np.float32([[7, 7, 7]]), [[0, 0, 0]], "from 7 to 7, "),
        (np.int32([[-100, 0, 300]]), [[0, 64, 255]], "from -100 to 300, "),
        (np.int16([[-100, 0, 300]]), [[0, 64, 255]], "from -100 to 300, "),
        (np.uint32([[0, 2**31, 2**32 - 1]]), [[0, 128, 255]], r"from 0 to 4.29497e\+09, "),
    ],
)
def test_samples_without_a_defined_white_are_scaled_to_their_range(values, shades, notice):
    got = photo.read_photo(tiff(values, photometric="minisblack"), name="scan.tif")
    assert_close(got.rgb, gray(shades))
    if notice is None:
        assert got.notices == ()
    else:
        assert len(got.notices) == 1 and got.notices[0].startswith("scan.tif: has pixels ")
        assert re.search(notice, got.notices[0])


@pytest.mark.parametrize(
    ("dtype", "photometric", "shape"),
    [
        ("float64", "minisblack", (3, 4)),
        ("float16", "minisblack", (3, 4)),
        ("float32", "rgb", (3, 4, 3)),
    ],
)
def test_unsupported_kinds_of_tiff_are_refused(dtype, photometric, shape):
    with pytest.raises(UserError, match="scan.tif: is a TIFF file, but .* a kind that is not read"):
        photo.read_photo(tiff(np.ones(shape, dtype), photometric=photometric), name="scan.tif")


def test_alpha_and_the_colours_of_transparent_pixels_are_kept():
    rgba = noise(4, 5, 4)
    rgba[0, 0] = [200, 10, 20, 0]
    for format in ("PNG", "TIFF"):
        got = photo.read_photo(encode(rgba, format))
        np.testing.assert_array_equal(got.rgb, rgba[..., :3])
        np.testing.assert_array_equal(got.alpha, rgba[..., 3])
    gray_alpha = Image.fromarray(rgba).convert("LA")
    for format in ("PNG", "TIFF"):
        got = photo.read_photo(encode(gray_alpha, format))
        np.testing.assert_array_equal(got.rgb, gray(np.asarray(gray_alpha)[..., 0]))
        np.testing.assert_array_equal(got.alpha, rgba[..., 3])


def test_alpha_of_palettes_is_kept():
    palette = Image.fromarray(noise(6, 6)).quantize(8)
    want = np.where(np.asarray(palette) == 3, 0, 255)
    for format in ("PNG", "GIF"):
        got = photo.read_photo(encode(palette, format, transparency=3))
        np.testing.assert_array_equal(
            got.rgb[want > 0], np.asarray(palette.convert("RGB"))[want > 0]
        )
        np.testing.assert_array_equal(got.alpha, want)


def test_alpha_beside_a_palette_is_kept():
    # Four pixels of index and alpha; colours 0 and 1 of a table of 256.
    pixels = bytes([0, 255, 1, 200, 1, 0, 0, 7])
    colours = np.zeros((3, 256), "<u2")
    colours[:, 0], colours[:, 1] = (65535, 0, 0), (0, 0, 65535)
    entries = [(256, 3, 1, 4), (257, 3, 1, 1), (258, 3, 2, 8 | 8 << 16), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 3), (273, 4, 1, 200), (277, 3, 1, 2), (278, 3, 1, 1)]
    entries += [(279, 4, 1, 8), (320, 3, 768, 208), (338, 3, 1, 2)]
    data = little_tiff(entries).ljust(200, b"\0") + pixels + colours.tobytes()
    got = photo.read_photo(data)
    red, blue = [255, 0, 0], [0, 0, 255]
    np.testing.assert_array_equal(got.rgb, [[red, blue, blue, red]])
    np.testing.assert_array_equal(got.alpha, [[255, 200, 0, 7]])


def test_cmyk_and_ycck_jpegs_are_not_negatives():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    want = np.broadcast_to([255, 0, 0], (16, 16, 3))
    assert_close(photo.read_photo(encode(red, "JPEG", quality=98)).rgb, want, 4)
    # Adobe files hold inverted inks: those of red are (255, 0, 0, 255), which YCCK stores as Y, Cb
    # and Cr of cyan. Pillow writes 255 minus what it is given, and the marker must say YCCK.
    stored = Image.new("CMYK", (16, 16), (255 - 179, 255 - 171, 255 - 1, 255 - 255))
    data = encode(stored, "JPEG", quality=98)
    adobe = data.index(b"Adobe")
    assert data[adobe + 11] == 0
    data = data[: adobe + 11] + b"\2" + data[adobe + 12 :]
    assert_close(photo.read_photo(data).rgb, want, 6)
    np.testing.assert_array_equal(photo.read_photo(encode(red, "TIFF")).rgb, want)


def test_lab_tiffs_are_converted_to_srgb():
    # L* of 0 to 255, then a* and b* as signed bytes; sRGB's red, a middle gray, and white.
    lab = np.array([[[138, 81, 70], [137, 0, 0], [255, 0, 0]]], np.uint8)
    got = photo.read_photo(tiff(lab, photometric="cielab")).rgb
    assert_close(got[0, 0], [255, 0, 0], 5)
    assert_close(got[0, 1:], [[128] * 3, [255] * 3], 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_photos_are_turned_upright_and_their_orientation_is_reset(format, order):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = [255, 0, 0]
    stored = np.ascontiguousarray(np.rot90(upright, 1))
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    if format == "WEBP":
        options = {"lossless": True}
    data = encode(stored, format, exif=exif_block(6, order), **options)
    got = photo.read_photo(data)
    assert_close(got.rgb, upright, 30)
    again = io.BytesIO()
    writing.write_photo(again, got.rgb, got, format="png")
    assert exif_values(again.getvalue())[0x0112] == 1
    assert_close(photo.read_photo(again.getvalue()).rgb, upright, 30)


def test_16_bit_gray_and_alpha_are_turned_too():
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    exif = chunk(b"eXIf", exif_block(6)[6:])
    got = photo.read_photo(png(values[..., None], 16, 0, exif))
    assert_close(got.rgb, gray(np.rot90(values, -1) / 257))
    rgba = noise(3, 4, 4)
    got = photo.read_photo(png(rgba, 8, 6, exif))
    np.testing.assert_array_equal(got.alpha, np.rot90(rgba[..., 3], -1))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_only_the_first_of_several_frames_is_taken_with_a_notice(format):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    got = photo.read_photo(data, name="old.gif")
    np.testing.assert_array_equal(got.rgb, np.broadcast_to([255, 0, 0], (9, 9, 3)))
    what = "pages" if format == "TIFF" else "frames"
    assert got.notices == (f"old.gif: has 3 {what}, only the first is taken",)


def test_the_second_frame_of_a_phone_is_ignored_without_a_notice():
    second = Image.new("RGB", (32, 32))
    data = encode(noise(32, 32), "MPO", save_all=True, append_images=[second])
    assert photo.read_photo(data).notices == ()


# --- colour profiles ---


@pytest.mark.parametrize(
    ("matrix", "gamma"), [(XYZ_FROM_ADOBE_RGB, 563 / 256), (XYZ_FROM_DISPLAY_P3, 2.5)]
)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_wide_gamuts_are_converted_and_the_result_carries_srgb(format, matrix, gamma):
    rgb = noise(16, 16) // 2 + 64
    got = photo.read_photo(encode(rgb, format, icc_profile=icc_matrix_profile(matrix, gamma)))
    want = srgb_from(rgb, matrix, gamma)
    assert np.abs(want - rgb).max() > 10
    assert_close(got.rgb, want, 2)
    assert got.notices == ()
    for target in ("png", "jpg", "tif", "webp"):
        stream = io.BytesIO()
        writing.write_photo(stream, got.rgb, got, format=target)
        profile = Image.open(stream).info["icc_profile"]
        assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(profile))


def test_profiles_apply_to_pictures_with_alpha_and_palettes():
    profile = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 563 / 256)
    rgba = noise(8, 8, 4) // 2 + 64
    got = photo.read_photo(encode(rgba, icc_profile=profile))
    assert_close(got.rgb, srgb_from(rgba[..., :3], XYZ_FROM_ADOBE_RGB, 563 / 256), 2)
    np.testing.assert_array_equal(got.alpha, rgba[..., 3])
    palette = Image.fromarray(rgba[..., :3]).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    got = photo.read_photo(encode(palette, icc_profile=profile))
    assert_close(got.rgb, srgb_from(colours, XYZ_FROM_ADOBE_RGB, 563 / 256), 2)


def test_a_gray_profile_is_applied():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    # The profile is linear light, half of which is 188 in sRGB.
    got = photo.read_photo(encode(ramp, icc_profile=gray_profile(1.0)))
    linear = ramp / 255
    want = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear) * 255
    assert_close(got.rgb, gray(want), 2)
    assert got.metadata.icc_profile and got.notices == ()
    values = ramp.astype(np.uint16) * 257
    assert_close(photo.read_photo(encode(values, icc_profile=gray_profile(1.0))).rgb, gray(want), 2)


def test_gray_pixels_may_have_a_colour_profile():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    profile = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 1.0)
    got = photo.read_photo(encode(ramp, icc_profile=profile))
    assert_close(got.rgb, srgb_from(gray(ramp), XYZ_FROM_ADOBE_RGB, 1.0), 2)


def test_a_cmyk_profile_defines_the_colours_of_the_inks():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    got = photo.read_photo(encode(cyan, "TIFF", icc_profile=odd_ink_profile()))
    assert_close(got.rgb, np.broadcast_to([255, 0, 0], (16, 16, 3)), 8)
    data = encode(cyan, "JPEG", quality=98, icc_profile=odd_ink_profile())
    assert_close(photo.read_photo(data).rgb, np.broadcast_to([255, 0, 0], (16, 16, 3)), 8)


def test_srgb_is_not_converted_to_itself():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = noise(32, 32)
    got = photo.read_photo(encode(rgb, icc_profile=profile))
    np.testing.assert_array_equal(got.rgb, rgb)
    assert got.metadata.icc_profile


@pytest.mark.parametrize(
    "profile",
    [
        b"not a profile at all",
        icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 2.2)[:300],
        odd_ink_profile(),
        gray_profile(2.2),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_notice(profile):
    rgb = noise(8, 8)
    got = photo.read_photo(encode(rgb, icc_profile=profile), name="a.png")
    np.testing.assert_array_equal(got.rgb, rgb)
    assert got.metadata.icc_profile is None
    (notice,) = got.notices
    assert notice.startswith("a.png: has a colour profile that cannot be used (")


# --- metadata ---


def source_with_everything(format):
    options = {"exif": exif_block(), "dpi": (300, 300)}
    options["icc_profile"] = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 2.2)
    if format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif format == "TIFF":
        # For a TIFF, Pillow takes either EXIF or tags, and XMP is a tag.
        exif = Image.Exif()
        exif.load(exif_block())
        exif[700] = XMP
        options["exif"] = exif
    else:
        options["xmp"] = XMP
    return encode(waves(32, 48), format, **options)


@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_xmp_and_resolution_are_kept_between_all_formats(format, target):
    got = photo.read_photo(source_with_everything(format))
    assert got.notices == () and got.rgb.shape == (48, 32, 3)
    stream = io.BytesIO()
    notices = writing.write_photo(stream, got.rgb, got, format=target)
    # A WebP file has no resolution, so none is lost if it is the source.
    assert ["resolution" in one for one in notices] == [True] * (
        target == "webp" and format != "WEBP"
    )
    written = Image.open(stream)
    want = exif_values(encode(waves(8, 8), "JPEG", exif=exif_block(1)))
    found = exif_values(stream.getvalue())
    assert found.items() >= want.items()
    # Pillow itself removes the orientation from the XMP of a TIFF.
    without = XMP.replace(b'tiff:Orientation="6"', b"")
    assert written.info["xmp"].rstrip(b"\0") == (without if format == "TIFF" else XMP_UPRIGHT)
    assert "icc_profile" in written.info
    if "WEBP" != format and target != "webp":
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    again = photo.read_photo(stream.getvalue())
    assert_close(again.rgb, got.rgb, 0 if target in ("png", "tif") else 16)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
def test_texts_in_exif_keep_non_ascii_letters(format, target):
    words = {0x010E: "Grüße".encode(), 0x013B: "Jörg".encode(), 0x8298: "© Müller".encode()}
    exif = Image.Exif()
    exif.update(words)
    data = encode(Image.fromarray(noise(8, 8)), format, exif=exif)
    stream = io.BytesIO()
    writing.write_photo(stream, noise(8, 8), photo.read_photo(data), format=target)
    for text in words.values():
        assert text + b"\0" in stream.getvalue()


def test_a_comment_becomes_a_description_with_non_ascii_letters():
    comment = metadata.Metadata(texts=(("Comment", "Grüße aus Köln"),))
    stream = io.BytesIO()
    assert not writing.write_photo(
        stream, noise(8, 8), photo.Photo(noise(8, 8), None, comment), format="tif"
    )
    assert "Grüße aus Köln".encode() + b"\0" in stream.getvalue()


@pytest.mark.parametrize(
    "dtype, photometric",
    [("uint16", "minisblack"), ("uint16", "miniswhite"), ("uint32", "minisblack")],
)
def test_an_opened_tiff_is_read_like_its_file(dtype, photometric):
    maximum = np.iinfo(dtype).max
    data = tiff(
        np.array([[0, maximum // 4, maximum]], dtype),
        photometric=photometric,
        extratags=[(315, 2, 0, "Joe", True)],
    )
    want, got = photo.read_photo(data), photo.from_image(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(got.rgb, want.rgb)
    assert got.metadata == want.metadata and b"Joe" in got.metadata.exif
    assert len(got.notices) == len(want.notices)


def test_an_opened_tiff_that_pillow_misreads_is_refused():
    data = tiff(noise(6, 9).astype("uint16"), photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match="keeps its channels apart, want it interleaved"):
        photo.from_image(Image.open(io.BytesIO(data)))


def test_maker_notes_keep_their_offset_and_the_thumbnail_is_removed():
    block = bytearray(exif_block())
    (count,) = struct.unpack_from("<H", block, 6 + 8)
    link = 6 + 8 + 2 + 12 * count
    struct.pack_into("<I", block, link, len(block) - 6)
    block += struct.pack("<HHHIII", 1, 0x0103, 3, 1, 6, 0)
    assert len(
        Image.open(io.BytesIO(encode(noise(8, 8), "JPEG", exif=bytes(block))))
        .getexif()
        .get_ifd(ExifTags.IFD.IFD1)
    )
    got = photo.read_photo(encode(noise(8, 8), "JPEG", exif=bytes(block))).metadata.exif
    changed = [i for i, (a, b) in enumerate(zip(block, got, strict=True)) if a != b]
    assert len(changed) <= 1 + 4 and all(i in range(link, link + 4) for i in changed[1:])
    written = io.BytesIO()
    writing.write_photo(
        written, noise(8, 8), photo.Photo(noise(8, 8), None, metadata.Metadata(got)), format="jpg"
    )
    assert not Image.open(written).getexif().get_ifd(ExifTags.IFD.IFD1)


def test_structural_tags_of_a_tiff_are_not_copied():
    got = photo.read_photo(
        tiff(noise(40, 50), photometric="rgb", rowsperstrip=3, description="me", metadata=None)
    )
    exif = Image.Exif()
    exif.load(got.metadata.exif)
    assert set(exif) <= {270, 274, 305, 306} and exif[270] == "me"


def test_damaged_exif_is_left_out_with_a_notice():
    data = encode(noise(8, 8), "JPEG")
    broken = data[:2] + b"\xff\xe1\x00\x14Exif\0\0garbagegarba" + data[2:]
    got = photo.read_photo(broken, name="a.jpg")
    np.testing.assert_array_equal(got.rgb, image_io.read_rgb(data))
    assert got.notices == ("a.jpg: has a damaged EXIF block, which is left out",)
    inside = bytearray(exif_block())
    inside[40:] = bytes([255]) * len(inside[40:])
    odd = photo.Photo(noise(8, 8), None, metadata.Metadata(bytes(inside)))
    for target in ("png", "jpg", "webp", "tif"):
        stream = io.BytesIO()
        writing.write_photo(stream, noise(8, 8), odd, format=target)
        assert Image.open(stream).size == (8, 8)


def test_oversized_metadata_is_left_out_with_a_notice(monkeypatch):
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", 60)
    got = photo.read_photo(source_with_everything("JPEG"), name="a.jpg")
    assert got.metadata == metadata.Metadata(dpi=(300, 300))
    assert [n.split(" of ")[1].split(",")[0] for n in got.notices] == [
        "EXIF",
        "XMP",
        "colour profile",
    ]


def test_xmp_too_large_for_a_jpeg_is_left_out_with_a_notice():
    big = metadata.Metadata(xmp=b"x" * 70_000)
    stream = io.BytesIO()
    notices = writing.write_photo(
        stream, noise(8, 8), photo.Photo(noise(8, 8), None, big), format="jpg"
    )
    assert notices == (
        "output: a JPEG holds at most 65504 bytes of XMP, so the photo's 70000 are left out",
    )
    stream = io.BytesIO()
    assert not writing.write_photo(stream, noise(8, 8), photo.Photo(None, None, big), format="tif")
    assert len(Image.open(stream).info["xmp"]) == 70_000


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_is_written(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    alpha = noise(40, 30, 1)[..., 0]
    assert writing.write_photo(path, waves(40, 30), photo.Photo(waves(40, 30), alpha)) == ()
    got = photo.read_photo(path)
    np.testing.assert_array_equal(got.alpha, alpha)
    assert_close(got.rgb[alpha > 0], waves(40, 30)[alpha > 0], 0 if suffix != "webp" else 16)


def test_a_jpeg_is_laid_on_white_with_a_notice_if_that_is_visible(tmp_path):
    path = tmp_path / "a.jpg"
    alpha = np.full((16, 16), 255, np.uint8)
    source = photo.Photo(np.zeros((16, 16, 3), np.uint8), alpha)
    assert writing.write_photo(path, source.rgb, source) == ()
    alpha = alpha.copy()
    alpha[:8] = 51
    notices = writing.write_photo(path, source.rgb, source._replace(alpha=alpha))
    assert notices == (f"{path}: a JPEG has no transparency, so the photo is laid on white",)
    assert_close(photo.read_photo(path).rgb[::15, 0], gray([204, 0]), 2)


def test_a_written_tiff_is_compressed_and_readable_by_others(tmp_path):
    path = tmp_path / "a.tiff"
    rgb = waves(700, 600)
    writing.write_photo(path, rgb)
    np.testing.assert_array_equal(tifffile.imread(path), rgb)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"
        assert len(file.pages[0].dataoffsets) > 2
    assert path.stat().st_size < rgb.nbytes / 2
    np.testing.assert_array_equal(photo.read_photo(path).rgb, rgb)


def test_writing_twice_gives_the_same_bytes():
    source = photo.read_photo(source_with_everything("JPEG"))
    for format in ("png", "jpg", "tif", "webp"):
        streams = io.BytesIO(), io.BytesIO()
        for stream in streams:
            writing.write_photo(stream, source.rgb, source, format=format)
        assert streams[0].getvalue() == streams[1].getvalue()
    date = source.metadata.icc_profile[24:36]
    assert date == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


# --- broken files ---


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (
            b"once upon a time " * 20,
            "is not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000, JPEG XL or GIF picture",
        ),
        (b"\xff\xd8\xff\xe0" + b"once upon a time " * 20, "is cut short: Truncated File Read$"),
        (encode(noise(9, 9), "PPM"), "is not a JPEG"),
        (encode(noise(90, 90), "JPEG")[:3000], "is cut short: .*; --allow-truncated reads what is"),
        (encode(noise(90, 90), "JPEG")[:90], "is a JPEG file, but a damaged one"),
        (encode(noise(90, 90), "PNG")[:3000], "is cut short: .*; --allow-truncated reads what is"),
        (encode(noise(90, 90), "WEBP")[:300], "is cut short: could not create decoder object$"),
        (encode(noise(90, 90), "PNG")[:30], "is a PNG file, but a damaged one"),
        (b"\xff\xd8\xff" + b"once upon a time " * 20, "is a JPEG file, but a damaged one"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"holiday.jpg: ({reason})") as raised:
        photo.read_photo(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=f"photo 7: ({reason})"):
        photo.read_photo(data, name="photo 7")


@pytest.mark.parametrize("side", [12_500, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_before_they_are_decoded(side):
    small = png(np.zeros((1, 1, 3)), 8, 2)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    with pytest.raises(UserError, match="more than the 150000000"):
        photo.read_photo(small[:8] + header + small[33:])


@contextlib.contextmanager
def another_user():
    """Runs as a user without permissions, as root may read and write everywhere."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_missing_and_unreadable_files_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="gone.jpg: cannot be read: No such file"):
        photo.read_photo(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        photo.read_photo(tmp_path)
    path = tmp_path / "mine.png"
    path.write_bytes(encode(noise(4, 4)))
    path.chmod(0)
    with another_user(), pytest.raises(UserError, match="mine.png: cannot be read: Permission"):
        photo.read_photo(path)


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {"quality": 95}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {})],
)
def test_a_truncated_file_is_read_in_part_if_allowed(tmp_path, format, options):
    rgb = noise(120, 100) if format == "PNG" else waves(120, 100)
    data = encode(rgb, format, **options)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: len(data) * 6 // 10])
    got = photo.read_photo(path, allow_truncated=True)
    (notice,) = got.notices
    assert notice.startswith(f"{path}: is cut short: ") and notice.endswith(
        "; what is there was read"
    )
    assert got.rgb.shape == rgb.shape
    whole = photo.read_photo(data).rgb.astype(int)
    rows = slice(60, 120) if format == "BMP" else slice(0, 40)
    assert np.abs(got.rgb[rows] - whole[rows]).mean() < (20 if "progressive" in options else 3)
    assert photo.read_photo(data, allow_truncated=True).notices == ()


def test_a_truncated_file_without_pixels_is_always_an_error():
    for data in (encode(noise(90, 90), "JPEG")[:200], encode(noise(90, 90), "WEBP")[:300]):
        with pytest.raises(UserError, match="is cut short") as raised:
            photo.read_photo(data, allow_truncated=True)
        assert "allow-truncated" not in str(raised.value)


def test_allowing_truncated_files_does_not_affect_other_threads():
    cut = encode(noise(300, 300), "PNG")[:150_000]
    lenient, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            lenient.append(ImageFile.LOAD_TRUNCATED_IMAGES)
            with contextlib.suppress(UserError):
                photo.read_photo(cut)
                lenient.append(True)
            time.sleep(0)

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(20):
        photo.read_photo(cut, allow_truncated=True)
    stop.set()
    thread.join()
    assert lenient and not any(lenient)


# --- writing ---


def test_the_suffix_or_format_sets_the_file_type_and_others_are_refused(tmp_path):
    kinds = {"a.jpg": "JPEG", "a.JPEG": "JPEG", "a.png": "PNG", "a.tif": "TIFF", "a.webp": "WEBP"}
    for name, kind in kinds.items():
        writing.write_photo(tmp_path / name, noise(5, 6))
        assert Image.open(tmp_path / name).format == kind
    writing.write_photo(tmp_path / "b", noise(5, 6), format=".png")
    assert Image.open(tmp_path / "b").format == "PNG"
    wanted = r"a.gif: photos are written as .jpg, .*, .tif, .tiff or .webp, not '.gif'"
    with pytest.raises(UserError, match=wanted):
        writing.write_photo(tmp_path / "a.gif", noise(5, 6))
    with pytest.raises(UserError, match="output: photos are written as"):
        writing.write_photo(io.BytesIO(), noise(5, 6))
    with pytest.raises(UserError, match="more than the 16383 a side that WEBP holds; want .png"):
        writing.write_photo(tmp_path / "wide.webp", np.zeros((1, 16384, 3), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        writing.write_photo(tmp_path / "a.png", noise(2, 2).astype(np.float32))
    with pytest.raises(ValueError, match="alpha is"):
        writing.write_photo(
            tmp_path / "a.png", noise(2, 2), photo.Photo(noise(3, 2), noise(3, 2, 1)[..., 0])
        )


def test_jpegs_keep_their_full_colour_resolution(tmp_path):
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    writing.write_photo(tmp_path / "a.jpg", stripes)
    assert_close(photo.read_photo(tmp_path / "a.jpg").rgb, stripes, 40)


def test_a_jpeg_has_the_bytes_that_pillow_itself_would_write():
    rgb, ours, theirs = noise(30, 41), io.BytesIO(), io.BytesIO()
    writing.write_photo(ours, rgb, format="jpg")
    Image.fromarray(rgb).save(theirs, "JPEG", quality=writing.QUALITY, subsampling=0)
    assert ours.getvalue() == theirs.getvalue()


def test_folders_that_cannot_be_written_to_are_named(tmp_path):
    with pytest.raises(UserError, match="a.png: cannot be written: No such file"):
        writing.write_photo(tmp_path / "nowhere" / "a.png", noise(2, 2))
    with another_user(), pytest.raises(UserError, match="a.png: cannot be written: Permission"):
        writing.write_photo(tmp_path / "a.png", noise(2, 2))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_an_interrupted_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path, monkeypatch, old, error
):
    path = tmp_path / "a.png"
    if old:
        path.write_bytes(old)

    def stop(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        assert len(os.listdir(tmp_path)) == 1 + bool(old)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", stop)
        with pytest.raises(
            UserError if isinstance(error, OSError) else KeyboardInterrupt
        ) as raised:
            writing.write_photo(path, noise(9, 9))
    if isinstance(error, OSError):
        assert str(raised.value) == f"{path}: cannot be written: No space left on device"
    assert os.listdir(tmp_path) == (["a.png"] if old else [])
    assert not old or path.read_bytes() == old


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("a" * 251 + ".png")
    writing.write_photo(path, noise(2, 2))
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("format", ["png", "jpg", "tif", "webp"])
def test_streams_need_not_seek_and_may_accept_partial_writes(format):
    class Pipe(io.RawIOBase):
        taken = b""

        def writable(self):
            return True

        def write(self, data):
            self.taken += bytes(data[:100])
            return min(len(data), 100)

    pipe, whole = Pipe(), io.BytesIO()
    writing.write_photo(pipe, noise(20, 30), format=format)
    writing.write_photo(whole, noise(20, 30), format=format)
    assert pipe.taken == whole.getvalue()
    assert photo.read_photo(pipe.taken).rgb.shape == (20, 30, 3)


def test_a_broken_stream_is_reported():
    class Closed(io.RawIOBase):
        name = "<stdout>"

        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(UserError, match="<stdout>: cannot be written: Broken pipe"):
        writing.write_photo(Closed(), noise(4, 4), format="png")
