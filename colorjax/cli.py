"""The `colorjax` command: finds which of its commands is meant, and how a mistake is said."""

import difflib
import os
import sys
from typing import Any

import click

from colorjax import stopping
from colorjax.commands.archive import archive
from colorjax.commands.colorize import EXAMPLES, colorize
from colorjax.commands.common import say
from colorjax.commands.measure import measure
from colorjax.commands.model import export, gallery
from colorjax.commands.page import demo
from colorjax.commands.serve import serve
from colorjax.errors import MISTAKE, UserError


class Refusal(click.ClickException):
    """A user's mistake, as click tells it."""

    exit_code = MISTAKE


class Command(click.Group):
    """A group whose command `colorize` need not be named; a user's mistake is one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = {"--help", "--version"}
        if args and args[0] not in self.commands and args[0] not in alone:
            self._check_mistyped(args[0], ctx)
            args = ["colorize", *args]
        return super().parse_args(ctx, args)

    def _check_mistyped(self, word: str, ctx: click.Context) -> None:
        """Raises click.UsageError for what is no photo and nearly a command."""
        near = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.7)
        if near and word.isalpha() and not os.path.lexists(word):
            raise click.UsageError(
                f"There is no file or command {word!r}; did you mean {near[0]!r}?", ctx
            )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Refusal(str(error)) from error
        except KeyboardInterrupt:
            say("stopped; what is not done yet is as it was")
            sys.exit(stopping.status() or stopping.INTERRUPTED)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("colorjax", "[OPTIONS] PHOTO... | COMMAND")


@click.group(cls=Command, epilog=EXAMPLES, no_args_is_help=True)
@click.version_option(package_name="colorjax")
def main() -> None:
    """Turns black-and-white photographs into colour.

    PHOTO... without the name of a command is short for `colorjax colorize PHOTO...`;
    `colorjax colorize --help` shows its options.
    """


for command in (colorize, demo, serve, archive, export, measure, gallery):
    main.add_command(command)


if __name__ == "__main__":
    main()
