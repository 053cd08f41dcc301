"""Opens the photographs of a run according to its settings."""

import os
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import numpy as np

from colorjax.data import disk_cache, sources
from colorjax.data.places import Item
from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.pictures.files import evenly_spread
from colorjax.settings import Data


def open_source(data: Data) -> sources.Source:
    """Opens the source that the settings name, split into training, hold-out and test.

    With a `cache_dir`, the items are squares from the disk cache. The squares of a packed source
    are resized in memory, without a cache.
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
    source = limit(source, data.max_images) if data.max_images else source
    source = source._replace(fingerprint=sources.fingerprint(source.holdout))
    if data.source.startswith("packed:"):
        return source._replace(
            train=resize_items(source.train, data.load_size),
            holdout=resize_items(source.holdout, data.load_size),
            test=resize_items(source.test, data.load_size),
        )
    if not data.cache_dir:
        return source
    train, holdout, test = (
        disk_cache.cached(items, data.load_size, data.cache_dir, data.fit)
        for items in (source.train, source.holdout, source.test)
    )
    return source._replace(train=train, holdout=holdout, test=test)


def resize_items(items: Sequence[Item], size: int) -> list[Item]:
    """Resizes squares in memory, in threads."""

    def resize(item: Item) -> Item:
        assert isinstance(item.data, np.ndarray)  # true for all packed items
        return item._replace(data=image_io.resized_square(item.data, size))

    with ThreadPool(os.cpu_count() or 1) as pool:
        return pool.map(resize, items)


def limit(source: sources.Source, max_images: int) -> sources.Source:
    """Takes at most `max_images` of a source, evenly spread; its parts keep their proportions."""
    all_parts = {name: getattr(source, name) for name in ("holdout", "test", "train")}
    total = sum(map(len, all_parts.values()))
    count = min(max_images, total)
    parts, remaining = {}, count
    for name, items in all_parts.items():
        share = remaining if name == "train" else round(count * len(items) / total)
        parts[name] = spread(items, max(share, 1) if items and name != "train" else share)
        remaining -= len(parts[name])
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
    """Returns at most `count` of the items, evenly spread; items are fetched on access."""
    return sources.Subset(items, evenly_spread(len(items), count))
