import gc
import os
import platform
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from colorjax.coloring.folders import batch
from colorjax.coloring.folders.naming import Job
from colorjax.pictures import writing


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 90).save(path)


@pytest.fixture
def inverted(monkeypatch):
    """Replaces the network, so that results are negatives of the photos."""

    def colorings(painter, photos, settings):
        for i, rgb_u8 in enumerate(photos):
            yield i, None, [255 - rgb_u8 for _ in settings]

    monkeypatch.setattr(batch, "colorings", colorings)


def jobs_of(folder, count):
    touch(folder, *(f"{i:02}.png" for i in range(count)))
    return [
        Job(str(folder / f"{i:02}.png"), (str(folder / "out" / f"{i:02}.png"),), None)
        for i in range(count)
    ]


def test_one_bad_photo_does_not_affect_the_others(tmp_path, inverted):
    jobs = jobs_of(tmp_path, 5)
    (tmp_path / "02.png").write_text("no picture")
    outcomes = {one.source: one for one in batch.run(None, jobs, [None])}
    assert len(outcomes) == 5
    bad = outcomes.pop(str(tmp_path / "02.png"))
    assert bad.fault.startswith(f"{tmp_path / '02.png'}: is not a JPEG") and bad.targets == ()
    assert not any(one.fault for one in outcomes.values())
    assert sorted(os.listdir(tmp_path / "out")) == ["00.png", "01.png", "03.png", "04.png"]
    assert (np.asarray(Image.open(tmp_path / "out" / "04.png")) == 165).all()


def test_a_folder_that_cannot_be_created_is_reported(tmp_path, inverted):
    (job,) = jobs_of(tmp_path, 1)
    (tmp_path / "out").write_text("a file")
    (outcome,) = batch.run(None, [job], [None])
    assert outcome.fault == f"{job.targets[0]}: cannot be written: File exists"


def test_an_unexpected_error_while_writing_does_not_affect_the_others(
    tmp_path, inverted, monkeypatch
):
    jobs = jobs_of(tmp_path, 3)
    write = writing.write_photo

    def write_most(target, *arguments, **options):
        if target == jobs[1].targets[0]:
            raise IndexError("no such row")
        return write(target, *arguments, **options)

    monkeypatch.setattr(writing, "write_photo", write_most)
    faults = [one.fault for one in batch.run(None, jobs, [None])]
    target = jobs[1].targets[0]
    assert faults == ["", f"{target}: cannot be written: IndexError: no such row", ""]
    assert sorted(os.listdir(tmp_path / "out")) == ["00.png", "02.png"]


def test_only_a_few_photos_are_read_ahead(tmp_path, inverted, monkeypatch):
    monkeypatch.setattr(batch, "GROUP_SIZE", 1)
    read, reading = [], threading.Lock()
    real = batch.photo.read_photo

    def counting(*args, **kwargs):
        with reading:
            read.append(args[0])
        return real(*args, **kwargs)

    monkeypatch.setattr(batch.photo, "read_photo", counting)
    outcomes = batch.run(None, jobs_of(tmp_path, 12), [None])
    next(outcomes)
    assert len(read) <= batch.READ_AHEAD + 4
    outcomes.close()
    assert len(read) < 12


def test_an_interrupted_batch_leaves_only_complete_files(tmp_path, inverted, monkeypatch):
    def interrupted(painter, photos, settings):
        yield 0, None, [255 - photos[0]]
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "colorings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(batch.run(None, jobs_of(tmp_path, 4), [None]))
    assert os.listdir(tmp_path / "out") == ["00.png"]
    Image.open(tmp_path / "out" / "00.png").load()


@pytest.mark.slow
def test_finished_photos_are_freed_from_memory(tmp_path, inverted, monkeypatch):
    monkeypatch.setattr(batch, "GROUP_SIZE", 1)
    references = []
    real = batch.photo.read_photo

    def reading(*args, **kwargs):
        one = real(*args, **kwargs)
        array = one.rgb.view()
        references.append(weakref.ref(array))
        return one._replace(rgb=array)

    monkeypatch.setattr(batch.photo, "read_photo", reading)
    alive = []
    for _ in batch.run(None, jobs_of(tmp_path, 12), [None]):
        gc.collect()
        alive.append(sum(ref() is not None for ref in references))
    # The photos that are read ahead, and two whose results are being written.
    assert max(alive) <= batch.READ_AHEAD + 4
    gc.collect()
    assert not any(ref() is not None for ref in references)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_trim_returns_freed_memory_even_below_memory_in_use():
    # glibc keeps freed blocks that are so small while the last block of the heap is in use.
    code = """
import os
from pathlib import Path
from colorjax.coloring.network import memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
many, last = [b"x" * 100_000 for _ in range(1000)], b"y" * 100_000
del many
before = resident()
memory.trim()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000


def test_memory_is_trimmed_after_each_group(tmp_path, inverted, monkeypatch):
    groups = []
    monkeypatch.setattr(batch, "GROUP_SIZE", 2)
    monkeypatch.setattr(batch.memory, "trim", lambda: groups.append(1))
    list(batch.run(None, jobs_of(tmp_path, 5), [None]))
    assert len(groups) == 3


@pytest.mark.parametrize("suffix, is_affected", [("jpg", True), ("webp", True), ("png", False)])
def test_quality_affects_jpeg_and_webp_but_not_png(tmp_path, inverted, suffix, is_affected):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    sizes = []
    for quality in (30, 95):
        target = tmp_path / f"{quality}.{suffix}"
        job = Job(str(tmp_path / "a.png"), (str(target),), None)
        list(batch.run(None, [job], [None], write_options=batch.WriteOptions(quality=quality)))
        sizes.append(target.stat().st_size)
    assert (sizes[0] < 0.7 * sizes[1]) == is_affected


def test_a_result_may_replace_its_photo_and_the_original_is_kept(tmp_path, inverted):
    (job,) = jobs_of(tmp_path, 1)
    job = job._replace(targets=(os.path.realpath(job.source),))
    before = open(job.source, "rb").read()
    (outcome,) = batch.run(None, [job], [None])
    assert outcome.fault == "" and sorted(os.listdir(tmp_path)) == ["00.png", "00.png.orig"]
    assert open(f"{job.source}.orig", "rb").read() == before
    assert (np.asarray(Image.open(job.source)) == 165).all()
    # A second run does not overwrite the original.
    (again,) = batch.run(None, [job], [None])
    assert "00.png.orig exists already" in again.fault
    assert open(f"{job.source}.orig", "rb").read() == before
    os.unlink(f"{job.source}.orig")
    (last,) = batch.run(None, [job], [None], write_options=batch.WriteOptions(keep_original=False))
    assert last.fault == "" and os.listdir(tmp_path) == ["00.png"]


def test_a_photo_that_cannot_be_replaced_stays_unchanged(tmp_path, inverted, monkeypatch):
    (job,) = jobs_of(tmp_path, 1)
    job = job._replace(targets=(os.path.realpath(job.source),))
    before = open(job.source, "rb").read()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch.writing, "write_photo", full)
    (outcome,) = batch.run(None, [job], [None])
    assert outcome.fault.endswith("cannot be written: No space left on device")
    assert os.listdir(tmp_path) == ["00.png"] and open(job.source, "rb").read() == before


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_another_process_wrote_meanwhile_is_kept(
    tmp_path, inverted, monkeypatch, links
):
    if not links:

        def link(*_, **__):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", link)
    jobs = jobs_of(tmp_path, 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00.png").write_text("of another")
    first, second = batch.run(None, jobs, [None], write_options=batch.WriteOptions(overwrite=False))
    assert first.fault == f"{jobs[0].targets[0]}: exists already; --overwrite replaces it"
    assert second.fault == "" and sorted(os.listdir(tmp_path / "out")) == ["00.png", "01.png"]
    assert (tmp_path / "out" / "00.png").read_text() == "of another"
    Image.open(tmp_path / "out" / "01.png").load()


def test_pipes_are_read_to_their_end(tmp_path, inverted):
    touch(tmp_path, "a.png")
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    data = (tmp_path / "a.png").read_bytes()
    writer = threading.Thread(target=lambda: open(pipe, "wb").write(data))
    writer.start()
    (outcome,) = batch.run(None, [Job(pipe, (str(tmp_path / "b.png"),), None)], [None])
    writer.join()
    assert outcome.fault == "" and (np.asarray(Image.open(tmp_path / "b.png")) == 165).all()
