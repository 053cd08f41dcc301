"""Colours black-and-white photographs, and trains and evaluates the networks that do so.

    from colorjax import Colorizer

    Colorizer().colorize_file("old.jpg", "new.jpg")

`__all__` is the public interface: `Colorizer` colours photographs; `save` writes its results with
the metadata of the original file; `colorize_film` colours a film; `UserError` is raised for invalid
input; `load_network` returns the trained network with its config, statistics and variables;
`__version__` is the installed version.
"""

from typing import TYPE_CHECKING, Any

from colorjax.errors import UserError

if TYPE_CHECKING:
    from colorjax.coloring.api import Colorizer
    from colorjax.film.api import colorize_film
    from colorjax.pictures.writing import save
    from colorjax.weights.released import load_network

    __version__: str

__all__ = ["Colorizer", "UserError", "__version__", "colorize_film", "load_network", "save"]


def __getattr__(name: str) -> Any:
    # Imported lazily: jax takes seconds to import, and importing any submodule runs this file.
    if name == "Colorizer":
        from colorjax.coloring.api import Colorizer

        return Colorizer
    if name == "colorize_film":
        from colorjax.film.api import colorize_film

        return colorize_film
    if name == "save":
        from colorjax.pictures.writing import save

        return save
    if name == "load_network":
        from colorjax.weights.released import load_network

        return load_network
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("colorjax")
        except PackageNotFoundError:  # a checkout that is not installed
            return "0+unknown"
    raise AttributeError(f"module 'colorjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
