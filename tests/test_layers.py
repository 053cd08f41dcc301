"""Layers: a folder may import only itself and the folders before it in `ORDER`."""

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
# The layers within a folder; "." stands for its own files.
SUBFOLDER_ORDER = {
    "coloring": "network|.|folders|archive page",
    "pictures": "formats|.",
    "weights": ".|published",
    "film": "files|.",
}


def levels(order):
    """Name -> the number of its layer."""
    return {name: i for i, layer in enumerate(order.split("|")) for name in layer.split()}


def imported(file):
    """Yields the dotted name of each import of a file, split into its parts."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from (f"{prefix}{alias.name}".split(".") for alias in node.names)


def test_folders_import_only_from_those_before_them():
    level = levels(ORDER)
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imported(file):
            if name[0] == "colorjax" and name[1] != own:
                assert level[name[1]] < level.get(own, len(level)), f"{file}: {name}"


@pytest.mark.parametrize("folder", SUBFOLDER_ORDER)
def test_subfolders_import_only_from_those_before_them(folder):
    top = PACKAGE / folder
    level = {
        name: i
        for i, layer in enumerate(SUBFOLDER_ORDER[folder].split("|"))
        for name in layer.split()
    }

    def part(names):
        return names[0] if names and (top / names[0]).is_dir() else "."

    assert {part([path.name]) for path in top.glob("*") if path.name != "__pycache__"} == {*level}
    for file in top.rglob("*.py"):
        own = part(file.relative_to(top).parts)
        for name in imported(file):
            if name[:2] == ["colorjax", folder] and part(name[2:]) != own:
                assert level[part(name[2:])] < level[own], f"{file}: {name}"


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


def test_public_names_exist_and_listing_them_imports_nothing_heavy():
    code = (
        "import sys, colorjax; from colorjax import UserError, __version__; assert __version__[0];"
        "assert set(colorjax.__all__) <= set(dir(colorjax));"
        "print(*sys.modules); assert colorjax.load_network.__doc__ and colorjax.Colorizer.__doc__"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert not {"jax", "numpy", "PIL", "flax"} & set(done.stdout.split())
