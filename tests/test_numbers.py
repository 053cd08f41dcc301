"""Numbers with which no photograph can be coloured give an error of one sentence each."""

import math

import numpy as np
import pytest
from click.testing import CliRunner
from networks import tiny_network
from PIL import Image

from colorjax import cli
from colorjax.coloring import colorize
from colorjax.coloring.network import memory
from colorjax.coloring.settings import ColorSettings, check_settings
from colorjax.errors import UserError, check_at_least


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_must_be_finite(value):
    with pytest.raises(UserError, match=f"it is {value}, want a finite number"):
        check_at_least("it", value, 0.0)


@pytest.mark.parametrize(
    "settings, message",
    [
        (ColorSettings(saturation=math.nan), "saturation is nan, want a finite number"),
        (ColorSettings(saturation=math.inf), "saturation is inf"),
        (ColorSettings(temperature=math.nan), "temperature is nan"),
        (ColorSettings(seed=2**32), "seed is 4294967296, want at most 4294967295"),
    ],
)
def test_settings_that_are_not_finite_or_too_large_are_refused(network, settings, message):
    with pytest.raises(UserError, match=message):
        check_settings(settings, network)


def test_the_largest_seed_is_accepted(network):
    painter = colorize.open_painter(network)
    photo = np.full((20, 20, 3), 99, np.uint8)
    settings = ColorSettings("sample", seed=2**32 - 1)
    ((_, (result,)),) = colorize.colorize(painter, [photo], [settings])
    assert result.shape == photo.shape


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--saturation", "nan"], "nan is not a finite number"),
        (["--saturation", "inf"], "inf is not a finite number"),
        (["--temperature", "nan"], "nan is not a finite number"),
        (["--rebalance", "nan"], "nan is not a finite number"),
        (["--seed", str(2**32)], "4294967296 is not in the range"),
        (["--quality", "0"], "0 is not in the range"),
        (["--size", "100000"], "size is 100000, want at most"),
    ],
)
def test_the_command_reports_an_invalid_number(arguments, message, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    done = CliRunner().invoke(cli.main, [str(tmp_path / "a.png"), *arguments])
    assert done.exit_code in (1, 2) and message in " ".join(done.stderr.split())
    assert isinstance(done.exception, SystemExit)


def test_size_is_limited_by_the_free_memory(network, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.BYTES_PER_PIXEL * 200**2)
    colorize.open_painter(network, size=200)
    with pytest.raises(UserError, match="size is 201, want at most 200 with the 0.1 GB of memory"):
        colorize.open_painter(network, size=201)


def test_the_memory_limit_of_a_container_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available() > 0
    for name, text in {
        "memory.max": "5000\n",
        "memory.current": "4500\n",
        "memory.stat": "anon 1\ninactive_file 300\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert memory.available() == 800
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 800
