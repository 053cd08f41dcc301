"""Options and parameter types shared by several commands, and their output to the terminal."""

import math
import os
from typing import Any

import click

from colorjax.errors import quoted, whole_number


class UserPath(click.ParamType):
    """A path; expands ~, which shells do not do in arguments such as --output=~/photos."""

    name = "path"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        return os.path.expanduser(value)


class FiniteNumber(click.FloatRange):
    """A finite number in a range; click itself accepts nan in any range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Pages(click.ParamType):
    """The pages of a TIFF: all, first, or the number of one page, from 1."""

    name = "pages"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        if value not in ("all", "first") and not whole_number(value):
            self.fail(f"{quoted(value)} is not all, first or a page number from 1.", param, ctx)
        return value


def _check_host(context: click.Context, option: click.Parameter, host: str) -> str:
    if not host:  # a socket would listen on all addresses
        raise click.BadParameter("is empty, want an address such as 127.0.0.1 or 0.0.0.0.")
    return host


host_option = click.option(
    "--host",
    callback=_check_host,
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on; 0.0.0.0 accepts connections from other machines.",
)


def port_option(default: int):
    """Adds --port, for commands that listen."""
    return click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=default,
        show_default=True,
        help="Port to listen on.",
    )


def allow_host_option(served: str):
    """Adds --allow-host, for commands that serve `served`, such as "page"."""
    return click.option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="NAME",
        help=f"Host name of the {served} behind a proxy. Repeatable.",
    )


def model_options(command):
    """Adds --model, --size and --device, for commands that load a network."""
    for option in (
        click.option(
            "--device", metavar="NAME", help="cpu, gpu or gpu:1. Default: a GPU if there is one."
        ),
        click.option(
            "--size",
            type=click.IntRange(16),
            metavar="PIXELS",
            help="Resolution of the network's input, as the side of a square of equal area; the "
            "result keeps the photo's size. Limited by memory. Default: the size used in training.",
        ),
        click.option(
            "--model",
            type=UserPath(),
            metavar="PATH",
            help="Folder of a training run, or a released file. Default: the model that colorjax "
            "comes with.",
        ),
    ):
        command = option(command)
    return command


def painter_of(options: dict[str, Any]) -> Any:
    """Loads the network that the `model_options` name, ready to colour."""
    import jax

    from colorjax.coloring.colorize import open_painter
    from colorjax.weights.devices import pick_device
    from colorjax.weights.released import load_network

    jax.config.update("jax_default_device", pick_device(options["device"]))
    return open_painter(load_network(options["model"]), size=options["size"])


def say(text: str) -> None:
    """Prints a message to standard error, since standard output may hold a picture."""
    click.echo(f"colorjax: {text}", err=True)
