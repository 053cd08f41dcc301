"""Tables in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]], right: int | None = None) -> str:
    """A Markdown table that ends with a newline; columns from `right` on are aligned to the right.

    Newlines within cells become spaces, and a bar is written so that it ends no cell.
    """
    rule = ["---:" if right is not None and i >= right else "---" for i in range(len(head))]
    return "".join(map(_line, [head, rule, *lines]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("\n", " ").replace("|", "\\|") for c in cells) + " |\n"
