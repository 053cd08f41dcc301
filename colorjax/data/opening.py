"""From settings to the photographs of a run."""

from collections.abc import Sequence

from colorjax.data import disk_cache, sources
from colorjax.errors import UserError
from colorjax.pictures.files import evenly_spread
from colorjax.settings import Data


def open_source(data: Data) -> sources.Source:
    """The photographs that the settings name, split into training, hold-out and test.

    With a `cache_dir`, their squares are decoded already.
    """
    if data.fit != "crop" and data.source.startswith("packed:"):
        raise UserError(f"data.fit is {data.fit!r}, but packed squares were cropped: want 'crop'")
    source = sources.open_source(
        data.source,
        holdout=data.holdout,
        test=data.test,
        holdout_folders=data.holdout_folders,
        min_chroma=data.min_chroma,
        max_unreadable=data.max_unreadable,
        data_dir=data.tfds_dir or None,
    )
    source = limited(source, data.max_images) if data.max_images else source
    if not data.cache_dir:
        return source
    train, holdout, test = (
        disk_cache.cached(items, data.load_size, data.cache_dir, data.fit)
        for items in (source.train, source.holdout, source.test)
    )
    return source._replace(train=train, holdout=holdout, test=test)


def limited(source: sources.Source, max_images: int) -> sources.Source:
    """At most `max_images` of a source, evenly spread, in parts of the same shares."""
    whole = {name: getattr(source, name) for name in ("holdout", "test", "train")}
    found = sum(map(len, whole.values()))
    count = min(max_images, found)
    parts, left = {}, count
    for name, items in whole.items():
        share = left if name == "train" else round(count * len(items) / found)
        parts[name] = spread(items, max(share, 1) if items and name != "train" else share)
        left -= len(parts[name])
    if not parts["train"]:
        raise UserError(
            f"data.max_images is {max_images}, want at least {1 + bool(source.test) + 1}"
        )
    counts = {name: len(items) for name, items in parts.items() if name in source.notes}
    return source._replace(
        train=parts["train"],
        holdout=parts["holdout"],
        test=parts["test"],
        notes={**source.notes, **counts},
    )


def spread(items: Sequence, count: int) -> Sequence:
    """At most `count` of the items, evenly spread; none is looked at before it is wanted."""
    return sources.Subset(items, evenly_spread(len(items), count))
