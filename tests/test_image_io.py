"""Reading and writing of pictures: orientation, formats and bad files."""

import io
import os

import numpy as np
import pytest
from pictures import encode, noise, png_that_claims
from PIL import Image

from colorjax.errors import UserError
from colorjax.pictures import arrays, image_io

# How a camera stores the pixels that the given EXIF orientation turns upright.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def quadrants(height, width):
    """Red, green; blue, yellow."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = [255, 0, 0]
    rgb[: height // 2, width // 2 :] = [0, 255, 0]
    rgb[height // 2 :, : width // 2] = [0, 0, 255]
    rgb[height // 2 :, width // 2 :] = [255, 255, 0]
    return rgb


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_are_read_bit_for_bit(format):
    rgb = noise(17, 23)
    options = {"lossless": True} if format == "WEBP" else {}
    np.testing.assert_array_equal(image_io.read_rgb(encode(rgb, format, **options)), rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_every_orientation_is_turned_upright(format, orientation):
    upright = quadrants(32, 48)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    data = encode(np.ascontiguousarray(STORED[orientation](upright)), format, exif=exif, **options)
    got = image_io.read_rgb(data)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).max() < 30
    square = image_io.read_square(data, 8)
    assert np.argmax(square[1, 1]) == 0 and np.argmax(square[1, 6]) == 1
    assert np.argmax(square[6, 1]) == 2 and square[6, 6, :2].min() > 200


def test_sixteen_bit_gray_is_rounded_to_the_nearest_eight_bit_gray():
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    # 257 * v + 128 is the last 16-bit value that is nearest to v.
    want = [0, 0, 1, 1, 128, 254, 255, 255]
    for format in ("PNG", "TIFF"):
        got = image_io.read_rgb(encode(values, format))
        np.testing.assert_array_equal(got[0], np.repeat(np.array(want)[:, None], 3, axis=1))


@pytest.mark.parametrize(
    ("image", "options", "want"),
    [
        (Image.new("1", (3, 2), 1), {}, (255, 255, 255)),
        (Image.new("L", (3, 2), 77), {}, (77, 77, 77)),
        (Image.new("LA", (3, 2), (0, 51)), {}, (204, 204, 204)),
        (Image.new("RGBA", (3, 2), (255, 0, 0, 0)), {}, (255, 255, 255)),
        (Image.new("RGBA", (3, 2), (255, 0, 0, 255)), {}, (255, 0, 0)),
        (Image.new("RGB", (3, 2), (9, 8, 7)).quantize(4), {}, (9, 8, 7)),
        (Image.new("RGB", (3, 2), (9, 8, 7)).quantize(4), {"transparency": 0}, (255, 255, 255)),
        (Image.new("L", (3, 2), 9), {"transparency": 9}, (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb_on_white(image, options, want):
    got = image_io.read_rgb(encode(image, **options))
    assert got.shape == (2, 3, 3) and got.dtype == np.uint8
    np.testing.assert_array_equal(got.reshape(-1, 3), np.broadcast_to(want, (6, 3)))


def test_cmyk_red_is_red():
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert (np.abs(image_io.read_rgb(data).astype(int) - [255, 0, 0]) < 4).all()


def test_min_side_decodes_jpeg_small_but_never_below_it():
    data = encode(noise(400, 600), "JPEG")
    assert image_io.read_rgb(data).shape == (400, 600, 3)
    assert image_io.read_rgb(data, min_side=100).shape == (100, 150, 3)
    assert image_io.read_rgb(data, min_side=101).shape == (200, 300, 3)
    assert image_io.read_rgb(data, min_side=1000).shape == (400, 600, 3)


def test_read_square_cuts_the_centre():
    rgb = np.zeros((20, 60, 3), np.uint8)
    rgb[:, 20:40] = [10, 200, 30]
    got = image_io.read_square(encode(rgb), 20)
    np.testing.assert_array_equal(got, np.broadcast_to([10, 200, 30], (20, 20, 3)))
    tall = image_io.read_square(encode(np.ascontiguousarray(rgb.transpose(1, 0, 2))), 20)
    np.testing.assert_array_equal(tall, got)


def test_read_square_at_its_own_size_changes_nothing():
    rgb = noise(16, 16)
    np.testing.assert_array_equal(image_io.read_square(encode(rgb), 16), rgb)


@pytest.mark.parametrize("shape", [(5, 5), (1, 300), (300, 1)])
def test_small_pictures_are_enlarged(shape):
    rgb = np.full((*shape, 3), 99, np.uint8)
    got = image_io.read_square(encode(rgb), 32)
    np.testing.assert_array_equal(got, np.full((32, 32, 3), 99))


def test_decoding_a_jpeg_at_a_smaller_size_changes_little():
    rows, columns = np.mgrid[0:640, 0:900]
    waves = [127 + 120 * np.sin(rows / a + columns / b) for a, b in ((9, 14), (20, 11), (15, 25))]
    rgb = np.stack(waves, axis=-1).astype(np.uint8)
    full = Image.fromarray(rgb).resize((64, 64), Image.Resampling.BICUBIC, box=(130, 0, 770, 640))
    got = image_io.read_square(encode(rgb, "JPEG", quality=95), 64)
    assert np.abs(got.astype(int) - np.asarray(full)).mean() < 2


def test_a_phones_jpeg_with_a_second_frame_is_read():
    rgb = quadrants(32, 32)
    second = Image.new("RGB", (32, 32))
    data = encode(rgb, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.argmax(image_io.read_rgb(data)[4, 4]) == 0


def test_a_damaged_exif_block_does_not_affect_the_pixels():
    data = encode(noise(8, 8), "JPEG")
    broken = data[:2] + b"\xff\xe1\x00\x14Exif\0\0garbagegarba" + data[2:]
    np.testing.assert_array_equal(image_io.read_rgb(broken), image_io.read_rgb(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (
            b"once upon a time " * 20,
            "not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000 or JPEG XL",
        ),
        (
            encode(noise(8, 8), "GIF"),
            "not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000 or JPEG XL",
        ),
        (encode(noise(300, 300), "JPEG")[:9000], "truncated"),
        (encode(noise(300, 300), "PNG")[:9000], "truncated"),
        (encode(np.ones((4, 4), np.float32), "TIFF"), "32-bit"),
        (png_that_claims(12_500, 12_500), "12500 x 12500 pixels"),
        (png_that_claims(60_000, 60_000), "more than the 150000000 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    for read in (image_io.read_rgb, lambda p: image_io.read_square(p, 32)):
        with pytest.raises(UserError, match="holiday.jpg: .*" + reason):
            read(path)
    with pytest.raises(UserError, match="photo 7: .*" + reason):
        image_io.read_rgb(data, name="photo 7")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="gone.jpg: cannot be read: No such file"):
        image_io.read_rgb(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        image_io.read_rgb(tmp_path)


def test_a_written_png_is_read_back_exactly_and_replaces_the_old(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    image_io.write(path, noise(9, 11))
    np.testing.assert_array_equal(image_io.read_rgb(path), noise(9, 11))
    assert os.listdir(tmp_path) == ["out.png"]


def test_a_written_jpeg_keeps_its_colours(tmp_path):
    path = tmp_path / "out.JPEG"
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    image_io.write(path, stripes)
    # Halved colour resolution would turn red and blue columns into one purple.
    assert np.abs(image_io.read_rgb(path).astype(int) - stripes).max() < 40
    assert Image.open(path).format == "JPEG"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    image_io.write(path, noise(4, 4))

    def full_disk(self, target, **options):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(UserError, match="out.png: cannot be written: No space left"):
        image_io.write(path, noise(5, 5))
    assert os.listdir(tmp_path) == ["out.png"]
    assert image_io.read_rgb(path).shape == (4, 4, 3)


def test_write_refuses_other_suffixes_missing_folders_and_float_arrays(tmp_path):
    with pytest.raises(UserError, match=r"\.png, \.jpg or \.jpeg, not '\.gif'"):
        image_io.write(tmp_path / "a.gif", noise(2, 2))
    with pytest.raises(UserError, match="cannot be written: No such file"):
        image_io.write(tmp_path / "nowhere" / "a.png", noise(2, 2))
    with pytest.raises(ValueError, match="float32"):
        image_io.write(tmp_path / "a.png", noise(2, 2).astype(np.float32))


def test_sixteen_bit_tiffs_with_white_as_zero_are_inverted():
    tifffile = pytest.importorskip("tifffile")
    values = np.linspace(0, 65535, 12, dtype=np.uint16).reshape(3, 4)
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="miniswhite")
    want = 255 - image_io.sixteen_to_eight_bits(values)
    np.testing.assert_array_equal(image_io.read_rgb(file.getvalue())[..., 0], want)


def test_tiffs_that_pillow_would_misread_are_refused():
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    planes = np.zeros((3, 5, 6), np.uint16)
    tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match="keeps its channels apart, want it interleaved"):
        image_io.read_square(file.getvalue(), 4)


def test_a_scaled_square_shows_all_of_the_picture(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :60], wide[:, 60:] = (200, 0, 0), (0, 0, 200)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    whole = image_io.read_square(tmp_path / "wide.png", 30, fit="scale")
    assert whole.shape == (30, 30, 3)
    np.testing.assert_array_equal(
        whole[:, [0, 29]], np.broadcast_to(wide[:30, [0, 119]], (30, 2, 3))
    )
    thirds = wide.copy()
    thirds[:, :40], thirds[:, 80:] = 255, 255
    Image.fromarray(thirds).save(tmp_path / "thirds.png")
    assert (image_io.read_square(tmp_path / "thirds.png", 30)[5:-5, 5:-5] < 255).any(-1).all()
    assert (image_io.read_square(tmp_path / "thirds.png", 30, fit="scale") == 255).all(
        -1
    ).mean() > 0.5


@pytest.mark.parametrize("shape", [(5, 7), (1, 3000), (3000, 1), (300, 100)])
def test_conversion_in_bands_does_not_change_the_pixels(shape, monkeypatch):
    monkeypatch.setattr(arrays, "BAND", 1000)
    rgb, gray = noise(*shape), noise(*shape, seed=1)[..., 0]
    assert np.array_equal(arrays.pixels(Image.fromarray(rgb)), rgb)
    assert np.array_equal(arrays.pixels(Image.fromarray(gray)), np.stack([gray] * 3, -1))
    image = arrays.as_image(rgb)
    assert image.mode == "RGBX" and image.size == shape[::-1]
    assert np.array_equal(np.asarray(image)[..., :3], rgb)


def test_upright_images_are_not_copied_and_others_are_turned():
    image = Image.fromarray(noise(2, 3))
    assert image_io.upright(image) is image
    image.getexif()[0x0112] = 6
    turned = image_io.upright(image)
    assert turned.size == (2, 3)
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(image), -1))
