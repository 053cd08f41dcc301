"""`colorjax archive`: the remaining photographs, the log, and one row for each bad file."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from pictures import encode, noise
from PIL import Image

from colorjax import extras
from colorjax.cli import main
from colorjax.coloring.archive import cluster, log, remaining, source, store, worker
from colorjax.coloring.archive.log import DONE, FAILED, SKIPPED, Row
from colorjax.errors import UserError
from colorjax.pictures import mark

ROOT = Path(__file__).parent.parent


def create_files(folder, *names):
    """Creates files of these names in a folder; returns the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    return folder


def list_items(folder):
    others = Counter()
    items = source.open_source(str(folder)).items(others)
    return sorted(items), others


# Shards and names


def test_every_photograph_is_in_one_shard_and_shards_have_similar_sizes():
    paths = [f"{i // 50:02}/{i:04}.tif" for i in range(2000)]
    counts = [sum(map(remaining.Shard(i, 8).holds, paths)) for i in range(8)]
    assert sum(counts) == 2000 and min(counts) > 200 and max(counts) < 300


def test_a_shard_is_the_same_in_every_process():
    paths = "a.jpg", "b/c.png", "d.tif", "ä.png"
    shards = [next(i for i in range(8) if remaining.Shard(i, 8).holds(path)) for path in paths]
    assert shards == [2, 7, 4, 5]  # by sha256, because Python's own hash varies


@pytest.mark.parametrize(
    "text", ["", "3", "8/8", "-1/8", "1/0", "a/b", "1/8/2", "1.0/8", "0/", f"0/{'9' * 5000}"]
)
def test_an_invalid_shard_is_refused(text):
    with pytest.raises(UserError, match=r"^shard is '.*', want i/n with i from 0 to n - 1"):
        remaining.parse_shard(text)


def test_shards_are_counted_from_0():
    assert remaining.parse_shard("0/8") == (0, 8) and remaining.parse_shard("7/8") == (7, 8)


@pytest.mark.parametrize(
    "path, mark, format, wanted",
    [
        ("a/b.jpg", "_color", None, "a/b_color.jpg"),
        ("a/b.TIF", "_color", None, "a/b_color.TIF"),
        ("b.tif", "", None, "b.tif"),
        ("b.tif", "_color", "jpg", "b_color.tif.jpg"),
        ("b.heic", "_color", None, "b_color.heic.png"),
        ("b.jpg", "_color", "jpg", "b_color.jpg"),
        ("b.JPG", "_color", "jpg", "b_color.JPG.jpg"),
    ],
)
def test_a_result_is_named_after_its_photograph_alone(path, mark, format, wanted):
    assert remaining.result_path(PurePosixPath(path), mark, format) == wanted


def test_photographs_with_similar_names_have_different_result_names():
    names = "a.tif a.png a.jpg a.JPG a.jpeg a.heic a.HEIC a.tif.jpg a_color.tif".split()
    for format in (None, "jpg", "png", "tif"):
        assert len({remaining.result_path(PurePosixPath(n), "_color", format) for n in names}) == 9


# Finding photographs


def test_folders_are_searched_without_hidden_and_other_files(tmp_path):
    create_files(tmp_path, "a.jpg", "x/b.TIF", "x/y/c.png", ".d/e.jpg", "x/.f.jpg", "x/g.txt", "h")
    items, others = list_items(tmp_path)
    assert items == [("a.jpg", ""), ("x/b.TIF", ""), ("x/y/c.png", "")]
    assert others == {".txt": 1, "no suffix": 1}


def test_linked_folders_are_searched_once_and_pipes_are_skipped(tmp_path):
    create_files(tmp_path, "x/a.jpg")
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    (tmp_path / "y").symlink_to(tmp_path / "x")
    os.mkfifo(tmp_path / "pipe.jpg")
    items, others = list_items(tmp_path)
    assert items == [("x/a.jpg", "")] and not others


@pytest.mark.parametrize("backwards", [False, True])
def test_linked_folders_come_last_in_whatever_order_a_folder_is_listed(tmp_path, backwards):
    create_files(tmp_path, "in/2024/a.jpg", "in/x/b.jpg", "other/c.jpg", "other/deep/d.jpg")
    for name, place in [("1", "2024"), ("latest", "2024"), ("z", "../other"), ("y", "../other")]:
        (tmp_path / "in" / name).symlink_to(place)
    (tmp_path / "in" / "x" / "deep").symlink_to(tmp_path / "other" / "deep")
    folder = store.local(str(tmp_path / "in"))

    def entries(path):
        return iter(sorted(folder.entries(path), reverse=backwards))

    items = source.from_store(folder._replace(entries=entries)).items(Counter())
    assert sorted(items) == [
        ("2024/a.jpg", ""),
        ("x/b.jpg", ""),
        ("x/deep/d.jpg", ""),
        ("y/c.jpg", ""),
    ]


def test_links_to_nothing_are_listed_or_counted(tmp_path):
    create_files(tmp_path, "a.jpg")
    for name in ("gone.jpg", "gone.txt", "share", ".gone.jpg"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")
    items, others = list_items(tmp_path)
    assert items == [
        ("a.jpg", ""),
        ("gone.jpg", ""),  # fails when it is read
        ("share", "share: cannot be listed: No such file or directory"),
    ]
    assert others == {".txt": 1}


def test_circular_links_are_reported_and_hide_no_photograph(tmp_path):
    create_files(tmp_path, "a.jpg", "x/b.jpg", "z.jpg")
    for name in ("loop", "loop.jpg", "x/loop"):
        (tmp_path / name).symlink_to(Path(name).name)
    items, others = list_items(tmp_path)
    reason = "cannot be listed: Too many levels of symbolic links"
    assert items == [
        ("a.jpg", ""),
        ("loop", f"loop: {reason}"),
        ("loop.jpg", ""),  # fails when it is read
        ("x/b.jpg", ""),
        ("x/loop", f"x/loop: {reason}"),
        ("z.jpg", ""),
    ]
    assert not others


def test_folders_are_listed_lazily(tmp_path):
    listed = []

    def entries(folder):
        listed.append(folder)
        for i in range(10**9):
            yield store.Entry(f"{i}.jpg", False)

    endless = store.local(str(tmp_path))._replace(entries=entries)
    items = source.from_store(endless).items(Counter())
    assert [item.path for item in islice(items, 2)] == ["0.jpg", "1.jpg"] and listed == [""]


def test_an_unreadable_folder_gets_a_row(tmp_path):
    create_files(tmp_path, "a.jpg", "x/b.jpg")
    local_store = store.local(str(tmp_path))

    def entries(folder):
        if folder == "x":
            raise PermissionError(13, "Permission denied")
        yield from local_store.entries(folder)

    items = sorted(source.from_store(local_store._replace(entries=entries)).items(Counter()))
    assert items == [("a.jpg", ""), ("x", "x: cannot be listed: Permission denied")]


def test_a_photograph_or_folder_whose_name_is_not_utf_8_gets_a_row(tmp_path):
    create_files(tmp_path, "a.jpg")
    for name in (b"b\xff.jpg", b"c\xff.txt", b"d.\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"-")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/e\xff")).mkdir()
    items, others = list_items(tmp_path)
    assert [item.path for item in items] == ["a.jpg", r"b\udcff.jpg", r"e\udcff"]
    assert not items[0].fault and all("is not UTF-8" in item.fault for item in items[1:])
    assert others == {".txt": 1, r".\udcff": 1}


def write_manifest(file, paths, column="path"):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({column: pyarrow.array(paths, pyarrow.string())}), file)
    return str(file)


def test_a_photograph_that_a_manifest_lists_twice_is_used_once(tmp_path):
    file = write_manifest(tmp_path / "list.parquet", ["x/a.jpg", None, "x/a.jpg", "b.jpg"], "file")
    items = list(source.open_source(file, column="file").items(Counter()))
    assert [item.path for item in items] == ["x/a.jpg", "row 1", "b.jpg"]
    assert items[1].fault == f"{file}: row 1 has None, want a path"
    with pytest.raises(UserError, match="has no column 'path', want --column of file"):
        list(source.open_source(file).items(Counter()))


def test_photographs_of_a_manifest_with_the_same_result_are_a_fault(tmp_path):
    paths = "data/a.jpg", "/data/a.jpg", "file:///data/a.jpg", "b.jpg", "s3://x//c.jpg", "../d.jpg"
    file = write_manifest(tmp_path / "list.parquet", [*paths, "s3://x/c.jpg", "/data/e.jpg"])
    items = list(source.open_source(file, root="/in").items(Counter()))
    assert [item.path for item in items] == [*paths, "s3://x/c.jpg", "/data/e.jpg"]
    assert {item.path: item.fault for item in items if item.fault} == {
        path: f"{path}: would have the same result as {first}, want another --root"
        for path, first in [
            ("/data/a.jpg", "data/a.jpg"),
            ("file:///data/a.jpg", "data/a.jpg"),
            ("s3://x/c.jpg", "s3://x//c.jpg"),
        ]
    } | {"../d.jpg": "/in/../d.jpg: leads out of /in, want a path without .."}


def test_a_photograph_that_a_manifest_spells_in_several_ways_is_used_once(tmp_path):
    paths = ["x/a.jpg", "./x//a.jpg", f"{tmp_path}/x/a.jpg", "/b.jpg", "file:///b.jpg", "//b.jpg"]
    file = write_manifest(tmp_path / "list.parquet", paths)
    items = list(source.open_source(file).items(Counter()))
    assert items == [("x/a.jpg", ""), ("/b.jpg", "")]


@pytest.mark.parametrize(
    "path, root, wanted",
    [
        ("x/a.jpg", None, "x/a.jpg"),
        ("/data/x/a.jpg", None, "data/x/a.jpg"),
        ("/data/x/a.jpg", "/data", "x/a.jpg"),
        ("/database/a.jpg", "/data", "database/a.jpg"),
        ("s3://bucket/x/a.jpg", None, "bucket/x/a.jpg"),
        ("s3://bucket/x/a.jpg", "s3://bucket/", "x/a.jpg"),
        ("x/a.jpg", "s3://bucket", "x/a.jpg"),
    ],
)
def test_folders_of_a_manifest_are_kept_relative_to_its_root(path, root, wanted):
    opened = source.open_source("/lists/list.parquet", root=root)
    assert str(opened.relative_path(path)) == wanted


@pytest.mark.parametrize("path", ["../a.jpg", "x/../../a.jpg", "/data/../a.jpg", "s3://b/../a.jpg"])
def test_manifest_paths_that_lead_out_of_the_root_are_refused(path):
    with pytest.raises(UserError, match="want a path without"):
        source.open_source("/lists/list.parquet").relative_path(path)


def test_manifest_paths_may_be_relative_absolute_or_uris(tmp_path):
    create_files(tmp_path, "x/a.jpg")
    opened = source.open_source(str(tmp_path / "list.parquet"))
    for path in ("x/a.jpg", str(tmp_path / "x/a.jpg"), f"file://{tmp_path}/x/a.jpg"):
        assert opened.read(path) == b"-"
    with pytest.raises(OSError):
        opened.read("x/b.jpg")


def test_an_invalid_or_missing_manifest_is_a_one_sentence_error(tmp_path):
    pytest.importorskip("pyarrow")
    create_files(tmp_path, "list.parquet")
    for name in ("list.parquet", "gone.parquet"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a manifest: "):
            list(source.open_source(str(tmp_path / name)).items(Counter()))


# Stores


def arrow_folder(folder):
    fs = pytest.importorskip("pyarrow.fs")
    folder.mkdir(exist_ok=True)
    system = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    return store.arrow(system, "bucket/top", "mock://bucket/top")


def local_folder(folder):
    return store.local(str(folder))


@pytest.fixture(params=[local_folder, arrow_folder])
def empty_store(request, tmp_path):
    """An empty store of each kind."""
    return request.param(tmp_path / "place")


def test_a_store_returns_what_was_put_and_replaces_nothing(empty_store):
    assert not empty_store.exists("x/a.jpg") and empty_store.put("x/a.jpg", b"one")
    assert not empty_store.put("x/a.jpg", b"two") and empty_store.read("x/a.jpg") == b"one"
    empty_store.put("b.gz", b"not packed")
    assert empty_store.read("b.gz") == b"not packed" and empty_store.exists("x/a.jpg")
    assert sorted(empty_store.entries("")) == [store.Entry("b.gz", False), store.Entry("x", True)]
    assert list(empty_store.entries("x")) == [store.Entry("a.jpg", False)]  # no incomplete file
    empty_store.remove("x/a.jpg")
    assert list(empty_store.entries("x")) == []
    with pytest.raises(FileNotFoundError):
        list(empty_store.entries("y"))


def test_a_failed_put_leaves_no_file(empty_store, tmp_path):
    create_files(tmp_path, "place/file", "place/bucket/top/file")
    with pytest.raises(OSError):
        empty_store.put("file/a.jpg", b"one")
    with pytest.raises((OSError, TypeError)):
        empty_store.put("b.jpg", None)
    assert not empty_store.exists("b.jpg")


def test_an_unknown_uri_is_a_one_sentence_error():
    pytest.importorskip("pyarrow")
    with pytest.raises(UserError, match="^nowhere://a: cannot be opened: .*want s3://"):
        store.open_store("nowhere://a")


# Remaining photographs


def find_remaining(folder, target, finished, shard="0/1", on_finished=None):
    """Returns the paths of the remaining photographs, and the rows that are written meanwhile."""
    rows = []
    opened = source.from_store(store.local(str(folder)))
    config = worker.WorkerConfig(str(folder), str(target))
    paths = remaining.remaining_paths(
        opened,
        store.local(str(target)),
        finished,
        config.result_path,
        remaining.parse_shard(shard),
        Counter(),
        rows.append,
        [].append if on_finished is None else on_finished.append,
    )
    return sorted(paths), sorted(rows)


def test_photographs_without_a_logged_or_existing_result_remain(tmp_path):
    names = "new.jpg done.jpg deleted.jpg failed.jpg there.jpg settled.jpg".split()
    create_files(tmp_path / "in", *(f"x/{name}" for name in names))
    create_files(tmp_path / "out", "x/done_color.jpg", "x/there_color.jpg")
    rows = [
        Row("x/done.jpg", DONE, result="x/done_color.jpg"),
        Row("x/deleted.jpg", DONE, result="x/deleted_color.jpg"),
        Row("x/failed.jpg", FAILED, "x/failed.jpg: is empty"),
        Row("x/settled.jpg", SKIPPED, worker.OWN_RESULT),
    ]
    finished = []
    paths, new_rows = find_remaining(
        tmp_path / "in", tmp_path / "out", log.read_finished(rows), on_finished=finished
    )
    assert sorted(finished) == ["x/done.jpg", "x/settled.jpg"]
    assert paths == ["x/deleted.jpg", "x/failed.jpg", "x/new.jpg"]
    assert [row[:3] for row in new_rows] == [("x/there.jpg", SKIPPED, remaining.RESULT_EXISTS)]
    assert new_rows[0].result == "x/there_color.jpg" and new_rows[0].when > 0


def test_an_unreadable_folder_of_results_fails_only_its_own_photographs(tmp_path):
    create_files(tmp_path / "in", "a.jpg", "sub/b.jpg", "sub/c.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to("sub")
    paths, rows = find_remaining(tmp_path / "in", tmp_path / "out", log.read_finished([]))
    reason = f"{tmp_path}/out/sub: cannot be listed: Too many levels of symbolic links"
    assert paths == ["a.jpg"]
    assert [row[:3] for row in rows] == [
        (path, FAILED, f"{path}: {reason}") for path in ("sub/b.jpg", "sub/c.jpg")
    ]


def test_shards_divide_the_photographs_without_overlap(tmp_path):
    create_files(tmp_path / "in", *(f"{i}.jpg" for i in range(40)))
    parts = [
        find_remaining(tmp_path / "in", tmp_path / "out", log.read_finished([]), f"{i}/3")[0]
        for i in range(3)
    ]
    assert all(parts) and sorted(sum(parts, [])) == sorted(f"{i}.jpg" for i in range(40))


def test_photographs_skipped_for_their_colours_can_be_retried():
    rows = [Row("a.jpg", SKIPPED, worker.IN_COLOUR), Row("b.jpg", SKIPPED, worker.OWN_RESULT)]
    assert log.read_finished(rows).skipped == {"a.jpg", "b.jpg"}
    assert log.read_finished(rows, retry_reason=worker.IN_COLOUR).skipped == {"b.jpg"}


# The log


@pytest.mark.parametrize("lost", ['{"path": "b.jpg", "sta', "{", "\0\0\0"])
def test_log_lines_are_read_back_and_a_truncated_last_line_is_ignored(tmp_path, lost):
    file = tmp_path / "logs" / "log.jsonl"
    rows = [Row(f"ä{i}.jpg", DONE, "", 0.5, 10, f"ä{i}_color.jpg", 7.0) for i in range(3)]
    first = log.json_lines(file)
    for row in rows[:2]:
        first.add(row)
        assert json.loads(file.read_text("utf-8").splitlines()[-1])["path"] == row.path
    first.close()
    with file.open("a") as stream:
        stream.write(lost)
    second = log.json_lines(file)
    assert list(second.rows()) == rows[:2]
    second.add(rows[2])
    second.close()
    assert list(log.json_lines(file).rows()) == rows


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_a_log_is_a_one_sentence_error():
    full = log.json_lines(Path("/dev/full"))
    with pytest.raises(UserError, match="^/dev/full: cannot be written: No space left"):
        full.add(Row("a.jpg", DONE))
    full.close()


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"step": 3}', "line 1 is not a row of an archive log"),
        ('{"path": "a.jpg", "sta\nnotes\n', "line 2 is not a row of an archive log"),
        ('{\n  "path": "a.jpg"\n}', "line 2 is not a row of an archive log"),
        ("my,notes\n1,2", r"begins with 'my,notes\\n1,2', want a new file or a log of an archive"),
        ("\0\xff" * 99, "want a new file or a log of an archive"),
    ],
)
def test_a_file_that_is_not_a_log_is_refused_and_left_unchanged(tmp_path, text, message):
    file = tmp_path / "log.jsonl"
    file.write_text(text, "latin-1")
    with pytest.raises(UserError, match=f"log.jsonl: .*{message}"):
        list(log.json_lines(file).rows())
    assert file.read_text("latin-1") == text


def test_parquet_parts_are_merged_and_keep_the_newest_row_of_each_file(empty_store, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(log, "PART_ROWS", 2)
    rows = [Row(f"{i}.jpg", FAILED, "no", 0.5, 10, "", 100.0 + i) for i in range(4)]
    better = Row("1.jpg", DONE, "", 0.25, 10, "1_color.jpg", 200.0)
    monkeypatch.setattr(log.time, "time", lambda: 101.0)
    first = log.parquet(empty_store, "log")
    assert list(first.rows()) == []
    for row in rows:
        first.add(row)
    assert len(list(empty_store.entries("log"))) == 2 and list(first.rows()) == rows
    second = log.parquet(empty_store, "log")
    second.add(better)
    second.close()
    assert len(list(empty_store.entries("log"))) == 1
    assert sorted(second.rows()) == sorted([rows[0], better, *rows[2:]])


def test_few_rows_are_written_after_some_seconds_too(empty_store, monkeypatch):
    pytest.importorskip("pyarrow")
    opened = log.parquet(empty_store, "log")
    monkeypatch.setattr(log.time, "time", lambda: 100.0)
    opened.add(Row("a.jpg", DONE, when=100.0))
    assert list(opened.rows()) == []
    monkeypatch.setattr(log.time, "time", lambda: 100.0 + 1.5 * log.PART_SECONDS)
    opened.add(Row("b.jpg", DONE, when=130.0))
    assert [row.path for row in opened.rows()] == ["a.jpg", "b.jpg"]


def test_a_damaged_part_is_named(empty_store):
    pytest.importorskip("pyarrow")
    empty_store.put("log/1.parquet", b"nothing")
    with pytest.raises(UserError, match="log/1.parquet: is not part of an archive log"):
        list(log.parquet(empty_store, "log").rows())


@pytest.mark.parametrize("name", ["file", "loop"])
def test_a_log_that_is_not_a_folder_is_a_one_sentence_error(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=f"/{name}: cannot be listed: "):
        list(log.parquet(store.local(str(tmp_path)), name).rows())


# Workers


def test_a_program_error_fails_only_the_file_that_caused_it():
    def run(jobs):
        for job in jobs:
            if job.source == "b.jpg":
                raise IndexError("list index out of range")
            yield Row(job.source, DONE)

    from colorjax.coloring.folders.naming import Job

    jobs = [Job(name, (), None) for name in ("a.jpg", "b.jpg", "c.jpg")]
    rows = list(worker._run_isolated(run, jobs))
    assert [row[:2] for row in rows] == [("a.jpg", DONE), ("b.jpg", FAILED), ("c.jpg", DONE)]
    assert rows[1].why == "b.jpg: cannot be coloured: IndexError: list index out of range"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two good scans, one in 16 bits, one in colour, a result of ours, and bad files."""
    folder = tmp_path_factory.mktemp("scans")
    gray = np.repeat(noise(64, 64, 1), 3, axis=-1)
    files = {
        "a.jpg": encode(gray, "JPEG"),
        "x/b.bmp": encode(gray, "BMP"),
        "x/deep.png": encode(Image.fromarray(gray[..., 0].astype(np.uint16) * 257)),
        "x/colour.png": encode(noise(64, 64)),
        "ours.jpg": encode(Image.fromarray(gray), "JPEG", xmp=mark.marked(None)),
        "empty.jpg": b"",
        "x/bad.png": b"\x89PNG and no more",
        "x/notes.txt": b"-",
    }
    for name, data in files.items():
        create_files(folder, name)
        (folder / name).write_bytes(data)
    return folder


def run_shard(scans, target, *options):
    return CliRunner().invoke(
        main, ["archive", str(scans), str(target), "--shard", "0/1", *options]
    )


def log_rows(target):
    text = (target / "archive_log_0_of_1.jsonl").read_text("utf-8")
    return {row["path"]: row for row in map(json.loads, text.splitlines())}


def result_files(target):
    paths = (path for path in target.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(target)): path.read_bytes() for path in paths}


def test_a_shard_colours_what_it_can_and_a_second_run_colours_nothing(model, scans, tmp_path):
    target = tmp_path / "out"
    arguments = (scans, target, "--model", model, "--skip-colour", "--saturation", "0")
    done = run_shard(*arguments)
    assert done.exit_code == 1, done.output
    assert "3 photos coloured" in done.output and "; 2 skipped" in done.output
    assert "1 .txt; 2 failed" in done.output and "empty.jpg: is empty (0 bytes)" in done.output
    rows, files = log_rows(target), result_files(target)
    assert {path: row["status"] for path, row in rows.items()} == {
        "a.jpg": DONE,
        "x/b.bmp": DONE,
        "x/deep.png": DONE,
        "x/colour.png": SKIPPED,
        "ours.jpg": SKIPPED,
        "empty.jpg": FAILED,
        "x/bad.png": FAILED,
    }
    assert rows["x/colour.png"]["why"] == worker.IN_COLOUR
    assert rows["ours.jpg"]["why"] == worker.OWN_RESULT
    assert rows["a.jpg"]["size"] == (scans / "a.jpg").stat().st_size and rows["a.jpg"]["seconds"]
    assert sorted(files) == ["a_color.jpg", "x/b_color.bmp.png", "x/deep_color.png"]
    assert mark.is_marked(target / "x/deep_color.png")
    with Image.open(target / "x/b_color.bmp.png") as image:
        assert image.size == (64, 64) and np.ptp(np.asarray(image), axis=-1).max() == 0
    again = run_shard(*arguments)
    assert "0 photos coloured" in again.output and result_files(target) == files
    log_lines = (target / "archive_log_0_of_1.jsonl").read_text().splitlines()
    assert len(log_lines) == 9  # the two failed files are tried again


def test_photographs_done_before_are_counted_in_the_summary(tmp_path):
    create_files(tmp_path / "first", "a.jpg", "b.jpg")
    create_files(tmp_path / "second", "a.jpg", "b.jpg", "c.jpg")
    create_files(tmp_path / "out", "a_color.jpg", "b_color.jpg", "c_color.jpg")
    first = run_shard(tmp_path / "first", tmp_path / "out")
    assert "; 2 skipped;" in first.output and "done before" not in first.output
    second = run_shard(tmp_path / "second", tmp_path / "out")
    assert "0 photos coloured" in second.output
    assert "; 2 done before; 1 skipped;" in second.output


def test_a_shard_counts_only_its_own_photographs_as_done_before(tmp_path):
    names = [f"{i}.jpg" for i in range(40)]
    create_files(tmp_path / "in", *names)
    rows = [Row(name, SKIPPED, worker.OWN_RESULT) for name in names]
    counts = []
    for i in range(3):
        finished = []
        found = find_remaining(
            tmp_path / "in", tmp_path, log.read_finished(rows), f"{i}/3", finished
        )
        assert found == ([], [])
        counts.append(len(finished))
    assert all(counts) and sum(counts) == 40


def test_an_existing_result_is_not_made_again(model, scans, tmp_path):
    config = worker.WorkerConfig(str(scans), str(tmp_path), model=model)
    create_files(tmp_path, "a_color.jpg")

    def colorize(jobs, **options):
        assert not jobs
        return iter(())

    opened = source.open_source(config.source)
    rows = list(
        worker.colorize_files(config, opened, store.local(str(tmp_path)), colorize, ["a.jpg"])
    )
    assert [row[:3] for row in rows] == [("a.jpg", DONE, worker.EARLIER_ATTEMPT)]


def test_results_are_written_to_object_stores(model, scans, tmp_path):
    from colorjax.coloring.colorize import open_painter
    from colorjax.coloring.folders import batch
    from colorjax.coloring.settings import ColorSettings
    from colorjax.weights.released import load_network

    target = arrow_folder(tmp_path / "store")
    painter = open_painter(load_network(model))
    config = worker.WorkerConfig(str(scans), "", quality=30)
    colorize = partial(_colorize, batch.run, painter, [ColorSettings()])
    opened = source.from_store(store.local(str(scans)))
    rows = list(worker.colorize_files(config, opened, target, colorize, ["a.jpg", "x/deep.png"]))
    assert [row.status for row in rows] == [DONE, DONE], rows
    assert [entry.name for entry in sorted(target.entries(""))] == ["a_color.jpg", "x"]
    assert mark.is_marked_data(target.read("x/deep_color.png"))
    assert len(target.read("a_color.jpg")) < (scans / "a.jpg").stat().st_size


def _colorize(run, painter, settings, jobs, **options):
    return run(painter, jobs, settings, **options)


# Errors


def error_line(*arguments):
    done = CliRunner().invoke(main, ["archive", *map(str, arguments)])
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    return next(line for line in done.output.splitlines() if line.startswith("Error: "))


def test_every_mistake_is_a_one_sentence_error(tmp_path):
    create_files(tmp_path, "in/a.jpg", "file")
    folder, file, shard = tmp_path / "in", tmp_path / "file", ("--shard", "0/1")
    message = error_line(tmp_path / "gone", tmp_path / "out", *shard)
    assert message.endswith("/gone: there is no such folder")
    assert "is not a folder, want one, or a manifest" in error_line(file, tmp_path / "out", *shard)
    for inside in (folder, folder / "out", folder / ".." / "in" / "out"):
        assert "want a target outside of it" in error_line(folder, inside, *shard)
    assert "/file/out: cannot be written to: Not a directory" in error_line(
        folder, file / "out", *shard
    )
    assert "want i/n" in error_line(folder, tmp_path / "out", "--shard", "1/1")
    for option in (("--address", "auto"), ("--workers", 2), ("--cores", 2)):
        assert f"want no {option[0]}." in error_line(folder, tmp_path / "out", *shard, *option)
    for option in ("--column", "--root"):
        assert f"/in' is not a manifest (a .parquet file): want no {option}." in error_line(
            folder, tmp_path / "out", *shard, option, "path"
        )
    assert "want --device gpu" in error_line(folder, tmp_path / "out", "--device", "gpu:1")
    assert "no slash" in error_line(folder, tmp_path / "out", *shard, "--suffix", "a/b")
    message = error_line(folder, tmp_path / "out", *shard, "--model", tmp_path / "none")
    assert "none" in message and message.startswith("Error: ")
    assert not result_files(tmp_path / "out")


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="no folder that nobody can write to")
def test_a_read_only_target_is_a_one_sentence_error(tmp_path):
    create_files(tmp_path, "in/a.jpg")
    message = error_line(tmp_path / "in", "/sys/kernel/coloured", "--shard", "0/1")
    assert "/sys/kernel/coloured: cannot be written to: " in message


def test_without_ray_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    create_files(tmp_path, "in/a.jpg")
    message = error_line(tmp_path / "in", tmp_path / "out")
    assert "an archive without --shard i/n needs ray: pip install 'colorjax[cluster]'" in message
    assert not (tmp_path / "out").exists()


def test_an_address_without_a_server_is_reported_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "check_installed", lambda *_: None)
    create_files(tmp_path, "in/a.jpg")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        cluster.check_address(address)
    message = error_line(tmp_path / "in", tmp_path / "out", "--address", address)
    assert f"Ray at {address} cannot be reached: " in message and "refused" in message
    for wrong in ("somewhere", "host:port", ":1"):
        assert "want HOST:PORT" in error_line(tmp_path / "in", tmp_path / "out", "--address", wrong)


def test_the_command_starts_without_loading_ray_pyarrow_or_jax():
    code = "import sys, colorjax.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not {"ray", "pyarrow", "jax", "numpy"} & set(done.stdout.split()) and done.stdout


# Clusters


@pytest.mark.slow
def test_a_killed_node_loses_no_result_and_no_row(tmp_path):
    pytest.importorskip("ray.data")
    from archive_soak import soak

    figures = soak(tmp_path, 20, kill_after=4, options=["--size", "64"])
    assert figures["results"] == figures["rows"] == 20


@pytest.mark.slow
def test_a_file_that_crashes_every_worker_gets_a_row(model, scans, tmp_path, monkeypatch):
    pytest.importorskip("ray.data")
    from archive_soak import environment

    class Dying(cluster.Actor):  # like a decoder that crashes
        def __call__(self, table):
            if "x/b.bmp" in table.column("path").to_pylist():
                os._exit(1)
            return super().__call__(table)

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cluster, "Actor", Dying)
    monkeypatch.setattr(cluster, "RETRIES", 1)
    monkeypatch.setattr(cluster, "BLOCK_FILES", 3)
    config = worker.WorkerConfig(str(scans), str(tmp_path / "out"), model=model)
    layout = cluster.Cluster(workers=1, cores=1)
    paths = ["a.jpg", "x/b.bmp", "no.jpg"]
    with cluster.connected(layout):
        rows = {row.path: row for row in cluster.colorize(config, layout, paths)}
    assert sorted(rows) == sorted(paths)
    assert [rows[path].status for path in paths] == [DONE, FAILED, FAILED]
    assert rows["x/b.bmp"].why == f"x/b.bmp: {cluster.LOST}"
    assert "no.jpg: cannot be read: No such file" in rows["no.jpg"].why


@pytest.mark.slow
def test_a_missing_model_ends_the_archive(scans, tmp_path, monkeypatch):
    pytest.importorskip("ray.data")
    from archive_soak import environment

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    message = error_line(scans, tmp_path / "out", "--model", tmp_path / "none", "--workers", "1")
    assert str(tmp_path / "none") in message


@pytest.mark.slow
def test_ray_accepts_the_cluster_file():
    pytest.importorskip("ray")
    yaml = pytest.importorskip("yaml")
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((ROOT / "launch/archive.yaml").read_text())))
