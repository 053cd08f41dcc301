"""How a user's own mistake is told: the one exception for it, and checks of settings."""

import math
from collections.abc import Sequence
from typing import Any

# What programs exit with, besides 0: a defect of the program, or some photographs of a batch that
# failed, as the last lines say; a mistake of the user's. A stopped one exits with 128 and the
# number of the signal: 130 after Ctrl-C, 143 after SIGTERM.
DEFECT, MISTAKE = 1, 2


class UserError(Exception):
    """Bad input, told in one sentence: what was found, where, and what was wanted instead.

    Entry points print the sentence and exit with MISTAKE; anything else that is raised is a
    defect of the program and keeps its traceback.
    """


class Interrupted(UserError):
    """A fault from without, such as a full disk: once it is mended, the same command goes on."""


MOST_DIGITS = 18  # of a number that is given as text: more are no count of anything
MOST_SHOWN = 80  # letters of what was given, in a sentence


def whole_number(text: str) -> int | None:
    """The whole number, from 0 on, that a text is; None for any other text, however long."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def shown(value: Any) -> str:
    """What was given, as a sentence shows it: its beginning and end where it is long."""
    text = repr(value)
    half = MOST_SHOWN // 2
    return text if len(text) <= MOST_SHOWN else f"{text[:half]}...{text[-half:]}"


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
