"""Packs photographs small, as `colorjax.data.packed` describes.

python -m colorjax.data.pack FOLDER... -o DIR
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from colorjax.data import packed, sources
from colorjax.errors import UserError


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
    try:
        place = ",".join(map(str, args.folders))
        source = sources.open_source(f"folder:{place}", min_chroma=args.min_chroma)
        items = sorted([*source.train, *source.holdout])
        base = os.path.commonpath([os.path.abspath(folder) for folder in args.folders])
        paths = [item.data for item in items if isinstance(item.data, Path)]  # of folders all
        keys = [os.path.relpath(os.path.abspath(path), base) for path in paths]
        digests = [item.digest for item in items]
        packed.pack(keys, paths, digests, args.output, args.size, args.quality)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.output}: {len(items)} squares of {args.size} pixels; {source.notes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
