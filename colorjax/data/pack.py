"""Packs photographs small, as `colorjax.data.packed` describes.

python -m colorjax.data.pack FOLDER... -o DIR
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from colorjax.data import packed, sources
from colorjax.errors import UserError, check_at_least


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m colorjax.data.pack",
        description="Packs the photographs of folders; unreadable and gray ones are left out.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path)
    parser.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    parser.add_argument("--size", type=int, default=144, help="side of the squares (144)")
    parser.add_argument("--quality", type=int, default=55, help="of AVIF, 0 to 100 (55)")
    parser.add_argument("--min-chroma", type=float, default=3.0, help="below it is gray (3)")
    args = parser.parse_args(argv)
    # A batch system's way to stop a program; what is written aside is taken along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        check_at_least("min-chroma", args.min_chroma, 0)
        count = pack_folders(args.folders, args.output, args.size, args.quality, args.min_chroma)
    except UserError as error:
        print(f"colorjax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(f"{args.output}: {count} squares of {args.size} pixels")
    return 0


def pack_folders(
    folders: Sequence[Path], output: Path, size: int, quality: int, min_chroma: float
) -> int:
    """Packs the photographs of folders under their paths from a common folder; how many they are.

    Raises UserError if the output lies in a folder, and as `sources.open_folders` and
    `packed.pack` do.
    """
    for folder in folders:
        if output.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{output}: lies in {folder}, want a folder outside")
    items = sources.open_folders(",".join(map(str, folders)), min_chroma=min_chroma)
    items.sort(key=lambda item: item.key)
    paths = [item.data for item in items if isinstance(item.data, Path)]  # of folders all
    whole = [os.path.abspath(folder) for folder in folders]
    # A folder's name stays in the keys: weights and hold-outs are by it.
    base = os.path.commonpath(whole) if len(whole) > 1 else os.path.dirname(whole[0])
    keys = [Path(os.path.relpath(os.path.abspath(path), base)).as_posix() for path in paths]
    packed.pack(keys, paths, [item.digest for item in items], output, size, quality)
    return len(keys)


if __name__ == "__main__":
    sys.exit(main())
