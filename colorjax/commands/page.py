"""`colorjax demo`: serves a page for colouring photographs in the browser."""

from typing import Any

import click

from colorjax import extras, stopping
from colorjax.commands.common import allow_host_option, host_option, model_options, port_option, say


@click.command()
@host_option
@port_option(7860)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=True,
    show_default=True,
    help="Whether to open the page in the browser.",
)
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Path or full URL of the page behind a proxy, such as /photos.",
)
@allow_host_option("page")
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

    Photos are not sent to other machines, and are deleted when the program ends.
    """
    from colorjax.coloring.page.folder import private_folder

    extras.check_installed("demo", "the page")
    # Stop signals raise, so that the folder of photos is always deleted.
    with stopping.raising(), private_folder() as folder:
        from colorjax.coloring.api import Colorizer
        from colorjax.coloring.page import guard, server

        guard.check_proxy_options(root_path, allow_hosts)
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
