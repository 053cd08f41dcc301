"""`colorjax serve`: the HTTP service."""

import sys
from typing import Any

import click

from colorjax import extras, stopping
from colorjax.commands.common import (
    allow_host_option,
    host_option,
    model_options,
    painter_of,
    port_option,
    say,
)


@click.command()
@host_option
@port_option(8000)
@allow_host_option("service")
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Maximum number of pictures queued or in progress; further requests get status 503.",
)
@click.option(
    "--max-megabytes",
    type=click.IntRange(1, 200),
    default=200,
    show_default=True,
    metavar="MB",
    help="Maximum size of a picture's file.",
)
@click.option(
    "--max-megapixels",
    type=click.IntRange(1, 150),
    default=150,
    show_default=True,
    metavar="MP",
    help="Maximum size of a picture.",
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
    """Colours photographs over HTTP with POST /colorize, until Ctrl-C or SIGTERM.

    The response is the file that `colorjax PHOTO` writes, and a request has the options of that
    command; http://HOST:PORT/ lists them. Accepted requests are finished before the service ends.
    """
    extras.check_installed("serve", "the service")
    from colorjax.coloring.page.guard import check_proxy_options
    from colorjax.serving import app, server, work

    check_proxy_options("", allow_hosts)
    with server.listen(host, port) as listener:
        say("loading the network, which takes some seconds")
        batcher = work.Batcher(painter_of(options))
        batcher.warm_up()
        limits = app.Limits(queue, max_megabytes * 2**20, max_megapixels * 10**6)
        server.serve(app.build(batcher, limits, host=host, allow_hosts=allow_hosts), listener, say)
    sys.exit(stopping.status())
