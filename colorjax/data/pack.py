"""The command that packs photographs into small files, as `colorjax.data.packed` describes.

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
    parser.add_argument("--quality", type=int, default=55, help="AVIF quality, 0 to 100 (55)")
    parser.add_argument("--min-chroma", type=float, default=3.0, help="least chroma to keep (3)")
    args = parser.parse_args(argv)
    # Batch systems stop programs with SIGTERM; as an exception, it removes temporary files.
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
    """Packs the photographs of folders; the keys are their paths relative to a common parent.

    Returns the number of photographs. Raises UserError if the output is inside one of the folders,
    and in the cases of `sources.open_folders` and `packed.pack`.
    """
    for folder in folders:
        if output.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{output}: lies in {folder}, want a folder outside")
    items = sources.open_folders(",".join(map(str, folders)), min_chroma=min_chroma)
    items.sort(key=lambda item: item.key)
    paths = [item.data for item in items if isinstance(item.data, Path)]  # true for all items
    absolute = [os.path.abspath(folder) for folder in folders]
    # Keys contain the folder's name, as weights and hold-outs may refer to it.
    base = os.path.commonpath(absolute) if len(absolute) > 1 else os.path.dirname(absolute[0])
    keys = [Path(os.path.relpath(os.path.abspath(path), base)).as_posix() for path in paths]
    packed.pack(keys, paths, [item.digest for item in items], output, size, quality)
    return len(keys)


if __name__ == "__main__":
    sys.exit(main())
