"""The disk cache of decoded squares: reused if valid and complete, and rebuilt otherwise."""

import errno
import logging
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from colorjax.data import disk_cache, loader, opening, places, sources
from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.settings import complete
from configs import classify

SIZE = 8


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of 24 noisy pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        paint(folder / f"{number:03d}.png", number)
    return folder


@pytest.fixture
def decodes(monkeypatch) -> list[str]:
    """The names of the pictures that are decoded to SIZE after this fixture is set up."""
    names, read_square = [], image_io.read_square

    def read(data, size, *, fit="crop", name=None):
        if size == SIZE:
            names.append(name)
        return read_square(data, size, fit=fit, name=name)

    monkeypatch.setattr(image_io, "read_square", read)
    return names


def paint(path: Path, number: int) -> None:
    noise = np.random.default_rng(number).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(noise).save(path)


def train_items(photos: Path):
    return sources.open_source(f"folder:{photos}", holdout=0.3).train


def cached(photos: Path, folder: Path, size: int = SIZE):
    return disk_cache.cached(train_items(photos), size, folder)


def files(folder: Path) -> list[str]:
    """Everything in a cache's folder, hidden files included."""
    return sorted(os.listdir(folder)) if folder.exists() else []


def pixels(items) -> np.ndarray:
    return np.stack([item.data for item in items])


def decoded(items) -> np.ndarray:
    """What the cache should hold."""
    return np.stack([image_io.read_square(item.data, SIZE) for item in items])


def test_cached_training_batches_are_bit_for_bit_the_uncached_ones(photos, tmp_path):
    plain = train_items(photos)
    options = dict(size=SIZE, batch_size=4, seed=3, start=8, process_index=1, process_count=2)
    want = loader.train_batches(plain, **options)
    got = loader.train_batches(disk_cache.cached(plain, SIZE, tmp_path / "cache"), **options)
    for _ in range(12):
        one, other = next(want), next(got)
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert_array_equal(one[name], other[name])


def test_cached_evaluation_batches_are_bit_for_bit_the_uncached_ones(photos, tmp_path):
    plain = train_items(photos)
    squares = disk_cache.cached(plain, SIZE, tmp_path / "cache")
    want = list(loader.eval_batches(plain, size=SIZE, batch_size=5))
    got = list(loader.eval_batches(squares, size=SIZE, batch_size=5))
    assert len(want) == len(got) == -(-len(plain) // 5)
    for one, other in zip(want, got, strict=True):
        for name in one:
            assert_array_equal(one[name], other[name])


def test_items_keep_their_keys_and_digests_and_own_their_squares(photos, tmp_path):
    plain, squares = train_items(photos), cached(photos, tmp_path / "cache")
    assert [item[0::2] for item in squares] == [item[0::2] for item in plain]
    assert all(len(item.digest) == 64 for item in squares)
    squares[0].data[:] = 0
    assert squares[0].data.any() and type(squares[0].data) is np.ndarray
    some = opening.spread(squares, 3)
    assert_array_equal(pixels(some), decoded(opening.spread(plain, 3)))


def test_a_second_open_decodes_nothing(photos, tmp_path, decodes):
    first = pixels(cached(photos, tmp_path / "cache"))
    assert len(decodes) == len(first)
    decodes.clear()
    again = cached(photos, tmp_path / "cache")
    assert_array_equal(pixels(again), first)
    list(loader.eval_batches(again, size=SIZE, batch_size=4))
    assert decodes == [] and len(files(tmp_path / "cache")) == 1


def test_a_cache_in_a_folder_that_cannot_be_written_is_read(photos, tmp_path, monkeypatch):
    first = pixels(cached(photos, tmp_path / "cache"))

    def refuse(*arguments):
        raise AssertionError("was built again")

    monkeypatch.setattr(disk_cache, "_build", refuse)
    assert_array_equal(pixels(cached(photos, tmp_path / "cache")), first)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError, RuntimeError])
def test_an_interrupted_build_leaves_nothing(photos, tmp_path, monkeypatch, stop):
    def interrupted(items, size, fit):
        for index in range(3):
            yield image_io.read_square(items[index].data, size)
        raise stop("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "_decode_all", interrupted)
        with pytest.raises(stop):
            cached(photos, tmp_path / "cache")
    assert files(tmp_path / "cache") == []
    assert_array_equal(pixels(cached(photos, tmp_path / "cache")), decoded(train_items(photos)))


def test_leftovers_of_a_killed_build_are_ignored(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: 1 / 0)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if killed before tidying up
        with pytest.raises(ZeroDivisionError):
            cached(photos, tmp_path / "cache")
    (part,) = files(tmp_path / "cache")
    assert part.startswith(".") and part.endswith(".part")
    assert_array_equal(pixels(cached(photos, tmp_path / "cache")), decoded(train_items(photos)))


@pytest.mark.parametrize("change", ["painted over", "renamed", "added", "removed"])
def test_a_changed_folder_is_decoded_again_and_the_old_file_kept(
    photos, tmp_path, monkeypatch, change
):
    monkeypatch.setattr(disk_cache, "_PROBES", 1)  # only the digests can reveal the change
    cached(photos, tmp_path / "cache")
    before = files(tmp_path / "cache")
    path = train_items(photos)[-2].data
    if change == "painted over":
        stat, number = path.stat(), 100
        paint(path, number)
        while places.hash_fraction(path.read_bytes()) < 0.3:  # else it would be in the hold-out set
            number += 1
            paint(path, number)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif change == "renamed":
        path.rename(path.with_name("zzz.png"))
    elif change == "added":
        (photos / "new.png").write_bytes(path.read_bytes())
    else:
        path.unlink()
    assert_array_equal(pixels(cached(photos, tmp_path / "cache")), decoded(train_items(photos)))
    assert len(files(tmp_path / "cache")) == 2 and set(before) < set(files(tmp_path / "cache"))


def test_each_size_and_decoder_has_its_own_cache(photos, tmp_path, monkeypatch):
    cached(photos, tmp_path / "cache")
    cached(photos, tmp_path / "cache", SIZE + 1)
    monkeypatch.setattr(image_io, "DECODER_VERSION", image_io.DECODER_VERSION + 1)
    cached(photos, tmp_path / "cache")
    monkeypatch.setattr(PIL, "__version__", "0.0")
    cached(photos, tmp_path / "cache")
    assert len(files(tmp_path / "cache")) == 4


def test_moved_photographs_use_the_same_cache(photos, tmp_path, decodes):
    cached(photos, tmp_path / "cache")
    photos.rename(tmp_path / "moved")
    decodes.clear()
    cached(tmp_path / "moved", tmp_path / "cache")
    assert decodes == []


@pytest.mark.parametrize(
    "damage", ["empty", "header cut", "cut short", "too long", "other shape", "open"]
)
def test_a_damaged_file_is_rebuilt_with_a_warning(photos, tmp_path, damage, caplog):
    first = pixels(cached(photos, tmp_path / "cache"))
    (name,) = files(tmp_path / "cache")
    path = tmp_path / "cache" / name
    content = path.read_bytes()
    if damage == "other shape":
        with open(path, "wb") as file:
            np.save(file, first[:-1])
    elif damage == "open":  # a bracket in the header is never closed
        path.write_bytes(content.replace(b"}", b"(", 1))
    else:
        lengths = {"empty": 0, "header cut": 20, "cut short": len(content) - 1}
        path.write_bytes((content + b"x")[: lengths.get(damage)])
    with caplog.at_level(logging.WARNING):
        assert_array_equal(pixels(cached(photos, tmp_path / "cache")), first)
    assert f"{name}: is not a whole cache" in caplog.text
    assert path.read_bytes() == content


def test_simultaneous_builds_leave_one_valid_file(photos, tmp_path):
    plain, results = train_items(photos), []
    start = threading.Barrier(3)

    def build():
        start.wait()
        results.append(pixels(disk_cache.cached(plain, SIZE, tmp_path / "cache")))

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and len(files(tmp_path / "cache")) == 1
    for result in results:
        assert_array_equal(result, decoded(plain))


def test_a_picture_that_changes_during_the_build_is_named(photos, tmp_path):
    plain = train_items(photos)
    paint(plain[3].data, 1000)
    with pytest.raises(UserError, match=f"^{plain[3].key}: was changed while it was read"):
        disk_cache.cached(plain, SIZE, tmp_path / "cache")
    plain[3].data.unlink()
    with pytest.raises(UserError, match=f"^{plain[3].key}: cannot be read: No such file"):
        disk_cache.cached(plain, SIZE, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_is_reported(photos, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cache/sub/squares_.*npy: cannot be written: .*; want "):
        cached(photos, tmp_path / "cache" / "sub")
    with pytest.raises(UserError, match=r"cache/squares_.*npy: cannot be written: .*; want "):
        cached(photos, tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_reported(photos, tmp_path, monkeypatch):
    def refuse(path, mode):  # the folder's mode would not stop root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(disk_cache, "open", refuse, raising=False)
    with pytest.raises(UserError, match="npy: cannot be written: Permission denied; want "):
        cached(photos, tmp_path / "cache")


def test_a_full_disk_is_reported_before_anything_is_decoded(photos, tmp_path, monkeypatch, decodes):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"npy: has 1e-08 GB of room and takes .* GB; want "):
        cached(photos, tmp_path / "cache")
    assert decodes == [] and files(tmp_path / "cache") == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(photos, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="npy: cannot be written: No space left on device; want "):
        cached(photos, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_generated_pictures_are_identified_by_keys_and_probes(tmp_path, monkeypatch, decodes):
    holdout = sources.open_source("petals").holdout
    first = pixels(disk_cache.cached(holdout, SIZE, tmp_path))
    assert_array_equal(first, decoded(holdout))
    decodes.clear()
    generated, png = [], places.Petals()._petals.png
    monkeypatch.setattr(places.Petals()._petals, "png", lambda i: generated.append(i) or png(i))
    assert_array_equal(pixels(disk_cache.cached(holdout, SIZE, tmp_path)), first)
    assert decodes == [] and len(generated) == disk_cache._PROBES < len(holdout)
    other = png(0)
    monkeypatch.setattr(places.Petals()._petals, "png", lambda i: other)
    repainted = pixels(disk_cache.cached(holdout, SIZE, tmp_path))
    assert (repainted == image_io.read_square(other, SIZE)).all()
    assert len(files(tmp_path)) == 2


def test_keys_alone_distinguish_generated_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_cache, "_PROBES", 0)
    holdout = sources.open_source("petals").holdout
    for items in (holdout[:5], holdout[1:6]):
        assert_array_equal(pixels(disk_cache.cached(items, SIZE, tmp_path)), decoded(items))


def test_squares_of_a_size_other_than_the_loaders_are_refused(photos, tmp_path):
    squares = cached(photos, tmp_path / "cache")
    with pytest.raises(ValueError, match="want a square of side 9, got .8, 8, 3."):
        next(loader.eval_batches(squares, size=9, batch_size=1))


def test_no_pictures_need_no_file(tmp_path):
    assert disk_cache.cached([], SIZE, tmp_path / "cache") == []
    assert files(tmp_path / "cache") == []


def config_of(photos: Path, **data):
    config = classify.get_config()
    config.data.update(
        source=f"folder:{photos}", holdout=0.3, load_size=SIZE, min_chroma=0.0, **data
    )
    return config


def opened(config):
    return opening.open_source(complete(config).data)


def test_cache_dir_decodes_both_splits_once_and_changes_no_pixel(photos, tmp_path, decodes):
    plain = opened(config_of(photos))
    assert isinstance(plain.train[0].data, Path)
    config = config_of(photos, cache_dir=str(tmp_path / "cache"))
    for _ in range(2):
        source = opened(config)
    assert len(decodes) == len(plain.train) + len(plain.holdout) == 24
    assert (source.name, source.notes) == (plain.name, plain.notes)
    assert_array_equal(pixels(source.train), decoded(plain.train))
    assert_array_equal(pixels(source.holdout), decoded(plain.holdout))
    assert len(files(tmp_path / "cache")) == 2


def test_settings_from_before_the_cache_existed_still_open(photos):
    config = config_of(photos)
    del config.data.cache_dir
    assert isinstance(opened(config.lock()).train[0].data, Path)


def test_each_fit_has_its_own_cache(photos, tmp_path):
    cache = str(tmp_path / "cache")
    crop, scale = (opened(config_of(photos, cache_dir=cache, fit=fit)) for fit in ("crop", "scale"))
    for source, fit in ((crop, "crop"), (scale, "scale")):
        item = opened(config_of(photos)).train[0]
        assert_array_equal(source.train[0].data, image_io.read_square(item.data, SIZE, fit=fit))
    assert len(files(tmp_path / "cache")) == 4
