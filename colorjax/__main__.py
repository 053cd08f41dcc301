"""The `colorjax` command, also as `python -m colorjax`."""

import gc

from colorjax import stopping


def main() -> None:
    """Installs the signal handlers, before the slow imports, and runs the command."""
    stopping.listen()
    # Imported modules are never garbage. Searching them at Python's default rate takes a sixth of
    # the time from the prompt to the file of one photograph.
    gc.set_threshold(50_000)
    from colorjax import cli

    cli.main(prog_name="colorjax")


if __name__ == "__main__":
    main()
