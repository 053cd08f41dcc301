import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from benchmarks import __main__ as benchmarks
from benchmarks import (
    ceiling,
    colors,
    contender,
    folder,
    harness,
    jax_peer,
    loader,
    networks,
    pictures,
    report,
    startup,
)
from benchmarks.settings import OBJECTIVES, Settings

TINY = Settings(size=16, batch=2, width=1 / 16, repeats=1, megapixels=0.01, images=1)


@pytest.fixture(scope="module", params=OBJECTIVES)
def ours(request):
    """(objective, variables, outputs, three losses) of our network."""
    variables = jax_peer.random_variables(TINY, request.param)
    return request.param, variables, *outputs_and_losses("ours", request.param, variables)


def outputs_and_losses(name, objective, variables):
    one = contender.make(name, TINY, objective, variables)
    return one.outputs(one.forward()), [one.train() for _ in range(networks.UPDATES)]


@pytest.mark.parametrize("name", ["plain Flax", "PyTorch"])
def test_each_implementation_of_a_network_gives_our_outputs_and_losses(ours, name):
    if name in contender.TORCH:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    objective, variables, expected, expected_losses = ours
    outputs, losses = outputs_and_losses(name, objective, variables)
    assert_allclose(outputs, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert_allclose(losses, expected_losses, rtol=1e-3)
    assert len(set(losses)) == networks.UPDATES


def test_a_contender_that_computes_something_else_is_refused():
    same = np.ones((2, 3), np.float32)
    assert networks.compare_outputs({"a": same, "b": same}, 1e-4) == {"a": 0.0, "b": 0.0}
    with pytest.raises(ValueError, match="output of b is off by 0.1"):
        networks.compare_outputs({"a": same, "b": same * np.float32(1.1)}, 1e-4)
    with pytest.raises(ValueError, match="output of b is off by nan"):
        networks.compare_outputs({"a": same, "b": same * np.nan}, 1e-4)
    with pytest.raises(ValueError, match=r"shape \(1, 3\), want \(2, 3\)"):
        networks.compare_outputs({"a": same, "b": same[:1]}, 1e-4)
    with pytest.raises(ValueError, match="first loss of b"):
        networks.compare_losses({"a": [1.0, 0.9, 0.8], "b": [1.1, 0.9, 0.8]}, 1e-4)
    with pytest.raises(ValueError, match="^loss of b"):
        networks.compare_losses({"a": [1.0, 0.9, 0.8], "b": [1.0, 0.9, 0.7]}, 1e-4)


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(harness, "PAUSE_S", 0)
    calls = []
    tasks = {name: lambda name=name: calls.append(name) for name in "ABC"}
    times = harness.interleave(tasks, 2)
    assert calls == list("ABCABC")
    assert {name: len(some) for name, some in times.items()} == {"A": 2, "B": 2, "C": 2}


def test_a_ratio_is_the_median_of_the_ratios_of_all_rounds():
    rows = harness.compare({"a": [1.0, 2.0, 10.0], "b": [2.0, 6.0, 10.0]}, 12, loss={"a": 0.5})
    assert [row["ratio"] for row in rows] == [1.0, 2.0]
    assert [row["median_s"] for row in rows] == [2.0, 6.0]
    assert [row["images_per_s"] for row in rows] == [6.0, 2.0]
    assert [row["loss"] for row in rows] == [0.5, None]


def test_a_table_omits_lists_and_marks_missing_values():
    rows = [
        {"contender": "ours", "ratio": 1.0, "times_s": [1.0]},
        {"contender": "theirs", "ratio": 12.3456, "peak": None},
    ]
    assert report.render(report.Table("steps", rows, ["PyTorch is away"])).splitlines() == [
        "steps",
        "-----",
        "contender  ratio  peak",
        "ours           1     -",
        "theirs      12.3     -",
        "* PyTorch is away",
    ]


def test_the_command_prints_tables_and_saves_them_with_machine_details(tmp_path, capsys):
    pytest.importorskip("skimage")
    file = tmp_path / "result.json"
    benchmarks.main(["colors", "--megapixels=0.01", "--repeats=2", f"--json={file}"])
    printed = capsys.readouterr().out
    assert "uint8 RGB to LUV" in printed and "scikit-image" in printed
    content = json.loads(file.read_text())
    assert {"cpu", "cores", "jax", "torch", "device"} <= content["machine"].keys()
    assert content["settings"]["megapixels"] == 0.01
    tables = content["sections"]["colors"]
    assert len(tables) == 3
    for table in tables:
        assert [row["contender"] for row in table["rows"]][:2] == ["ours", "scikit-image"]
        assert all(len(row["times_s"]) == 2 for row in table["rows"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["network"], "no section 'network', want some of networks,"),
        (["--size=20"], "--size is 20"),
        (["--repeats=0"], "--repeats is 0"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmarks.main(arguments)
    assert message in capsys.readouterr().err


def test_a_missing_library_is_a_note_and_not_an_error(monkeypatch):
    monkeypatch.setattr(harness, "optional", lambda module: None)
    monkeypatch.setattr(contender, "optional", lambda module: None)
    for table in colors.measure(TINY):
        assert [row["contender"] for row in table.rows] == ["ours"]
        assert [note.split()[0] for note in table.notes] == ["scikit-image", "OpenCV", "kornia"]
    assert contender.torch_absence(TINY).startswith("PyTorch is not installed")


def test_synthetic_photographs_have_the_right_size_and_some_detail():
    picture = loader.smooth(np.random.default_rng(0))
    assert picture.shape == (375, 500, 3) and picture.dtype == np.uint8
    assert picture.std() > 20


def test_a_failing_process_raises_an_error_with_its_message():
    with pytest.raises(RuntimeError, match="no-such-contender"):
        harness.run([harness.sys.executable, "-c", "raise SystemExit('no-such-contender')"])


@pytest.mark.slow
def test_the_ceiling_lists_the_share_and_costliest_kernels_of_a_step(monkeypatch):
    monkeypatch.setattr(ceiling, "SIDES", {"cpu": 64})
    share, costly = ceiling.measure(TINY)
    product, step = share.rows
    assert product["gflop"] == 2 * 64**3 / 1e9 and product["share"] == 1.0
    assert 0 < step["gflop"] < 1 and 0 < step["share"]
    assert 0 < len(costly.rows) <= ceiling.COSTLIEST
    assert sum(row["share"] for row in costly.rows) <= 1 + 1e-9
    milliseconds = [row["ms"] for row in costly.rows]
    assert milliseconds == sorted(milliseconds, reverse=True)


def test_operations_are_the_sum_over_the_layers():
    # docs/performance.md adds them up: 28.9 G multiply-adds per image, forward.
    assert_allclose(ceiling.operations(Settings(batch=1)), 3 * 2 * 28.9e9, rtol=0.02)


def test_the_gpu_script_names_the_runs_that_it_had_no_time_for(tmp_path):
    script = harness.ROOT / "launch" / "benchmark_gpu.sh"
    done = subprocess.run(
        [script, tmp_path / "tables", "--repeats=1"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "COLORJAX_PYTHON": sys.executable,
            "COLORJAX_SECONDS": "0",
            "COLORJAX_BATCHES": "6 32",
        },
    )
    assert done.returncode == 1
    assert "not finished in 0 s, or failed" in done.stderr
    assert done.stderr.split(":")[-1].split() == [
        "batch6_bfloat16",
        "batch6_float32",
        "batch32_bfloat16",
        "batch32_float32",
    ]


def test_starts_are_measured_in_processor_time_and_failures_are_reported(tmp_path):
    def seconds(code):
        return startup.processor_seconds([sys.executable, "-c", code], tmp_path, "cache")

    idle, busy = seconds("import time; time.sleep(1)"), seconds("sum(range(2 * 10**7))")
    assert 0 < idle < 0.5 and busy > idle
    with pytest.raises(RuntimeError, match="no luck"):
        seconds("raise SystemExit('no luck')")


def test_measured_starts_use_this_checkout_and_their_own_cache(tmp_path):
    startup.contenders(tmp_path)["colorjax --version"]()
    code = (
        "import os, pathlib, colorjax; pathlib.Path('where').write_text("
        "os.environ['COLORJAX_HOME'] + ' ' + colorjax.__file__)"
    )
    startup.processor_seconds([sys.executable, "-c", code], tmp_path, "cache_9")
    home, module = (tmp_path / "where").read_text().split()
    assert home == str(tmp_path / "cache_9") and module.startswith(str(harness.ROOT))


def test_benchmark_pictures_have_the_requested_sizes_and_shapes(tmp_path):
    pictures.draw_mosaic(tmp_path / "mosaic.jpg", 0.3)
    with Image.open(tmp_path / "mosaic.jpg") as image:
        assert image.mode == "L" and image.size == (632, 474)
    (tmp_path / "many").mkdir()
    pictures.draw_folder(tmp_path / "many", 8)
    sizes = [Image.open(path).size for path in sorted((tmp_path / "many").iterdir())]
    assert len(set(sizes)) == 8
    assert all(0.19e6 < w * h < 3.1e6 and 0.45 < w / h < 2.6 for w, h in sizes)


def test_a_folder_has_a_row_for_the_first_run_and_one_for_later_runs(monkeypatch):
    calls = []

    def processor_seconds(command, workdir, cache):
        calls.append((sorted(p.name for p in (workdir / "photos").iterdir()), command[-2], cache))
        return 2.0 * len(calls)

    monkeypatch.setattr(folder.startup, "processor_seconds", processor_seconds)
    (table,) = folder.measure(TINY._replace(repeats=2), (3,))
    assert calls == [(["000.jpg", "001.jpg", "002.jpg"], "coloured", "cache")] * 3
    assert [row["processor_s"] for row in table.rows] == [2.0, 5.0]
