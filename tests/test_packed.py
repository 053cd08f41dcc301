import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.data import loader, opening, pack, packed, sources
from colorjax.errors import UserError
from colorjax.pictures import image_io
from colorjax.settings import complete
from configs import classify

SIDE = 48  # a multiple of 16, so that no block of the coder spans two squares


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of 203 plain pictures each, so that the last mosaic is not full."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("red", "blue"):
        (root / name).mkdir()
        for i in range(203):
            color = rng.integers(0, 256, 3)
            color[0 if name == "red" else 2] = 255
            color[1] = 0
            picture = np.broadcast_to(color.astype(np.uint8), (SIDE, SIDE, 3))
            Image.fromarray(np.ascontiguousarray(picture)).save(root / name / f"{i:03d}.png")
    return root / "red", root / "blue"


@pytest.fixture(scope="module")
def packed_folder(folders, tmp_path_factory):
    target = tmp_path_factory.mktemp("packed")
    arguments = [*map(str, folders), "-o", str(target), f"--size={SIDE}", "--quality=80"]
    assert pack.main(arguments) == 0
    return target


def test_unpacking_returns_every_square_under_its_own_name(folders, packed_folder):
    keys, squares, digests = packed.unpack(packed_folder)
    assert len(keys) == len(set(keys)) == len(digests) == len(squares) == 406
    assert sorted(f.name for f in packed_folder.iterdir()) == [
        "mosaic_0000.avif",
        "mosaic_0001.avif",
        "packed.json",
    ]
    for key, square in zip(keys, squares, strict=True):
        truth = image_io.read_square(folders[0].parent / key, SIDE)
        assert np.abs(square.astype(int) - truth).mean() < 8, key


def test_packed_folders_of_two_sizes_can_be_one_source(folders, packed_folder, tmp_path):
    assert pack.main([str(folders[0]), "-o", str(tmp_path), "--size=32"]) == 0
    data = dataclasses.replace(
        complete(classify.get_config()).data,
        source=f"packed:{packed_folder},{tmp_path}",
        load_size=SIDE,
        crop_size=SIDE,
    )
    source = opening.open_source(data)
    assert len(source.train) + len(source.holdout) == 406 + 203
    assert loader.decode_all(source.train, SIDE).shape == (len(source.train), SIDE, SIDE, 3)
    items = [*source.train, *source.holdout]
    assert len({item.key for item in items}) == len(items)
    assert sum(sources.in_folder(item.key, ["blue"]) for item in items) == 203


def test_a_packed_source_has_the_same_hold_out_set_as_its_folders(folders, packed_folder):
    paths = ",".join(map(str, folders))
    from_packed = sources.open_source(f"packed:{packed_folder}", holdout=0.2)
    from_folders = sources.open_source(f"folder:{paths}", holdout=0.2)
    assert {item.digest for item in from_packed.holdout} == {
        item.digest for item in from_folders.holdout
    }
    assert from_packed.notes == from_folders.notes
    assert loader.decode_all(from_packed.train, SIDE).shape == (
        len(from_packed.train),
        SIDE,
        SIDE,
        3,
    )


def test_packed_squares_are_resized_to_the_load_size_of_a_run(packed_folder):
    plain = loader.decode_all(sources.open_source(f"packed:{packed_folder}").train[:3], SIDE)
    for size in (32, 64):
        config = classify.get_config()
        config.data.source = f"packed:{packed_folder}"
        config.data.load_size = config.data.crop_size = size
        large = loader.decode_all(opening.open_source(complete(config).data).train[:3], size)
        assert large.shape == (3, size, size, 3)
        # Resizing does not change squares of one colour, apart from the compression.
        assert np.abs(large.mean((1, 2)) - plain.mean((1, 2))).max() < 1.0


def test_packing_again_keeps_existing_mosaics(folders, packed_folder):
    def times():
        return {f.name: f.stat().st_mtime_ns for f in packed_folder.glob("*.avif")}

    before = times()
    again = [*map(str, folders), "-o", str(packed_folder), f"--size={SIDE}", "--quality=80"]
    assert pack.main(again) == 0
    assert times() == before
    (packed_folder / packed.mosaic_name(1)).unlink()  # as if packing had been interrupted
    assert pack.main(again) == 0
    changed = {name for name, time in times().items() if time != before[name]}
    assert changed == {packed.mosaic_name(1)}


def test_options_out_of_range_are_refused_and_leave_nothing_behind(folders, tmp_path, capsys):
    target = tmp_path / "packed"
    for option, sentence in (
        ("--quality=500", "quality is 500, want a number from 0 to 100"),
        ("--size=0", "size is 0, want at least 1"),
        ("--size=700", "size is 700, want at most 600"),
        ("--min-chroma=nan", "min-chroma is nan, want a finite number"),
        ("--min-chroma=400", "are nearly gray, the most colourful has a chroma of 2"),
    ):
        assert pack.main([str(folders[0]), "-o", str(target), option]) == 2
        assert sentence in capsys.readouterr().err
    inside = folders[0] / "packed"
    assert pack.main([str(folders[0]), "-o", str(inside)]) == 2
    assert f"{inside}: lies in {folders[0]}, want a folder outside" in capsys.readouterr().err
    assert not target.exists() and not inside.exists()


def test_an_index_without_mosaics_is_overwritten(folders, packed_folder, tmp_path):
    (tmp_path / packed.INDEX).write_text((packed_folder / packed.INDEX).read_text())
    assert pack.main([str(folders[0]), "-o", str(tmp_path), "--size=32"]) == 0
    assert len(packed.unpack(tmp_path)[0]) == 203


def test_two_photographs_can_be_packed_and_keep_their_folders_name(folders, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(folders[0].iterdir())[:2]:
        (few / path.name).write_bytes(path.read_bytes())
    assert pack.main([str(few), "-o", str(tmp_path / "packed"), "--size=32"]) == 0
    assert packed.unpack(tmp_path / "packed")[0] == ["few/000.png", "few/001.png"]


def test_other_photographs_are_not_added_to_a_packed_folder(folders, packed_folder, capsys):
    before = (packed_folder / packed.INDEX).read_bytes()
    both = [*map(str, folders)]
    for arguments in ([both[0]], [*both, "--size=32"], [*both, "--quality=20"]):
        assert pack.main([*arguments, "-o", str(packed_folder)]) == 2
        assert "holds other photographs, or squares of another" in capsys.readouterr().err
    assert (packed_folder / packed.INDEX).read_bytes() == before


def test_mosaics_without_an_index_are_refused(folders, tmp_path, capsys):
    (tmp_path / packed.mosaic_name(0)).write_bytes(b"")
    assert pack.main([str(folders[0]), "-o", str(tmp_path)]) == 2
    assert "holds mosaics without packed.json, want an empty folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_created_is_a_one_sentence_error(folders, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert pack.main([str(folders[0]), "-o", str(tmp_path / "file" / "inside")]) == 2
    assert "inside: cannot be written: Not a directory" in capsys.readouterr().err


def test_pictures_are_held_out_only_of_the_named_folders(folders):
    paths = ",".join(map(str, folders))
    opened = sources.open_source(f"folder:{paths}", holdout=0.3, holdout_folders=("red",))
    assert all(sources.in_folder(item.key, ["red"]) for item in opened.holdout)
    assert 30 < len(opened.holdout) < 90
    with pytest.raises(UserError, match="there is no folder 'green' in it"):
        sources.open_source(f"folder:{paths}", holdout_folders=("red", "green"))


def test_copies_in_a_packed_folder_are_left_out_as_those_in_a_folder(folders, tmp_path):
    red, blue = tmp_path / "red", tmp_path / "blue"
    shutil.copytree(folders[0], red)
    shutil.copytree(folders[0], blue)
    assert pack.main([str(red), str(blue), "-o", str(tmp_path / "packed"), "--size=16"]) == 0
    options = {"holdout": 0.3, "holdout_folders": ("red",)}
    from_packed = sources.open_source(f"packed:{tmp_path / 'packed'}", **options)
    from_folders = sources.open_source(f"folder:{red},{blue}", **options)
    assert from_packed.notes == from_folders.notes
    assert from_packed.notes["copies"] == len(from_packed.holdout) > 0


def test_a_folder_of_twice_the_weight_is_shown_twice_as_often(folders):
    paths = ",".join(map(str, folders))
    items = sources.open_source(f"folder:{paths}", holdout=0.1).train
    weights = loader.folder_weights(items, {"red": 2.0})
    red = weights == 2.0
    stream = loader.train_indices(len(items), batch_size=len(items), seed=3, weights=weights)
    counts = sum(np.bincount(next(stream)["index"], minlength=len(items)) for _ in range(30))
    assert counts[red].mean() / counts[~red].mean() == pytest.approx(2.0, rel=0.02)
    assert counts.min() > 0
    # In an epoch each item occurs as often as its weight says, rounded up or down.
    expected = weights * 30 * len(items) / weights.sum()
    assert np.abs(counts - expected).max() < 30
    with pytest.raises(UserError, match="names 'green', but no picture"):
        loader.folder_weights(items, {"green": 1.0})


@pytest.mark.parametrize("weighted", [False, True])
def test_indices_match_the_pictures_in_the_batches(packed_folder, weighted):
    items = sources.open_source(f"packed:{packed_folder}", holdout=0.1).train
    weights = loader.folder_weights(items, {"red": 0.3}) if weighted else None
    options = {"batch_size": 8, "seed": 5, "weights": weights, "start": 16}
    squares = loader.decode_all(items, SIDE)
    pictures = loader.train_batches(items, size=SIDE, **options)
    indices = loader.train_indices(len(items), **options)
    for _ in range(60):  # beyond the end of an epoch
        batch, positions = next(pictures), next(indices)
        np.testing.assert_array_equal(batch["rgb"], squares[positions["index"]])
        np.testing.assert_array_equal(batch["example"], positions["example"])


@pytest.mark.parametrize("seconds", ["40", "4m", "08", "240.5"])
def test_the_gpu_script_requires_enough_seconds_for_compiling(seconds):
    done = train_on_a_gpu(seconds)
    assert done.returncode == 2 and not done.stdout
    assert f"SECONDS is '{seconds}', want a whole number of at least 150" in done.stderr


def test_the_gpu_script_leaves_time_for_measuring_and_exporting():
    done = train_on_a_gpu("240")
    assert done.returncode == 0, done.stderr
    train, export = done.stdout.splitlines()
    assert "--config.data.source=packed:some" in train and "-m colorjax export" in export
    (seconds,) = re.findall(r"--config\.num_seconds=(\d+)", train)
    assert 195 <= int(seconds) <= 200


def train_on_a_gpu(seconds):
    """Runs the script with `echo` as its interpreter, which prints the arguments."""
    script = Path(__file__).parent.parent / "launch" / "train_release_gpu.sh"
    return subprocess.run(
        [script, "some", seconds],
        env={**os.environ, "COLORJAX_PYTHON": "echo"},
        capture_output=True,
        text=True,
    )


def test_a_mosaic_that_pillow_cannot_convert_is_named(packed_folder, monkeypatch):
    class Damaged:
        def convert(self, mode):
            raise RuntimeError("Conversion from YUV failed")  # Pillow, after a wrong byte

    monkeypatch.setattr(packed.Image, "open", lambda *_, **__: Damaged())
    with pytest.raises(UserError, match="avif: cannot be read: Conversion from YUV failed"):
        packed.unpack(packed_folder)


def test_errors_of_damaged_packed_folders_name_what_is_wrong(packed_folder, tmp_path):
    with pytest.raises(UserError, match="is not a packed folder"):
        packed.unpack(tmp_path)
    index = json.loads((packed_folder / packed.INDEX).read_text())
    (tmp_path / packed.INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="mosaic_000[01].avif: cannot be read"):
        packed.unpack(tmp_path)
    for change, sentence in (
        ({"format": "x"}, "is of format 'x', want 'colorjax-packed-1'"),
        ({"size": "144"}, "size is '144', want a whole number from 1 to 600"),
        ({"keys": None}, "keys are no list of texts"),
        ({"digests": [7]}, "digests are no list of texts"),
        ({"digests": index["digests"][1:]}, "has 406 keys and 405 digests"),
        ({"digests": ["zz"] * 406}, "a digest is 'zz', want 64 digits"),
    ):
        (tmp_path / packed.INDEX).write_text(json.dumps({**index, **change}))
        with pytest.raises(UserError, match=sentence):
            packed.unpack(tmp_path)
    for number in range(2):
        (tmp_path / packed.mosaic_name(number)).write_bytes(
            (packed_folder / packed.mosaic_name(0)).read_bytes()
        )
    (tmp_path / packed.INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="mosaic_0001.avif: is 960x960 pixels, want 960x48"):
        packed.unpack(tmp_path)
