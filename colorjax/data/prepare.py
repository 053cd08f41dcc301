"""Prepares a data set of the paper from manually downloaded files, to be read as `tfds:NAME`.

    python -m colorjax.data.prepare NAME --manual_dir=DIR [--data_dir=DIR]

TensorFlow is not needed. An existing data set is left unchanged. An interrupted run leaves nothing
that could be mistaken for a complete data set.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from colorjax import extras
from colorjax.errors import UserError


class Prepared(NamedTuple):
    """A data set on disk."""

    folder: Path
    pictures: int  # number of pictures
    written: bool  # whether this call has written it


def prepare(
    name: str, manual_dir: str | os.PathLike, data_dir: str | os.PathLike | None = None
) -> Prepared:
    """Writes a data set of the paper as array_record files, unless it exists already.

    Args:
      name: a data set of `names`, such as `mirflickr25k` or `mit_scenes/open_country`.
      manual_dir: folder of the downloaded archives.
      data_dir: folder of TFDS data sets; None for the default of TFDS (`~/tensorflow_datasets`, or
        the environment variable TFDS_DATA_DIR).

    Raises:
      UserError: there is no such data set, archives are missing or incomplete, more than a tenth of
        the pictures is unreadable, or data_dir cannot be written to.
    """
    import tensorflow_datasets as tfds

    if name not in names():
        raise UserError(f"{name}: no such data set, want one of {', '.join(names())}")
    data_dir = os.path.expanduser(data_dir) if data_dir is not None else None
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    folder, written = Path(builder.data_dir), not builder.info.splits
    if written:
        if folder.exists():
            raise UserError(f"{folder}: is in the way, and holds no data set; remove it")
        manual_dir = Path(manual_dir).expanduser()
        if not manual_dir.is_dir():
            raise UserError(f"{manual_dir}: there is no such folder")
        builder.find(manual_dir)  # reports missing files before anything is written
        try:
            _write(builder, manual_dir)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error}") from error
    return Prepared(folder, builder.info.splits["train"].num_examples, written)


def names() -> list[str]:
    """Returns the names of the data sets that `prepare` accepts."""
    from colorjax.data.datasets import builders

    return [
        f"{cls.name}/{config.name}" if config else cls.name
        for cls in builders.PICTURE_SETS
        for config in cls.BUILDER_CONFIGS or [None]
    ]


def _write(builder, manual_dir: Path) -> None:
    import tensorflow_datasets as tfds

    with tempfile.TemporaryDirectory() as downloads:
        # TFDS would print that it downloads data of unknown size, but there is no download.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False
                ),
            )


def main(argv: list[str] | None = None) -> int:
    """Prepares a data set, and prints its location and how to train on it."""
    try:
        extras.check_installed("train", "colorjax.data.prepare")  # the list of names imports it
    except UserError as error:
        print(f"colorjax: {error}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog="python -m colorjax.data.prepare",
        description="Prepare a data set of the paper from its archives, without TensorFlow.",
        epilog=f"data sets: {', '.join(names())}",
    )
    parser.add_argument("name", metavar="NAME", help="a data set, see below")
    parser.add_argument("--manual_dir", required=True, metavar="DIR", help="where the archives are")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="where TFDS data sets are; ~/tensorflow_datasets if unset"
    )
    args = parser.parse_args(argv)
    # Batch systems stop programs with SIGTERM; as an exception, it removes the incomplete data set.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        prepared = prepare(args.name, args.manual_dir, args.data_dir)
    except UserError as error:
        print(f"colorjax: {error}", file=sys.stderr)
        return 2
    state = "prepared" if prepared.written else "was there already (remove it to make it anew)"
    place = f" --config.data.tfds_dir={args.data_dir}" if args.data_dir else ""
    print(f"{prepared.folder}: {prepared.pictures} pictures, {state}")
    print(f"train on it with --config.data.source=tfds:{args.name}{place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
