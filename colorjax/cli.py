"""The `colorjax` command: selects the subcommand and reports user errors."""

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


class ReportedUserError(click.ClickException):
    """A UserError in the form in which click prints it and exits."""

    exit_code = MISTAKE


class Command(click.Group):
    """A group with `colorize` as the default command; prints a UserError as one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        group_options = {"--help", "--version"}
        if args and args[0] not in self.commands and args[0] not in group_options:
            self._check_mistyped(args[0], ctx)
            args = ["colorize", *args]
        return super().parse_args(ctx, args)

    def _check_mistyped(self, word: str, ctx: click.Context) -> None:
        """Raises click.UsageError if a word is not a file but resembles a command."""
        near = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.7)
        if near and word.isalpha() and not os.path.lexists(word):
            raise click.UsageError(
                f"There is no file or command {word!r}; did you mean {near[0]!r}?", ctx
            )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise ReportedUserError(str(error)) from error
        except KeyboardInterrupt:
            say("stopped; files that were not finished are unchanged")
            sys.exit(stopping.status() or stopping.INTERRUPTED)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("colorjax", "[OPTIONS] PHOTO... | COMMAND")


@click.group(cls=Command, epilog=EXAMPLES, no_args_is_help=True)
@click.version_option(package_name="colorjax")
def main() -> None:
    """Colours black-and-white photographs.

    `colorjax PHOTO...` is short for `colorjax colorize PHOTO...`; `colorjax colorize --help` shows
    its options.
    """


for command in (colorize, demo, serve, archive, export, measure, gallery):
    main.add_command(command)


if __name__ == "__main__":
    main()
