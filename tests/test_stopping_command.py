"""Ctrl-C and SIGTERM end the command at any time, and leave only complete files."""

import contextlib
import signal
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from networks import save_run, tiny_network
from PIL import Image

from colorjax import stopping
from colorjax.coloring.folders import batch
from colorjax.commands import colorize as command

SIGNALS = [signal.SIGINT, signal.SIGTERM]
COMMAND = [sys.executable, "-m", "colorjax"]


def photo(folder, name, height=48, width=60):
    cells = np.random.default_rng(0).integers(20, 236, (4, 5), dtype=np.uint8)
    Image.fromarray(cells).resize((width, height), Image.BICUBIC).save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["click", "jax", "jax._src.core", "numpy"])
def test_a_signal_while_modules_are_imported_ends_the_command(number, module, tmp_path):
    source = photo(tmp_path, "old.png")
    # A finder of modules sends the signal when the module is imported, as a user might just then.
    code = f"""
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal({int(number)})
sys.meta_path.insert(0, Finder())
sys.argv = ["colorjax", {str(source)!r}]
from colorjax.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert "colorjax: stopped" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_stopped_command_leaves_no_partial_file(model, number, tmp_path):
    for i in range(40):
        photo(tmp_path, f"{i:02}.png", 600, 800)
    arguments = [str(tmp_path), "--model", model, "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/*_color.png")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number and "Traceback" not in stderr
    assert "stopped; files that were not finished are unchanged" in stderr
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 40
    for path in written:
        assert path.name.endswith("_color.png")
        with Image.open(path) as image:
            image.load()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("at", [1, 2])
def test_a_suppressed_interrupt_still_ends_the_batch_after_that_photo(number, at, monkeypatch):
    started = []

    def run(*_, **__):
        for i in range(3):
            started.append(i)
            if i == at:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(number)
            yield batch.Outcome(f"{i}.png")

    monkeypatch.setattr(batch, "run", run)
    monkeypatch.setattr(command, "painter_of", lambda options: None)
    context = command.colorize.make_context("colorize", ["a.png"])
    monkeypatch.setattr(stopping, "_received", [])
    monkeypatch.setattr(stopping, "_handlers", [])
    before = {which: signal.getsignal(which) for which in SIGNALS}
    try:
        stopping.listen()
        with pytest.raises(stopping.Stopped):
            list(command.run_jobs([None] * 3, context.params))
        assert stopping.status() == 128 + number
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    assert started == list(range(at + 1))


def test_the_installed_command_handles_signals_before_its_imports():
    config = ConfigParser()
    config.read(Path(__file__).parent.parent / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"]
    assert "colorjax = colorjax.__main__:main" in scripts.splitlines()
