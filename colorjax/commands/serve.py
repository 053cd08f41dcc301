"""`colorjax serve`: the service over HTTP."""

import sys
from typing import Any

import click

from colorjax import extras, stopping
from colorjax.commands.common import host_option, model_options, painter_of, say


@click.command()
@host_option
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Host name under which a proxy has the service; may be given several times.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Most pictures that wait or are worked on; others are told to come again.",
)
@click.option(
    "--max-megabytes",
    type=click.IntRange(1, 200),
    default=200,
    show_default=True,
    metavar="MB",
    help="Of a picture's file.",
)
@click.option(
    "--max-megapixels",
    type=click.IntRange(1, 150),
    default=150,
    show_default=True,
    metavar="MP",
    help="Of a picture.",
)
@model_options
def serve(
    host: str,
    port: int,
    allow_hosts: tuple[str, ...],
    queue: int,
    max_megabytes: int,
    max_megapixels: int,
    **options: Any,
) -> None:
    """Colours photographs over HTTP, until Ctrl-C or SIGTERM: POST /colorize.

    The answer is what `colorjax PHOTO` writes, and the options of a request are those of the
    command; http://HOST:PORT/ lists them. What is under way when it is stopped is finished.
    """
    extras.check_installed("serve", "the service")
    from colorjax.coloring.page.guard import check_names
    from colorjax.serving import app, server, work

    check_names("", allow_hosts)
    with server.listening(host, port) as opened:
        say("loading the network, which takes some seconds")
        studio = work.Studio(painter_of(options))
        studio.warm_up()
        limits = app.Limits(queue, max_megabytes * 2**20, max_megapixels * 10**6)
        server.serve(app.build(studio, limits, host=host, allow_hosts=allow_hosts), opened, say)
    sys.exit(stopping.status())
