"""Work that ends in its middle, where nobody waits for it any more."""

from collections.abc import Callable
from typing import Any

from colorjax.coloring.colorize import Painter
from colorjax.weights.programs import Program


def checked(painter: Painter, check: Callable[[], None]) -> Painter:
    """The painter, whose programs call `check` before they run; what that raises ends the work."""

    def after(program: Callable) -> Callable:
        def run(*arguments: Any, **choices: Any) -> Any:
            check()
            return program(*arguments, **choices)

        return run

    programs: dict[str, Any] = {
        name: after(one) for name, one in painter._asdict().items() if isinstance(one, Program)
    }
    return painter._replace(**programs)
