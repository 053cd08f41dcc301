"""The `colorjax` command, also as `python -m colorjax`."""

import gc

from colorjax import stopping


def main() -> None:
    """Runs the command; signals are heeded before what takes seconds to import."""
    stopping.listen()
    # What is imported stays: to search it for garbage as often as Python does takes a sixth of the
    # time that a photograph takes from the prompt to the file.
    gc.set_threshold(50_000)
    from colorjax import cli

    cli.main(prog_name="colorjax")


if __name__ == "__main__":
    main()
