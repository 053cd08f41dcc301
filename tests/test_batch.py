import os
import threading

import numpy as np
import pytest
from PIL import Image

from colorjax.coloring import batch
from colorjax.coloring.batch import Found, Job


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 90).save(path)


def sources(names, recursive=False):
    return [found.source for found in batch.find([str(n) for n in names], recursive)]


def test_a_folder_gives_its_pictures_but_no_results_and_nothing_hidden(tmp_path):
    touch(tmp_path, "b.jpg", "a.PNG", "b_color.jpg", "b_color_2.jpg", ".c.jpg", "deep/d.tif")
    (tmp_path / "notes.txt").write_text("no picture")
    assert sources([tmp_path]) == [str(tmp_path / "a.PNG"), str(tmp_path / "b.jpg")]
    everything = ["a.PNG", "b.jpg", "deep/d.tif"]
    assert sources([tmp_path], recursive=True) == [str(tmp_path / name) for name in everything]


def test_a_picture_that_is_named_twice_is_done_once(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    assert sources([tmp_path / "a.jpg", tmp_path, tmp_path / "*.jpg"]) == [str(tmp_path / "a.jpg")]


def test_patterns_are_expanded_where_the_shell_did_not(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.png", "[x].jpg")
    assert sources([tmp_path / "[ab].jpg"]) == [str(tmp_path / n) for n in ("a.jpg", "b.jpg")]
    # A file may be called like a pattern.
    assert sources([tmp_path / "[x].jpg"]) == [str(tmp_path / "[x].jpg")]


def test_names_that_are_no_pictures_have_their_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    names = [tmp_path / "none.jpg", tmp_path / "*.gif", tmp_path / "empty"]
    faults = [found.fault for found in batch.find([str(n) for n in names])]
    assert faults == [
        f"{names[0]}: there is no such file",
        f"{names[1]}: nothing matches",
        f"{names[2]}: holds no pictures; --recursive looks into the folders in it",
    ]


@pytest.mark.parametrize(
    "found, output, format, count, want",
    [
        (Found("p/a.jpg"), None, None, 1, ["p/a_color.jpg"]),
        (Found("p/a.jpg"), None, None, 2, ["p/a_color_1.jpg", "p/a_color_2.jpg"]),
        (Found("p/a.jpg"), None, "png", 1, ["p/a_color.png"]),
        (Found("p/a.gif"), None, None, 1, ["p/a_color.png"]),
        (Found("p/q/a.TIF", batch.Path("q")), "out", None, 1, ["out/q/a_color.TIF"]),
        (Found("p/a.jpg"), "out/b.webp", None, 1, ["out/b.webp"]),
        (Found("p/a.jpg"), "out/b.webp", None, 2, ["out/b_1.webp", "out/b_2.webp"]),
        (Found("-"), None, None, 1, ["-"]),
        (Found("-"), "out", None, 1, ["out/stdin_color.png"]),
        (Found("p/a.jpg"), "-", None, 1, ["-"]),
    ],
)
def test_results_are_named_after_their_photo(found, output, format, count, want):
    assert list(batch.target_names(found, output, format, count)) == want


def checked(jobs, **options):
    options = {"overwrite": False, "skip_existing": False, **options}
    todo, skipped, faults = batch.check_targets(jobs, **options)
    return [job.source for job in todo], skipped, [one.fault for one in faults]


def test_nothing_is_replaced_unless_told(tmp_path):
    touch(tmp_path, "a.jpg", "a_color.jpg", "b.jpg")
    a, b = str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")
    there, new = str(tmp_path / "a_color.jpg"), str(tmp_path / "b_color.jpg")
    jobs = [Job(a, (there,), None), Job(b, (new,), None)]
    todo, skipped, faults = checked(jobs)
    assert todo == [b] and skipped == []
    assert faults == [
        f"{a}: {there} is there already; --overwrite replaces it, --skip-existing leaves the "
        "photo out"
    ]
    assert checked(jobs, skip_existing=True) == ([b], [a], [])
    assert checked(jobs, overwrite=True) == ([a, b], [], [])


def test_no_photo_replaces_itself_and_no_two_share_a_result(tmp_path):
    touch(tmp_path, "a.jpg", "a.png")
    a, b, target = (str(tmp_path / name) for name in ("a.jpg", "a.png", "x.jpg"))
    todo, _, faults = checked([Job(a, (a,), None)], overwrite=True)
    assert todo == [] and faults == [f"{a}: would replace itself"]
    todo, _, faults = checked([Job(a, (target,), None), Job(b, (target,), None)])
    assert todo == [a] and faults == [f"{b}: its result {target} is another photo's already"]


@pytest.fixture
def inverted(monkeypatch):
    """A painter whose results are negatives."""

    def colorize(painter, photos, settings):
        for i, rgb_u8 in enumerate(photos):
            yield i, [255 - rgb_u8 for _ in settings]

    monkeypatch.setattr(batch, "colorize", colorize)


def jobs_of(folder, count):
    touch(folder, *(f"{i:02}.png" for i in range(count)))
    return [
        Job(str(folder / f"{i:02}.png"), (str(folder / "out" / f"{i:02}.png"),), None)
        for i in range(count)
    ]


def test_one_bad_photo_does_not_concern_the_others(tmp_path, inverted):
    jobs = jobs_of(tmp_path, 5)
    (tmp_path / "02.png").write_text("no picture")
    outcomes = {one.source: one for one in batch.run(None, jobs, [None])}
    assert len(outcomes) == 5
    bad = outcomes.pop(str(tmp_path / "02.png"))
    assert bad.fault.startswith(f"{tmp_path / '02.png'}: is no JPEG") and bad.targets == ()
    assert not any(one.fault for one in outcomes.values())
    assert sorted(os.listdir(tmp_path / "out")) == ["00.png", "01.png", "03.png", "04.png"]
    assert (np.asarray(Image.open(tmp_path / "out" / "04.png")) == 165).all()


def test_a_folder_that_cannot_be_made_is_told(tmp_path, inverted):
    (job,) = jobs_of(tmp_path, 1)
    (tmp_path / "out").write_text("a file")
    (outcome,) = batch.run(None, [job], [None])
    assert outcome.fault == f"{job.targets[0]}: cannot be written: File exists"


def test_only_a_few_photos_are_read_ahead(tmp_path, inverted, monkeypatch):
    monkeypatch.setattr(batch, "TOGETHER", 1)
    read, reading = [], threading.Lock()
    real = batch.photo.read_photo

    def counting(*args, **kwargs):
        with reading:
            read.append(args[0])
        return real(*args, **kwargs)

    monkeypatch.setattr(batch.photo, "read_photo", counting)
    outcomes = batch.run(None, jobs_of(tmp_path, 12), [None])
    next(outcomes)
    assert len(read) <= batch.AHEAD + 4
    outcomes.close()
    assert len(read) < 12


def test_what_is_stopped_leaves_whole_files_only(tmp_path, inverted, monkeypatch):
    def interrupted(painter, photos, settings):
        yield 0, [255 - photos[0]]
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "colorize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(batch.run(None, jobs_of(tmp_path, 4), [None]))
    assert os.listdir(tmp_path / "out") == ["00.png"]
    Image.open(tmp_path / "out" / "00.png").load()
