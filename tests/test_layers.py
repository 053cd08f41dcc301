"""What a folder may import: those that stand before its own here, and itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import colorjax

PACKAGE = Path(colorjax.__file__).parent
ORDER = (
    "errors|stopping extras|ops|settings|pictures|models data|weights|training coloring|"
    "film studies interchange serving|commands|main cli"
)
# Folders within a folder; "." are the files beside them.
WITHIN = {
    "coloring": "network|.|folders|archive page",
    "pictures": "formats|.",
    "weights": ".|published",
    "film": "files|.",
}


def heights(order):
    return {name: i for i, floor in enumerate(order.split("|")) for name in floor.split()}


def imported(file):
    """The dotted names of what a file imports, in their parts."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from (f"{of}{alias.name}".split(".") for alias in node.names)


def test_folders_import_only_from_those_before_them():
    height = heights(ORDER)
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imported(file):
            if name[0] == "colorjax" and name[1] != own:
                assert height[name[1]] < height.get(own, len(height)), f"{file}: {name}"


@pytest.mark.parametrize("folder", WITHIN)
def test_folders_within_a_folder_import_only_from_those_before_them(folder):
    top = PACKAGE / folder
    height = {
        name: i for i, floor in enumerate(WITHIN[folder].split("|")) for name in floor.split()
    }

    def part(names):
        return names[0] if names and (top / names[0]).is_dir() else "."

    assert {part([path.name]) for path in top.glob("*") if path.name != "__pycache__"} == {*height}
    for file in top.rglob("*.py"):
        own = part(file.relative_to(top).parts)
        for name in imported(file):
            if name[:2] == ["colorjax", folder] and part(name[2:]) != own:
                assert height[part(name[2:])] < height[own], f"{file}: {name}"


def test_colouring_loads_nothing_that_only_training_needs():
    code = (
        "import sys, colorjax.cli, colorjax.coloring.folders.batch;"
        "from colorjax import Colorizer; Colorizer();"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "colorjax.coloring.colorize" in loaded and "colorjax.training" not in loaded
    assert not loaded & set(
        "optax orbax tensorstore tensorboardX grain tensorflow_datasets h5py pooch matplotlib "
        "requests av cv2".split()
    )


def test_what_is_for_others_is_there_and_nothing_heavy_comes_with_its_names():
    code = (
        "import sys, colorjax; from colorjax import UserError, __version__; assert __version__[0];"
        "assert set(colorjax.__all__) <= set(dir(colorjax));"
        "print(*sys.modules); assert colorjax.load_network.__doc__ and colorjax.Colorizer.__doc__"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert not {"jax", "numpy", "PIL", "flax"} & set(done.stdout.split())
