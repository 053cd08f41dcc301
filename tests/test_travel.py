"""A network as a file for other programs gives the pictures of `Colorizer`, where colorjax is not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import rebalanced_network, save_run, tiny_network
from numpy.testing import assert_array_equal
from PIL import Image

import colorjax
from colorjax import cli
from colorjax.coloring import api, colorize
from colorjax.errors import UserError
from colorjax.travel import export, program

SAMPLE = sorted(Path(colorjax.__file__).parent.joinpath("data", "sample").glob("*.jpg"))
LIGHT = {
    "model.encoder": "efficientnet-lite0",
    "model.decoder_features": (256, 128, 96, 64),
    "decoding.method": "annealed",
}
# Reads a program and pictures, and writes what the one makes of the others, with numpy alone.
BY_JAX = """
import sys
import numpy as np
from jax import export
program = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
pictures = [array for _, array in sorted(np.load(sys.argv[2]).items())]
np.save(sys.argv[3], program.call(*pictures))
assert not [name for name in sys.modules if name.split(".")[0] in ("colorjax", "flax")]
"""
BY_ONNX = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
found = {}
for name, photo in np.load(sys.argv[2]).items():
    (found[name],) = session.run(None, {"photo": photo[None]})
np.savez(sys.argv[3], **found)
assert not [name for name in sys.modules if name.split(".")[0] in ("colorjax", "jax")]
"""


def elsewhere(code: str, *arguments: Path) -> None:
    """Runs code in another folder, in a process that is told nothing of this one."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=arguments[0].parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    cells = Image.fromarray(rng.integers(20, 236, (6, 5, 3), dtype=np.uint8))
    return np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))


def off(found, wanted):
    return np.abs(found.astype(int) - wanted).max()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), tiny_network(**LIGHT))


def by_onnx(folder, model, photos):
    """What a model of onnxruntime's makes of photos, in another process."""
    pytest.importorskip("onnx", reason="onnx is missing: pip install 'colorjax[onnx]'")
    pytest.importorskip("onnxruntime", reason="onnxruntime is missing")
    file = export.export(model, folder / "model.onnx", "onnx")
    np.savez(folder / "photos.npz", **photos)
    elsewhere(BY_ONNX, file, folder / "photos.npz", folder / "found.npz")
    return {name: found[0] for name, found in np.load(folder / "found.npz").items()}


def test_the_released_model_as_onnx_gives_the_bundled_photographs_their_colours(tmp_path):
    photos = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in SAMPLE}
    assert len(photos) == 12
    found = by_onnx(tmp_path, None, photos)
    wanted = api.Colorizer().colorize_arrays(list(photos.values()))
    for name, want in zip(photos, wanted, strict=True):
        assert off(found[name], want) <= 2, name
        assert np.abs(found[name].astype(int) - want).mean() < 0.05, name


def test_onnx_takes_photos_of_every_size_and_gray_ones_of_one_channel(run, tmp_path):
    sizes = [(1, 1), (5, 3), (40, 60), (90, 61), (60, 200), (300, 40)]
    photos = {f"{h}x{w}": photo(h, w) for h, w in sizes}
    photos["gray"] = photo(40, 60)[..., :1]
    found = by_onnx(tmp_path, run, photos)
    wanted = api.Colorizer(run).colorize_arrays(list(photos.values()))
    for name, want in zip(photos, wanted, strict=True):
        # What is enlarged to be seen by the network is rounded otherwise at a few pixels.
        assert off(found[name], want) <= 2, name
    assert np.ptp(found["gray"].astype(int), axis=-1).max() > 5


@pytest.mark.parametrize("method", ["argmax", "mean", "annealed"])
def test_onnx_decodes_scores_as_the_models_config_says(method, tmp_path):
    # Of scores that are nearly alike, two programs may take another as the best.
    bins = {"bins.num_bins": 4} if method == "argmax" else {}
    network = tiny_network(**LIGHT | {"decoding.method": method} | bins)
    run = save_run(tmp_path, network)
    found = by_onnx(tmp_path, run, {"one": photo(40, 60)})["one"]
    (want,) = api.Colorizer(run).colorize_arrays([photo(40, 60)])
    assert np.mean(np.abs(found.astype(int) - want) > 2) < (0.02 if method == "argmax" else 1e-9)


def test_onnx_keeps_the_share_of_rebalancing_and_the_means_of_bins(tmp_path):
    network, shared = rebalanced_network(0.5), tiny_network(**LIGHT)
    config = shared.config.model
    network = network._replace(
        config=network.config._replace(model=config), variables=shared.variables
    )
    run = save_run(tmp_path, network)
    found = by_onnx(tmp_path, run, {"one": photo(40, 60)})["one"]
    (want,) = api.Colorizer(run).colorize_arrays([photo(40, 60)])
    assert off(found, want) <= 2


def test_onnx_of_another_network_is_refused_with_the_setting_that_it_wants(tmp_path):
    pytest.importorskip("onnx")
    run = save_run(tmp_path, tiny_network())
    with pytest.raises(UserError, match="model.encoder of the model is 'vgg16', want 'efficient"):
        export.export(run, tmp_path / "model.onnx", "onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_jax_program_of_any_size_gives_the_pictures_of_the_api(run, tmp_path):
    pytest.importorskip("flatbuffers")
    file = export.export(run, tmp_path / "model.bin", "jax-export")
    photos = np.stack([photo(90, 61), photo(90, 61, seed=1)])
    shape = colorize.network_shape(90, 61, 64)
    small = np.stack([colorize.resized(one, shape) for one in photos])
    np.savez(tmp_path / "photos.npz", a=photos, b=small)
    elsewhere(BY_JAX, file, tmp_path / "photos.npz", tmp_path / "found.npy")
    found = np.load(tmp_path / "found.npy")
    for one, want in zip(found, api.Colorizer(run).colorize_arrays(list(photos)), strict=True):
        assert off(one, want) <= 1


def test_a_jax_program_of_one_size_needs_the_photo_alone(run, tmp_path):
    pytest.importorskip("flatbuffers")
    arguments = [run, "-o", tmp_path / "new" / "m", "--format", "jax-export"]
    result = CliRunner().invoke(
        cli.main, ["export", *map(str, arguments), "--photo-size", "61x90"]
    )
    assert result.exit_code == 0, result.stderr
    np.savez(tmp_path / "photos.npz", a=photo(90, 61)[None])
    elsewhere(BY_JAX, tmp_path / "new" / "m", tmp_path / "photos.npz", tmp_path / "found.npy")
    (want,) = api.Colorizer(run).colorize_arrays([photo(90, 61)])
    assert off(np.load(tmp_path / "found.npy")[0], want) <= 2


def test_the_paper_s_own_network_can_be_written_down_for_any_size_too(tmp_path):
    pytest.importorskip("flatbuffers")
    from jax import export as jax_export

    file = export.export(save_run(tmp_path, tiny_network()), tmp_path / "m", "jax-export")
    exported = jax_export.deserialize(bytearray(file.read_bytes()))
    assert exported.platforms == ("cpu", "cuda")
    assert [str(side) for side in exported.in_avals[0].shape] == ["batch", "height", "width", "3"]


@pytest.mark.parametrize("shape", [(16, 32), (64, 48), (120, 100)])
def test_small_copies_are_those_of_pillow_to_one_step(shape):
    picture = photo(90, 61)
    want = Image.fromarray(picture).resize(shape[::-1], Image.Resampling.BICUBIC)
    found = np.asarray(program.made_small(picture[None], shape))[0]
    assert off(found, np.asarray(want)) <= 1
    assert np.mean(found != np.asarray(want)) < 0.01


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "m"], "Missing argument 'RUN'"),
        (["-o", "m.onnx", "--photo-size", "8x8"], "--photo-size is for --format jax-export"),
        (["-o", "m", "--format", "jax-export", "--photo-size", "8x0"], "'8x0' is no size"),
        (["nowhere", "-o", "m", "--format", "jax-export"], "nowhere: there is no such model"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(arguments, sentence, tmp_path):
    runner = CliRunner()
    with runner.isolated_filesystem(tmp_path):
        result = runner.invoke(cli.main, ["export", *arguments])
    assert result.exit_code == 2 and sentence in result.stderr


def test_a_missing_extra_is_told_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "NEEDED", {"onnx": ("no_such_module", "onnx")})
    with pytest.raises(UserError, match=r"pip install 'colorjax\[onnx\]'"):
        export.export(None, tmp_path / "m.onnx", "onnx")


def test_an_exported_picture_s_grays_stay_as_they_are(run, tmp_path):
    black_and_white = np.zeros((8, 9, 3), np.uint8)
    black_and_white[:, 4:] = 255
    found = by_onnx(tmp_path, run, {"one": black_and_white})["one"]
    assert_array_equal(found, black_and_white)
