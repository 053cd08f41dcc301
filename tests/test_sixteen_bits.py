"""Scans with 16 bits per channel are read, coloured and written with all their bits."""

import io
import struct
import zlib

import jax
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from networks import save_run, tiny_network
from pictures import encode, noise
from PIL import Image, ImageCms, PngImagePlugin
from test_photo import (
    XYZ_FROM_ADOBE_RGB,
    chunk,
    exif_block,
    gray_profile,
    icc_matrix_profile,
    icc_profile,
    png,
    srgb_from,
    tiff,
)

from colorjax import cli
from colorjax.coloring import api
from colorjax.coloring.folders import batch, naming
from colorjax.coloring.network import functions, tiles
from colorjax.errors import UserError
from colorjax.ops import color
from colorjax.pictures import matrix_profile, metadata, photo, writing
from colorjax.pictures.formats import png_file, tiff_file, tiff_samples

WHITE = 65535


def deep_noise(*shape):
    return np.random.default_rng(0).integers(0, WHITE + 1, shape, np.uint16)


def read_deep(data, **options):
    return photo.read_photo(data, bits=16, **options)


# --- reading ---


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_pngs_are_read_to_the_last_bit(colour):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = deep_noise(7, 9, channels)
    exif = chunk(b"eXIf", exif_block(6)[6:])
    got = read_deep(png(values, 16, colour, exif))
    want = np.rot90(values, -1)
    np.testing.assert_array_equal(
        got.rgb, np.broadcast_to(want[..., : 3 if colour & 2 else 1], (9, 7, 3))
    )
    if colour & 4:
        assert np.abs(got.alpha - want[..., -1] / 257).max() < 1
    assert got.notices == () and photo.read_photo(png(values, 16, colour)).rgb.dtype == np.uint8


def test_a_transparent_colour_is_compared_in_all_16_bits():
    values = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint16)
    got = read_deep(png(values, 16, 2, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    np.testing.assert_array_equal(got.alpha, [[0, 255]])


# Pillow opens only little-endian BigTIFFs.
@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 32), "compression": "zlib"}],
)
@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
@pytest.mark.parametrize("extra", [None, "unassalpha", "unspecified"])
def test_tiffs_are_read_to_the_last_bit(extra, photometric, options, byteorder, bigtiff):
    colours = 3 if photometric == "rgb" else 1
    values = deep_noise(37, 40, colours + (extra is not None))
    if extra is None and colours == 1:
        values = values[..., 0]
    extras = None if extra is None else (extra,)
    got = read_deep(
        tiff(
            values,
            photometric=photometric,
            planarconfig="contig",
            extrasamples=extras,
            byteorder=byteorder,
            bigtiff=bigtiff,
            **options,
        )
    )
    values = values.reshape(37, 40, -1)
    want = values[..., :colours]
    want = WHITE - want if photometric == "miniswhite" else want
    np.testing.assert_array_equal(got.rgb, np.broadcast_to(want, (37, 40, 3)))
    if extra == "unassalpha":
        assert np.abs(got.alpha - values[..., -1] / 257).max() < 1
    else:
        assert got.alpha is None and len(got.notices) == (extra is not None)


def as_colour(gray_tiff):
    """Relabels a gray TIFF that Pillow wrote as RGB with a third of the width."""
    (page,) = tiff_file.read_pages(io.BytesIO(gray_tiff))
    data = tiff_file.with_numbers(gray_tiff, page, {256: page.first(256) // 3, 262: 2})
    # Replaces PlanarConfiguration (284) by SamplesPerPixel (277), which Pillow does not write.
    offset = page.entry_offsets[284]
    return data[:offset] + struct.pack("<HHII", 277, 4, 1, 3) + data[offset + 12 :]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "zstd"])
def test_compressions_used_by_scanners_are_read(compression):
    values = deep_noise(30, 36)
    data = as_colour(encode(values, "TIFF", compression=compression))
    got = read_deep(data)
    np.testing.assert_array_equal(got.rgb, values.reshape(30, 12, 3))


def test_large_pictures_are_decoded_in_parts(monkeypatch):
    monkeypatch.setattr(tiff_samples, "_BATCH_SAMPLES", 1000)
    values = deep_noise(50, 40, 3)
    data = tiff(values, photometric="rgb", rowsperstrip=3, compression="zlib")
    np.testing.assert_array_equal(read_deep(data).rgb, values)


def test_a_scan_is_turned_upright_and_its_premultiplied_colour_restored():
    rgba = deep_noise(5, 4, 4)
    rgba[..., 3] = 65535 // 2
    premultiplied = rgba.copy()
    premultiplied[..., :3] //= 2
    data = tiff(
        premultiplied,
        photometric="rgb",
        extrasamples=("assocalpha",),
        extratags=[(274, 3, 1, 6, True)],
    )
    got = read_deep(data)
    assert got.rgb.shape == (4, 5, 3) and (got.alpha == 127).all()
    assert np.abs(got.rgb.astype(int) - np.rot90(rgba[..., :3], -1)).max() <= 3
    exif = Image.Exif()
    exif.load(got.metadata.exif)
    assert exif[274] == 1


def test_gray_floats_are_read_with_16_bits():
    floats = np.array([[0, 0.1, 1]], np.float32)
    want = np.rint(floats[..., None] * WHITE)
    np.testing.assert_array_equal(read_deep(tiff(floats)).rgb, np.broadcast_to(want, (1, 3, 3)))


def test_a_truncated_tiff_is_reported_and_can_be_read_in_part():
    values = deep_noise(60, 40, 3)
    data = tiff(values, photometric="rgb", rowsperstrip=10)
    cut = data[: len(data) * 6 // 10]
    with pytest.raises(UserError, match="a.tif: is cut short: image file is truncated; --allow"):
        read_deep(cut, name="a.tif")
    got = read_deep(cut, allow_truncated=True)
    np.testing.assert_array_equal(got.rgb[:30], values[:30])
    assert (got.rgb[50:] == 0).all()


def test_tiffs_with_contradictory_tags_are_left_to_pillow():
    data = tiff(deep_noise(30, 36, 3), photometric="rgb", rowsperstrip=10)
    (page,) = tiff_file.read_pages(io.BytesIO(data))
    assert tiff_samples.layout_of(page) is not None
    for tag, number in ((278, 0), (278, 5), (257, 0), (277, 40), (277, 2)):
        (changed,) = tiff_file.read_pages(
            io.BytesIO(tiff_file.with_numbers(data, page, {tag: number}))
        )
        assert tiff_samples.layout_of(changed) is None


# --- colour profiles ---


def test_a_matrix_profile_is_applied_to_16_bits():
    values = deep_noise(16, 16, 3) // 2 + 16384
    profile = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 563 / 256)
    for data in (
        png(values, 16, 2, chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))),
        tiff(values, photometric="rgb", iccprofile=profile),
    ):
        got = read_deep(data)
        want = 257 * srgb_from(values / 257, XYZ_FROM_ADOBE_RGB, 563 / 256)
        assert np.abs(got.rgb - want).max() < 128  # half of an 8-bit step
        assert got.metadata.icc_profile and got.notices == ()
        eight = photo.read_photo(data).rgb
        assert np.abs(eight - want / 257).max() <= 4  # of a PNG, only the upper bits are read


def test_a_gray_profile_is_applied_to_16_bits():
    values = np.linspace(0, WHITE, 400).astype(np.uint16).reshape(20, 20)
    got = read_deep(tiff(values, iccprofile=gray_profile(1.0)))
    linear = values / WHITE
    want = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    assert np.abs(got.rgb[..., 1] - WHITE * want).max() < 1
    assert len(np.unique(got.rgb)) == 400


def test_an_srgb_profile_changes_no_bit():
    values = deep_noise(8, 8, 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    got = read_deep(tiff(values, photometric="rgb", iccprofile=profile))
    np.testing.assert_array_equal(got.rgb, values)


def test_a_table_profile_is_applied_to_8_bits_with_a_notice():
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    grid = bytes(v for rgb in np.ndindex(2, 2, 2) for v in (255 * rgb[0], 128, 128))
    ramp = bytes(range(256)) * 3
    table = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + identity + ramp + grid + ramp
    profile = icc_profile(b"RGB ", b"scnr", b"Lab ", {b"A2B0": table, b"A2B1": table})
    got = read_deep(tiff(deep_noise(8, 8, 3), photometric="rgb", iccprofile=profile), name="a.tif")
    assert got.rgb.dtype == np.uint8
    sentence = "a.tif: has a colour profile of tables, which are applied to 8 of its 16 bits"
    assert got.notices == (sentence,)


@pytest.mark.parametrize(
    "profile", [b"no profile", icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 2.2)[:300]]
)
def test_an_unusable_profile_changes_no_bit(profile):
    values = deep_noise(8, 8, 3)
    got = read_deep(tiff(values, photometric="rgb", iccprofile=profile))
    np.testing.assert_array_equal(got.rgb, values)
    assert "cannot be used" in got.notices[0] and got.metadata.icc_profile is None


@pytest.mark.parametrize(
    ("kind", "numbers", "want"),
    [
        (0, (2.0,), lambda x: x**2),
        (1, (2.0, 0.5, 0.25), lambda x: (0.5 * x + 0.25) ** 2),
        (2, (2.0, 1.0, -0.5, 0.125), lambda x: np.where(x < 0.5, 0, (x - 0.5) ** 2) + 0.125),
        (3, (2.0, 1.0, 0.0, 0.25, 0.25), lambda x: np.where(x < 0.25, x / 4, x**2)),
        (
            4,
            (2.0, 1.0, 0.0, 0.5, 0.5, 0.125, 0.25),
            lambda x: np.where(x < 0.5, x / 2 + 0.25, x**2 + 0.125),
        ),
    ],
)
def test_parametric_curves_follow_the_icc_standard(kind, numbers, want):
    tag = b"para" + bytes(4) + struct.pack(">HH", kind, 0)
    tag += struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))
    np.testing.assert_allclose(
        matrix_profile._curve(tag), want(np.arange(65536) / 65535), rtol=1e-5, atol=1e-6
    )


# --- through the network ---


def test_the_lightness_of_a_scan_is_kept_within_one_16_bit_step():
    shades = np.linspace(0, WHITE, 512 * 512).astype(np.uint16).reshape(512, 512)
    fits = np.zeros((4, 4, 6), np.float32)
    fits[..., 2:4] = np.random.default_rng(0).normal(0, 30, (4, 4, 2))
    positions = tiles._positions(0, 512, 512, 4)
    got = np.asarray(
        jax.jit(functions.color_tile)(
            fits, np.repeat(shades[..., None], 3, -1), positions, positions
        )
    )
    linear = np.where(
        got > 0.04045 * WHITE, ((got / WHITE + 0.055) / 1.055) ** 2.4, got / WHITE / 12.92
    )
    y = linear @ color.relative_xyz_from_linear_rgb[1]
    back = WHITE * np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y)
    assert got.dtype == np.uint16 and np.ptp(got.astype(int), axis=-1).mean() > 1000
    assert np.abs(back - shades).max() <= 1


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


def bits_of(path):
    if path.suffix == ".png":
        return path.read_bytes()[24]
    with tifffile.TiffFile(path) as file:
        return file.pages[0].bitspersample


def test_the_command_and_the_python_interface_keep_the_bit_depth(model, tmp_path):
    shades = np.linspace(5000, 60000, 48 * 60).astype(np.uint16).reshape(48, 60)
    tifffile.imwrite(tmp_path / "a.tif", np.repeat(shades[..., None], 3, -1), photometric="rgb")
    Image.fromarray(shades).save(tmp_path / "b.png")
    result = CliRunner().invoke(cli.main, [str(tmp_path), "--model", model])
    assert result.exit_code == 0, result.output
    assert [bits_of(tmp_path / name) for name in ("a_color.tif", "b_color.png")] == [16, 16]
    arguments = [str(tmp_path / "a.tif"), "--model", model, "--bits", "8", "--format", "png"]
    assert CliRunner().invoke(cli.main, arguments).exit_code == 0
    assert bits_of(tmp_path / "a_color.png") == 8
    colorizer = api.Colorizer(model)
    assert colorizer.colorize_file(tmp_path / "a.tif", tmp_path / "c.png") == ()
    np.testing.assert_array_equal(
        read_deep((tmp_path / "c.png").read_bytes()).rgb, tifffile.imread(tmp_path / "a_color.tif")
    )
    colorizer.colorize_file(tmp_path / "b.png", tmp_path / "c.jpg")
    assert Image.open(tmp_path / "c.jpg").size == (60, 48)
    assert colorizer.colorize(tmp_path / "a.tif").mode == "RGB"


def test_arranged_pictures_have_the_profile_but_no_tags_of_the_photograph(tmp_path, monkeypatch):
    def colorings(painter, photos, settings):
        yield from ((i, None, [255 - one]) for i, one in enumerate(photos))

    monkeypatch.setattr(batch, "colorings", colorings)
    path, target = str(tmp_path / "a.tif"), str(tmp_path / "b.tif")
    profile = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 2.2)
    exif = [(271, 2, 5, "Maker", True)]
    tifffile.imwrite(
        path, deep_noise(8, 9, 3), photometric="rgb", iccprofile=profile, extratags=exif
    )
    job = naming.Job(path, (target,), None)
    (outcome,) = batch.run(None, [job], [None], arrange=lambda one, results: [results[0][:4]])
    got = photo.read_photo(target)
    assert not outcome.fault and got.rgb.shape == (4, 9, 3)
    assert set(Image.open(target).tag_v2).isdisjoint({271, 282})
    assert got.metadata.icc_profile


# --- writing ---


@pytest.mark.parametrize("format", ["png", "tif"])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_written_files_are_read_back_exactly_with_their_metadata(format, has_alpha):
    rgb, alpha = deep_noise(40, 37, 3), noise(40, 37, 1)[..., 0]
    original = metadata.Metadata(
        exif_block(1), b"<x>by me</x>", (300, 300), None, b"\x1c\x02x\0\1a", (("Comment", "hi"),)
    )
    source = photo.Photo(rgb, alpha if has_alpha else None, original)
    stream = io.BytesIO()
    assert writing.write_photo(stream, rgb, source, format=format) == ()
    got = read_deep(stream.getvalue())
    np.testing.assert_array_equal(got.rgb, rgb)
    if has_alpha:
        np.testing.assert_array_equal(got.alpha, alpha)
    assert got.metadata.iptc.rstrip(b"\0") == original.iptc and got.metadata.xmp == original.xmp
    assert got.metadata.dpi == pytest.approx((300, 300), abs=0.01)
    if format == "tif":
        stored = tifffile.imread(io.BytesIO(stream.getvalue()))
        np.testing.assert_array_equal(stored[..., :3], rgb)


def test_a_png_has_valid_chunks_and_pillow_reads_the_upper_bits():
    rgb = deep_noise(5, 6, 3)
    data = png_file.encode_deep(rgb, pnginfo=PngImagePlugin.PngInfo(), dpi=(72, 72))
    assert [kind for kind, _ in png_file.chunks(data)] == [b"IHDR", b"pHYs", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), rgb >> 8)


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_8_bit_formats_get_the_nearest_value(format):
    rgb = np.full((16, 16, 3), 257 * 100 + 200, np.uint16)
    stream = io.BytesIO()
    writing.write_photo(stream, rgb, format=format)
    assert np.abs(np.asarray(Image.open(stream)).astype(int) - 101).max() <= 1
