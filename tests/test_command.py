"""The command: its messages, and where it writes its results."""

import io
import os
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from PIL import Image

from colorjax import cli
from colorjax.coloring.folders import batch, compare, naming
from colorjax.coloring.folders.finding import Found
from colorjax.coloring.settings import ColorSettings
from colorjax.commands import colorize as command
from colorjax.errors import UserError
from colorjax.pictures import mark


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


def picture(seed=0, height=48, width=60, channels=()):
    cells = np.random.default_rng(seed).integers(20, 236, (4, 5, *channels), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.BICUBIC)


def invoke(*arguments, **options):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments], **options)


def test_the_command_names_the_files_that_it_has_written(model, tmp_path):
    picture().save(tmp_path / "old.png")
    done = invoke(tmp_path / "old.png", "--model", model, "--samples", 2)
    first, second = (tmp_path / f"old_color_{i}.png" for i in (1, 2))
    assert f" s: {first}, {second}\n" in done.stderr and first.exists() and second.exists()


def test_a_photo_with_some_results_gets_the_missing_ones_and_keeps_the_others(model, tmp_path):
    picture().save(tmp_path / "old.png")
    first, second = (tmp_path / f"old_color_{i}.png" for i in (1, 2))
    arguments = [tmp_path / "old.png", "--model", model, "--samples", 2]
    assert invoke(*arguments).exit_code == 0
    second_sample = np.asarray(Image.open(second))
    second.unlink()
    first.write_bytes(b"mine")
    again = invoke(*arguments, "--skip-existing")
    assert again.exit_code == 0 and f" s: {second}\n" in again.stderr
    assert first.read_bytes() == b"mine"
    np.testing.assert_array_equal(np.asarray(Image.open(second)), second_sample)
    arguments += ["--skip-existing", "--confidence"]
    assert invoke(*arguments).exit_code == 0 and first.read_bytes() == b"mine"
    assert (tmp_path / "old_color_confidence.png").exists()
    assert "1 skipped, as the results exist" in invoke(*arguments).stderr


def test_many_results_are_reported_by_folder_and_equal_names_numbered(model, tmp_path):
    for name in ("a/x.jpg", "a/y.png", "b/x.jpg", "b/x.png", "b/z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    out = tmp_path / "out"
    arguments = [tmp_path / "a", tmp_path / "b", "--model", model, "-o", out, "--format", "png"]
    done = invoke(*arguments)
    assert done.exit_code == 0 and f": {out}/\n" in done.stderr
    names = ["x_2_color.png", "x_3_color.png", "x_color.png", "y_color.png", "z_color.png"]
    assert sorted(os.listdir(out)) == names
    again = invoke(*arguments, "--skip-existing")
    assert "0 photos coloured" in again.stderr and "5 skipped, as the results" in again.stderr


def test_results_in_the_folder_are_left_out_and_counted(model, tmp_path):
    picture().save(tmp_path / "scan_color_001.jpg")
    first = invoke(tmp_path, "--model", model)
    assert "1 photo coloured" in first.stderr
    assert mark.is_marked(tmp_path / "scan_color_001_color.jpg")
    again = invoke(tmp_path, "--model", model, "--overwrite")
    assert "1 photo coloured" in again.stderr
    assert "1 skipped, as they are results themselves" in again.stderr
    assert len(os.listdir(tmp_path)) == 2


def test_films_in_a_folder_are_counted_with_a_hint_how_to_colour_them(tmp_path):
    for name in ("a.mp4", "b.MOV", "c.txt"):
        (tmp_path / name).touch()
    (done,) = invoke(tmp_path).stderr.splitlines()[:1]
    assert "unsupported formats: 1 .txt; 2 films skipped, as films are coloured one by" in done
    assert "when named (colorjax film.mp4)" in done and ".mp4," not in done


def test_photos_in_colour_are_reported_and_may_be_left_out(model, tmp_path):
    picture().save(tmp_path / "gray.png")
    picture(channels=(3,)).save(tmp_path / "red.png")
    done = invoke(tmp_path, "--model", model, "-o", tmp_path / "all")
    assert done.exit_code == 0 and "  1 photo had colours, which the network" in done.stderr
    done = invoke(tmp_path, "--model", model, "-o", tmp_path / "some", "--skip-colour")
    assert done.exit_code == 0 and "1 skipped, as they are in colour" in done.stderr
    assert "had colours" not in done.stderr and os.listdir(tmp_path / "some") == ["gray_color.png"]


def test_a_replaced_photo_is_kept_as_orig_and_not_coloured_twice(model, tmp_path):
    picture().save(tmp_path / "old.png")
    assert invoke(tmp_path, "--model", model, "--replace").exit_code == 0
    assert sorted(os.listdir(tmp_path)) == ["old.png", "old.png.orig"]
    assert Image.open(tmp_path / "old.png").mode == "RGB"
    assert Image.open(tmp_path / "old.png.orig").mode == "L"
    again = invoke(tmp_path, "--model", model, "--replace")
    assert again.exit_code == 0 and "0 photos coloured" in again.stderr


def test_a_tilde_is_expanded_in_every_path(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    os.symlink(model, tmp_path / "model")
    picture().save(tmp_path / "old.png")
    done = invoke("~/old.png", "--model=~/model", "--output=~/out", "--suffix", "")
    assert done.exit_code == 0, done.stderr
    assert os.listdir(tmp_path / "out") == ["old.png"]
    done = invoke("export", "~/none", "--output=~/model.safetensors")
    assert f"{tmp_path}/none" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["dmeo"], "no file or command 'dmeo'; did you mean 'demo'?"),
        (["mesure", "x"], "did you mean 'measure'?"),
        (["a.png", "--replace", "-o", "out"], "want no --output"),
        (["a.png", "--replace", "--grid"], "want no --grid"),
        (["-", "--replace"], "--replace is for files"),
        (["a.png", "--discard-original"], "--discard-original is for --replace"),
        (["a.png", "--suffix", "x/y"], "want no slash"),
        (["a.png", "-o", "out.xyz"], "out.xyz: results are written as .jpg"),
        (["a.png", "--pages", "9" * 5000], "is not all, first or a page number from 1"),
        (["export", "--photo-size", f"{'9' * 5000}x1", "-o", "a.jax"], "is not a size such as"),
        (["a.png", "--hint", f"1,{'9' * 5000}=#ffffff"], "want X,Y=#RRGGBB"),
        (["a.png", "-o", "cat.bmp"], "cat.bmp: results are written as .jpg"),
        (["a.png", "-o", "o.png", "--format", "jpg"], "--format jpg is not the format of"),
        (["a.png", "-o", "o.TIFF", "--format", "webp"], "--format webp is not the format of"),
    ],
)
def test_invalid_arguments_are_refused_before_the_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture().save(tmp_path / "a.png")
    done = invoke(*arguments)
    assert done.exit_code in (1, 2) and message in " ".join(done.stderr.split())
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name, format", [("o.JPEG", "jpg"), ("o.tiff", "tif"), ("o", "png")])
def test_a_format_that_agrees_with_the_output_name_is_accepted(name, format):
    command.check_output([], naming.Rules(name, format))


@pytest.mark.parametrize("word", ["demo.jpg", "holiday", "exports"])
def test_a_missing_photo_is_not_taken_for_a_mistyped_command(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(word)
    message = "did you mean 'export'" if word == "exports" else f"{word}: there is no such file"
    assert message in done.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="wants a terminal")
@pytest.mark.slow
def test_no_picture_is_written_to_a_terminal():
    controller, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "colorjax", "-"],
        input=b"a picture",
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.close(controller)
    message = " ".join(done.stderr.decode().split())
    assert done.returncode == 2 and "colorjax - < photo.jpg > coloured.png" in message


def test_a_stream_that_the_shell_has_closed_is_a_one_sentence_error(monkeypatch):
    # Python sets a stream to None after `colorjax - >&-` or `colorjax - <&-`.
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(click.UsageError, match="would go to a closed standard output: redirect"):
        command.check_output([Found("-")], naming.Rules())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="^standard input: is closed, want a photo in it$"):
        batch._load("-")


@pytest.mark.slow
def test_a_photo_may_come_from_process_substitution(model, tmp_path):
    picture().save(tmp_path / "old.png")
    command = f"{sys.executable} -m colorjax <(cat old.png) --model {model}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(cli.__file__))},
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).size == (60, 48)
    assert b" s: standard output" in done.stderr


def test_grid_captions_are_the_flags_that_reproduce_the_pictures(monkeypatch):
    drawn = []
    monkeypatch.setattr(compare, "sheet", lambda pictures, captions: drawn.extend(captions))
    chosen, arrange = compare.grid(True, True, ColorSettings(saturation=1.5, seed=7))
    arrange(np.zeros((2, 2, 3), np.uint8), [])
    assert drawn[:2] == ["the photo", "as set"]
    for caption, want in zip(drawn[2:], chosen[1:], strict=True):
        arguments = ["a.png", "--saturation", "1.5", "--seed", "7", *caption.split()]
        (got,) = command.settings_of(command.colorize.make_context("c", arguments).params)
        assert got._replace(saturation=0) == want._replace(saturation=0)
        assert got.saturation == pytest.approx(want.saturation)


def test_no_caption_of_a_grid_is_wider_than_its_picture():
    captions = ["the photo", "--decode annealed --temperature 0.2"]
    sheet = compare.sheet([np.zeros((20, 10, 3), np.uint8)] * 2, captions)
    ink = np.flatnonzero((sheet[:26] < 128).any((0, 2)))
    assert ink.max() < sheet.shape[1] - 8
