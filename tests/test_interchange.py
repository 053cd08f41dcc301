"""Exported networks colour pictures like `Colorizer`, in processes without colorjax."""

import dataclasses
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
from colorjax import cli, extras
from colorjax.coloring import api, colorize
from colorjax.coloring.network import shapes
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.interchange import export, program

SAMPLE = sorted(Path(colorjax.__file__).parent.joinpath("data", "sample").glob("*.jpg"))
LIGHT = {
    "model.encoder": "efficientnet-lite0",
    "model.decoder_features": (256, 128, 96, 64),
    "decoding.method": "annealed",
}
# Run an exported program or network on pictures, without colorjax.
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


def run_elsewhere(code: str, *arguments: Path) -> None:
    """Runs code in a process of its own, in another folder."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=arguments[0].parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    cells = Image.fromarray(rng.integers(20, 236, (6, 5, 3), dtype=np.uint8))
    return np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))


def max_difference(found, wanted):
    return np.abs(found.astype(int) - wanted).max()


@pytest.fixture(scope="module")
def network():
    return tiny_network(**LIGHT)


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), network)


@pytest.fixture(scope="module")
def colorizer(run):
    return api.Colorizer(run)


def by_onnx(network, photo):
    """Colours a photo with onnxruntime."""
    pytest.importorskip("onnx", reason="onnx is missing: pip install 'colorjax[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is missing")
    from colorjax.interchange import onnx_file

    content = onnx_file.serialized(network, {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"photo": photo[None]})
    return found[0]


def test_the_released_model_colours_the_bundled_photographs_alike_in_onnx(tmp_path):
    pytest.importorskip("onnx", reason="onnx is missing: pip install 'colorjax[onnx]'")
    pytest.importorskip("onnxruntime", reason="onnxruntime is missing")
    photos = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in SAMPLE}
    assert len(photos) == 12
    file = export.export(None, tmp_path / "model.onnx", "onnx")
    np.savez(tmp_path / "photos.npz", **photos)
    run_elsewhere(BY_ONNX, file, tmp_path / "photos.npz", tmp_path / "found.npz")
    found = np.load(tmp_path / "found.npz")
    wanted = api.Colorizer().colorize_arrays(list(photos.values()))
    for name, want in zip(photos, wanted, strict=True):
        assert max_difference(found[name][0], want) <= 2, name
        assert np.abs(found[name][0].astype(int) - want).mean() < 0.05, name


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (70, 61), (300, 40)])
def test_onnx_takes_photos_of_every_size(network, colorizer, size):
    (want,) = colorizer.colorize_arrays([photo(*size)])
    assert max_difference(by_onnx(network, photo(*size)), want) <= 2


def test_onnx_takes_gray_photos_of_one_channel(network, colorizer):
    gray = photo(70, 61)[..., :1]
    (want,) = colorizer.colorize_arrays([gray])
    found = by_onnx(network, gray)
    assert max_difference(found, want) <= 2 and np.ptp(found.astype(int), axis=-1).max() > 5


def test_onnx_computes_the_same_network_sides_as_the_api():
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    from colorjax.interchange import onnx_picture
    from colorjax.interchange.graph import argument

    sides = argument("sides", np.int64)
    result = onnx_picture.network_sides(sides, 144)
    ends = [
        onnx.helper.make_tensor_value_info(one.name, onnx.TensorProto.INT64, [2])
        for one in (sides, result)
    ]
    graph = result.graph
    body = onnx.helper.make_graph(graph.nodes, "sides", ends[:1], ends[1:], graph.constants)
    evaluator = ReferenceEvaluator(onnx.helper.make_model(body))
    for size in [(1, 1), (361, 324), (500, 1000), (501, 1001), (40, 900), (900, 7), (9, 10000)]:
        (found,) = evaluator.run(None, {"sides": np.array(size)})
        assert tuple(found) == shapes.network_shape(*size, 144), size


@pytest.mark.parametrize("changes", [{"method": "argmax"}, {"method": "mean", "vibrance": 9.0}])
def test_onnx_decodes_logits_as_the_models_config_says(network, changes):
    config = network.config
    own = dataclasses.replace(config.decoding, **changes)
    changed = network._replace(config=dataclasses.replace(config, decoding=own))
    found = by_onnx(changed, photo(70, 61))
    painter = colorize.open_painter(changed)
    _, (want,) = next(colorize.colorize(painter, [photo(70, 61)], [ColorSettings()]))
    # If logits are nearly equal, two programs may choose different bins.
    assert np.mean(np.abs(found.astype(int) - want) > 2) <= (0.02 if own.method == "argmax" else 0)


def test_onnx_undoes_the_share_of_rebalancing_in_the_config(network):
    balanced = rebalanced_network(0.5)
    changes = {"rebalance": balanced.config.rebalance, "decoding": balanced.config.decoding}
    changed = network._replace(
        config=dataclasses.replace(network.config, **changes), statistics=balanced.statistics
    )
    painter = colorize.open_painter(changed)
    _, (want,) = next(colorize.colorize(painter, [photo(70, 61)], [ColorSettings()]))
    assert max_difference(by_onnx(changed, photo(70, 61)), want) <= 2


def test_onnx_export_of_other_networks_names_the_setting_that_it_needs(tmp_path):
    pytest.importorskip("onnx")
    run = save_run(tmp_path, tiny_network())
    with pytest.raises(UserError, match="model.encoder of the model is 'vgg16', want 'efficient"):
        export.export(run, tmp_path / "model.onnx", "onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
def test_a_jax_program_for_any_size_gives_the_pictures_of_the_api(run, colorizer, tmp_path):
    pytest.importorskip("flatbuffers")
    file = export.export(run, tmp_path / "model.bin", "jax-export")
    photos = np.stack([photo(70, 61), photo(70, 61, seed=1)])
    shape = shapes.network_shape(70, 61, 64)
    small = np.stack([colorize.resized(one, shape) for one in photos])
    np.savez(tmp_path / "photos.npz", a=photos, b=small)
    run_elsewhere(BY_JAX, file, tmp_path / "photos.npz", tmp_path / "found.npy")
    found = np.load(tmp_path / "found.npy")
    for one, want in zip(found, colorizer.colorize_arrays(list(photos)), strict=True):
        assert max_difference(one, want) <= 1


@pytest.mark.slow
def test_a_jax_program_for_one_size_needs_only_the_photo(run, colorizer, tmp_path):
    pytest.importorskip("flatbuffers")
    arguments = [run, "-o", tmp_path / "new" / "m", "--format", "jax-export"]
    result = CliRunner().invoke(cli.main, ["export", *map(str, arguments), "--photo-size", "61x70"])
    assert result.exit_code == 0, result.stderr
    np.savez(tmp_path / "photos.npz", a=photo(70, 61)[None])
    run_elsewhere(BY_JAX, tmp_path / "new" / "m", tmp_path / "photos.npz", tmp_path / "found.npy")
    (want,) = colorizer.colorize_arrays([photo(70, 61)])
    assert max_difference(np.load(tmp_path / "found.npy")[0], want) <= 2


def test_the_papers_own_network_can_be_exported_for_any_size_too():
    pytest.importorskip("flatbuffers")
    from jax import export as jax_export

    from colorjax.interchange import stablehlo

    exported = jax_export.deserialize(bytearray(stablehlo.serialized(tiny_network())))
    assert exported.platforms == ("cpu", "cuda")
    assert [str(side) for side in exported.in_avals[0].shape] == ["batch", "height", "width", "3"]


@pytest.mark.parametrize("shape", [(16, 32), (64, 48), (120, 100)])
def test_resized_copies_differ_from_pillows_by_at_most_1(shape):
    picture = photo(70, 61)
    want = Image.fromarray(picture).resize(shape[::-1], Image.Resampling.BICUBIC)
    found = np.asarray(program.resized(picture[None], shape))[0]
    assert max_difference(found, np.asarray(want)) <= 1
    assert np.mean(found != np.asarray(want)) < 0.01


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "m"], "Missing argument 'RUN'"),
        (["-o", "m.onnx", "--photo-size", "8x8"], "--photo-size is for --format jax-export"),
        (["-o", "m", "--format", "jax-export", "--photo-size", "8x0"], "'8x0' is not a size"),
        (["nowhere", "-o", "m", "--format", "jax-export"], "nowhere: there is no such model"),
    ],
)
def test_every_error_of_export_is_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.main, ["export", *arguments])
    assert result.exit_code == 2 and sentence in result.stderr


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(extras.MODULES, "onnx", ("no_such_module",))
    with pytest.raises(UserError, match=r"pip install 'colorjax\[onnx\]'"):
        export.export(None, tmp_path / "m.onnx", "onnx")


def test_black_and_white_stay_as_they_are_in_onnx(network):
    black_and_white = np.zeros((8, 9, 3), np.uint8)
    black_and_white[:, 4:] = 255
    assert_array_equal(by_onnx(network, black_and_white), black_and_white)
