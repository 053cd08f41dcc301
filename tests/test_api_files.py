"""The Python interface and files: accepted inputs, and that results keep the metadata."""

import io
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from networks import save_run, tiny_network
from pictures import encode, noise
from PIL import Image, JpegImagePlugin

import colorjax
from colorjax.coloring import api, inputs
from colorjax.errors import UserError
from colorjax.pictures import image_io, mark, photo, writing

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">by me</x:xmpmeta>'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.fixture(scope="module")
def colorizer(model):
    return api.Colorizer(model)


def old_jpeg():
    exif = Image.Exif()
    exif[0x010E] = "a street"
    return encode(noise(24, 32), "JPEG", exif=exif, dpi=(300, 300), xmp=XMP)


def assert_keeps_metadata(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x010E] == "a street"
        assert image.info["xmp"].rstrip(b"\0") == XMP and image.info["dpi"] == (300, 300)
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


def test_colorize_file_keeps_the_metadata_and_matches_colorize(colorizer, tmp_path):
    (tmp_path / "old.jpg").write_bytes(old_jpeg())
    notices = colorizer.colorize_file(tmp_path / "old.jpg", tmp_path / "new.jpg", saturation=1.2)
    assert notices == ()
    assert_keeps_metadata((tmp_path / "new.jpg").read_bytes())
    stream = io.BytesIO()
    colorizer.colorize_file(old_jpeg(), stream, format="png", saturation=1.2)
    want = colorizer.colorize(old_jpeg(), saturation=1.2)
    np.testing.assert_array_equal(np.asarray(Image.open(stream)), np.asarray(want))


def test_files_written_from_python_carry_the_mark_of_results(colorizer, tmp_path):
    gray = noise(24, 32, 1)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><a/></rdf:RDF></x:xmpmeta>'
    data = encode(np.repeat(gray, 3, axis=-1), "JPEG", xmp=xmp)
    colorizer.colorize_file(data, tmp_path / "file.jpg")
    images = {
        "image.jpg": colorizer.colorize(data),
        "array.png": colorizer.colorize(gray),
        "sample.webp": colorizer.samples(gray, 1)[0],
        "one_of_many.tif": next(colorizer.colorize_many([gray])),
        "prepared.jpg": colorizer.prepare(gray).colorize(),
    }
    for name, image in images.items():
        colorjax.save(image, tmp_path / name)
    assert len(os.listdir(tmp_path)) == 6
    assert all(mark.is_marked(file) for file in tmp_path.iterdir())
    assert photo.read_photo(tmp_path / "file.jpg").metadata.xmp == mark.marked(xmp)


def test_a_saved_image_keeps_the_metadata_of_the_photo(tmp_path):
    source = photo.read_photo(old_jpeg())
    image = photo.as_image(source.rgb, source)
    assert colorjax.save(image, tmp_path / "new.jpg") == ()
    assert_keeps_metadata((tmp_path / "new.jpg").read_bytes())
    rgba = Image.fromarray(noise(4, 5, 4))
    (notice,) = colorjax.save(rgba, tmp_path / "flat.jpg")
    assert notice.endswith("a JPEG has no transparency, so the photo is laid on white")
    colorjax.save(rgba, tmp_path / "same.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "same.png")), np.asarray(rgba))


def test_after_a_warm_up_photos_of_the_same_proportions_compile_nothing(model):
    colorizer = api.Colorizer(model)
    colorizer.warm_up((60, 48), decode="mean")
    painter = colorizer._painter
    programs = painter.score, painter.decode, painter.color_tile
    compiled = [set(one.compiled) for one in programs]
    colorizer.colorize_arrays([np.zeros((96, 120), np.uint8)], decode="mean")
    assert [set(one.compiled) for one in programs] == compiled
    with pytest.raises(UserError, match="width is 0, want at least 1"):
        colorizer.warm_up((0, 48))
    with pytest.raises(UserError, match="decode is 'best'"):
        colorizer.warm_up(decode="best")


def test_an_invalid_target_is_refused_before_any_colouring(colorizer, monkeypatch):
    monkeypatch.setattr(api, "colorize", None)
    with pytest.raises(UserError, match="new.xyz: photos are written as"):
        colorizer.colorize_file(old_jpeg(), "new.xyz")
    with pytest.raises(UserError, match="new.xyz: photos are written as"):
        colorjax.save(Image.new("RGB", (2, 2)), "new.xyz")


def test_buffers_and_open_files_are_accepted_as_photos(tmp_path):
    data = old_jpeg()
    (tmp_path / "old.jpg").write_bytes(data)
    buffer = io.BytesIO()
    buffer.write(data)
    want = photo.read_photo(data)
    with open(tmp_path / "old.jpg", "rb") as file:
        for source in (bytearray(data), memoryview(data), buffer, file, io.BytesIO(data)):
            got = inputs.as_photo(source)
            np.testing.assert_array_equal(got.rgb, want.rgb)
            assert got.metadata == want.metadata

    class Pipe(io.RawIOBase):
        def read(self, size=-1):
            return data

    np.testing.assert_array_equal(inputs.as_photo(Pipe()).rgb, want.rgb)


def test_errors_name_an_open_file_and_text_mode_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("once upon a time")
    with open(path, "rb") as file, pytest.raises(UserError, match="notes.txt: is not a JPEG"):
        inputs.as_photo(file)
    with open(path) as file, pytest.raises(UserError, match="notes.txt: .* want it .* mode 'rb'"):
        inputs.as_photo(file)
    (tmp_path / "notes.txt").write_bytes(b"\xff\xd8")  # not valid UTF-8
    with open(path) as file, pytest.raises(UserError, match="notes.txt: .* want it .* mode 'rb'"):
        inputs.as_photo(file)
    with pytest.raises(UserError, match="picture: is empty"):
        inputs.as_photo(io.BytesIO())


def test_a_picture_or_target_of_a_wrong_type_is_refused():
    with pytest.raises(TypeError, match="picture is of type NoneType, want a path"):
        inputs.as_photo(None)
    with pytest.raises(TypeError, match="target is of type bytes, want a path or a stream"):
        writing.write_photo(b"new.jpg", noise(2, 2), format="jpg")


def test_gray_arrays_may_have_an_axis_of_one_channel():
    gray = noise(3, 4, 1)
    np.testing.assert_array_equal(inputs.as_array(gray), np.repeat(gray, 3, -1))
    with pytest.raises(ValueError, match="want uint8"):
        inputs.as_array(noise(3, 4, 2))


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_forked_process_gets_an_error_and_does_not_hang(colorizer):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for work in (api.Colorizer, lambda: colorizer.colorize(np.zeros((8, 8), np.uint8))):
                with pytest.raises(UserError, match=r"forked .* want it spawned"):
                    work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.slow
def test_spawned_processes_can_colour(colorizer):
    photos = [noise(24, 32), noise(24, 32, seed=1)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.map(colorizer.colorize, photos)
    for one, image in zip(photos, got, strict=True):
        difference = np.asarray(image, int) - np.asarray(colorizer.colorize(one), int)
        assert np.abs(difference).max() <= 1


def test_errors_can_be_passed_between_processes():
    error = image_io.CutShortError("a.jpg", "it ends")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.reason == "it ends"
