"""Metadata about the pixels is correct in the result: sizes, regions, other pictures."""

import io
import re
import zlib

import numpy as np
import pytest
from pictures import encode, noise
from PIL import Image, ImageOps, PngImagePlugin
from test_photo import chunk, icc_matrix_profile, png

from colorjax.errors import UserError
from colorjax.pictures import formats, image_io, photo, writing, xmp

FACES = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"
 tiff:ImageWidth="100" tiff:ImageLength="50" exif:PixelXDimension="100">
 <exif:PixelYDimension>50</exif:PixelYDimension>
 <mwg-rs:Regions><mwg-rs:AppliedToDimensions stDim:w="100" stDim:h="50" stDim:unit="pixel"/>
 <mwg-rs:Area stArea:x="%s" stArea:y="%s" stArea:w="%s" stArea:h="%s" stArea:unit="normalized"/>
 <mwg-rs:Area><stArea:x>0.9</stArea:x><stArea:y>0.8</stArea:y><stArea:w>0.1</stArea:w>
 <stArea:h>0.2</stArea:h></mwg-rs:Area></mwg-rs:Regions>
 <rdf:li MPReg:Rectangle="0.1, 0.2, 0.3, 0.4"/></rdf:Description></x:xmpmeta>"""


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x0100], exif[0x0101] = orientation, 100, 50
    exif[0x8769] = {0xA002: 100, 0xA003: 50, 0x9003: "1999:12:31 23:59:59"}
    return exif


def face_in(packet, element=0):
    found = []
    for side in "xywh":
        pattern = rf"stArea:{side}(?:=\"|>)([\d.]+)".encode()
        found.append(float(re.findall(pattern, packet)[element]))
    return found


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_face_regions_match_the_upright_photograph(orientation, format):
    # A white rectangle of 10 x 5 pixels on black is the face.
    stored = np.zeros((50, 100, 3), np.uint8)
    stored[10:15, 20:30] = 255
    area = [b"%.3f" % value for value in (0.25, 0.25, 0.1, 0.1)]
    packet = FACES % (orientation, *area)
    exif, options = exif_of(orientation), {}
    if format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    elif format == "TIFF":
        exif = Image.Exif()
        exif.load(exif_of(orientation).tobytes())
        exif[700] = packet
    else:
        options["xmp"] = packet
    data = encode(Image.fromarray(stored), format, exif=exif, **options)
    got = photo.read_photo(data)
    rows, columns = np.nonzero(got.rgb[..., 1] > 128)
    height, width = got.rgb.shape[:2]
    want = [
        (columns.min() + columns.max() + 1) / 2 / width,
        (rows.min() + rows.max() + 1) / 2 / height,
    ]
    want += [np.ptp(columns + 0.0) / width, np.ptp(rows + 0.0) / height]
    np.testing.assert_allclose(face_in(got.metadata.xmp), want, atol=0.025)
    assert got.rgb.shape[:2] == ((100, 50) if orientation > 4 else (50, 100))
    for name, side in (("Width", width), ("Length", height)):
        assert f'tiff:Image{name}="{side}"'.encode() in got.metadata.xmp
    assert b"<exif:PixelYDimension>%d<" % height in got.metadata.xmp
    assert b'stDim:w="%d" stDim:h="%d"' % (width, height) in got.metadata.xmp
    exif = Image.Exif()
    exif.load(got.metadata.exif)
    below = exif.get_ifd(0x8769)
    assert (below[0xA002], below[0xA003]) == (width, height)
    assert below[0x9003] == "1999:12:31 23:59:59"
    if format != "TIFF":
        assert (exif[0x0100], exif[0x0101], exif[0x0112]) == (width, height, 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_resolution_is_turned_with_the_photograph(orientation, format):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x011B], exif[0x0128] = orientation, 204.0, 98.0, 2
    data = encode(noise(6, 8), format, exif=exif, dpi=(204, 98))
    want = (98, 204) if orientation > 4 else (204, 98)
    got = photo.read_photo(data)
    assert got.metadata.dpi == pytest.approx(want, abs=0.1)
    if format != "TIFF":
        written = Image.Exif()
        written.load(got.metadata.exif)
        assert (written[0x011A], written[0x011B]) == want
    for target in ("jpg", "png", "tif"):
        stream = io.BytesIO()
        assert writing.write_photo(stream, got.rgb, got, format=target) == ()
        assert Image.open(stream).info["dpi"] == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize(
    ("unit", "want"), [(2, (300, 200)), (None, (300, 200)), (3, (762, 508)), (1, None)]
)
def test_a_resolution_that_only_exif_has_is_kept_in_every_format(unit, want):
    exif = Image.Exif()
    exif[0x011A], exif[0x011B] = 300.0, 200.0
    if unit is not None:
        exif[0x0128] = unit
    got = photo.read_photo(encode(noise(6, 8), "WEBP", exif=exif.tobytes()))
    assert got.metadata.dpi == (want and pytest.approx(want))
    for target in ("jpg", "png", "tif"):
        stream = io.BytesIO()
        assert writing.write_photo(stream, got.rgb, got, format=target) == ()
        if want:
            assert Image.open(stream).info["dpi"] == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_titles_keywords_and_ratings_of_windows_are_kept_in_a_tiff(format):
    tags = {0x9C9B: "Zoë".encode("utf-16le"), 0x9C9E: "family;1931".encode("utf-16le"), 0x4746: 5}
    exif = Image.Exif()
    exif.update(tags)
    if format == "JPEG":
        exif[0x8769] = {0x9003: "1999:12:31 23:59:59", 0xA005: {1: "R98"}}
    got = photo.read_photo(encode(noise(6, 8), format, exif=exif))
    stream = io.BytesIO()
    assert writing.write_photo(stream, got.rgb, got, format="tif") == ()
    written = Image.open(stream)
    assert {tag: written.tag_v2[tag] for tag in tags} == tags
    # An offset that is not the result's own would lead anywhere in its file.
    assert 0xA005 not in written.getexif().get_ifd(0x8769)


def test_regions_in_every_notation_are_turned():
    got = xmp.normalized(FACES % (6, b".1", b".1", b".1", b".1"), 6, (50, 100))
    np.testing.assert_allclose(face_in(got, 1), [0.2, 0.9, 0.2, 0.1])
    corner = re.search(rb'Rectangle="([^"]*)"', got).group(1).split(b",")
    np.testing.assert_allclose([float(n) for n in corner], [0.4, 0.1, 0.4, 0.3])
    pixels = (
        b'<mwg-rs:Area stArea:x="20" stArea:y="10" stArea:w="4" stArea:h="2" stArea:unit="pixel"/>'
    )
    assert face_in(xmp.normalized(pixels, 6, (50, 100))) == [40, 20, 2, 4]


@pytest.mark.parametrize(
    "area", [b'stArea:x="e" stArea:y="1" stArea:w="1" stArea:h="1"', b'stArea:x="0.1"', b""]
)
def test_invalid_regions_stay_unchanged(area):
    packet = b"<mwg-rs:Area %s/><b MPReg:Rectangle='1,2'/>" % area
    assert xmp.normalized(packet, 6, (50, 100)) == packet


def test_xmp_about_pictures_that_are_not_in_the_file_is_dropped():
    packet = b"""<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:C="http://ns.google.com/photos/1.0/container/" hdrgm:Version="1.0" dc:format='image/jpeg'
 xmlns:Item="http://ns.google.com/photos/1.0/container/item/" C:Version = '1'
 xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"
 GCamera:MicroVideoOffset="4022143" GCamera:Burst="7"
 xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="0123">
 <C:Directory><rdf:Seq><rdf:li><C:Item Item:Mime="video/mp4"/></rdf:li></rdf:Seq></C:Directory>
 <hdrgm:GainMapMax>2.3</hdrgm:GainMapMax><dc:title>Market day</dc:title>
 <GCamera:MotionPhotoVersion/></rdf:Description>"""
    got = xmp.normalized(packet, 1, (4, 3))
    for gone in (b"hdrgm:V", b"GainMap", b"C:", b"Item:", b"Motion", b"MicroVideo", b"HasExt"):
        assert gone not in re.sub(rb"xmlns:\S+", b"", got), gone
    for kept in (b"dc:format='image/jpeg'", b"<dc:title>Market day<", b'GCamera:Burst="7"'):
        assert kept in got
    assert xmp.normalized(got, 1, (4, 3)) == got


def test_extended_xmp_of_a_jpeg_is_left_out_with_a_notice():
    own = (
        b'<rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" %s dc:source="box 7"/>'
        % b'xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"'
    )
    got = photo.read_photo(encode(noise(4, 4), "JPEG", xmp=own), name="a.jpg")
    assert got.notices == ("a.jpg: has extended XMP, which is left out",)
    assert b'dc:source="box 7"' in got.metadata.xmp and b"HasExt" not in got.metadata.xmp


@pytest.mark.parametrize(
    "filler",
    [b" ", b"<G:a>", b"<G:a ", b"</G:a ", b' G:a="', b"<G:-a", b"<mwg-rs:Area>", b' xmlns:G="'],
)
def test_invalid_xmp_of_two_million_bytes_is_read_in_one_pass(filler):
    # Reading again for every tag would take hours, in which no other thread could run.
    declared = b'xmlns:G="http://ns.google.com/photos/1.0/container/" <G:b/>'
    packet = declared + filler * (2_000_000 // len(filler))
    got = xmp.normalized(packet, 6, (50, 100))
    assert len(got) < len(packet) and b"<G:b" not in got


def test_regions_of_a_heic_are_turned_but_its_pixels_already_are():
    image = Image.fromarray(noise(8, 16))
    image.info |= {"original_orientation": 6, "xmp": FACES % (1, b"0.3", b"0.2", b"0.1", b"0.1")}
    got = photo.from_image(image)
    assert got.rgb.shape == (8, 16, 3)
    np.testing.assert_allclose(face_in(got.metadata.xmp), [0.8, 0.3, 0.1, 0.1])


@pytest.mark.parametrize("kind", ["profile", "zTXt", "iTXt"])
def test_a_png_may_have_megabytes_of_profile_or_text(kind):
    rgb = noise(6, 6)
    long = b"x" * 2_000_000
    profile = icc_matrix_profile(np.eye(3) * 0.3, 2.2) + long
    data = {
        "profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(profile)),
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(long)),
        "iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(long)),
    }[kind]
    got = photo.read_photo(png(rgb, 8, 2, data))
    assert got.rgb.shape == (6, 6, 3)
    if kind != "profile":
        np.testing.assert_array_equal(got.rgb, rgb)
        stream = io.BytesIO()
        assert writing.write_photo(stream, got.rgb, got, format="png") == ()
        again = photo.read_photo(stream.getvalue())
        assert again.metadata.texts == (("Comment", long.decode()),)


def test_a_png_with_a_decompression_bomb_as_text_is_refused():
    bomb = zlib.compress(bytes(formats.MAX_METADATA_BYTES + 1))
    with pytest.raises(UserError, match="a.png: cannot be read: .* too large"):
        photo.read_photo(png(noise(6, 6), 8, 2, chunk(b"zTXt", b"a\0\0" + bomb)), name="a.png")


def test_apply_orientation_agrees_with_pillow_for_every_orientation():
    values = noise(3, 5)
    for orientation in range(1, 9):
        image = Image.fromarray(values)
        image.getexif()[0x0112] = orientation
        want = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(image_io.apply_orientation(values, orientation), want)
