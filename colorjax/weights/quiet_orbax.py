"""Nothing but our own words reaches the user's terminal."""

import functools
import logging
import sys
from pathlib import Path

from absl import logging as absl_logging


def silence() -> None:
    """Orbax logs every failure several times over, and what is no failure; errors are raised."""
    logging.getLogger("absl").addFilter(_is_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_is_no_task_of_orbax)
    if getattr(sys.unraisablehook, "func", None) is not _skip_closed_loop:
        sys.unraisablehook = functools.partial(_skip_closed_loop, sys.unraisablehook)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    asked_for = absl_logging.get_verbosity() >= absl_logging.DEBUG
    return asked_for or "orbax" not in Path(record.pathname).parts


def _is_no_task_of_orbax(record: logging.LogRecord) -> bool:
    # Of several arrays that could not be written, one is raised; asyncio prints the others.
    return "/orbax/" not in record.getMessage()


def _skip_closed_loop(hook, unraisable) -> None:
    # After one failed write TensorStore prints a traceback for every other array in flight.
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)
