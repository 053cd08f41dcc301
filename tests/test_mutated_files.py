"""Damaged files of every kind: reading each gives a picture or a one-sentence error."""

import io
import multiprocessing
import os
import random
import struct
import subprocess
import sys

import fuzz_files
import mutations
import pytest
from mutations import mutant
from pictures import encode, noise
from PIL import Image
from PIL.ExifTags import Base as Tag
from seed_files import seeds

from colorjax.errors import UserError
from colorjax.pictures import image_io, photo
from colorjax.pictures.formats import png_file, tiff_file

QUICK, SLOW = 12, 20
# pytest shows warnings that the program hides.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def small_pictures(monkeypatch):
    """Limits pictures to a million pixels; 150 million, which a header may claim, take a second."""
    monkeypatch.setattr(image_io, "MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)


@pytest.mark.parametrize("name", seeds())
def test_a_damaged_file_gives_a_picture_or_a_one_sentence_error(name, small_pictures):
    data, doors = seeds()[name], fuzz_files.READERS
    assert fuzz_files.gives_picture(doors["photo"], data)
    assert fuzz_files.gives_picture(doors["image"], data)
    for number in range(QUICK):
        for read in doors.values():
            fuzz_files.gives_picture(read, mutant(data, name, number))


@pytest.mark.slow
@pytest.mark.parametrize("name", seeds())
def test_no_damaged_file_takes_much_time_or_memory_prints_or_crashes(name):
    ends = list(fuzz_files.outcomes(name, seeds()[name], range(QUICK, QUICK + SLOW)))
    assert len(ends) == SLOW
    assert [(number, end.fault) for number, end in ends if end.fault] == []


def test_a_crash_is_reported_with_the_name_of_its_signal():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=os.abort)
    process.start()
    theirs.close()
    assert fuzz_files.next_outcome(ours, process).fault == "died of SIGABRT"


def test_mutants_are_the_same_in_every_run_and_differ_from_each_other():
    data = bytes(range(200))
    many = {mutant(data, "a", number) for number in range(50)}
    assert len(many) > 40 and mutant(data, "a", 3) == mutant(data, "a", 3)


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "heif"])
def test_mutants_have_swapped_missing_and_doubled_pieces_and_extreme_numbers(name):
    data = seeds()[name]
    for change in (mutations._swap, mutations._drop, mutations._extreme):
        changed = [bytearray(data) for _ in range(20)]
        for number, one in enumerate(changed):
            change(random.Random(number), one)
        assert sum(one != data for one in changed) > 10


def test_a_mutated_png_has_correct_checksums():
    data = bytearray(seeds()["png"])
    data[data.index(b"IHDR") + 5] ^= 4
    kinds = dict(png_file.chunks(mutations._summed(bytes(data))))
    assert photo.read_photo(mutations._summed(bytes(data)), allow_truncated=True)
    assert kinds[b"IHDR"][1] == 4


@pytest.mark.parametrize("error", [ValueError, SyntaxError, TypeError, RuntimeError, KeyError])
def test_every_exception_of_pillow_becomes_one_sentence(error):
    class Broken(Image.Image):
        def copy(self):
            raise error("one\n  two")

    with pytest.raises(UserError, match="^picture: cannot be read: '?one(\\\\n| )+two'?$"):
        photo.from_image(Broken())


def read_in_a_process(path):
    """Reads a file in a process of its own, which prints its notices or its error."""
    code = (
        "import sys; from colorjax.errors import UserError; from colorjax.pictures import photo\n"
        "try: print(*photo.read_photo(sys.argv[1]).notices)\n"
        "except UserError as error: print(error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )


def test_messages_of_libtiff_are_in_the_error_and_not_on_the_screen(tmp_path):
    data = bytearray(encode(noise(20, 20), "TIFF", compression="tiff_adobe_deflate"))
    (page,) = tiff_file.read_pages(io.BytesIO(data))
    data[page.first(Tag.StripOffsets) + 40] ^= 1
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    done = read_in_a_process(path)
    assert done.stderr == ""
    assert "a.tif: cannot be read: " in done.stdout and "(ZIPDecode: Decoding error" in done.stdout


def test_a_fax_with_damaged_lines_is_read_and_a_notice_names_the_first(tmp_path):
    data = bytearray(seeds()["fax tiff"])
    (page,) = tiff_file.read_pages(io.BytesIO(data))
    data[page.first(Tag.StripOffsets) + 20] ^= 0xFF
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    done = read_in_a_process(path)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{path}: is damaged (Fax4Decode: Bad code word at line ")
    assert photo.read_photo(seeds()["fax tiff"]).notices == ()  # no notice of the previous file


def test_warnings_and_logs_of_pillow_do_not_reach_the_screen(tmp_path):
    data = encode(noise(4, 4), "TIFF", dpi=(300, 300))
    (page,) = tiff_file.read_pages(io.BytesIO(data))
    two = bytearray(data)
    struct.pack_into("<I", two, page.entry_offsets[Tag.XResolution] + 4, 2)  # instead of one value
    many = tiff_file.with_numbers(data, page, {Tag.SamplesPerPixel: 2048})
    with pytest.warns(UserWarning, match="tag 282 had too many entries"):
        Image.open(io.BytesIO(two)).getexif()
    for number, one in enumerate((two, many)):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(one)
        done = read_in_a_process(path)
        assert done.stderr == "" and ("a damaged one" in done.stdout) == (number == 1)
