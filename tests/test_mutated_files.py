"""Damaged files of every kind: each ends in a picture or in one sentence, and in nothing else."""

import io
import random
import subprocess
import sys

import numpy as np
import pytest
from pictures import encode, noise
from PIL import Image
from test_captions import with_iptc
from test_formats import HEIC
from test_photo import png, source_with_everything, tiff

from colorjax.errors import UserError
from colorjax.pictures import image_io, photo

QUICK, SLOW = 12, 400
# Pytest shows what the program does not.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def palette(seed):
    return Image.fromarray(noise(12, 12, seed=seed)).quantize(8)


def seeds():
    deep = np.random.default_rng(0).integers(0, 65536, (9, 9, 4), np.uint16)
    return {
        "jpeg": source_with_everything("JPEG"),
        "captioned": with_iptc("JPEG"),
        "png": source_with_everything("PNG"),
        "16-bit png": png(deep, 16, 6),
        "tiff": source_with_everything("TIFF"),
        "16-bit tiff": tiff(deep, photometric="rgb", extrasamples=(2,), compression="zlib"),
        "lzw tiff": encode(noise(20, 20), "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encode(noise(20, 20), "TIFF", compression="jpeg"),
        "fax tiff": encode(
            Image.fromarray(noise(20, 20)).convert("1"), "TIFF", compression="group4"
        ),
        "webp": source_with_everything("WEBP"),
        "gif": encode(palette(0), "GIF", save_all=True, append_images=[palette(1)]),
        "bmp": encode(noise(9, 9), "BMP"),
        "heif": HEIC,
        "avif": encode(noise(16, 16), "AVIF"),
        "jpeg 2000": encode(noise(16, 16), "JPEG2000"),
    }


def mutant(data, name, number):
    """One to eight changes: bytes that are others, are gone or are more, mostly in the headers."""
    chance, changed = random.Random(f"{name} {number}"), bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(min(len(changed), chance.choice((64, 400, 10**6))))
        kind = chance.randrange(4)
        if kind == 0:
            changed[place] = chance.choice((0, 127, 255, chance.randrange(256)))
        elif kind == 1:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 2 and len(changed) > 20:
            del changed[place : place + chance.randrange(1, 9)]
        else:
            changed[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(4)))
    return bytes(changed)


def ends_well(read, data):
    """Whether a picture or a sentence comes of it; anything else is raised."""
    try:
        read(data)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("a.x: ")
        return False
    return True


def by_pillow(data):
    """The image of a caller's own, who has opened what Pillow would open."""
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:
        raise UserError("a.x: is none") from error
    image.filename = "a.x"
    photo.from_image(image)


DOORS = {
    "photo": lambda data: photo.read_photo(data, name="a.x"),
    "scan": lambda data: photo.read_photo(data, name="a.x", bits=16, allow_truncated=True),
    "training": lambda data: image_io.read_square(data, 8, name="a.x"),
    "image": by_pillow,
}


@pytest.fixture
def small_pictures(monkeypatch):
    """A damaged header may claim 150 million pixels, which take a second to be made."""
    monkeypatch.setattr(image_io, "MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)


def check(name, count):
    data = seeds()[name]
    assert ends_well(DOORS["photo"], data) and ends_well(DOORS["image"], data)
    for number in range(count):
        for read in DOORS.values():
            ends_well(read, mutant(data, name, number))


@pytest.mark.parametrize("name", seeds())
def test_a_damaged_file_ends_in_a_picture_or_in_a_sentence(name, small_pictures):
    check(name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", seeds())
def test_many_damaged_files_end_in_a_picture_or_in_a_sentence(name, small_pictures):
    check(name, SLOW)


def test_mutants_are_the_same_in_every_run_and_differ_from_each_other():
    data = bytes(range(200))
    many = {mutant(data, "a", number) for number in range(50)}
    assert len(many) > 40 and mutant(data, "a", 3) == mutant(data, "a", 3)


@pytest.mark.parametrize("error", [ValueError, SyntaxError, TypeError, RuntimeError, KeyError])
def test_whatever_pillow_raises_becomes_a_sentence(error):
    class Broken(Image.Image):
        def copy(self):
            raise error("one\n  two")

    with pytest.raises(UserError, match="^picture: cannot be read: '?one(\\\\n| )+two'?$"):
        photo.from_image(Broken())


def test_pillows_warnings_do_not_reach_the_screen(tmp_path):
    # A count that is wrong, of a tag that nobody needs.
    data = tiff(noise(4, 4), photometric="rgb", extratags=[(282, 5, 2, (1, 1, 1, 1), True)])
    (tmp_path / "a.tif").write_bytes(data)
    code = f"from colorjax.pictures import photo; photo.read_photo({str(tmp_path / 'a.tif')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
