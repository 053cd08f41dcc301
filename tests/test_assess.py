import json
import os

import numpy as np
import pytest
from click import UsageError
from click.testing import CliRunner
from networks import save_run, tiny_network
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from colorjax import cli
from colorjax.coloring.folders import gallery
from colorjax.commands import model as command
from colorjax.commands.measure import parse_models
from colorjax.data import sources
from colorjax.errors import UserError
from colorjax.models.task import Statistics
from colorjax.ops import color
from colorjax.pictures import mark
from colorjax.studies import assess

MEANS = np.linspace(-98, 98, 50).reshape(1, 50, 1).repeat(2, 0)
STATISTICS = Statistics(np.ones((2, 50)), MEANS, images=1)


@pytest.fixture(scope="module")
def network():
    return tiny_network()._replace(statistics=STATISTICS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(8):
        cells = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        cells.resize((32, 32), Image.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def results(network, photos):
    return assess.assess({"ours": network}, sources.open_folders(str(photos)), 32)


def test_baselines_and_models_are_measured_on_every_photo(results):
    assert list(results) == ["gray", "mean chroma", "ours"]
    for metrics in results.values():
        assert all(np.isfinite(metrics[name]) for name in assess.SHOWN)
    assert results["gray"]["sat_diff"] == 1.0


def test_the_psnr_of_gray_agrees_with_scikit_image(results, photos):
    decibels = []
    for path in photos.iterdir():
        rgb = np.asarray(Image.open(path), np.float32) / 255
        gray = np.repeat(np.asarray(color.gray_from_rgb(rgb)) / 255, 3, -1)
        decibels.append(peak_signal_noise_ratio(rgb, gray, data_range=1.0))
    assert results["gray"]["psnr"] == pytest.approx(np.mean(decibels), abs=0.02)


def test_the_mean_chroma_is_weighted_by_the_bin_counts(network):
    counts = np.zeros((2, 50))
    counts[0, 10], counts[0, 20], counts[1, 30] = 3, 1, 5
    statistics = STATISTICS._replace(counts=counts)
    means = MEANS[..., 0]
    chroma = assess.mean_chroma(network._replace(statistics=statistics))
    want = [(3 * means[0, 10] + means[0, 20]) / 4, means[1, 30]]
    np.testing.assert_allclose(chroma, want)


def test_joint_bins_have_a_mean_chroma_of_both_channels(network):
    statistics = Statistics(np.array([[1, 3]]), np.array([[[4.0, 8.0], [0.0, -8.0]]]))
    np.testing.assert_allclose(assess.mean_chroma(network._replace(statistics=statistics)), [1, -4])


def test_an_invalid_size_or_model_name_is_refused(network, photos):
    items = sources.open_folders(str(photos))
    with pytest.raises(UserError, match="size is 20, want a multiple of 16"):
        assess.assess({"ours": network}, items, 20)
    with pytest.raises(UserError, match="'gray', which is a baseline's name"):
        assess.assess({"gray": network}, items, 32)


def test_missing_values_are_blank_and_empty_columns_are_left_out():
    rows = {"truth": {"top": 0.5}, "ours": {"psnr": 20.0, "top": None}}
    text = assess.table(rows, {"psnr": "PSNR", "ssim": "SSIM", "top": "top-1"})
    assert text.splitlines() == [
        "|  | PSNR | top-1 |",
        "| --- | ---: | ---: |",
        "| truth |  | 0.5 |",
        "| ours | 20 |  |",
    ]


def test_the_command_prints_a_table_per_folder_and_writes_all_metrics(network, photos, tmp_path):
    run = save_run(tmp_path / "run", network)
    result = CliRunner().invoke(
        cli.main,
        [
            "measure",
            str(photos),
            "--model",
            f"tiny={run}",
            "--size",
            "32",
            "--json",
            str(tmp_path / "found.json"),
        ],
    )
    assert result.exit_code == 0, result.stderr
    assert "|  | PSNR, dB | SSIM |" in result.stdout and "\n| tiny | " in result.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["folders"][str(photos)]["tiny"]["psnr"] > 0


def test_a_gallery_shows_gray_result_and_truth_of_colour_photos(network, photos, tmp_path):
    Image.new("L", (32, 24), 128).save(tmp_path / "gray.png")
    run = save_run(tmp_path / "run", network)
    result = CliRunner().invoke(
        cli.main,
        [
            "gallery",
            str(photos),
            str(tmp_path / "gray.png"),
            "-o",
            str(tmp_path / "out"),
            "--model",
            str(run),
            "--count",
            "7",
        ],
    )
    assert result.exit_code == 0, result.stderr
    names = (tmp_path / "out" / "names.txt").read_text().split()
    assert len(names) == 7
    first, second = (Image.open(tmp_path / "out" / f"sheet_{i}.png") for i in (1, 2))
    assert first.width == 3 * 32 + 2 * gallery.MARGIN
    assert second.size[1] == 32 + gallery.MARGIN


def test_the_photos_of_a_gallery_are_spread_evenly():
    names = [f"{i:02}" for i in range(20)]
    assert gallery.choose(reversed(names), 4) == ["00", "05", "10", "15"]
    assert gallery.choose(names[:2], 4) == ["00", "01"]


@pytest.fixture
def without_drawing(monkeypatch):
    """Replaces the network, and the rows of a gallery, which become white."""
    monkeypatch.setattr(command, "painter_of", lambda options: None)
    monkeypatch.setattr(gallery, "draw_row", lambda *_: np.full((8, 8, 3), 255, np.uint8))


def run_gallery(*arguments):
    return CliRunner().invoke(cli.main, ["gallery", *map(str, arguments)])


def test_a_file_in_place_of_the_gallery_folder_is_reported(without_drawing, photos, tmp_path):
    (tmp_path / "file").touch()
    done = run_gallery(photos, "-o", tmp_path / "file")
    assert done.exit_code == 2, done.output
    assert f"{tmp_path}/file: cannot be made, want a folder for sheets: File exists" in done.stderr


def test_a_gallery_lists_names_that_are_not_valid_utf8(without_drawing, tmp_path):
    name = os.fsencode(tmp_path) + b"/b\xff.png"
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", name)
    done = run_gallery(os.fsdecode(name), "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "names.txt").read_bytes() == name + b"\n"


def test_a_gallery_says_how_many_results_it_leaves_out(without_drawing, tmp_path):
    one = Image.new("RGB", (8, 8))
    (tmp_path / "in").mkdir()
    for name in "ab":
        one.save(tmp_path / "in" / f"{name}.jpg", xmp=mark.marked(None))
    done = run_gallery(tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert "no photo to draw, as 2 left out are results of colorjax themselves" in done.stderr
    one.save(tmp_path / "in" / "c.jpg")
    done = run_gallery(tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "2 skipped, as they are results themselves" in done.stderr
    assert (tmp_path / "out" / "names.txt").read_text() == f"{tmp_path}/in/c.jpg\n"


def test_an_existing_model_path_may_contain_an_equals_sign(tmp_path):
    run = tmp_path / "learning_rate=0.001"
    run.mkdir()
    assert parse_models([str(run), f"best={run}", "new=~/a"]) == {
        str(run): str(run),
        "best": str(run),
        "new": os.path.expanduser("~/a"),
    }


def test_two_models_of_one_name_are_refused():
    with pytest.raises(UsageError, match="the name 'a' twice"):
        parse_models(["a=x", "a=y"])
