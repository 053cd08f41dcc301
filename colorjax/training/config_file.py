"""Loads Python config files, by path or by the name of a config bundled with colorjax.

A config imports others as `configs.NAME`. The package `configs` depends on the location of the
file, not on the working directory: it is the folder `configs` that contains the file or lies beside
it, or else the one bundled with colorjax. A file anywhere can thus build on `configs.classify`.
"""

import contextlib
import difflib
import inspect
import runpy
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from colorjax.errors import UserError, quoted

PACKAGE = "configs"


def load_config(argument: str) -> ConfigDict:
    """Returns `get_config(variant)` of the config FILE[:VARIANT] or NAME[:VARIANT].

    Raises UserError if there is no such config, or its get_config takes no variant, wants one, or
    returns no ConfigDict.
    """
    name, _, variant = argument.partition(":")
    file = find_config(name)
    with configs_imported_from(package_folder(file)):
        module = runpy.run_path(str(file))
        if "get_config" not in module:
            raise UserError(f"config file {name} has no function get_config")
        config = _call(name, module["get_config"], [variant] if variant else [])
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config in {name} returns {quoted(config)}, want a ConfigDict")
    return config


def _call(name: str, get_config: Any, arguments: list[str]) -> Any:
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError as error:
        call = f"get_config({quoted(arguments[0])})" if arguments else "get_config()"
        raise UserError(f"config file {name} cannot do {call}: {error}") from error
    return get_config(*arguments)


def find_config(name: str) -> Path:
    """Returns the config file at a path, or the bundled one if `name` has no folder or suffix."""
    is_bundled = name == Path(name).stem
    file = bundled_folder() / f"{name}.py" if is_bundled else Path(name)
    if file.is_file():
        return file.absolute()
    names = sorted(path.stem for path in bundled_folder().glob("[a-z]*.py"))
    close = difflib.get_close_matches(Path(name).stem, names, 1)
    suggestion = f", did you mean {close[0]!r}?" if close else f", want one of {', '.join(names)}"
    if is_bundled:
        raise UserError(f"colorjax comes with no config {name!r}{suggestion}")
    raise UserError(
        f"config file {name} does not exist"
        + (f"; colorjax comes with one: --config={close[0]}" if close else "")
    )


def bundled_folder() -> Path:
    """Returns the folder of bundled configs: in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / PACKAGE
    return inside if inside.is_dir() else package.parent / PACKAGE


def package_folder(file: Path) -> Path:
    """Returns the folder that a config file imports as `configs`."""
    for folder in file.parents[:2]:
        for candidate in (folder, folder / PACKAGE):
            if candidate.name == PACKAGE and candidate.is_dir():
                return candidate
    return bundled_folder()


@contextlib.contextmanager
def configs_imported_from(folder: Path) -> Iterator[None]:
    """Makes `import configs` load this folder within the block, and hides configs loaded before.

    The parent folder is not added to sys.path, because its other files could then shadow modules.
    """
    previous = _unload_configs()
    spec = spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # always true for a .py file
    package = sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        if (folder / "__init__.py").is_file():
            spec.loader.exec_module(package)
        yield
    finally:
        _unload_configs()
        sys.modules.update(previous)


def _unload_configs() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
