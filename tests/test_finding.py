"""Which photographs folders, links, patterns and pipes refer to."""

import os

import numpy as np
import pytest
from PIL import Image

from colorjax.coloring.folders import finding
from colorjax.pictures import mark, metadata, photo, writing


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 90).save(path)


def found(names, recursive=False):
    return list(finding.find([str(n) for n in names], recursive))


def sources(names, recursive=False):
    return [one.source for one in found(names, recursive) if not one.is_other]


def test_a_folder_gives_its_pictures_but_nothing_hidden(tmp_path):
    touch(tmp_path, "b.jpg", "a.PNG", "scan_color_001.jpg", ".c.jpg", "deep/d.tif", ".trash/e.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    names = ["a.PNG", "b.jpg", "scan_color_001.jpg"]
    assert sources([tmp_path]) == [str(tmp_path / name) for name in names]
    names.insert(2, "deep/d.tif")
    assert sources([tmp_path], recursive=True) == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("with_xmp", [False, True])
def test_results_in_a_folder_are_recognised_by_their_mark_not_their_name(
    tmp_path, suffix, with_xmp
):
    xmp = b"<x:xmpmeta><rdf:RDF><a/></rdf:RDF></x:xmpmeta>" if with_xmp else None
    touch(tmp_path, f"a{suffix}")
    one = photo.read_photo(tmp_path / f"a{suffix}")
    one = one._replace(metadata=one.metadata._replace(xmp=mark.marked(xmp)))
    # Noise, so that in a WebP the XMP comes far from the beginning of the file.
    rgb = Image.effect_noise((500, 700), 80).convert("RGB")
    writing.write_photo(tmp_path / f"renamed{suffix}", np.asarray(rgb), one)
    assert [(x.source[len(str(tmp_path)) + 1 :], x.is_result) for x in found([tmp_path])] == [
        (f"a{suffix}", False),
        (f"renamed{suffix}", True),
    ]
    assert photo.read_photo(tmp_path / f"renamed{suffix}").metadata.xmp == mark.marked(xmp)
    # A result that is named explicitly is coloured again.
    assert not found([tmp_path / f"renamed{suffix}"])[0].is_result


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("long", ["xmp", "the rest"])
def test_results_with_much_metadata_are_recognised_by_their_mark(tmp_path, suffix, long):
    xmp = b"<rdf:RDF>" + b" " * (300_000 if long == "xmp" else 60_000) + b"</rdf:RDF>"
    original = metadata.Metadata(xmp=mark.marked(xmp))
    if long == "the rest":
        exif = Image.Exif()
        exif[0x8769] = {0x9286: b"x" * 60_000}
        original = original._replace(exif=exif.tobytes(), iptc=b"\x1c" * 60_000)
        original = original._replace(
            texts=(("Comment", "x" * (60_000 if suffix == ".jpg" else 400_000)),)
        )
    rgb = np.asarray(Image.effect_noise((500, 700), 80).convert("RGB"))
    path = tmp_path / f"result{suffix}"
    notices = writing.write_photo(path, rgb, photo.Photo(rgb, None, original))
    assert mark.is_marked(path) and mark.is_marked_data(path.read_bytes())
    dropped = suffix == ".jpg" and long == "xmp"
    assert any("of XMP" in notice for notice in notices) == dropped
    kept = mark.marked(None) if dropped else original.xmp
    assert photo.read_photo(path).metadata.xmp == kept


def test_xmp_is_marked_only_once_and_left_unchanged_where_it_cannot_be():
    xmp = b"<rdf:RDF>" + b" " * 100 + b"</rdf:RDF>"
    assert mark.marked(mark.marked(xmp)) == mark.marked(xmp) != xmp
    for odd in (b"no packet", b"<rdf:RDF/>"):
        assert mark.marked(odd) == odd


def test_a_picture_that_is_named_twice_is_found_once(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    assert sources([tmp_path / "a.jpg", tmp_path, tmp_path / "*.jpg"]) == [str(tmp_path / "a.jpg")]


def test_patterns_are_expanded_where_the_shell_did_not(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.png", "[x].jpg")
    assert sources([tmp_path / "[ab].jpg"]) == [str(tmp_path / n) for n in ("a.jpg", "b.jpg")]
    # The name of a file may look like a pattern.
    assert sources([tmp_path / "[x].jpg"]) == [str(tmp_path / "[x].jpg")]


def test_each_name_that_matches_no_picture_gives_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    names = [tmp_path / "none.jpg", tmp_path / "*.gif", tmp_path / "empty"]
    url = "https://example.org/a.jpg?size=[1]"
    assert [one.fault for one in found([*names, url])] == [
        f"{names[0]}: there is no such file",
        f"{names[1]}: nothing matches",
        f"{names[2]}: holds no pictures; --recursive looks into the folders in it",
        f"{url}: is a URL, want a file: download it first",
    ]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "album/a.jpg", "album/z/b.jpg", "other/c.jpg")
    album = tmp_path / "album"
    (album / "again").symlink_to(album)
    (album / "deep").symlink_to(album / "z")
    (album / "other").symlink_to(tmp_path / "other")
    (album / "z" / "up").symlink_to(tmp_path)
    names = [os.path.relpath(source, album) for source in sources([album], recursive=True)]
    assert names == ["a.jpg", "z/b.jpg", "other/c.jpg"]
    assert [str(one.folder) for one in found([album], recursive=True)] == [".", "z", "other"]
    assert sources([album]) == [str(album / "a.jpg")]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_link_to_nothing_is_found_like_a_file(tmp_path, recursive):
    touch(tmp_path, "a.jpg")
    for name in ("gone.jpg", "gone.txt"):
        (tmp_path / name).symlink_to(tmp_path / f"no_{name}")
    got = found([tmp_path], recursive)
    assert [os.path.basename(one.source) for one in got if one.is_photo] == ["a.jpg", "gone.jpg"]
    assert finding.count_others(got) == {".txt": 1}


@pytest.mark.parametrize("unreadable", ["", "b"])
def test_an_unreadable_folder_is_reported_and_the_rest_is_found(tmp_path, monkeypatch, unreadable):
    touch(tmp_path, "album/a.jpg", "album/b/b.jpg", "album/c/c.jpg", "last.jpg")
    closed, real = str(tmp_path / "album" / unreadable).rstrip("/"), os.scandir

    def scandir(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    got = found([tmp_path / "album", tmp_path / "last.jpg"], recursive=True)
    assert [one.fault for one in got if one.fault] == [
        f"{closed}: cannot be listed: Permission denied"
    ]
    good = [os.path.basename(one.source) for one in got if not one.fault]
    assert good == (["last.jpg"] if not unreadable else ["a.jpg", "c.jpg", "last.jpg"])


def test_pipes_and_devices_are_streams_and_files_are_not(tmp_path):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert sources([tmp_path / "pipe", "-"]) == [str(tmp_path / "pipe"), "-"]
    for name in (str(tmp_path / "pipe"), "-", "/dev/stdin", "/dev/fd/63"):
        assert finding.is_stream(name)
    for name in (tmp_path / "a.jpg", tmp_path, tmp_path / "none.jpg"):
        assert not finding.is_stream(str(name))
