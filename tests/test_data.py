"""Sources and batches: held-out and skipped pictures, and the order of examples."""

import collections
import importlib.util
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.data import loader, places, sources
from colorjax.errors import UserError
from colorjax.pictures import image_io


def photo(number, size=(24, 20)) -> Image.Image:
    """A colour picture with `number` as its red value."""
    return Image.new("RGB", size, (number, 200, 40))


def fill(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        photo(number).save(folder / f"{number:03d}.png")
    return folder


def keys(items):
    return [item.key for item in items]


def numbered_items(count):
    """Items whose decoded squares are filled with their index."""
    items = []
    for number in range(count):
        buffer = io.BytesIO()
        photo(number, (8, 8)).save(buffer, "PNG")
        items.append(places.Item(f"item {number}", buffer.getvalue()))
    return items


def item_indices(batch):
    """Returns the index of the item of each example, read from its pixels."""
    assert (batch["rgb"][..., 1] == 200).all()
    return batch["rgb"][:, 0, 0, 0].tolist()


def first(batches, count):
    return [next(batches) for _ in range(count)]


# Sources


def test_the_sample_holds_out_the_tea_garden_on_every_machine():
    sample = sources.open_source("sample", holdout=0.1)
    assert keys(sample.holdout) == ["tea_garden.jpg"]
    assert keys(sample.train) == [
        "astronaut.jpg",
        "cat.jpg",
        "coffee.jpg",
        "dandelions.jpg",
        "forget_me_nots.jpg",
        "mountain_lake.jpg",
        "osprey.jpg",
        "otter.jpg",
        "sand_dune.jpg",
        "spices.jpg",
        "sunset_street.jpg",
    ]
    counts = {"found": 12, "unreadable": 0, "near_gray": 0, "train": 11, "holdout": 1}
    assert sample.notes == counts


def test_every_sample_picture_is_small_and_colourful_and_has_a_licence():
    table = (places.SAMPLE_FOLDER / "SOURCES.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    licences = {row.split("`")[1]: row for row in rows}
    files = sorted(places.SAMPLE_FOLDER.glob("*.jpg"))
    assert sorted(licences) == [file.name for file in files]
    for file in files:
        rgb = image_io.read_rgb(file)
        assert min(rgb.shape[:2]) == 256
        assert image_io.mean_chroma(rgb) > 20
        assert "CC0 [" in licences[file.name] or "public domain [" in licences[file.name]
    assert sum(file.stat().st_size for file in files) < 700_000


def test_hash_fraction_is_the_sha256_as_a_fraction():
    # sha256 of nothing starts with e3b0c44298fc1c14.
    assert places.hash_fraction(b"") == (0xE3B0C44298FC1C14 >> 11) / 2**53
    shares = np.sort([places.hash_fraction(str(i).encode()) for i in range(10_000)])
    assert np.abs(shares - np.arange(10_000) / 10_000).max() < 0.02
    assert shares[-1] < 1


def test_a_folder_is_searched_recursively_sorted_and_split_without_overlap(tmp_path):
    fill(tmp_path / "b", 30)
    fill(tmp_path / "a" / "deep", 30)
    for number, name in enumerate(("x.JPG", "y.Jpeg", "z.webp", "w.TIF", "v.bmp")):
        photo(100 + number).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._x.jpg").write_bytes(b"a resource fork")
    fill(tmp_path / ".thumbnails", 2)
    opened = sources.open_source(f"folder:{tmp_path}", holdout=0.3)
    found = keys(opened.train) + keys(opened.holdout)
    assert len(found) == len(set(found)) == opened.notes["found"] == 65
    assert keys(opened.train) == sorted(keys(opened.train))
    assert {"a/deep/000.png", "b/029.png", "x.JPG", "v.bmp"} <= set(found)
    assert 8 <= len(opened.holdout) <= 32
    item = opened.train[0]
    assert item.data == tmp_path / item.key


def test_renaming_moving_and_adding_pictures_does_not_change_the_split(tmp_path):
    before = sources.open_source(f"folder:{fill(tmp_path / 'one', 40)}", holdout=0.25)
    held_out = {item.data.read_bytes() for item in before.holdout}
    for path in (tmp_path / "one").iterdir():
        folder = tmp_path / "two" / path.stem[-1]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"renamed {path.name}")
    for number in range(40, 60):
        photo(number).save(tmp_path / "two" / f"new{number}.png")
    after = sources.open_source(f"folder:{tmp_path}", holdout=0.25)
    assert after.notes["found"] == 60
    assert held_out == {i.data.read_bytes() for i in after.holdout if "new" not in i.key}


def test_a_larger_share_holds_out_the_same_pictures_and_more(tmp_path):
    folder = fill(tmp_path, 60)
    small = sources.open_source(f"folder:{folder}", holdout=0.2)
    large = sources.open_source(f"folder:{folder}", holdout=0.5)
    assert set(keys(small.holdout)) < set(keys(large.holdout))


def test_links_to_folders_are_followed_once(tmp_path):
    fill(tmp_path / "elsewhere", 20)
    root = fill(tmp_path / "root" / "sub", 1).parent
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "up").symlink_to(root)
    opened = sources.open_source(f"folder:{root}", holdout=0.4)
    assert opened.notes["found"] == 21
    assert "again/000.png" in keys(opened.train) + keys(opened.holdout)


def test_a_tilde_stands_for_the_home_folder(tmp_path, monkeypatch):
    fill(tmp_path / "photos", 30)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.open_source("folder:~/photos", holdout=0.3).notes["found"] == 30


def test_unreadable_pictures_are_left_out_with_one_warning(tmp_path, caplog):
    fill(tmp_path, 30)
    (tmp_path / "broken.jpg").write_bytes(b"no picture at all")
    (tmp_path / "empty.png").touch()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    with caplog.at_level(logging.WARNING):
        opened = sources.open_source(f"folder:{tmp_path}", holdout=0.3)
    assert opened.notes["found"] == 33 and opened.notes["unreadable"] == 3
    assert len(opened.train) + len(opened.holdout) == 30
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "3 of 33" in warning
    for part in (
        "broken.jpg: is not a JPEG",
        "empty.png: is empty",
        "dangling.png: cannot be read",
    ):
        assert part in warning


def test_a_long_list_of_unreadable_pictures_is_shortened(tmp_path, caplog):
    fill(tmp_path, 30)
    for number in range(25):
        (tmp_path / f"broken{number:02d}.jpg").write_bytes(b"nothing")
    sources.open_source(f"folder:{tmp_path}", holdout=0.3, max_unreadable=0.5)
    assert "broken19.jpg" in caplog.text and "and 5 more" in caplog.text
    assert "broken20.jpg" not in caplog.text


def test_too_many_unreadable_pictures_are_an_error(tmp_path):
    fill(tmp_path, 9)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match="1 of 10 .* more than the share of 0.09.*broken.jpg"):
        sources.open_source(f"folder:{tmp_path}", holdout=0.5, max_unreadable=0.09)
    assert sources.open_source(f"folder:{tmp_path}", holdout=0.5, max_unreadable=0.1)


def test_mean_chroma_is_the_mean_spread_of_the_channels():
    rgb = np.array([[[10, 20, 30], [5, 5, 5]], [[255, 0, 9], [0, 7, 1]]], np.uint8)
    assert image_io.mean_chroma(rgb) == (20 + 0 + 255 + 7) / 4


def test_near_gray_pictures_are_left_out_and_counted(tmp_path):
    fill(tmp_path, 30)
    for number in range(4):
        Image.new("L", (20, 20), 50 + number).save(tmp_path / f"gray{number}.jpg")
    Image.new("RGB", (20, 20), (103, 100, 100)).save(tmp_path / "nearly.png")
    Image.new("RGB", (20, 20), (104, 100, 100)).save(tmp_path / "pale.png")
    opened = sources.open_source(f"folder:{tmp_path}", holdout=0.3, min_chroma=4)
    assert opened.notes["found"] == 36 and opened.notes["near_gray"] == 5
    found = keys(opened.train) + keys(opened.holdout)
    assert "pale.png" in found and "nearly.png" not in found and "gray0.jpg" not in found
    assert sources.open_source(f"folder:{tmp_path}", holdout=0.3).notes["near_gray"] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such folder"),
        (lambda path: path.write_text("a file"), "is a file, and a folder"),
        (lambda path: path.mkdir(), "holds no picture"),
    ],
)
def test_a_folder_without_pictures_is_named(tmp_path, make, message):
    folder = tmp_path / "photos"
    make(folder)
    with pytest.raises(UserError, match=f"photos: {message}"):
        sources.open_source(f"folder:{folder}")


def test_several_folders_are_one_source_and_each_is_split_as_if_alone(tmp_path):
    one, two = fill(tmp_path / "one", 30), tmp_path / "two"
    two.mkdir()
    for number in range(100, 130):
        photo(number).save(two / f"{number}.png")
    both = sources.open_source(f"folder:{one},{two}", holdout=0.3)
    separate = [sources.open_source(f"folder:{f}", holdout=0.3) for f in (one, two)]
    assert both.notes["found"] == 60
    for part in ("train", "holdout"):
        files = [item.data for item in getattr(both, part)]
        assert files == [item.data for source in separate for item in getattr(source, part)]
    all_keys = keys(both.train) + keys(both.holdout)
    assert len(set(all_keys)) == 60


def test_equal_files_of_several_folders_stay_in_one_part(tmp_path):
    one, two = fill(tmp_path / "one", 20), fill(tmp_path / "two", 20)
    opened = sources.open_source(f"folder:{one},{two}", holdout=0.3)
    train, holdout = ({i.digest for i in part} for part in (opened.train, opened.holdout))
    assert train and holdout and not train & holdout


def test_a_folder_name_with_a_comma_works_only_for_a_single_folder(tmp_path):
    odd = fill(tmp_path / "sea, sand", 20)
    assert sources.open_source(f"folder:{odd}", holdout=0.3).notes["found"] == 20
    other = fill(tmp_path / "other", 20)
    with pytest.raises(UserError, match="there is no folder '.*/sea'; commas separate folders"):
        sources.open_source(f"folder:{odd},{other}", holdout=0.3)


@pytest.mark.parametrize("second", ["one", "one/deep", "."])
def test_a_folder_inside_another_is_refused(tmp_path, second):
    one = fill(tmp_path / "one", 3)
    fill(one / "deep", 3)
    with pytest.raises(UserError, match="lies in it, and would count twice"):
        sources.open_source(f"folder:{one},{tmp_path / second}")


def test_an_empty_part_of_the_split_is_an_error(tmp_path):
    fill(tmp_path, 3)
    with pytest.raises(UserError, match="of 3 usable .* 0 fall into the hold-out of 1e-06"):
        sources.open_source(f"folder:{tmp_path}", holdout=1e-6)
    with pytest.raises(UserError, match="and 0 into training"):
        sources.open_source(f"folder:{tmp_path}", holdout=1 - 1e-9)


def test_open_folders_returns_every_readable_picture_however_few(tmp_path, caplog):
    fill(tmp_path / "one", 1)
    assert keys(sources.open_folders(str(tmp_path / "one"))) == ["000.png"]
    whole = fill(tmp_path / "more" / "sub", 12).parent
    (whole / "torn.png").write_bytes(b"\x89PNG")
    found = sources.open_folders(str(whole))
    source = sources.open_source(f"folder:{whole}", holdout=0.5)
    assert found == sorted([*source.train, *source.holdout])
    assert "leaving out 1 of 13 pictures" in caplog.text
    with pytest.raises(UserError, match="1 of 13 pictures cannot be used"):
        sources.open_folders(str(whole), max_unreadable=0.0)


@pytest.mark.parametrize("source", ["", "samples", "petals:", "folder:", "tfds:", "/photos"])
def test_an_unknown_source_is_an_error(source):
    known = "none of sample, petals, folder:PATH, packed:DIR and tfds:NAME"
    with pytest.raises(UserError, match=known):
        sources.open_source(source)


@pytest.mark.parametrize("holdout", [0, 1, -0.1, 1.5, float("nan")])
def test_a_holdout_outside_0_to_1_is_an_error(holdout):
    with pytest.raises(UserError, match="should lie between 0 and 1"):
        sources.open_source("sample", holdout=holdout)


def test_importing_the_data_modules_loads_no_heavy_library():
    heavy = "grain jax tensorflow tensorflow_datasets matplotlib".split()
    code = f"""
        import sys
        from colorjax.data import loader, sources
        sources.open_source("sample")
        print([name for name in {heavy} if name in sys.modules])
    """
    assert run_python(code) == "[]"


# TFDS

TINY_BUILDER = """
    import io
    import sys
    import tensorflow_datasets as tfds
    from PIL import Image

    class TinyPhotos(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.3")

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
            features = {"image": image, "name": tfds.features.Text()}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(40), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for number in range(count):
                colour = (number, 200, 40) if number % 10 else (99, 99, 99)
                file = io.BytesIO()
                Image.new("RGB", (24, 20), colour).save(file, "PNG")
                file.seek(0)
                yield number, {"image": file, "name": str(number)}
"""


def run_python(code: str, *arguments) -> str:
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def tiny_photos(tmp_path_factory) -> Path:
    """A TFDS folder with a data set of 40 pictures, 4 of them gray, prepared as array_record."""
    root = tmp_path_factory.mktemp("tfds")
    script = root / "prepare.py"
    prepare = """
    TinyPhotos(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
    """
    script.write_text(textwrap.dedent(TINY_BUILDER + prepare))
    done = subprocess.run(
        [sys.executable, script, root / "data"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return root / "data"


def test_tfds_is_read_without_tensorflow(tiny_photos):
    code = """
    import sys
    from colorjax.data import loader, sources
    opened = sources.open_source("tfds:tiny_photos", holdout=0.3, data_dir=sys.argv[1])
    batch = next(loader.eval_batches(opened.train, size=8, batch_size=4))
    print(opened.notes["found"], batch["rgb"].shape, "tensorflow" in sys.modules)
    """
    output = run_python(code, tiny_photos)
    assert output == "40 (4, 8, 8, 3) False"


def test_tfds_splits_by_name_and_index_and_gives_the_encoded_files(tiny_photos):
    opened = sources.open_source("tfds:tiny_photos", holdout=0.3, data_dir=tiny_photos)
    names = [f"tiny_photos/1.2.3/train#{i}" for i in range(40)]
    held_out = [name for name in names if places.hash_fraction(name.encode()) < 0.3]
    assert keys(opened.holdout) == held_out and 3 < len(held_out) < 25
    assert set(keys(opened.train)) == set(names) - set(held_out)
    assert all(item.data[:4] == b"\x89PNG" for item in opened.train)
    reds = {image_io.read_rgb(i.data)[0, 0, 0] for i in [*opened.train, *opened.holdout]}
    assert reds == {n for n in range(40) if n % 10} | {99}


def test_leaving_out_near_gray_tfds_pictures_does_not_change_the_split(tiny_photos):
    opened = sources.open_source(
        "tfds:tiny_photos", holdout=0.3, min_chroma=4, data_dir=tiny_photos
    )
    everything = sources.open_source("tfds:tiny_photos", holdout=0.3, data_dir=tiny_photos)
    assert opened.notes["near_gray"] == 4
    assert set(keys(opened.holdout)) <= set(keys(everything.holdout))
    assert set(keys(opened.train)) <= set(keys(everything.train))


def test_tfds_errors_name_the_remedy(tiny_photos, tmp_path):
    with pytest.raises(UserError, match="tfds:no_such_set: no such data set"):
        sources.open_source("tfds:no_such_set", data_dir=tmp_path)
    remedy = r'"colorjax\[tfds\]", then tfds build imagenette/320px --file_format=array_record'
    with pytest.raises(UserError, match=f"is not prepared.*{remedy} --data_dir={tmp_path}"):
        sources.open_source("tfds:imagenette/320px", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fileFormat": "tfrecord"}, "is prepared as tfrecord.*tfds convert_format"),
        ({"splits": lambda splits: [s for s in splits if s["name"] == "test"]}, "only test"),
    ],
)
def test_unsuitable_tfds_sets_are_reported(tiny_photos, tmp_path, change, message):
    copy = tmp_path / "tiny_photos" / "1.2.3"
    copy.mkdir(parents=True)
    for file in (tiny_photos / "tiny_photos" / "1.2.3").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    info = json.loads((copy / "dataset_info.json").read_text())
    for field, value in change.items():
        info[field] = value(info[field]) if callable(value) else value
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=message):
        sources.open_source("tfds:tiny_photos", data_dir=tmp_path)


def test_tfds_sets_that_cannot_be_opened_are_reported(tmp_path):
    for name, sentence in (
        ("mirflickr25k:9.9.9", "tfds:mirflickr25k:9.9.9: no such data set: .* only: 1.0.0"),
        ("coco", "tfds:coco: needs a package that is not installed: .*tensorflow"),
    ):
        if name == "coco" and importlib.util.find_spec("tensorflow"):
            continue
        with pytest.raises(UserError, match=sentence):
            places.tfds_records(name, tmp_path)


@pytest.mark.parametrize(
    ("file", "size", "sentence"),
    [
        ("dataset_info.json", 200, "tfds:tiny_photos: its dataset_info.json or .* cannot be read"),
        ("features.json", 200, "tfds:tiny_photos: its dataset_info.json or features.json cannot"),
        ("train.array_record", 70_000, r"tiny_photos/1.2.3/train#\d+: cannot be read: "),
        ("train.array_record", 65_536, r"train#\d+: cannot be read: its record has no picture"),
    ],
)
def test_a_truncated_file_of_a_tfds_set_is_reported(tiny_photos, tmp_path, file, size, sentence):
    shutil.copytree(tiny_photos, tmp_path / "data")
    (path,) = (path for path in (tmp_path / "data").rglob("*") if file in path.name)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=sentence):
        opened = sources.open_source("tfds:tiny_photos", data_dir=tmp_path / "data")
        [item.data for item in opened.train]
    with pytest.raises(UserError, match=sentence):
        sources.open_source("tfds:tiny_photos", data_dir=tmp_path / "data", min_chroma=1)


# Training batches


def test_example_numbers_are_unique_within_a_run_and_across_seeds():
    numbers = []
    for seed in (0, 1, 2, 2**31 - 1):
        batches = loader.train_batches(numbered_items(5), size=4, batch_size=200, seed=seed)
        numbers.append(next(batches)["example"].tolist())
        assert len(set(numbers[-1])) == 200 and min(numbers[-1]) >= 0
    assert len(set(sum(numbers, []))) == 800


def test_training_batches_have_the_requested_shape_and_number_examples():
    batches = loader.train_batches(numbered_items(5), size=12, batch_size=4, seed=0)
    for step, batch in enumerate(first(batches, 3)):
        assert batch["rgb"].shape == (4, 12, 12, 3) and batch["rgb"].dtype == np.uint8
        assert batch["example"].dtype == np.int32
        assert batch["example"].tolist() == list(range(4 * step, 4 * step + 4))


def test_the_order_depends_on_the_seed_alone():
    def order(seed, **options):
        batches = loader.train_batches(
            numbered_items(20), size=4, batch_size=10, seed=seed, **options
        )
        return sum(map(item_indices, first(batches, 4)), [])

    assert order(7) == order(7) == order(7, num_threads=4, cache_bytes=0)
    assert order(7) != order(8)


def test_the_order_is_the_same_on_every_machine_and_version():
    batches = loader.train_batches(numbered_items(5), size=4, batch_size=5, seed=0)
    assert list(map(item_indices, first(batches, 3))) == [
        [0, 3, 1, 2, 4],
        [3, 4, 2, 1, 0],
        [4, 3, 2, 0, 1],
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 16])
def test_every_epoch_has_every_item_once_even_if_smaller_than_a_batch(count):
    batches = loader.train_batches(numbered_items(count), size=4, batch_size=16, seed=3)
    stream = sum(map(item_indices, first(batches, count)), [])
    epochs = [tuple(stream[i : i + count]) for i in range(0, len(stream), count)]
    assert len(epochs) == 16
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 2:
        assert len(set(epochs)) > 12


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_resumed_batches_equal_those_of_an_uninterrupted_run(steps):
    def batches(start=0):
        return loader.train_batches(numbered_items(9), size=4, batch_size=4, seed=5, start=start)

    whole = first(batches(), steps + 3)[steps:]
    for resumed, straight in zip(first(batches(4 * steps), 3), whole, strict=True):
        np.testing.assert_array_equal(resumed["rgb"], straight["rgb"])
        np.testing.assert_array_equal(resumed["example"], straight["example"])


def test_resuming_late_does_not_read_the_examples_before(tmp_path):
    items = [places.Item("gone", tmp_path / "gone.png")] * 7
    position = 10**12
    batches = loader.train_batches(items, size=4, batch_size=2, seed=0, start=position)
    with pytest.raises(UserError, match="gone.png"):
        next(batches)
    batches = loader.train_batches(numbered_items(7), size=4, batch_size=2, seed=0, start=position)
    assert next(batches)["example"].tolist() == [position % 2**31, position % 2**31 + 1]


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("start", [0, 24, 36])
def test_processes_together_get_the_examples_of_a_single_process(processes, start):
    options = dict(size=4, batch_size=12, seed=1, start=start)
    alone = loader.train_batches(numbered_items(20), **options)
    shards = [
        loader.train_batches(
            numbered_items(20), process_index=p, process_count=processes, **options
        )
        for p in range(processes)
    ]
    for _ in range(4):
        whole = next(alone)
        parts = [next(shard) for shard in shards]
        assert all(part["rgb"].shape[0] == 12 // processes for part in parts)
        together = [pair for p in parts for pair in zip(p["example"], item_indices(p), strict=True)]
        assert sorted(together) == sorted(zip(whole["example"], item_indices(whole), strict=True))


def test_a_batch_size_that_processes_cannot_share_is_an_error():
    for batches in (loader.train_batches, loader.eval_batches):
        options = {"seed": 0} if batches is loader.train_batches else {}
        with pytest.raises(UserError, match="batch size 6 .* 4 processes"):
            batches(numbered_items(3), size=4, batch_size=6, process_count=4, **options)
        with pytest.raises(UserError, match="batch size 0"):
            batches(numbered_items(3), size=4, batch_size=0, **options)


def test_training_on_nothing_is_an_error():
    with pytest.raises(UserError, match="no pictures to train on"):
        loader.train_batches([], size=4, batch_size=1, seed=0)


def test_a_picture_that_is_damaged_during_training_is_named(tmp_path):
    fill(tmp_path, 4)
    items = [places.Item(path.name, path) for path in sorted(tmp_path.iterdir())]
    batches = loader.train_batches(items, size=4, batch_size=4, seed=0, cache_bytes=0)
    next(batches)
    # The file is replaced atomically, because threads may be reading it.
    (tmp_path / "new").write_bytes(b"overwritten")
    (tmp_path / "new").rename(tmp_path / "002.png")
    with pytest.raises(UserError, match=r"002\.png: is not a JPEG"):
        first(batches, 20)
    in_memory = [places.Item("set/train#7", b"damaged")]
    with pytest.raises(UserError, match="set/train#7: is not a JPEG"):
        next(loader.eval_batches(in_memory, size=4, batch_size=1))


@pytest.mark.parametrize(("cache_bytes", "reads"), [(5 * 4 * 4 * 3, 5), (5 * 4 * 4 * 3 - 1, 40)])
def test_small_sets_are_decoded_once(monkeypatch, cache_bytes, reads):
    calls = collections.Counter()
    read_square = image_io.read_square

    def count(data, size, *, fit, name):
        calls[name.startswith("item ")] += 1
        return read_square(data, size, fit=fit, name=name)

    monkeypatch.setattr(image_io, "read_square", count)
    batches = loader.train_batches(
        numbered_items(5), size=4, batch_size=5, seed=0, num_threads=1, cache_bytes=cache_bytes
    )
    stream = [item_indices(batch) for batch in first(batches, 8)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in stream)
    # One thread may run two batches ahead.
    assert reads <= calls[True] <= (5 if reads == 5 else reads + 10)


# Evaluation batches


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 8, 20])
@pytest.mark.parametrize("count", [0, 1, 4, 7, 8, 17])
def test_evaluation_counts_every_picture_once(count, batch_size, processes):
    examples, lengths = [], set()
    for p in range(processes):
        batches = list(
            loader.eval_batches(
                numbered_items(count),
                size=4,
                batch_size=batch_size,
                process_index=p,
                process_count=processes,
            )
        )
        lengths.add(len(batches))
        for batch in batches:
            assert batch["rgb"].shape == (batch_size // processes, 4, 4, 3)
            assert batch["mask"].dtype == np.float32
            real = batch["mask"] == 1
            assert (batch["mask"][~real] == 0).all() and (batch["rgb"][~real] == 0).all()
            assert batch["rgb"][real][:, 0, 0, 0].tolist() == batch["example"][real].tolist()
            examples += batch["example"][real].tolist()
    assert sorted(examples) == list(range(count))
    assert lengths == {-(-count // batch_size)}


def test_evaluation_of_one_process_is_in_order():
    batches = list(loader.eval_batches(numbered_items(7), size=4, batch_size=3, num_threads=4))
    assert [b["example"].tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [b["mask"].tolist() for b in batches] == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_real_photographs_can_be_trained_on(photo_folder):
    opened = sources.open_source(f"folder:{photo_folder}", holdout=0.2)
    batch = next(loader.train_batches(opened.train, size=64, batch_size=4, seed=0))
    assert batch["rgb"].std() > 10


def test_the_test_set_is_taken_from_training_not_from_the_hold_out(tmp_path):
    folder = f"folder:{fill(tmp_path, 60)}"
    two = sources.open_source(folder, holdout=0.25)
    three = sources.open_source(folder, holdout=0.25, test=0.3)
    keys = {
        name: {item.key for item in getattr(three, name)} for name in ("train", "holdout", "test")
    }
    assert keys["holdout"] == {item.key for item in two.holdout}
    assert keys["train"] | keys["test"] == {item.key for item in two.train}
    assert not keys["train"] & keys["test"] and keys["test"]
    assert three.notes["test"] == len(three.test) and "test" not in two.notes


def test_copies_of_held_out_pictures_in_other_folders_are_neither_trained_on_nor_held_out(
    tmp_path, caplog
):
    inside, outside = fill(tmp_path / "coco", 60), fill(tmp_path / "scenes", 30)
    for number in range(100, 110):
        photo(number).save(outside / f"{number}.png")
    opened = sources.open_source(
        f"folder:{tmp_path}", holdout=0.3, test=0.2, holdout_folders=("coco",)
    )
    train, holdout, test = (
        {item.digest for item in part} for part in (opened.train, opened.holdout, opened.test)
    )
    assert not train & (holdout | test)
    alone = sources.open_source(f"folder:{inside}", holdout=0.3, test=0.2)
    assert keys(opened.holdout) == [f"coco/{key}" for key in keys(alone.holdout)]
    assert keys(opened.test) == [f"coco/{key}" for key in keys(alone.test)]
    copies = opened.notes["copies"]
    assert 0 < copies < 30 and opened.notes["found"] == 100
    assert len(opened.train) == 100 - copies - len(opened.holdout) - len(opened.test)
    assert f"leaving out {copies} pictures, which equal pictures of hold-out or" in caplog.text


@pytest.mark.parametrize("test", [-0.1, 0.75])
def test_a_test_share_that_leaves_nothing_to_train_on_is_refused(test):
    with pytest.raises(
        UserError, match=f"the test share is {test}, want at least 0 and below 0.75"
    ):
        sources.open_source("sample", holdout=0.25, test=test)


def test_a_test_share_that_gets_no_picture_is_refused():
    with pytest.raises(UserError, match="no picture falls into the test share of 1e-09"):
        sources.open_source("sample", holdout=0.3, test=1e-9)
