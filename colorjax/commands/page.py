"""`colorjax demo`: the page in the browser."""

from typing import Any

import click

from colorjax import extras, stopping
from colorjax.commands.common import host_option, model_options, say


@click.command()
@host_option
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=True,
    help="Whether to show the page in the browser at once.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Where a proxy has the page: /photos, or a whole address.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Host name under which a proxy has the page; may be given several times.",
)
@model_options
def demo(
    host: str,
    port: int,
    open_browser: bool,
    root_path: str,
    allow_hosts: tuple[str, ...],
    **options: Any,
) -> None:
    """Serves a page for colouring photographs in the browser, until Ctrl-C.

    Photos go to no other machine, and are deleted when the program ends.
    """
    from colorjax.coloring.page.folder import private_folder

    extras.check_installed("demo", "the page")
    # However it is ended, its folder goes.
    with stopping.raising(), private_folder() as folder:
        from colorjax.coloring.api import Colorizer
        from colorjax.coloring.page import guard, server

        guard.check_names(root_path, allow_hosts)
        say("loading the network, which takes some seconds")
        server.serve(
            Colorizer(**options),
            folder,
            host=host,
            port=port,
            root_path=root_path,
            allow_hosts=allow_hosts,
            open_browser=open_browser,
            say=say,
        )
