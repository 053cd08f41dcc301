"""Installation: the wheel works without the checkout, colouring without training's extra."""

import configparser
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from colorjax import extras
from colorjax.errors import UserError

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "colorjax/data/sample/astronaut.jpg"


def test_an_error_says_what_training_lacks_and_how_to_install_it(monkeypatch):
    extras.check_installed("train", "training")
    find = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "grain" else find(name))
    with pytest.raises(UserError, match=r"^training needs grain: pip install 'colorjax\[train\]'"):
        extras.check_installed("train", "training")


def test_the_train_extra_has_all_modules_that_training_checks_for():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = re.findall(r"^[\w-]+", setup["options.extras_require"]["train"], re.MULTILINE)
    assert {name.replace("-", "_") for name in names} >= set(extras.MODULES["train"])
    required = setup["options"]["install_requires"]
    assert not any(name in required for name in names)


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_colours_and_says_what_training_needs(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    env = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
    options = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    done = subprocess.run([tmp_path / "empty/bin/colorjax", ASTRONAUT, "-o", "out.png"], **options)
    assert done.returncode == 0 and "1 photo coloured" in done.stderr
    with Image.open(tmp_path / "out.png") as image, Image.open(ASTRONAUT) as photo:
        assert image.size == photo.size
    done = subprocess.run([python, "-m", "colorjax.main", "--config=classify"], **options)
    assert done.returncode == 2 and "pip install 'colorjax[train]'" in done.stderr
