"""Which file `--config` names, and what it imports as `configs`, from any working directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import xla_flags

from colorjax.errors import UserError
from colorjax.training.config_file import load_config

ROOT = Path(__file__).parent.parent
NAMES = [path.stem for path in sorted((ROOT / "configs").glob("[a-z]*.py"))]


def write_configs(folder, **texts):
    """Creates a folder `configs` in `folder` with files of these names and texts."""
    (folder / "configs").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "configs" / f"{name}.py").write_text(text)
    return folder / "configs"


def config_of(value):
    return (
        "from ml_collections import ConfigDict\n"
        f"def get_config(): return ConfigDict({{'value': {value!r}}})\n"
    )


IMPORTS_BASE = "def get_config():\n    from configs import base\n    return base.get_config()\n"
IMPORTS_CLASSIFY = "from configs import classify\nget_config = classify.get_config\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_config_is_found_by_name_and_by_path_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])
    by_name = load_config(name)
    assert by_name.to_json() == load_config(str(ROOT / "configs" / f"{name}.py")).to_json()


def test_a_variant_may_follow_the_name_of_a_config():
    assert load_config("classify:paper").num_steps == 20_000
    with pytest.raises(UserError, match="no variant 'papr', want sample or paper"):
        load_config("classify:papr")


def test_two_packages_of_configs_are_not_mixed_up(tmp_path):
    from configs import classify

    one = write_configs(tmp_path / "one", base=config_of(1), run=IMPORTS_BASE)
    two = write_configs(tmp_path / "two", base=config_of(2), run=IMPORTS_BASE)
    path, modules = list(sys.path), sys.modules.copy()
    assert load_config(str(one / "run.py")).value == 1
    assert load_config(str(two / "run.py")).value == 2
    assert load_config(str(one / "run.py")).value == 1
    # The program's own imports are unchanged, whatever a config imports or raises.
    (two / "bad.py").write_text("from configs import base, none\n")
    with pytest.raises(ImportError, match="none"):
        load_config(str(two / "bad.py"))
    assert sys.path == path and sys.modules["configs.classify"] is classify
    assert {name for name in modules if name.startswith("configs")} == {
        name for name in sys.modules if name.startswith("configs")
    }


def test_a_configs_package_may_have_an_init(tmp_path):
    folder = write_configs(tmp_path, __init__="answer = 42\n")
    (folder / "run.py").write_text(f"import configs\n{config_of(0)}".replace("0", "configs.answer"))
    assert load_config(str(folder / "run.py")).value == 42


@pytest.mark.parametrize("path", ["run.py", "experiments/run.py", "configs/paper/run.py"])
def test_a_config_file_imports_the_configs_package_in_its_own_project(tmp_path, monkeypatch, path):
    write_configs(tmp_path, base=config_of(3))
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(IMPORTS_BASE)
    assert load_config(str(file)).value == 3
    monkeypatch.chdir(file.parent)
    assert load_config("run.py").value == 3


def test_a_file_without_its_own_configs_imports_those_of_colorjax(tmp_path):
    (tmp_path / "far" / "off").mkdir(parents=True)
    file = tmp_path / "far" / "off" / "mine.py"
    file.write_text(IMPORTS_CLASSIFY)
    assert load_config(f"{file}:paper").num_steps == 20_000


def test_a_missing_config_is_refused_with_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no config 'clasify', did you mean 'classify'?"):
        load_config("clasify:paper")
    with pytest.raises(UserError, match="no config 'xyz', want one of classify, huber"):
        load_config("xyz")
    with pytest.raises(UserError, match="configs/classify.py does not exist; .*--config=classify"):
        load_config("configs/classify.py")
    (tmp_path / "classify").write_text("raise SystemExit('a name is no file')")
    assert load_config("classify").num_steps == 150
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match="config file empty.py has no function get_config"):
        load_config("empty.py")


@pytest.mark.parametrize(
    "body, variant, sentence",
    [
        ("def get_config(): return 1", ":x", r"cannot do get_config\('x'\): too many positional"),
        ("def get_config(variant): return 1", "", r"get_config\(\): missing a required argument"),
        ("get_config = 3", "", "3 is not a callable object"),
        ("def get_config(): return None", "", "returns None, want a ConfigDict"),
        ("def get_config(): return {'seed': 1}", "", "returns {'seed': 1}, want a ConfigDict"),
    ],
)
def test_a_get_config_that_gives_no_config_is_refused(body, variant, sentence, tmp_path):
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(UserError, match=sentence):
        load_config(f"{tmp_path / 'mine.py'}{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("config", ["release:gpu", str(ROOT / "configs" / "release.py:gpu")])
def test_the_command_finds_a_config_from_a_folder_without_configs(tmp_path, config):
    environment = {**os.environ, "XLA_FLAGS": xla_flags(1), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "colorjax.main", f"--config={config}", "--config.batch_size=0"],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "batch_size is 0, want a positive multiple" in done.stderr


def test_an_installed_package_contains_its_configs(tmp_path):
    # As setup.py lays it out: the wheel's colorjax/configs is the checkout's configs/.
    site = tmp_path / "site" / "colorjax"
    for name in ("__init__.py", "errors.py", "training/__init__.py", "training/config_file.py"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "colorjax" / name, site / name)
    shutil.copytree(ROOT / "configs", site / "configs")
    code = (
        "from colorjax.training import config_file as c; print(c.find_config('huber'));"
        "print(c.load_config('huber:paper').num_steps)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(site.parent)},
    )
    assert done.stdout.split() == [str(site / "configs" / "huber.py"), "20000"]
