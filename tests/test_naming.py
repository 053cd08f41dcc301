"""Names of results: they are distinct, and replace no file unless asked to."""

import os
from pathlib import Path

import pytest
from PIL import Image

from colorjax.coloring.folders import naming
from colorjax.coloring.folders.finding import Found
from colorjax.coloring.folders.naming import Job, Rules
from colorjax.errors import UserError


def touch(folder, *names):
    for name in names:
        Image.new("L", (4, 3), 90).save(folder / name)


@pytest.mark.parametrize(
    "found, rules, want",
    [
        (Found("p/a.jpg"), Rules(), ["p/a_color.jpg"]),
        (Found("p/a.jpg"), Rules(results=2), ["p/a_color_1.jpg", "p/a_color_2.jpg"]),
        (Found("p/a.jpg"), Rules(format="png"), ["p/a_color.png"]),
        (Found("p/a.gif"), Rules(), ["p/a_color.png"]),
        (Found("p/q/a.TIF", Path("q")), Rules("out"), ["out/q/a_color.TIF"]),
        (Found("p/a.jpg"), Rules("out/b.webp"), ["out/b.webp"]),
        (Found("p/a.jpg"), Rules("out/b.webp", results=2), ["out/b_1.webp", "out/b_2.webp"]),
        (Found("-"), Rules(), ["-"]),
        (Found("-"), Rules("out"), ["out/stdin_color.png"]),
        (Found("/dev/fd/63"), Rules(), ["-"]),
        (Found("/dev/fd/63"), Rules("out"), ["out/stdin_color.png"]),
        (Found("p/a.jpg"), Rules("-"), ["-"]),
        (Found("p/a.jpg"), Rules(mark=" in colour"), ["p/a in colour.jpg"]),
        (Found("p/a.jpg"), Rules("out", mark=""), ["out/a.jpg"]),
    ],
)
def test_results_are_named_after_their_photo(found, rules, want):
    assert list(naming.target_names(found, rules)) == want


def targets(sources, rules):
    return [list(job.targets) for job in naming.jobs_of([Found(s) for s in sources], rules)]


def test_equal_names_of_results_are_numbered_consistently():
    assert targets(["p/a.jpg", "p/a.png", "p/b.png"], Rules(format="png")) == [
        ["p/a_color.png"],
        ["p/a_2_color.png"],
        ["p/b_color.png"],
    ]
    folders = ["p/a.jpg", "q/a.jpg", "r/A.jpg", "r/a_2.jpg"]
    assert targets(folders, Rules("out")) == [
        ["out/a_color.jpg"],
        ["out/a_2_color.jpg"],
        ["out/A_3_color.jpg"],
        ["out/a_2_2_color.jpg"],
    ]
    assert targets(["p/a.jpg", "q/a.jpg"], Rules("out", results=2))[1] == [
        "out/a_2_color_1.jpg",
        "out/a_2_color_2.jpg",
    ]
    assert targets(["p/a.jpg", "p/a.png"], Rules()) == [["p/a_color.jpg"], ["p/a_color.png"]]


@pytest.mark.parametrize(
    "output, file", [("b.JPG", True), ("out/b.webp", True), ("out", False), ("b.jpg/", False)]
)
def test_an_output_is_a_file_by_its_suffix(output, file):
    assert naming.is_file(output) == file


@pytest.mark.parametrize("output", ["scans.2024", "v1.2", "a.b/c", "cat.bmp/", "Mr. Smith"])
def test_a_folder_may_have_a_dot_in_its_name(output):
    assert not naming.is_file(output)


@pytest.mark.parametrize("output", ["cat.bmp", "out.xyz", "a/b.heic", "x.gif"])
def test_an_unsupported_suffix_is_refused_unless_it_names_a_folder(output, tmp_path):
    with pytest.raises(UserError, match=f"{output}: results are written as .jpg.*want {output}/"):
        naming.is_file(output)
    (tmp_path / output).mkdir(parents=True)
    assert not naming.is_file(str(tmp_path / output))


def checked(jobs, **options):
    options = {"overwrite": False, "skip_existing": False, **options}
    todo, skipped, faults = naming.check_targets(jobs, **options)
    return [job.source for job in todo], skipped, [fault for _, fault in faults]


def test_nothing_is_replaced_without_overwrite(tmp_path):
    touch(tmp_path, "a.jpg", "a_color.jpg", "b.jpg")
    a, b = str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")
    existing, new = str(tmp_path / "a_color.jpg"), str(tmp_path / "b_color.jpg")
    jobs = [Job(a, (existing,), None), Job(b, (new,), None)]
    todo, skipped, faults = checked(jobs)
    assert todo == [b] and skipped == []
    assert faults == [
        f"{a}: {existing} exists already; --overwrite replaces it, --skip-existing skips the photo"
    ]
    assert checked(jobs, skip_existing=True) == ([b], [a], [])
    assert checked(jobs, overwrite=True) == ([a, b], [], [])


def test_a_photo_is_skipped_only_if_all_its_files_exist(tmp_path):
    touch(tmp_path, "a.jpg", "a_color_1.jpg", "b.jpg", "b_color.jpg", "c.jpg", "c_confidence.png")
    a, b, c = (str(tmp_path / f"{name}.jpg") for name in "abc")
    a_1, a_2 = (str(tmp_path / f"a_color_{i}.jpg") for i in (1, 2))
    b_color, c_color = (str(tmp_path / f"{name}_color.jpg") for name in "bc")
    b_map, c_map = (str(tmp_path / f"{name}_confidence.png") for name in "bc")
    jobs = [
        Job(a, (a_1, a_2), None),
        Job(b, (b_color,), None, confidence=b_map),
        Job(c, (c_color,), None, confidence=c_map),
    ]
    todo, skipped, faults = naming.check_targets(jobs, overwrite=False, skip_existing=True)
    assert (skipped, faults) == ([], [])
    assert [(job.existing, job.confidence) for job in todo] == [
        ((a_1,), None),
        ((b_color,), b_map),
        ((c_map,), None),
    ]
    assert checked(jobs)[2][0].endswith("it, --skip-existing writes only what is missing")
    touch(tmp_path, "a_color_2.jpg", "b_confidence.png", "c_color.jpg")
    assert checked(jobs, skip_existing=True) == ([], [a, b, c], [])


def test_no_photo_replaces_itself_or_another_photo_of_the_batch(tmp_path):
    touch(tmp_path, "a.jpg", "a_color.jpg")
    a, b, c = (str(tmp_path / name) for name in ("a.jpg", "a_color.jpg", "c.jpg"))
    todo, _, faults = checked([Job(a, (a,), None)], overwrite=True)
    assert todo == [] and faults[0].startswith(f"{a}: would replace itself; --replace")
    todo, _, faults = checked([Job(a, (b,), None), Job(b, (c,), None)], overwrite=True)
    assert todo == [b] and faults == [f"{a}: would replace the photo {b}"]


def test_replacing_follows_links_and_needs_a_format_that_can_be_written(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    names = [str(tmp_path / "link.jpg"), str(tmp_path / "b.gif")]
    jobs = naming.jobs_of([Found(name) for name in names], Rules(replace=True))
    assert jobs[0].targets == (os.path.realpath(tmp_path / "a.jpg"),)
    todo, faults = naming.check_replaced(jobs)
    assert todo == jobs[:1]
    assert faults == [
        (names[1], f"{names[1]}: cannot be replaced, as '.gif' files cannot be written")
    ]
