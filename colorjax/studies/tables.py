"""Formats tables in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]], right: int | None = None) -> str:
    """Returns a Markdown table that ends with a newline; columns from `right` on are right-aligned.

    Newlines in cells become spaces, and vertical bars in cells are escaped.
    """
    rule = ["---:" if right is not None and i >= right else "---" for i in range(len(head))]
    return "".join(map(_line, [head, rule, *lines]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("\n", " ").replace("|", "\\|") for c in cells) + " |\n"
