"""The paper's data sets, prepared from tiny archives of the right layout and read back."""

import hashlib
import io
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax import extras
from colorjax.data import prepare, sources
from colorjax.data.datasets import builders, pictures
from colorjax.errors import UserError
from colorjax.pictures import image_io

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
PREFIXES = {
    "coast": "coast",
    "forest": "forest",
    "highway": "highway",
    "inside_city": "insidecity",
    "mountain": "mountain",
    "open_country": "opencountry",
    "street": "street",
    "tall_building": "tallbuilding",
}


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)


def file(number: int, kind: str = "JPEG", **options) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels(number)).save(written, kind, **options)
    return written.getvalue()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def examples(name: str, data_dir: Path) -> list[dict]:
    """The examples as TFDS reads them, in their order."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    decoders = {"image": tfds.decode.SkipDecoding()}
    return list(builder.as_data_source("train", decoders=decoders))


def stored(name: str, data_dir: Path) -> dict[str, bytes]:
    """Pictures by `file_name`; checks that `open_source` yields the same pictures."""
    found = examples(name, data_dir)
    opened = sources.open_source(f"tfds:{name}", holdout=0.5, data_dir=data_dir)
    items = [item.data for item in [*opened.train, *opened.holdout]]
    assert sorted(items) == sorted(example["image"] for example in found)
    return {example["file_name"].decode(): example["image"] for example in found}


@pytest.fixture
def mirflickr(tmp_path) -> dict[str, bytes]:
    """A MIRFLICKR archive of 20 pictures in tmp_path/manual."""
    members = {f"mirflickr/im{i}.jpg": file(i) for i in range(1, 21)}
    others = {"mirflickr/meta/tags/tags1.txt": b"sky", "mirflickr/": b""}
    make_zip(tmp_path / "manual" / "mirflickr25k.zip", members | others)
    return members


# The four sets


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """The scenes' archive with twelve pictures per category, and its members."""
    names = [f"{SCENES}/{p}_land{i}.jpg" for p in PREFIXES.values() for i in range(12)]
    members = {name: file(i) for i, name in enumerate(names)}
    others = {
        f"{SCENES}/Thumbs.db": b"x",
        f"{SCENES}/desert_land1.jpg": file(900),
        f"__MACOSX/{SCENES}/._coast_land1.jpg": b"Mac OS X",
        f"{SCENES}/._coast_land1.jpg": b"Mac OS X",
    }
    folder = tmp_path_factory.mktemp("scenes")
    make_zip(folder / f"{SCENES}.zip", members | others)
    return folder, members


@pytest.mark.parametrize("category", PREFIXES)
def test_a_scene_category_holds_its_own_files_unchanged(scenes, tmp_path, category):
    folder, members = scenes
    prepare.prepare(f"mit_scenes/{category}", folder, tmp_path)
    wanted = {
        f"{SCENES}.zip/{name}": data
        for name, data in members.items()
        if name.startswith(f"{SCENES}/{PREFIXES[category]}_")
    }
    assert stored(f"mit_scenes/{category}", tmp_path) == wanted and len(wanted) == 12


def test_all_scenes_are_the_default_and_have_their_categories(scenes, tmp_path):
    folder, members = scenes
    done = prepare.prepare("mit_scenes/all", folder, tmp_path)
    assert done.pictures == len(members) == 96
    names = builders.MitScenes(data_dir=tmp_path).info.features["label"].names
    for example in examples("mit_scenes", tmp_path):
        prefix = example["file_name"].decode().rpartition("/")[2].partition("_")[0]
        assert PREFIXES[names[example["label"]]] == prefix


def test_mcgill_tiffs_become_pngs_of_the_same_pixels(tmp_path):
    archives = tmp_path / "manual" / "mcgill_color"
    make_zip(
        archives / "Animals.zip", {f"Animals/merry{i:03}.tif": file(i, "TIFF") for i in range(5)}
    )
    make_zip(
        archives / "LandWater.ZIP", {"merry_mexico0141.TIF": file(7, "TIFF"), "notes.txt": b"x"}
    )
    make_folder(archives / "Textures", {f"pippin{i}.tif": file(i, "TIFF") for i in (8, 9)})
    prepare.prepare("mcgill_color", tmp_path / "manual", tmp_path)
    numbers = {f"Animals.zip/Animals/merry{i:03}.tif": i for i in range(5)}
    numbers |= {"LandWater.ZIP/merry_mexico0141.TIF": 7}
    numbers |= {f"Textures/pippin{i}.tif": i for i in (8, 9)}
    found = stored("mcgill_color", tmp_path)
    assert found.keys() == numbers.keys()
    for name, number in numbers.items():
        assert found[name].startswith(b"\x89PNG")
        np.testing.assert_array_equal(image_io.read_rgb(found[name]), pixels(number))
    categories = {e["category"].decode() for e in examples("mcgill_color", tmp_path)}
    assert categories == {"Animals", "LandWater", "Textures"}


def test_mirflickr_is_the_same_packed_and_unpacked(tmp_path, mirflickr):
    prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "packed")
    unpacked = {name.removeprefix("mirflickr/"): data for name, data in mirflickr.items()}
    make_folder(tmp_path / "loose" / "mirflickr", unpacked)
    prepare.prepare("mirflickr25k", tmp_path / "loose", tmp_path / "unpacked")
    packed = stored("mirflickr25k", tmp_path / "packed")
    assert packed == {f"mirflickr25k.zip/{name}": data for name, data in mirflickr.items()}
    order = [e["image"] for e in examples("mirflickr25k", tmp_path / "packed")]
    assert order == [e["image"] for e in examples("mirflickr25k", tmp_path / "unpacked")]
    assert list(stored("mirflickr25k", tmp_path / "unpacked").values()) == order


def imagenet(folder: Path, leave_out: str = "") -> dict[str, int]:
    """Writes an ImageNet training folder; returns the ten classes' picture numbers by file name."""
    numbers = {
        f"{synset}/{synset}_{i}.JPEG": 10 * c + i
        for c, synset in enumerate(builders.ImagenetTen.SYNSETS)
        for i in range(2)
        if synset != leave_out
    }
    others = {"n01440764/n01440764_1.JPEG": 700, "n04270147_loose.JPEG": 701}
    make_folder(folder, {name: file(number) for name, number in (numbers | others).items()})
    return numbers


@pytest.mark.parametrize("layout", ["train", "ILSVRC/Data/CLS-LOC/train", "."])
def test_imagenet_ten_takes_ten_classes_of_a_training_folder(tmp_path, layout):
    numbers = imagenet(tmp_path / "manual" / layout)
    (tmp_path / "manual" / "train").mkdir(exist_ok=True)
    prepare.prepare("imagenet_ten", tmp_path / "manual", tmp_path)
    wanted = {name: file(number) for name, number in numbers.items()}
    assert stored("imagenet_ten", tmp_path) == wanted and len(wanted) == 20
    names = builders.ImagenetTen(data_dir=tmp_path).info.features["label"].names
    for example in examples("imagenet_ten", tmp_path):
        synset = example["file_name"].decode().partition("/")[0]
        assert names[example["label"]] == builders.ImagenetTen.SYNSETS[synset]


def test_imagenet_ten_has_the_papers_ten_words():
    words = "spatula,school bus,bear,book shelf,armor,kangaroo,spider,sweater,hair dryer,bird"
    assert list(builders.ImagenetTen.SYNSETS.values()) == words.split(",")


# Omitted pictures, and the order of the others


def test_pictures_come_in_the_order_of_their_sha256(tmp_path, mirflickr):
    prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path)
    order = [e["image"] for e in examples("mirflickr25k", tmp_path)]
    assert order == sorted(mirflickr.values(), key=lambda data: hashlib.sha256(data).digest())


def test_second_copies_are_left_out(tmp_path, caplog):
    archives = tmp_path / "manual" / "mcgill_color"
    for name in ("Flowers", "Flowers (1)"):
        make_zip(archives / f"{name}.zip", {f"{i}.tif": file(i, "TIFF") for i in range(6)})
    assert prepare.prepare("mcgill_color", tmp_path / "manual", tmp_path).pictures == 6
    assert "leaving out 6 of 12 pictures: copies of others" in caplog.text


def test_a_few_unreadable_pictures_are_left_out_and_named(tmp_path, mirflickr, caplog):
    archive = tmp_path / "manual" / "mirflickr25k.zip"
    make_zip(archive, mirflickr | {"mirflickr/im21.jpg": file(21)[:300]})
    bytes_of_7 = mirflickr["mirflickr/im7.jpg"]
    archive.write_bytes(archive.read_bytes().replace(bytes_of_7, bytes_of_7[:-9] + b"corrupted"))
    prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path)
    found = stored("mirflickr25k", tmp_path)
    assert found.keys() == {f"mirflickr25k.zip/{n}" for n in mirflickr if "im7." not in n}
    assert "leaving out 2 of 21 pictures" in caplog.text
    assert "mirflickr25k.zip/mirflickr/im7.jpg: cannot be read: Bad CRC-32" in caplog.text
    assert "mirflickr25k.zip/mirflickr/im21.jpg: cannot be read" in caplog.text


def test_many_unreadable_pictures_are_refused_and_nothing_is_left(tmp_path, mirflickr):
    damaged = {f"mirflickr/bad{i}.jpg": b"\xff\xd8\xff" + bytes([i]) for i in range(3)}
    make_zip(tmp_path / "manual" / "mirflickr25k.zip", mirflickr | damaged)
    with pytest.raises(UserError, match="3 of 23 pictures cannot be read.*first is.*bad0.jpg"):
        prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_members_that_claim_to_be_huge_are_not_read(tmp_path, mirflickr, monkeypatch, caplog):
    huge = {"mirflickr/im21.jpg": file(21) + bytes(9000)}
    make_zip(tmp_path / "manual" / "mirflickr25k.zip", mirflickr | huge)
    monkeypatch.setattr(pictures, "MAX_BYTES", 9000)
    assert prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path).pictures == 20
    assert "im21.jpg: has 9" in caplog.text and "more than the 9000" in caplog.text


def test_names_in_an_archive_cannot_write_outside_the_data_folder(tmp_path, mirflickr):
    odd = {"../../escaped.jpg": file(30), str(tmp_path / "absolute.jpg"): file(31)}
    make_zip(tmp_path / "manual" / "mirflickr25k.zip", mirflickr | odd)
    prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data")
    assert len(stored("mirflickr25k", tmp_path / "data")) == 21  # one has a name like a hidden file
    assert {path.name for path in tmp_path.iterdir()} == {"manual", "data"}
    assert not [*tmp_path.parent.rglob("escaped.jpg"), *tmp_path.rglob("absolute.jpg")]


def test_jpeg_and_png_files_stay_as_they_are_and_others_become_upright_pngs():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for kind in ("JPEG", "PNG"):
        data = file(1, kind, exif=exif)
        assert pictures.as_jpeg_or_png(data, "x") == data
    turned = pictures.as_jpeg_or_png(file(1, "TIFF", exif=exif), "x")
    np.testing.assert_array_equal(image_io.read_rgb(turned), np.rot90(pixels(1), -1))
    assert Image.open(io.BytesIO(turned)).format == "PNG"


# Shards


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([], []),
        ([60, 40, 1], [[60, 40], [1]]),
        ([300], [[300]]),
        ([300, 300, 50, 50], [[300], [300], [50, 50]]),
    ],
)
def test_shards_are_filled_up_to_their_size(monkeypatch, sizes, runs):
    monkeypatch.setattr(builders, "SHARD_BYTES", 100)
    chosen = [pictures.Picture(Path("x.zip"), str(i), size) for i, size in enumerate(sizes)]
    shards = builders.split_into_shards(chosen)
    assert [[picture.size for picture in shard] for shard in shards] == runs
    assert sum(shards, []) == chosen


def test_many_shards_hold_the_same_as_one(tmp_path, mirflickr, monkeypatch):
    prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "one")
    monkeypatch.setattr(builders, "SHARD_BYTES", 2000)
    done = prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "many")
    assert len(list(done.folder.glob("*.array_record-*"))) > 3
    assert examples("mirflickr25k", tmp_path / "many") == examples("mirflickr25k", tmp_path / "one")


# Repeated, interrupted and failed preparation


def test_a_prepared_set_is_left_as_it_is(tmp_path, mirflickr):
    first = prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    (tmp_path / "manual" / "mirflickr25k.zip").unlink()
    second = prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path)
    assert (first.written, second.written) == (True, False)
    assert first[:2] == second[:2] and second.pictures == 20
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before


def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(
    tmp_path, mirflickr, monkeypatch
):
    def interrupt(data, name):
        if data == mirflickr["mirflickr/im9.jpg"]:
            raise KeyboardInterrupt
        return data

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "as_jpeg_or_png", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    # As left behind by a killed process, which cannot clean up.
    make_folder(tmp_path / "data/mirflickr25k/incomplete.0F_1.0.0", {"dataset_info.json": b"{"})
    command = r"colorjax\.data\.prepare mirflickr25k --manual_dir=DIR --data_dir="
    with pytest.raises(UserError, match=f"is not prepared, .*{command}{tmp_path}/data"):
        sources.open_source("tfds:mirflickr25k", data_dir=tmp_path / "data")
    assert prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data").written
    assert len(stored("mirflickr25k", tmp_path / "data")) == 20


def test_a_folder_in_the_way_is_reported(tmp_path, mirflickr):
    make_folder(tmp_path / "data/mirflickr25k/1.0.0", {"stray.txt": b""})
    with pytest.raises(UserError, match="mirflickr25k/1.0.0: is in the way, and holds no data set"):
        prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data")


MISSING = {
    "mit_scenes/open_country": (f"{SCENES}.zip", "https://people.csail.mit.edu/torralba/"),
    "mcgill_color": ("folder mcgill_color", "http://tabby.vision.mcgill.ca/"),
    "mirflickr25k": ("mirflickr25k.zip", "https://press.liacs.nl/mirflickr/"),
    "imagenet_ten": (r"pictures of spatula \(n04270147\)", "https://www.image-net.org/"),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_archives_are_reported_with_their_name_and_page(tmp_path, name):
    what, page = MISSING[name]
    (tmp_path / "manual").mkdir()
    with pytest.raises(UserError, match=rf"manual(/train)?: holds no {what}; .*{page}"):
        prepare.prepare(name, tmp_path / "manual", tmp_path / "data")
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        prepare.prepare(name, tmp_path / "nowhere", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_archives_without_the_pictures_are_reported(tmp_path, mirflickr):
    manual = tmp_path / "manual"
    make_zip(manual / f"{SCENES}.zip", {"coast_a.jpg": file(1)})
    make_zip(manual / "mcgill_color" / "Snow.zip", {"readme.txt": b"x"})
    make_zip(manual / "mirflickr25k.zip", {"readme.txt": b"x"})
    imagenet(manual / "train", leave_out="n03483316")
    for name, what in {
        "mit_scenes/street": "picture of street in",
        "mcgill_color": "archive with pictures in mcgill_color",
        "mirflickr25k": "pictures in mirflickr25k.zip",
        "imagenet_ten": r"pictures of hair dryer \(n03483316\)",
    }.items():
        with pytest.raises(UserError, match=f"holds no {what}"):
            prepare.prepare(name, manual, tmp_path / "data")


def test_a_truncated_archive_is_reported(tmp_path, mirflickr):
    archive = tmp_path / "manual" / "mirflickr25k.zip"
    archive.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(
        UserError, match="mirflickr25k.zip: is not a ZIP archive, or its end is miss"
    ):
        prepare.prepare("mirflickr25k", tmp_path / "manual", tmp_path / "data")


def test_unknown_names_are_reported_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="imagenette: no such data set.*open_country.*imagenet_ten"):
        prepare.prepare("imagenette", tmp_path, tmp_path)
    with pytest.raises(UserError, match="tfds:mit_scenes/desert: no such data set"):
        sources.open_source("tfds:mit_scenes/desert", data_dir=tmp_path)


# The command


def run(code: str, *arguments) -> subprocess.CompletedProcess:
    root = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
    )


def test_the_command_needs_no_tensorflow_and_says_how_the_set_is_used(tmp_path, mirflickr):
    code = """
    import sys
    from colorjax.data import prepare, sources
    status = prepare.main(sys.argv[1:])
    opened = sources.open_source("tfds:mirflickr25k", data_dir=sys.argv[3].partition("=")[2])
    print(status, opened.notes["found"], len(opened.train[0].data) > 0, "tensorflow" in sys.modules)
    """
    arguments = [f"--manual_dir={tmp_path / 'manual'}", f"--data_dir={tmp_path}"]
    done = run(code, "mirflickr25k", *arguments)
    assert done.stdout.splitlines() == [
        f"{tmp_path}/mirflickr25k/1.0.0: 20 pictures, prepared",
        "train on it with --config.data.source=tfds:mirflickr25k "
        f"--config.data.tfds_dir={tmp_path}",
        "0 20 True False",
    ], done.stderr
    assert done.stderr == ""


def test_a_terminated_command_deletes_the_half_written_set(tmp_path, mirflickr):
    code = """
    import os, signal, sys
    from colorjax.data import prepare
    from colorjax.data.datasets import pictures
    pictures.as_jpeg_or_png = lambda data, name: os.kill(os.getpid(), signal.SIGTERM)
    prepare.main(sys.argv[1:])
    """
    manual, data = tmp_path / "manual", tmp_path / "data"
    done = run(code, "mirflickr25k", f"--manual_dir={manual}", f"--data_dir={data}")
    assert done.returncode == 143, done.stderr
    assert not [path for path in data.rglob("*") if path.is_file()]


def test_the_command_reports_mistakes_in_one_line(tmp_path):
    code = "import sys; from colorjax.data import prepare; sys.exit(prepare.main(sys.argv[1:]))"
    done = run(code, "mirflickr25k", f"--manual_dir={tmp_path}", f"--data_dir={tmp_path}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"colorjax: {tmp_path}: holds no mirflickr25k.zip; download")


def test_the_command_without_its_packages_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(prepare, "names", None)  # it would import a missing package
    assert prepare.main(["mirflickr25k", "--manual_dir=."]) == 2
    assert "pip install 'colorjax[train]'" in capsys.readouterr().err
