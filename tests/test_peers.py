"""The benchmark of whole photographs against reading and writing alone, and against peers."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import harness, photographs, pictures
from benchmarks.peers import pipeline
from benchmarks.settings import Settings

TINY = Settings(repeats=1)


class Copier:
    def colorize_file(self, source, target):
        target.write_bytes(source.read_bytes())


def networks():
    """Name -> (class of the network, its module, its number of input channels)."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.peers import ddcolor, eccv16

    return {"ECCV16": (eccv16.ECCV16, eccv16, 1), "DDColor tiny": (ddcolor.DDColorTiny, ddcolor, 3)}


@pytest.mark.parametrize("name", ["ECCV16", "DDColor tiny"])
def test_a_peer_has_the_published_parameters_and_keeps_the_size(name):
    build, module, channels = networks()[name]
    import torch

    with torch.device("meta"):  # shapes alone
        network = build().eval()
        chroma = network(torch.empty(1, channels, module.SIDE, module.SIDE))
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found == pytest.approx(module.PUBLISHED_PARAMETERS, rel=0.01)
    assert chroma.shape == (1, 2, module.SIDE, module.SIDE)


@pytest.mark.parametrize("name", ["ECCV16", "DDColor tiny"])
def test_a_peer_gives_finite_chroma_that_depends_on_the_picture(name):
    build, _, channels = networks()[name]
    run = pipeline._runner(build)
    inputs = np.random.default_rng(0).uniform(0, 1, (2, channels, 64, 64))
    one, other = (run(picture) for picture in inputs.astype(np.float32))
    assert one.shape == (64, 64, 2) and one.dtype == np.float32
    assert np.isfinite(one).all() and np.abs(one - other).max() > 0


def test_a_peer_gets_a_square_copy_and_the_photo_keeps_its_lightness(tmp_path):
    cv2 = pytest.importorskip("cv2")
    source, target, inputs = tmp_path / "photo.jpg", tmp_path / "coloured.jpg", []
    ramp = np.tile(np.linspace(60, 200, 96).astype(np.uint8), (64, 1))
    Image.fromarray(ramp).save(source, quality=100)

    def predict(lightness):
        inputs.append(lightness)
        return np.full((4, 4, 2), (10, -20), np.float32)

    pipeline.colour_file(pipeline.Peer("one", 16, predict), source, target)
    (small,) = inputs
    assert small.shape == (16, 16) and 20 < small[0, 0] < small[0, -1] < 85
    lab = cv2.cvtColor(cv2.imread(str(target)).astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    wanted = cv2.cvtColor(np.dstack([ramp] * 3).astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    assert np.abs(lab[..., 0] - wanted[..., 0]).mean() < 1
    assert np.abs(lab[..., 1:].mean((0, 1)) - (10, -20)).max() < 1


def test_the_gray_input_of_a_peer_has_the_given_lightness():
    pytest.importorskip("cv2")
    gray = pipeline._gray(np.array([[0, 53.585, 100]], np.float32))
    assert gray.shape == (3, 1, 3)
    assert np.abs(gray - np.array([0, 128 / 255, 1])).max() < 2e-3


@pytest.mark.parametrize("missing", [(), ("cv2",), ("torch",), ("cv2", "torch")])
def test_installed_peers_have_rows_and_missing_libraries_have_notes(missing, monkeypatch):
    fake = pipeline.Peer("one", 16, lambda lightness: np.zeros((4, 4, 2), np.float32))
    modules = {"cv2": pytest.importorskip("cv2"), "torch": object()}
    for module in (harness, pipeline):
        monkeypatch.setattr(
            module, "optional", lambda name: None if name in missing else modules[name]
        )
    monkeypatch.setattr(harness, "PAUSE_S", 0)
    monkeypatch.setattr(pipeline, "eccv16", lambda: fake)
    monkeypatch.setattr(pipeline, "ddcolor_tiny", lambda: fake._replace(name="two"))
    monkeypatch.setattr(photographs, "Colorizer", Copier)
    (table,) = photographs.measure(TINY, (0.01,))
    names = [row["contender"] for row in table.rows]
    lower_bound = [] if "cv2" in missing else [photographs.LOWER_BOUND]
    assert names == [*lower_bound, "colorjax", *([] if missing else ["one", "two"])]
    assert all(len(row["times_s"]) == TINY.repeats for row in table.rows)
    titles = {"cv2": "OpenCV", "torch": "PyTorch"}
    noted = [note.split()[0] for note in table.notes]
    assert noted == ([titles[name] for name in missing] or ["ECCV16"])


@pytest.mark.slow
def test_the_section_runs_with_the_real_peers(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("cv2")
    found = pipeline.installed()
    monkeypatch.setattr(pipeline, "installed", lambda: found)
    (table,) = photographs.measure(TINY, (0.05,))
    names = [row["contender"] for row in table.rows]
    assert names == [photographs.LOWER_BOUND, "colorjax", "ECCV16", "DDColor tiny"]
    assert table.notes == [pipeline.NOTE]
    for peer in found[0]:
        pictures.draw_mosaic(tmp_path / "photo.jpg", 0.05)
        pipeline.colour_file(peer, tmp_path / "photo.jpg", tmp_path / "out.jpg")
        with Image.open(tmp_path / "out.jpg") as image:
            assert image.mode == "RGB" and image.size == (258, 194)
