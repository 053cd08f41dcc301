"""The exception for user errors, exit statuses, and checks of settings."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Exit statuses of programs other than 0. DEFECT: a bug, or photographs of a batch failed, which the
# last lines list. MISTAKE: a user error. A stopped program exits with 128 plus the number of the
# signal: 130 after Ctrl-C, 143 after SIGTERM.
DEFECT, MISTAKE = 1, 2


class UserError(Exception):
    """Invalid input, described in one sentence: where, the value found and the value wanted.

    Entry points print the sentence and exit with MISTAKE. Any other exception is a bug in the
    program and is printed with its traceback.
    """


class ResumableError(UserError):
    """An external failure such as a full disk; once it is fixed, the same command resumes."""


def first_line(error: Exception) -> str:
    """Returns the first line of an exception's message; its type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turns an OSError in the block into a ResumableError that names the file, or else `folder`."""
    try:
        yield
    except OSError as error:
        raise ResumableError(describe_disk_fault(folder, error)) from error


def describe_disk_fault(folder: Path, error: OSError) -> str:
    """Returns a sentence that names the file that cannot be read or written, or else `folder`."""
    # A rename has two names, and the second is the one that the user knows.
    return f"{error.filename2 or error.filename or folder}: {error.strerror or error}"


MAX_DIGITS = 18  # longer whole numbers are rejected, since no option needs them
MAX_QUOTED = 80  # characters of a value in a message


def whole_number(text: str) -> int | None:
    """Parses a whole number >= 0 of at most MAX_DIGITS digits; returns None for any other text."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def quoted(value: Any) -> str:
    """Returns the repr of a value for a message, with the middle cut out if it is long."""
    text = repr(value)
    half = MAX_QUOTED // 2
    return text if len(text) <= MAX_QUOTED else f"{text[:half]}...{text[-half:]}"


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises UserError if `value`, the setting called `name`, is below `least`, nan or infinite."""
    if value < least:
        raise UserError(f"{name} is {value}, want at least {least}")
    if not math.isfinite(value):
        raise UserError(f"{name} is {value}, want a finite number")


def check_share(name: str, value: float) -> None:
    """Raises UserError unless `value`, the setting called `name`, is in [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}, want a share from 0 to 1")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises UserError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        if isinstance(choices, range):
            wanted = f"a whole number from {choices[0]} to {choices[-1]}"
        else:
            wanted = f"one of {', '.join(map(repr, choices))}"
        raise UserError(f"{name} is {value!r}, want {wanted}")
