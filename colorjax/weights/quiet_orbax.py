"""Suppresses Orbax's log messages, so that users see only the messages of colorjax."""

import functools
import logging
import sys
from pathlib import Path

from absl import logging as absl_logging


def silence() -> None:
    """Hides Orbax's log messages, which repeat each failure and also report events that are none.

    Errors are still raised.
    """
    logging.getLogger("absl").addFilter(_is_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_is_not_from_orbax_task)
    if getattr(sys.unraisablehook, "func", None) is not _skip_closed_loop:
        sys.unraisablehook = functools.partial(_skip_closed_loop, sys.unraisablehook)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    is_debugging = absl_logging.get_verbosity() >= absl_logging.DEBUG
    return is_debugging or "orbax" not in Path(record.pathname).parts


def _is_not_from_orbax_task(record: logging.LogRecord) -> bool:
    # If several arrays cannot be written, one error is raised, and asyncio logs the others.
    return "/orbax/" not in record.getMessage()


def _skip_closed_loop(hook, unraisable) -> None:
    # After a failed write, TensorStore prints a traceback for every other array in flight.
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)
