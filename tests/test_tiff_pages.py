"""TIFFs of scanners and cameras: which page is the photograph, and what its samples are."""

import io
import os
import struct

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from pictures import encode, noise
from PIL import Image
from test_photo import exif_block, tiff

from colorjax import cli
from colorjax.coloring.folders import batch, finding, naming
from colorjax.commands import colorize as command
from colorjax.errors import UserError
from colorjax.pictures import image_io, mark, photo, scan
from colorjax.pictures.formats import tiff_file


def without_extra_samples(data):
    (page,) = tiff_file.read_pages(io.BytesIO(data))
    return tiff_file.with_numbers(data, page, {338: None})


# --- samples ---


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_undeclared_fourth_sample_is_no_transparency(dtype, compression, byteorder):
    rgbi = noise(9, 7, 4)
    rgbi[..., 3] = 3  # an infrared channel is dark where there is no dust
    scale = 257 if dtype == "uint16" else 1
    options = {"photometric": "rgb", "compression": compression, "byteorder": byteorder}
    data = tiff(rgbi.astype(dtype) * scale, extrasamples=(0,), metadata=None, **options)
    data = without_extra_samples(data)
    got = photo.read_photo(data, name="scan.tif")
    np.testing.assert_array_equal(got.rgb, rgbi[..., :3])
    sentence = "scan.tif: has a fourth channel that is not transparency, which is left out"
    assert got.alpha is None and got.notices == (sentence,)
    np.testing.assert_allclose(image_io.read_rgb(data), rgbi[..., :3], atol=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("extra", [(0,), (0, 2), (2, 0), (0, 0)])
def test_further_samples_of_colour_are_reported_and_the_declared_alpha_is_found(extra, dtype):
    values = noise(9, 7, 3 + len(extra))
    scale = 257 if dtype == "uint16" else 1
    data = tiff(values.astype(dtype) * scale, photometric="rgb", extrasamples=extra)
    got = photo.read_photo(data, name="scan.tif")
    np.testing.assert_array_equal(got.rgb, values[..., :3])
    assert got.notices == (
        "scan.tif: has a fourth channel that is not transparency, which is left out",
    )
    if 2 in extra:
        np.testing.assert_array_equal(got.alpha, values[..., 3 + extra.index(2)])
    else:
        assert got.alpha is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
def test_gray_with_a_second_sample_is_read(extra, photometric, dtype):
    values = noise(6, 5, 2)
    values[..., 1] = 255
    white = 255 if dtype == "uint8" else 65535
    data = tiff(
        values.astype(dtype) * (white // 255),
        photometric=photometric,
        planarconfig="contig",
        extrasamples=(extra,),
    )
    got = photo.read_photo(data)
    want = 255 - values[..., :1] if photometric == "miniswhite" else values[..., :1]
    np.testing.assert_array_equal(got.rgb, np.broadcast_to(want, (6, 5, 3)))
    if extra == "unspecified":
        assert got.alpha is None and "a further channel that is not" in got.notices[0]
    else:
        assert (got.alpha == 255).all() and got.notices == ()


# --- pages ---


def pages_file(*pages, **options):
    """A TIFF of pages, each an array and its NewSubfileType."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        for array, kind in pages:
            writer.write(array, subfiletype=kind, photometric="rgb", metadata=None)
    return stream.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_thumbnail_before_the_photograph_is_skipped(byteorder, tmp_path):
    small, large, middle = noise(9, 16), noise(36, 64, seed=1), noise(18, 32, seed=2)
    data = pages_file((small, 1), (middle, 1), (large, 0), byteorder=byteorder)
    (tmp_path / "a.tif").write_bytes(data)
    for source in (data, tmp_path / "a.tif"):
        got = photo.read_photo(source)
        np.testing.assert_array_equal(got.rgb, large)
        assert got.notices == ()


def test_training_takes_the_page_that_colouring_takes(tmp_path):
    small, large = np.full((9, 16, 3), 200, np.uint8), np.full((36, 64, 3), 90, np.uint8)
    for pages in (((small, 1), (large, 0)), ((large, 0), (small, 1))):
        (tmp_path / "a.tif").write_bytes(pages_file(*pages))
        assert image_io.read_rgb(tmp_path / "a.tif").shape == (36, 64, 3)
        assert (image_io.read_square(tmp_path / "a.tif", 8) == 90).all()


def test_smaller_copies_after_the_photograph_do_not_count_as_pages():
    large, other = noise(36, 64), noise(30, 30, seed=1)
    got = photo.read_photo(pages_file((large, 0), (noise(9, 16), 1)))
    assert got.rgb.shape == (36, 64, 3) and got.notices == ()
    got = photo.read_photo(pages_file((large, 0), (noise(9, 16), 1), (other, 0)), name="a.tif")
    assert got.notices == ("a.tif: has 2 pages, only the first is taken",)


def test_the_photograph_may_be_in_a_subifd_of_its_thumbnail():
    stream, large = io.BytesIO(), noise(36, 64, seed=1)
    with tifffile.TiffWriter(stream) as writer:
        options = {"photometric": "rgb", "metadata": None}
        writer.write(noise(9, 16), subfiletype=1, subifds=1, **options)
        writer.write(large, subfiletype=0, **options)
    np.testing.assert_array_equal(photo.read_photo(stream.getvalue()).rgb, large)


def raw_file(kind):
    """A raw file as cameras write it: a thumbnail, with the sensor's pixels in a SubIFD."""
    stream = io.BytesIO()
    extra = [(50706, 1, 4, (1, 4, 0, 0), True)] if kind == "dng" else []
    with tifffile.TiffWriter(stream) as writer:
        thumbnail = {"photometric": "rgb", "metadata": None, "subifds": 1, "extratags": extra}
        writer.write(noise(9, 16), subfiletype=1, **thumbnail)
        photometric, channels = (34892, 3) if kind == "dng" else (32803, 1)
        sensor = np.zeros((36, 64, channels)[: 2 + channels // 3], np.uint16)
        tags = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)]
        writer.write(sensor, photometric=photometric, metadata=None, extratags=tags)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["dng", "nef"])
def test_raw_files_are_refused_with_advice(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(raw_file(kind))
    for read in (photo.read_photo, image_io.read_rgb, lambda path: image_io.read_square(path, 8)):
        with pytest.raises(UserError, match=f"a.{kind}: is a camera's raw file, want .* darktable"):
            read(path)


@pytest.mark.parametrize(
    "head",
    [
        b"II*\0\x10\0\0\0CR\2\0",
        b"IIRO\x08\0\0\0",
        b"IIRS\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        b"FUJIFILMCCD-RAW ",
        b"\0\0\0\x18ftypcrx \0\0",
        b"\0MRM",
    ],
)
def test_raw_files_of_other_cameras_are_recognised_by_their_first_bytes(head):
    with pytest.raises(UserError, match="a.raw: is a camera's raw file"):
        photo.read_photo(head + bytes(200), name="a.raw")


# --- damage ---


def test_circular_page_tables_are_read_once():
    data = bytearray(pages_file((noise(4, 4), 0), (noise(4, 4), 0)))
    first, second = tiff_file.read_pages(io.BytesIO(data))
    (count,) = struct.unpack_from("<H", data, second.offset)
    struct.pack_into("<I", data, second.offset + 2 + 12 * count, first.offset)
    assert len(tiff_file.read_pages(io.BytesIO(data))) == 2


def test_damaged_tables_give_a_picture_or_a_user_error():
    data = pages_file((noise(9, 9), 1), (noise(18, 18), 0))
    generator = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for position in generator.integers(4, len(data), 3):
            broken[position % 400 + 4] = generator.integers(0, 256)
        try:
            photo.read_photo(bytes(broken))
        except UserError:
            continue


def test_a_plain_tiff_with_an_orientation_is_read_upright(tmp_path):
    rgb = noise(8, 8)
    path = tmp_path / "a.tif"
    path.write_bytes(encode(rgb, "TIFF", exif=exif_block(6)))
    np.testing.assert_array_equal(photo.read_photo(path).rgb, np.rot90(rgb, -1))


def test_every_page_can_be_read_by_its_number():
    pages = [noise(8, 9, seed=i) for i in range(3)]
    data = pages_file((noise(2, 2), 1), *((page, 0) for page in pages))
    for number, page in enumerate(pages, 1):
        got = photo.read_photo(data, page=number)
        np.testing.assert_array_equal(got.rgb, page)
        assert got.notices == ()
    with pytest.raises(UserError, match="a.tif: has 3 pages, want one of them and not page 4"):
        photo.read_photo(data, page=4, name="a.tif")
    assert scan.count_pages(data) == 3 and scan.count_pages(encode(pages[0])) == 0


@pytest.fixture
def negatives(monkeypatch):
    """Makes the command load no network, and write negatives as results."""

    def colorings(painter, photos, settings):
        yield from ((i, None, [255 - one]) for i, one in enumerate(photos))

    monkeypatch.setattr(batch, "colorings", colorings)
    monkeypatch.setattr(command, "painter_of", lambda options: None)


@pytest.mark.parametrize(
    ("pages", "output", "want"),
    [
        ("all", "out", ["a_page1_color.tif", "a_page2_color.tif", "b_color.tif", "c_color.png"]),
        ("first", "out", ["a_color.tif", "b_color.tif", "c_color.png"]),
        ("2", "out", ["a_page2_color.tif", "c_color.png"]),
    ],
)
def test_pages_are_coloured_into_separate_files(pages, output, want, tmp_path, negatives):
    both = [noise(8, 9), noise(8, 9, seed=1)]
    (tmp_path / "a.tif").write_bytes(pages_file((both[0], 0), (both[1], 0)))
    (tmp_path / "b.tif").write_bytes(encode(noise(4, 4), "TIFF"))
    (tmp_path / "c.png").write_bytes(encode(noise(4, 4)))
    result = CliRunner().invoke(
        cli.main, [str(tmp_path), "-o", str(tmp_path / output), "--pages", pages]
    )
    assert sorted(path.name for path in (tmp_path / output).iterdir()) == want
    for number in (1, 2):
        path = tmp_path / output / f"a_page{number}_color.tif"
        if path.exists():
            np.testing.assert_array_equal(photo.read_photo(path).rgb, 255 - both[number - 1])
    sentence = "b.tif: has 1 page, want one of them and not page 2"
    assert (sentence in result.stderr) == (pages == "2")


def test_a_page_of_a_pipe_is_coloured_by_its_number(negatives, tmp_path):
    both = [noise(8, 9), noise(8, 9, seed=1)]
    data = pages_file((both[0], 0), (both[1], 0))
    for number, page in enumerate(both, 1):
        done = CliRunner().invoke(cli.main, ["-", "--pages", str(number)], input=data)
        assert done.exit_code == 0, done.stderr
        np.testing.assert_array_equal(photo.read_photo(done.stdout_bytes).rgb, 255 - page)
    done = CliRunner().invoke(cli.main, ["-", "--pages", "3"], input=data)
    assert done.exit_code == 1 and done.stdout_bytes == b""
    assert "standard input: has 2 pages, want one of them and not page 3" in done.stderr
    done = CliRunner().invoke(cli.main, ["-", "--pages", "3"], input=encode(both[0]))
    np.testing.assert_array_equal(photo.read_photo(done.stdout_bytes).rgb, 255 - both[0])


def test_all_pages_of_a_pipe_are_refused(negatives, tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    for source in ("-", str(tmp_path / "pipe.tif")):
        done = CliRunner().invoke(cli.main, [source, "--pages", "all"], input=b"")
        assert done.exit_code == 2 and "--pages all wants a file" in done.stderr


def several(kind):
    """A file of three pages or frames."""
    first, *others = [Image.fromarray(noise(8, 9, seed=i)) for i in range(3)]
    return encode(first, kind, save_all=True, append_images=others)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "GIF"])
def test_files_are_not_replaced_if_other_pages_or_frames_would_be_lost(kind, negatives, tmp_path):
    path, data = tmp_path / ("a.png" if kind == "GIF" else f"a.{kind.lower()}"), several(kind)
    path.write_bytes(data)
    (tmp_path / "b.png").write_bytes(encode(noise(4, 4)))
    arguments = [str(tmp_path), "--replace", "--discard-original"]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 1 and path.read_bytes() == data
    assert f"{path}: has 3 pages or frames, of which one would be left; want it" in done.stderr
    assert "1 photo coloured" in done.stderr and mark.is_marked(tmp_path / "b.png")
    done = CliRunner().invoke(cli.main, arguments[:2])
    assert done.exit_code == 0 and (tmp_path / f"{path.name}.orig").read_bytes() == data


def test_names_of_several_pages_are_numbered_and_bad_values_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(pages_file((noise(8, 9), 0), (noise(8, 9), 0)))
    found = [finding.Found(str(tmp_path / "a.tif"))]
    for pages, names in (("2", ["out.tif"]), ("all", ["out_page1.tif", "out_page2.tif"])):
        jobs = naming.jobs_of(found, naming.Rules("out.tif", pages=pages))
        assert [job.targets for job in jobs] == [(name,) for name in names]
    for value in ("0", "-1", "last"):
        result = CliRunner().invoke(cli.main, [str(tmp_path), f"--pages={value}"])
        assert result.exit_code == 2 and "is not all, first or a page number" in result.stderr
