"""Picture formats: files are found in folders and read, and those of other formats counted."""

import base64
import io
import struct
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import encode
from PIL import Image
from test_photo import XYZ_FROM_ADOBE_RGB, icc_matrix_profile

from colorjax import cli
from colorjax.coloring.folders import batch, finding, naming
from colorjax.commands import colorize as command
from colorjax.data import places
from colorjax.errors import UserError
from colorjax.pictures import formats, image_io, photo, writing
from colorjax.pictures.formats import boxes, heif_file, jxl_file
from colorjax.pictures.metadata import Metadata

# 64 x 64 pixels, red on the left and blue on the right, described in EXIF as "a street". Encoded
# once by pillow-heif; unlike its decoders, encoders of HEIF are subject to patents or the GPL.
HEIC = base64.b64decode("""
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAZdtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA
AAAAADRpbG9jAAAAAERAAAIAAQAAAAABuwABAAAAAAAAAC0AAgAAAAAB6AABAAAAAAAAAC4AAAA4aWluZgAAAAAAAgAAABVp
bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHho
dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAA
AwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAA
AAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAABppcmVmAAAAAAAAAA5jZHNjAAIA
AQABAAAAY21kYXQAAAApKAGvCeAhOXVf//yCP//8Yjch+xZ+U//5m0Pv8CC///c15CrgZ//o3/AAAAAGRXhpZgAATU0AKgAA
AAgAAQEOAAIAAAAJAAAAGgAAAABhIHN0cmVldAAA
""")


def red_and_blue():
    rgb = np.full((64, 64, 3), (30, 60, 200), np.uint8)
    rgb[:, :32] = 200, 40, 30
    return rgb


def test_a_phones_heic_is_read_with_its_metadata(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    got = photo.read_photo(tmp_path / "IMG_1.HEIC")
    assert got.rgb.shape == (64, 64, 3) and got.notices == ()
    assert np.abs(got.rgb.astype(int) - red_and_blue()).mean() < 12
    exif = Image.Exif()
    exif.load(got.metadata.exif)
    assert exif[0x010E] == "a street"
    square = image_io.read_square(HEIC, 8)
    assert square[4, 1, 0] > 150 > square[4, 6, 0]


@pytest.mark.parametrize(
    ("suffix", "format", "options"),
    [
        ("avif", "AVIF", {"quality": 95, "subsampling": "4:4:4"}),
        ("jp2", "JPEG2000", {}),
        ("jpf", "JPEG2000", {}),
        ("j2k", "JPEG2000", {"no_jp2": True}),
        ("jxl", "JXL", {"lossless": True}),
        ("jfif", "JPEG", {"quality": 95}),
        ("jpe", "JPEG", {"quality": 95}),
    ],
)
def test_rarer_formats_are_read(suffix, format, options, tmp_path):
    if format == "JXL":
        pytest.importorskip("pillow_jxl")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(encode(red_and_blue(), format, **options))
    assert np.abs(photo.read_photo(path).rgb.astype(int) - red_and_blue()).mean() < 4
    assert image_io.read_rgb(path).shape == (64, 64, 3)
    with pytest.raises(UserError, match=f"a.{suffix}: "):
        path.write_bytes(path.read_bytes()[:40])
        photo.read_photo(path)


@pytest.mark.parametrize(
    ("format", "head", "package"),
    [
        ("HEIF", HEIC, "pip install pi-heif"),
        ("JXL", b"\xff\x0a" + bytes(40), r"pip install 'colorjax\[jxl\]'"),
    ],
)
def test_a_missing_decoder_is_named(format, head, package, monkeypatch):
    module, _ = formats._DECODERS[format]
    monkeypatch.setitem(sys.modules, module, None)
    kind = {"HEIF": "HEIF", "JXL": "JPEG XL"}[format]
    with pytest.raises(UserError, match=f"a.x: is a {kind} file, whose decoder .*{package}$"):
        photo.read_photo(head, name="a.x")


def test_a_format_is_detected_from_the_content_not_from_the_suffix(tmp_path):
    (tmp_path / "a.jpg").write_bytes(HEIC)
    assert photo.read_photo(tmp_path / "a.jpg").rgb.shape == (64, 64, 3)


def test_files_of_a_generic_brand_are_detected_by_their_compatible_brands():
    avif = encode(red_and_blue(), "AVIF")
    for data in (HEIC, avif):
        plain = data[:8] + b"mif1" + data[12:]
        assert formats.detect_format(plain[: formats.HEAD_BYTES]) == formats.detect_format(data)
        assert photo.read_photo(plain).rgb.shape == (64, 64, 3)


def test_a_heic_with_an_item_type_that_is_not_text_is_refused():
    offset = HEIC.index(b"Exif\0")
    damaged = HEIC[:offset] + b"Ex\xd2\xcc" + HEIC[offset + 4 :]
    sentence = r"a.heic: is a damaged HEIF file: one of its items is a b'Ex\\xd2\\xcc'"
    for read in (photo.read_photo, image_io.read_rgb):
        with pytest.raises(UserError, match=sentence):
            read(damaged, name="a.heic")


def box(kind, *parts, large=False):
    body = b"".join(parts)
    if large:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("many", [False, True])  # whether the count of items has 4 bytes, not 2
@pytest.mark.parametrize("version", [1, 2, 3])
def test_invalid_types_of_items_and_of_their_content_are_found(version, many, large):
    def file(kind, content):
        number = bytes(4 if version == 3 else 2)
        names = (kind if version > 1 else b"") + b"a name\xff\0" + content + b"\0"
        item = box(b"infe", bytes([version, 0, 0, 0]), number, bytes(2), names)
        count = struct.pack(">I" if many else ">H", 2)
        whole = box(b"infe", bytes([2, 0, 0, 0]), bytes(4), b"hvc1\0")
        table = box(b"iinf", bytes([many, 0, 0, 0]), count, whole, item, large=large)
        meta = box(b"meta", bytes(4), box(b"hdlr", bytes(20)), table)
        return box(b"ftyp", b"heic", bytes(4)) + box(b"mdat", b"infe\xff") + meta

    assert heif_file.find_invalid_type(file(b"mime", b"application/rdf+xml")) is None
    assert heif_file.find_invalid_type(file(b"mime", b"app\xfe")) == b"app\xfe"
    want = b"\xd2xif" if version > 1 else None
    assert heif_file.find_invalid_type(file(b"\xd2xif", b"text")) == want


@pytest.mark.parametrize("cut", [3, 9, 50, 100, 200, 300])
def test_the_search_for_item_types_ends_in_a_truncated_or_padded_heic(cut):
    assert heif_file.find_invalid_type(HEIC[:cut]) is None
    assert heif_file.find_invalid_type(HEIC[:cut] + bytes(10**5)) is None


def test_folders_are_searched_for_every_format_that_is_read(tmp_path):
    names = [f"{i:02}{suffix}" for i, suffix in enumerate(formats.PHOTO_SUFFIXES)]
    for name in (*names, "film.mov", "notes.TXT", "more.txt", "README", ".hidden.mov"):
        (tmp_path / name).write_bytes(b"")
    found = list(finding.find([str(tmp_path)]))
    photos = [one.source for one in found if one.is_photo]
    assert photos == [str(tmp_path / name) for name in names]
    assert places._picture_keys(tmp_path) == [n for n in names if not n.endswith(".gif")]
    counts = {".mov": 1, ".txt": 2, "no suffix": 1}
    assert finding.count_others(list(finding.find([str(tmp_path), str(tmp_path)]))) == counts
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.mov").write_bytes(b"")
    found = list(finding.find([str(tmp_path)], recursive=True))
    assert finding.count_others(found) == counts | {".mov": 2}


def test_files_of_unsupported_formats_are_counted_in_the_summary(tmp_path):
    planned = command.Plan([], [], 0, {".nef": 2, ".txt": 1}, [])
    line = command.summary([batch.Outcome("a.jpg", ("b.jpg",))], planned, 2.0)
    assert line == ("1 photo coloured in 2.0 s: b.jpg; unsupported formats: 2 .nef, 1 .txt")
    (tmp_path / "raw.nef").write_bytes(b"")
    result = CliRunner().invoke(cli.main, [str(tmp_path)])
    assert result.exit_code == 1
    assert "; unsupported formats: 1 .nef; 1 failed:" in result.stderr


@pytest.mark.parametrize("suffix", [".jfif", ".jpe"])
def test_results_of_jpegs_with_rare_suffixes_keep_the_suffix(suffix, tmp_path):
    found = finding.Found(str(tmp_path / f"a{suffix}"))
    (target,) = naming.target_names(found, naming.Rules())
    writing.write_photo(target, red_and_blue())
    assert target.endswith(f"a_color{suffix}") and Image.open(target).format == "JPEG"


def test_common_formats_load_no_other_decoders():
    with image_io.open_image(encode(red_and_blue(), "JPEG")) as image:
        assert image.format == "JPEG"
    assert formats.detect_format(io.BytesIO(encode(red_and_blue(), "PNG")).read(12)) == "PNG"
    assert image_io._candidate_formats(b"BM" + bytes(20), image_io.FORMATS, "a") == (
        "JPEG",
        "PNG",
        "WEBP",
        "TIFF",
        "BMP",
    )


def bits(*numbers):
    """Packs (value, count of bits) pairs, beginning with the least significant bit."""
    total, length = 0, 0
    for value, count in numbers:
        total, length = total | value << length, length + count
    return total.to_bytes(length // 8 + 1, "little")


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
)
IPTC = struct.pack(">BBBH", 0x1C, 2, 120, 4) + b"1912"
XMP_ID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
IPTC_ID = bytes.fromhex("33C7A4D2B81D4723A0BAF1A3E097AD38")


def jp2_with(*added, colours=None):
    """A lossless JPEG 2000 with boxes before its codestream, and other `colr` boxes."""
    data = b""
    for kind, content in boxes.walk(memoryview(encode(red_and_blue(), "JPEG2000"))):
        parts = [bytes(content)]
        if kind == b"jp2h" and colours is not None:
            inner = {kind: bytes(part) for kind, part in boxes.walk(content)}
            parts = [box(b"ihdr", inner[b"ihdr"]), *(box(b"colr", one) for one in colours)]
        data += b"".join(added) if kind == b"jp2c" else b""
        data += box(kind, *parts)
    return data


@pytest.mark.parametrize("method", [2, 3])
def test_the_colour_profile_of_a_jpeg_2000_is_applied(method):
    profile = icc_matrix_profile(XYZ_FROM_ADOBE_RGB, 1.0)
    want = photo.read_photo(encode(red_and_blue(), icc_profile=profile))
    assert (want.rgb != red_and_blue()).any()
    srgb, own = struct.pack(">BBBI", 1, 0, 0, 16), bytes([method, 0, 0]) + profile
    got = photo.read_photo(jp2_with(colours=[own, srgb]))
    np.testing.assert_array_equal(got.rgb, want.rgb)
    assert got.metadata.icc_profile == want.metadata.icc_profile and got.notices == ()
    # By the standard, readers ignore all but the first description of the colour space.
    got = photo.read_photo(jp2_with(colours=[srgb, own]))
    np.testing.assert_array_equal(got.rgb, red_and_blue())
    (notice,) = photo.read_photo(jp2_with(colours=[own[:20]]), name="a").notices
    assert notice.startswith("a: has a colour profile that cannot be used (")


def test_xmp_and_captions_of_a_jpeg_2000_are_kept_and_its_exif_is_reported():
    other = box(b"xml ", b"<gml/>")
    uuid = box(b"uuid", XMP_ID, XMP), box(b"uuid", IPTC_ID, IPTC), box(b"uuid", b"x" * 16, XMP)
    got = photo.read_photo(jp2_with(other, *uuid))
    assert (got.metadata, got.notices) == (Metadata(xmp=XMP, iptc=IPTC), ())
    assert photo.read_photo(jp2_with(other, box(b"xml ", XMP))).metadata.xmp == XMP
    turned = XMP.replace(b"<rdf:RDF", b'<rdf:RDF tiff:Orientation="6"')
    got = photo.read_photo(jp2_with(box(b"uuid", XMP_ID, turned)))
    np.testing.assert_array_equal(got.rgb, red_and_blue())
    assert got.metadata.xmp == turned.replace(b'"6"', b'"1"')
    got = photo.read_photo(jp2_with(box(b"uuid", b"JpgTiffExif->JP2", exif_with(6))), name="a")
    assert got.notices == ("a: has EXIF in a box of JPEG 2000, which is left out",)


def test_xmp_of_a_jpeg_xl_is_kept_or_reported():
    pytest.importorskip("pillow_jxl")
    plain = encode(red_and_blue(), "JXL", xmp=XMP)
    got = photo.read_photo(plain)
    assert (got.metadata.xmp, got.notices) == (XMP, ())
    options = {"xmp": XMP, "exif": exif_with(1), "compress_metadata": True}
    got = photo.read_photo(encode(red_and_blue(), "JXL", **options), name="a")
    assert got.notices == tuple(
        f"a: has {kind} compressed by Brotli, which is left out" for kind in ("EXIF", "XMP")
    )


def exif_with(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    return exif.tobytes()


def jxl_with(orientation, exif):
    """A JPEG XL of 24 x 16 pixels, whose corner is light, with an orientation, EXIF and XMP."""
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:8, :8] = 250
    data = encode(rgb, "JXL", quality=95)
    # A size of 9 bits, metadata that are all defaults, a default transform; then whole bytes.
    assert data[3] >> 1 & 3 == 3
    size = data[2] | (data[3] & 1) << 8
    fields = bits(
        (size, 9),
        (0b10, 2),  # not all defaults, with extra fields
        (orientation - 1, 3),
        (0, 3),  # no intrinsic size, preview or animation
        (0b001000, 6),  # integers of 8 bits, for which 16 suffice; no extra channels
        (0b111, 3),  # XYB, default colour encoding and tone mapping
        (0b100, 3),  # no extensions, the default transform
    )
    stream = b"\xff\x0a" + fields + data[4:]
    start = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    packet = XMP.replace(b"<rdf:RDF", b'<rdf:RDF tiff:Orientation="6"')
    return start + box(b"Exif", bytes(4) + exif) + box(b"xml ", packet) + box(b"jxlc", stream)


@pytest.mark.parametrize("exif", ["same", "other", "damaged"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_xl_is_turned_once_by_its_codestream(orientation, exif):
    pytest.importorskip("pillow_jxl")
    recorded = orientation if exif == "same" else orientation % 8 + 1
    block = exif_with(recorded)[6:]
    if exif == "damaged":
        # The second of two entries is missing, but Pillow still reads the first.
        block = struct.pack(">4sIHHHIHH", b"MM\0*", 8, 2, 0x0112, 3, 1, recorded, 0)
    data = jxl_with(orientation, block)
    stored = np.zeros((16, 24), bool)
    stored[:8, :8] = True
    want = image_io.apply_orientation(stored, orientation)
    opened = Image.open(io.BytesIO(data))
    info = dict(opened.info)
    for got in (photo.read_photo(data), photo.from_image(opened)):
        assert got.rgb.shape[:2] == want.shape and ((got.rgb[..., 1] > 128) == want).all()
        assert bool(got.notices) == (exif == "damaged") == (got.metadata.exif is None)
    assert opened.info == info
    assert ((image_io.read_rgb(data)[..., 1] > 128) == want).all()
    square = image_io.read_square(data, 16, fit="scale")[..., 1] > 128
    assert square.mean() == pytest.approx(1 / 6, abs=0.1)
    np.testing.assert_array_equal(square[::15, ::15], want[:: len(want) - 1, :: len(want[0]) - 1])


def test_a_jpeg_within_a_jpeg_xl_is_turned_by_its_exif(tmp_path):
    pytest.importorskip("pillow_jxl")
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(red_and_blue(), "JPEG", exif=exif_with(6), quality=95))
    data = encode(Image.open(path), "JXL", lossless_jpeg=True)
    want = photo.read_photo(path)
    got = photo.read_photo(data)
    assert np.abs(got.rgb.astype(int) - want.rgb).max() < 8
    assert (got.rgb[0, :, 0] > 150).all() and (image_io.read_rgb(data)[0, :, 0] > 150).all()
    assert got.metadata.exif == want.metadata.exif


def large_jxl(width, height):
    """The beginning of a JPEG XL codestream whose sides have 30 bits; its pixels are missing."""
    return b"\xff\x0a" + bits((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30))


@pytest.mark.parametrize("kind", ["bare", "jxlc", "jxlp"])
@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (30_000, 30_000, "has 30000 x 30000 pixels, more than the 150000000 that are read"),
        (1_000_001, 1, "has 1000001 x 1 pixels, want at most 1000000 a side"),
    ],
)
def test_a_large_jpeg_xl_is_refused_before_it_is_decoded(width, height, reason, kind):
    pytest.importorskip("pillow_jxl")
    data = large_jxl(width, height)
    if kind != "bare":
        parts = [data] if kind == "jxlc" else [bytes(4) + data[:5], b"\0\0\0\1" + data[5:]]
        start = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
        data = start + b"".join(box(kind.encode(), part) for part in parts)
    for read in (photo.read_photo, image_io.read_rgb):
        with pytest.raises(UserError, match=f"^a.jxl: {reason}$"):
            read(data, name="a.jxl")


@pytest.mark.parametrize(
    ("width", "height"), [(8, 256), (40, 16), (24, 16), (17, 9), (3, 600), (9000, 1), (80, 40)]
)
def test_the_header_of_a_jpeg_xl_gives_its_size(width, height):
    pytest.importorskip("pillow_jxl")
    for boxed in (False, True):
        data = encode(Image.new("L", (width, height)), "JXL", effort=1, use_container=boxed)
        assert jxl_file.read_header(data) == (width, height, 1)


def test_a_jpeg_xl_without_a_codestream_is_refused():
    pytest.importorskip("pillow_jxl")
    reason = "a.jxl: is a JPEG XL file, but a damaged one or of a kind that is not read"
    with pytest.raises(UserError, match=reason):
        photo.read_photo(box(b"JXL ", b"\r\n\x87\n") + box(b"free", bytes(90)), name="a.jxl")
