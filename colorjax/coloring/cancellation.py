"""Cancellation of work whose result is no longer needed."""

from collections.abc import Callable
from typing import Any

from colorjax.coloring.colorize import Painter
from colorjax.weights.programs import Program


def cancellable(painter: Painter, check: Callable[[], None]) -> Painter:
    """Returns a painter that calls `check` before each program; an exception cancels the work."""

    def with_check(program: Callable) -> Callable:
        def run(*arguments: Any, **choices: Any) -> Any:
            check()
            return program(*arguments, **choices)

        return run

    programs: dict[str, Any] = {
        name: with_check(one) for name, one in painter._asdict().items() if isinstance(one, Program)
    }
    return painter._replace(**programs)
