"""What several commands have in common: options that load a network, and how they speak."""

import math
import os
from typing import Any

import click

from colorjax.errors import shown, whole_number


class Place(click.ParamType):
    """A path, in which ~ is the user's home, where the shell has left it: in --output=~/photos."""

    name = "path"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        return os.path.expanduser(value)


class Number(click.FloatRange):
    """A finite number: click takes nan for one in any range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class Pages(click.ParamType):
    """Which pages of a TIFF: all, first, or a number from 1 on."""

    name = "pages"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        if value not in ("all", "first") and not whole_number(value):
            self.fail(f"{shown(value)} is none of all, first and a number from 1 on.", param, ctx)
        return value


host_option = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen; 0.0.0.0 lets other machines in.",
)


def model_options(command):
    """The options of every command that loads a network."""
    for option in (
        click.option("--device", metavar="NAME", help="cpu, gpu or gpu:1; the best unless given."),
        click.option(
            "--size",
            type=click.IntRange(16),
            metavar="PIXELS",
            help="Side of the square with as many pixels as the network sees, not the size of the "
            "result; that of its training unless given. As large as memory allows.",
        ),
        click.option(
            "--model",
            type=Place(),
            metavar="PATH",
            help="Folder of a training run, or a released file; the one that colorjax "
            "comes with unless given.",
        ),
    ):
        command = option(command)
    return command


def painter_of(options: dict[str, Any]) -> Any:
    """The network of the `model_options`, ready to colour."""
    import jax

    from colorjax.coloring.colorize import open_painter
    from colorjax.weights.devices import pick_device
    from colorjax.weights.released import load_network

    jax.config.update("jax_default_device", pick_device(options["device"]))
    return open_painter(load_network(options["model"]), size=options["size"])


def say(text: str) -> None:
    """To the user, and not into a picture on standard output."""
    click.echo(f"colorjax: {text}", err=True)
