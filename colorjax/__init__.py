"""Turns black-and-white photographs into colour, and trains and measures the networks that do so.

    from colorjax import Colorizer

    Colorizer().colorize("old.jpg").save("new.jpg")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colorjax.coloring.api import Colorizer

__all__ = ["Colorizer"]


def __getattr__(name: str) -> Any:
    # Only when it is wanted: jax takes seconds to import, and every module passes by here.
    if name == "Colorizer":
        from colorjax.coloring.api import Colorizer

        return Colorizer
    raise AttributeError(f"module 'colorjax' has no attribute {name!r}")
