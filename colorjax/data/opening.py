"""From settings to the photographs of a run."""

from collections.abc import Sequence

from colorjax.data import disk_cache, sources
from colorjax.errors import UserError
from colorjax.settings import Data


def open_source(data: Data) -> sources.Source:
    """The photographs that the settings name, split into training and hold-out.

    With a `cache_dir`, their squares are decoded already.
    """
    source = sources.open_source(
        data.source,
        holdout=data.holdout,
        holdout_folders=data.holdout_folders,
        min_chroma=data.min_chroma,
        max_unreadable=data.max_unreadable,
        data_dir=data.tfds_dir or None,
    )
    source = limited(source, data.max_images) if data.max_images else source
    if not data.cache_dir:
        return source
    train, holdout = (
        disk_cache.cached(items, data.load_size, data.cache_dir)
        for items in (source.train, source.holdout)
    )
    return source._replace(train=train, holdout=holdout)


def limited(source: sources.Source, max_images: int) -> sources.Source:
    """At most `max_images` of a source, evenly spread, with the same share of them held out."""
    train, holdout = source.train, source.holdout
    count = min(max_images, len(train) + len(holdout))
    held_out = max(1, round(count * len(holdout) / (len(train) + len(holdout))))
    train, holdout = spread(train, count - held_out), spread(holdout, held_out)
    if not train:
        raise UserError(f"data.max_images is {max_images}, want at least 2")
    notes = {**source.notes, "train": len(train), "holdout": len(holdout)}
    return source._replace(train=train, holdout=holdout, notes=notes)


def spread(items: Sequence, count: int) -> Sequence:
    """At most `count` of the items, evenly spread: neighbours in a folder are often alike."""
    count = min(max(count, 0), len(items))
    return sources.Subset(items, [i * len(items) // count for i in range(count)])
