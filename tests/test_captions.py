"""Captions: texts that people have added to a photo's file are kept in the result's file."""

import io
import struct

import numpy as np
import pytest
import tifffile
from pictures import encode, noise
from PIL import Image, IptcImagePlugin, PngImagePlugin

from colorjax.errors import UserError
from colorjax.pictures import captions, image_io, photo, writing
from colorjax.pictures.formats import png_file
from colorjax.pictures.metadata import Metadata

# Record 2: dataset 120 is the caption, 80 its author.
IPTC = b"".join(
    struct.pack(">BBBH", 0x1C, 2, dataset, len(text)) + text
    for dataset, text in ((120, b"Market day, 1912"), (80, b"A. Photographer"))
)
TEXTS = (("Comment", "sent by aunt Zoë"), ("Title", "Market day"), ("Author", "Ω Photographer"))


def with_iptc(format):
    rgb = noise(16, 16)
    if format == "JPEG":
        return encode(rgb, format, extra=captions.jpeg_segment(IPTC))
    if format == "TIFF":
        return encode(rgb, format, tiffinfo={33723: IPTC})
    return encode(rgb, format, pnginfo=captions.png_texts(IPTC, ()))


def convert(data, format):
    got = photo.read_photo(data, name="a")
    stream = io.BytesIO()
    notices = got.notices + writing.write_photo(stream, got.rgb, got, format=format)
    return stream.getvalue(), notices


@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_iptc_is_kept_in_other_formats_or_reported(format, target):
    data, notices = convert(with_iptc(format), target)
    again = photo.read_photo(data).metadata.iptc
    if target == "webp":
        sentence = "output: a WebP has no place for IPTC captions, so the photo's are left out"
        assert again is None and notices == (sentence,)
    else:
        assert again.rstrip(b"\0") == IPTC and notices == ()
        if target != "png":  # whose IPTC Pillow does not read
            records = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(data)))
            assert records[2, 120] == b"Market day, 1912"


def test_tiff_iptc_is_read_from_integers_and_photoshop_resources():
    padded = IPTC + bytes(-len(IPTC) % 4)
    for values_order, bytes_order in ("<<", ">>", "<>", "><"):
        numbers = struct.unpack(f"{bytes_order}{len(padded) // 4}I", padded)
        stream = io.BytesIO()
        extra = [(33723, 4, len(numbers), numbers, True)]
        tifffile.imwrite(
            stream, noise(8, 8), photometric="rgb", extratags=extra, byteorder=values_order
        )
        assert photo.read_photo(stream.getvalue()).metadata.iptc == padded
    other = struct.pack(">4sH2sI", b"8BIM", 0x03F3, b"\1x", 3) + b"odd\0"
    resources = other + captions._as_resource(IPTC)
    data = encode(noise(8, 8), "TIFF", tiffinfo={34377: resources})
    assert photo.read_photo(data).metadata.iptc == IPTC


@pytest.mark.parametrize(
    "text", ["", "\niptc\n 4\nzz", "\niptc\n 4\n1c", "\niptc\n 12\n3842494d0404", "x"]
)
def test_damaged_captions_do_not_affect_the_pixels(text):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type iptc", text)
    rgb = noise(8, 8)
    np.testing.assert_array_equal(photo.read_photo(encode(rgb, pnginfo=chunks)).rgb, rgb)
    for end in range(1, 40, 3):
        data = encode(rgb, "TIFF", tiffinfo={34377: captions._as_resource(IPTC)[:end]})
        np.testing.assert_array_equal(photo.read_photo(data).rgb, rgb)


@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
def test_a_jpeg_comment_is_kept_or_reported(target):
    data, notices = convert(encode(noise(16, 16), "JPEG", comment="sent by aunt Zoë"), target)
    if target == "webp":
        assert notices == ("output: a WebP has no place for the photo's texts: Comment left out",)
        return
    assert notices == ()
    image = Image.open(io.BytesIO(data))
    if target == "jpg":
        assert image.info["comment"] == "sent by aunt Zoë".encode()
    elif target == "png":
        assert image.text == {"Comment": "sent by aunt Zoë"}
    else:
        assert "aunt Zo" in image.tag_v2[270]


@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
def test_png_texts_are_kept_or_reported(target):
    data, notices = convert(encode(noise(16, 16), pnginfo=captions.png_texts(None, TEXTS)), target)
    if target == "png":
        assert photo.read_photo(data).metadata.texts == TEXTS and notices == ()
        return
    kind, left = {"jpg": ("JPEG", ""), "tif": ("TIFF", ""), "webp": ("WebP", "Comment, ")}[target]
    sentence = f"output: a {kind} has no place for the photo's texts: {left}Title, Author left out"
    assert notices == (sentence,)


def png_with(*texts, at_end=False, **options):
    """A PNG with texts before or after its pixels."""
    data = encode(Image.new("RGB", (4, 3), (10, 20, 30)), **options)
    chunks = [png_file.chunk(b"tEXt", f"{key}\0{text}".encode("latin-1")) for key, text in texts]
    cut = data.index(b"IEND" if at_end else b"IDAT") - 4
    return data[:cut] + b"".join(chunks) + data[cut:]


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "keyword", "texts transparency interlace dpi icc_profile exif xmp iptc photoshop gamma".split()
)
def test_a_png_text_may_have_the_name_of_other_data(keyword, at_end):
    data = png_with((keyword, "72"), at_end=at_end)
    got = photo.read_photo(data)
    assert got.metadata == Metadata(texts=((keyword, "72"),)) and got.notices == ()
    assert (got.rgb == (10, 20, 30)).all() and got.alpha is None
    assert (image_io.read_rgb(data) == (10, 20, 30)).all()
    assert (image_io.read_square(data, 2) == (10, 20, 30)).all()
    for target in ("jpg", "tif"):
        left = f"has no place for the photo's texts: {keyword} left out"
        assert left in convert(data, target)[1][0]
    assert photo.read_photo(convert(data, "png")[0]).metadata.texts == ((keyword, "72"),)
    converted = Image.open(io.BytesIO(png_with(("texts", "72"), ("photoshop", "72")))).convert("L")
    assert photo.from_image(converted).metadata == Metadata()


def test_a_png_text_does_not_replace_the_data_of_that_name():
    texts = ("transparency", "none"), ("dpi", "72")
    got = photo.read_photo(png_with(*texts, dpi=(300, 300), transparency=(10, 20, 30)))
    assert got.metadata.dpi == pytest.approx((300, 300), abs=0.1)
    assert got.metadata.texts == texts and (got.alpha == 0).all()
    deep = np.full((3, 4, 3), 1000, np.uint16)
    data = png_file.encode_deep(deep, pnginfo=captions.png_texts(None, texts))
    got = photo.read_photo(data, bits=16)
    np.testing.assert_array_equal(got.rgb, deep)
    assert got.metadata.texts == texts


def test_png_texts_with_one_keyword_are_all_kept():
    texts = (("Comment", "one"), ("Title", "a"), ("Comment", "two"), ("Comment", "three"))
    data, notices = convert(encode(noise(8, 8), pnginfo=captions.png_texts(IPTC, texts)), "png")
    got = photo.read_photo(data).metadata
    assert (got.texts, got.iptc, notices) == (texts, IPTC, ())
    data, _ = convert(data, "jpg")
    assert Image.open(io.BytesIO(data)).info["comment"] == b"one\ntwo\nthree"


def test_a_png_that_is_cut_short_within_a_text_is_reported():
    data = png_with(("dpi", "72"), ("dpi", "73"))
    for end in range(9, data.index(b"IDAT")):
        with pytest.raises(UserError, match="a.png: "):
            photo.read_photo(data[:end], name="a.png")


def test_an_exif_description_takes_precedence_over_a_comment():
    exif = Image.Exif()
    exif[270] = "a street"
    data, notices = convert(encode(noise(8, 8), "JPEG", exif=exif, comment="hello"), "tif")
    assert Image.open(io.BytesIO(data)).tag_v2[270] == "a street"
    assert notices == ("output: a TIFF has no place for the photo's texts: Comment left out",)


def test_several_comments_and_latin_1_comments_are_read():
    latin = encode(noise(8, 8), "JPEG", comment="Zoë".encode("latin-1"))
    segment = b"\xff\xfe" + struct.pack(">H", 7) + b"first"
    got = photo.read_photo(latin[:2] + segment + latin[2:])
    assert got.metadata.texts == (("Comment", "first"), ("Comment", "Zoë"))
    gif = encode(Image.fromarray(noise(8, 8)).quantize(8), "GIF", comment=b"an old one")
    assert photo.read_photo(gif).metadata.texts == (("Comment", "an old one"),)


def test_captions_too_long_for_a_jpeg_are_reported():
    texts = (("Comment", "x" * 66_000),)
    _, notices = convert(encode(noise(8, 8), pnginfo=captions.png_texts(None, texts)), "jpg")
    assert notices == ("output: a JPEG has no place for the photo's texts: Comment left out",)
    longer = IPTC + struct.pack(">BBBH", 0x1C, 2, 120, 32_000) * 1 + bytes(65_500)
    _, notices = convert(encode(noise(8, 8), pnginfo=captions.png_texts(longer, ())), "jpg")
    assert "a JPEG holds at most 65506 bytes of IPTC" in notices[0]


def test_captions_of_pillow_images_are_kept():
    for data in (with_iptc("JPEG"), with_iptc("TIFF"), with_iptc("PNG")):
        got = photo.from_image(Image.open(io.BytesIO(data)))
        assert got.metadata.iptc.rstrip(b"\0") == IPTC
        again = photo.from_image(photo.as_image(got.rgb, got))
        assert again.metadata == got.metadata
    data = encode(noise(8, 8), pnginfo=captions.png_texts(None, TEXTS))
    got = photo.from_image(Image.open(io.BytesIO(data)))
    assert got.metadata.texts == TEXTS
    assert photo.from_image(photo.as_image(got.rgb, got)).metadata.texts == TEXTS


def test_a_resolution_that_a_webp_cannot_store_is_reported():
    data, notices = convert(encode(noise(8, 8), "JPEG", dpi=(300, 300)), "webp")
    assert "dpi" not in Image.open(io.BytesIO(data)).info
    sentence = "a WebP has no place for a resolution, so the photo's 300 x 300 dots per inch are"
    assert notices == (f"output: {sentence} left out",)
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    data, notices = convert(
        encode(noise(8, 8), "JPEG", dpi=(300, 300), exif=exif.tobytes()), "webp"
    )
    assert Image.open(io.BytesIO(data)).getexif()[282] == 300.0 and notices == ()
