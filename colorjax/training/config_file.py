"""Configs in Python files: found by path, or by name among those that come with colorjax.

A config imports others as `configs.NAME`. What `configs` is follows from where the file lies, not
from where the program was started: the folder `configs` that the file is in or beside; else
colorjax's own, so that a file anywhere may start from `configs.classify`.
"""

import contextlib
import difflib
import runpy
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from colorjax.errors import UserError

PACKAGE = "configs"


def load_config(argument: str) -> ConfigDict:
    """The `get_config(variant)` of a config, FILE[:VARIANT] or NAME[:VARIANT].

    Raises UserError if there is no such config.
    """
    place, _, variant = argument.partition(":")
    file = find_config(place)
    with configs_imported_from(package_folder(file)):
        module = runpy.run_path(str(file))
        if "get_config" not in module:
            raise UserError(f"config file {place} has no function get_config")
        return module["get_config"](*[variant] if variant else [])


def find_config(place: str) -> Path:
    """The file that a path names, or, without a folder and a suffix, a config of colorjax."""
    is_name = place == Path(place).stem
    file = own_folder() / f"{place}.py" if is_name else Path(place)
    if file.is_file():
        return file.absolute()
    names = sorted(path.stem for path in own_folder().glob("[a-z]*.py"))
    close = difflib.get_close_matches(Path(place).stem, names, 1)
    suggestion = f", did you mean {close[0]!r}?" if close else f", want one of {', '.join(names)}"
    if is_name:
        raise UserError(f"colorjax comes with no config {place!r}{suggestion}")
    raise UserError(
        f"config file {place} does not exist"
        + (f"; colorjax comes with one: --config={close[0]}" if close else "")
    )


def own_folder() -> Path:
    """The configs that come with colorjax: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / PACKAGE
    return inside if inside.is_dir() else package.parent / PACKAGE


def package_folder(file: Path) -> Path:
    """The folder that a config file means by `configs`."""
    for folder in file.parents[:2]:
        for candidate in (folder, folder / PACKAGE):
            if candidate.name == PACKAGE and candidate.is_dir():
                return candidate
    return own_folder()


@contextlib.contextmanager
def configs_imported_from(folder: Path) -> Iterator[None]:
    """Within it `import configs` is this folder, and nothing of another that was imported before.

    It is no entry of sys.path, by which all else in its parent could be taken for other modules.
    """
    before = _unload_configs()
    spec = spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # as always for a .py file
    package = sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        if (folder / "__init__.py").is_file():
            spec.loader.exec_module(package)
        yield
    finally:
        _unload_configs()
        sys.modules.update(before)


def _unload_configs() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
