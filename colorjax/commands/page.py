"""`colorjax demo`: the page in the browser."""

from typing import Any

import click

from colorjax.commands import stopping
from colorjax.commands.common import model_options, say


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen; 0.0.0.0 lets other machines in.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option(
    "--open/--no-open",
    "open_browser",
    default=True,
    help="Whether to show the page in the browser at once.",
)
@model_options
def demo(host: str, port: int, open_browser: bool, **options: Any) -> None:
    """Serves a page for colouring photographs in the browser, until Ctrl-C.

    Photos go to no other machine, and are deleted when the program ends.
    """
    try:
        from colorjax.coloring.page import server as page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise click.ClickException("the page needs gradio: pip install 'colorjax[demo]'") from error
    from colorjax.coloring.api import Colorizer
    from colorjax.weights import devices

    devices.keep_compiled_programs()
    say("loading the network, which takes some seconds")
    colorizer = Colorizer(**options)
    with stopping.by_exception():
        page.serve(colorizer, host=host, port=port, open_browser=open_browser, say=say)
