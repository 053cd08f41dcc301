"""Hints: they hold at their pixels, spread, and stop at edges; invalid ones are rejected."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from numpy.testing import assert_array_equal
from pictures import gray_steps
from PIL import Image

from colorjax import Colorizer, cli
from colorjax.coloring import colorize, hints
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.ops import color

RED = "#a04030"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


def halves(left=90, right=180):
    """A dark and a light half, with a little noise: uint8 [64, 96, 3]."""
    noise = np.random.default_rng(0).integers(-2, 3, (64, 96, 1))
    gray = np.where(np.arange(96) < 48, left, right)[None, :, None] + noise
    return np.repeat(gray, 3, axis=-1).astype(np.uint8)


def coloured(painter, photo, *given, **others):
    settings = ColorSettings(hints=tuple(given), **others)
    ((_, (result,)),) = colorize.colorize(painter, [photo], [settings])
    return result


def wanted(photo, hint):
    """The colour that a pixel should have: its own lightness with the hint's chroma."""
    lightness = color.rgb_u8_to_luv(photo[hint.y, hint.x])[:1]
    chroma = color.rgb_u8_to_luv(np.frombuffer(bytes.fromhex(hint.colour[1:]), np.uint8))[1:]
    luv = color.fit_chroma(np.concatenate([lightness, chroma]))
    return 255 * np.asarray(color.luv_to_rgb(luv))


def test_hints_set_their_pixels_within_a_step_and_keep_the_lightness(painter):
    photo = halves()
    given = [hints.Hint(20, 30, RED), hints.Hint(70, 10, "#8090c0"), hints.Hint(80, 50, "#60a050")]
    result = coloured(painter, photo, *given)
    for one in given:
        assert np.abs(result[one.y, one.x] - wanted(photo, one)).max() <= 1.5
    assert np.abs(gray_steps(result) - gray_steps(photo)).max() <= 1


def test_one_hint_colours_all_of_a_uniform_picture(painter):
    photo = np.full((64, 96, 3), 120, np.uint8)
    result = coloured(painter, photo, hints.Hint(30, 30, RED), saturation=0.0)
    difference = np.abs(result.astype(int) - result[30, 30])
    assert difference.max() <= 14 and np.ptp(result[30, 30].astype(int)) > 60


def test_an_edge_stops_a_hint(painter):
    photo = halves()
    result = coloured(painter, photo, hints.Hint(20, 30, RED), saturation=0.0).astype(int)
    spread = np.ptp(result, axis=-1)
    assert spread[:, :44].min() > 40 and spread[:, 52:].max() <= 4


def test_samples_with_hints_still_depend_on_their_seed(painter):
    photo = halves()
    one, other = (
        coloured(painter, photo, hints.Hint(20, 30, RED), decode="sample", seed=n) for n in (1, 2)
    )
    assert (one != other).any()


def test_a_hint_on_a_border_colours_the_border(painter):
    framed = np.zeros((84, 116, 3), np.uint8)
    framed[10:74, 10:106] = halves(120, 120) + np.random.default_rng(1).integers(
        0, 60, (64, 96, 1), np.uint8
    )
    framed[:10] = framed[74:] = 12
    framed[:, :10] = framed[:, 106:] = 12
    gray = coloured(painter, framed, hints.Hint(50, 40, RED))
    assert np.ptp(gray[:8].astype(int), axis=-1).max() == 0
    result = coloured(painter, framed, hints.Hint(50, 4, RED))
    assert np.ptp(result[4, 50].astype(int)) > 5


def test_hints_in_one_cell_are_averaged():
    photo = halves()
    given = [hints.Hint(0, 0, "#ff0000"), hints.Hint(1, 1, "#0000ff")]
    found = hints.on_grid(given, photo, colorize.borders.whole(photo), (8, 12))
    assert found.number[0, 0] == 2 and found.number.sum() == 2
    np.testing.assert_allclose(found.colour[0, 0], [0.5, 0, 0.5])


def test_python_takes_hints_as_tuples_and_as_mappings(model, tmp_path):
    colorizer, photo = Colorizer(model), halves()
    first = colorizer.colorize(photo, hints=[(20, 30, RED)])
    second = colorizer.colorize(photo, hints=[{"x": 20, "y": 30, "colour": RED}])
    assert_array_equal(np.asarray(first), np.asarray(second))
    assert_array_equal(colorizer.colorize_arrays([photo], hints=[(20, 30, RED)])[0], first)
    with pytest.raises(UserError, match="hints belong to one picture"):
        colorizer.colorize_many([photo], hints=[(20, 30, RED)])


@pytest.mark.parametrize(
    "given, message",
    [
        ([(1, 2)], "hint 1 is .*, want x, y and colour"),
        ([(1, 2, "red")], "hint 1 has the colour 'red', want #rrggbb"),
        ([(0, 0, RED), (1.5, 2, RED)], "hint 2 has the position 1.5, 2, want whole numbers"),
        ([(0, 0, RED)] * 10_001, "there are 10,001 hints, want at most 10,000"),
        (["1,2=#ffffff"], "want x, y and colour"),
    ],
)
def test_an_invalid_hint_gives_an_error_of_one_sentence(given, message):
    with pytest.raises(UserError, match=message):
        hints.as_hints(given)


@pytest.mark.parametrize(
    "text",
    ["1,2", "1=#ffffff", "-1,2=#ffffff", "1,2=ffffff", "a,b=#ffffff", f"{'9' * 5000},2=#ffffff"],
)
def test_an_invalid_hint_on_the_command_line_is_refused(text):
    with pytest.raises(UserError, match="want"):
        hints.parse(text)


def test_the_error_for_a_hint_outside_the_picture_gives_the_size(painter):
    with pytest.raises(UserError, match="hint at 96,3: is outside the picture of 96 x 64 pix"):
        coloured(painter, halves(), hints.Hint(96, 3, RED))


def invoke(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_the_command_takes_hints_as_options_and_a_file_and_writes_confidence(model, tmp_path):
    Image.fromarray(halves()).save(tmp_path / "a.png")
    (tmp_path / "h.json").write_text(json.dumps([{"x": 70, "y": 20, "colour": "#4050a0"}]))
    options = ["--hint", f"20,30={RED}", "--hints", tmp_path / "h.json", "--confidence"]
    done = invoke(tmp_path / "a.png", "--model", model, *options)
    assert done.exit_code == 0, done.stderr
    result = np.asarray(Image.open(tmp_path / "a_color.png")).astype(int)
    assert result[30, 20, 0] > result[30, 20, 2] + 30 and result[20, 70, 2] > result[20, 70, 0] + 20
    confidence = Image.open(tmp_path / "a_color_confidence.png")
    assert confidence.mode == "L" and confidence.size == (96, 64)
    again = invoke(tmp_path / "a.png", "--model", model, "--confidence")
    assert again.exit_code != 0 and "exists already" in again.stderr
    (tmp_path / "a_color.png").unlink()
    again = invoke(tmp_path / "a.png", "--model", model, "--confidence")
    assert "a_color_confidence.png exists already" in again.stderr
    assert not Path(tmp_path / "a_color.png").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hint", "1,2=red"], "has the colour 'red'"),
        (["--hint", "500,2=#ffffff"], "is outside the picture of 96 x 64 pixels"),
        (["--hints", "none.json"], "none.json: cannot be read"),
        (["--hint", "1,2=#ffffff", "--grid"], "want no hints"),
        (["--confidence", "--grid"], "want no --confidence"),
        (["--confidence", "--replace"], "want no --confidence"),
        (["--confidence", "-o", "-"], "want no --confidence"),
        (["b.png", "--hint", "1,2=#ffffff"], "Hints are for one photo, not for 2"),
    ],
)
def test_options_that_conflict_or_are_invalid_write_nothing(
    options, message, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.fromarray(halves()).save(name)
    done = invoke("a.png", *options, "--model", model)
    assert done.exit_code != 0 and message in " ".join(done.stderr.split()), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert "Traceback" not in done.stderr
