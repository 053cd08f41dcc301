"""The `colorjax` command, also as `python -m colorjax`."""

from colorjax import stopping


def main() -> None:
    """Runs the command; signals are heeded before what takes seconds to import."""
    stopping.listen()
    from colorjax import cli

    cli.main(prog_name="colorjax")


if __name__ == "__main__":
    main()
