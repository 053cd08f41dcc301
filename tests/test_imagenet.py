import re
from pathlib import Path

import pytest
import tensorflow_datasets

from colorjax.errors import UserError
from colorjax.studies import imagenet


def test_the_thousand_classes_are_in_the_order_of_their_synsets():
    synsets = [one.synset for one in imagenet.classes()]
    assert len(synsets) == 1000 and synsets == sorted(set(synsets))
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets)
    assert all(one.names and all(one.names) for one in imagenet.classes())


def test_the_classes_are_those_that_an_independent_package_lists():
    folder = Path(tensorflow_datasets.__file__).parent / "image_classification"
    listed = (folder / "imagenet_resized_labels.txt").read_text().split()
    assert {one.synset for one in imagenet.classes()} == set(listed)


@pytest.mark.parametrize(
    ("index", "synset", "name"),
    [
        (0, "n01440764", "tench"),
        (217, "n02102040", "English springer"),
        (207, "n02099601", "golden retriever"),
        (574, "n03445777", "golf ball"),
        (701, "n03888257", "parachute"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_well_known_classes_have_their_published_numbers(index, synset, name):
    assert imagenet.class_of(synset) == imagenet.class_of(name) == index


def test_any_name_of_a_class_is_found_despite_case_and_underscores():
    for name in (
        "English springer",
        "english_springer",
        "ENGLISH SPRINGER SPANIEL",
        "English springer, English springer spaniel",
    ):
        assert imagenet.class_of(name) == 217
    assert imagenet.class_of("chain saw") == imagenet.class_of("Chainsaw") == 491
    assert imagenet.class_of("photos") is None
    assert imagenet.class_of("n00000001") is None


def test_a_shared_name_means_the_class_that_lists_it_first():
    tubs = [i for i, one in enumerate(imagenet.classes()) if "tub" in one.names]
    assert len(tubs) == 2
    assert imagenet.classes()[imagenet.class_of("tub")].names[0] == "tub"


def test_a_name_that_several_classes_list_first_is_refused():
    with pytest.raises(UserError, match="'crane' names 2 .*, want n02012849 or n03126707"):
        imagenet.class_of("crane")


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("n01440764/10026.jpg", 0),
        ("train/n01440764_10026.JPEG", 0),
        ("n01443537/n01440764.jpg", 0),  # the file name takes precedence
        ("tench/holiday/1.jpg", 0),
        ("tench/goldfish/1.jpg", 1),  # the innermost folder takes precedence
        ("holiday/tench.jpg", None),
        ("n01440764x.jpg", None),
    ],
)
def test_the_class_is_that_of_the_files_synset_or_the_innermost_folder(path, index):
    assert imagenet.label_of(path) == index


def test_a_folder_with_the_name_of_two_classes_is_refused():
    with pytest.raises(UserError, match="^crane/1.jpg: its folder 'crane' names 2"):
        imagenet.label_of("crane/1.jpg")


def test_a_table_gives_classes_by_index_synset_or_name(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(
        "file,class\na.jpg,0\nsub/b.jpg,n01443537\n\n c.jpg , Great White Shark\n"
        'd.jpg,"tench, Tinca tinca"\na.jpg,tench\n',
        encoding="utf-8-sig",
    )
    table = imagenet.read_table(file)
    assert table == {"a.jpg": 0, "sub/b.jpg": 1, "c.jpg": 2, "d.jpg": 0}
    # Matched by path, or else by file name; names of folders are ignored.
    paths = ["sub/a.jpg", "sub/b.jpg", "b.jpg", "c.jpg", "tench/x.jpg"]
    assert imagenet.labels(paths, table) == [0, 1, None, 2, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,unicorn", "line 1: 'unicorn' is none of ImageNet's classes, want an index from"),
        ("a.jpg,0\nb.jpg,1000", "line 2: '1000' is none of ImageNet's classes"),
        ("a.jpg,-1", "'-1' is none"),
        ("a.jpg", "line 1: is 'a.jpg', want a file's name and its class alone"),
        ("a.jpg,tench,1", "line 1: is 'a.jpg,tench,1', want"),
        (",tench", "line 1: is ',tench', want"),
        ("a.jpg,crane", "line 1: 'crane' names 2 of ImageNet's classes"),
        ("a.jpg,0\na.jpg,1", "line 2: a.jpg was of class 0 above and is of 1 here"),
        ("file,class\n", "has no line with a photograph"),
        ("", "has no line with a photograph"),
    ],
)
def test_a_wrong_line_of_a_table_is_reported_by_its_number(text, message, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        imagenet.read_table(tmp_path / "labels.csv")
    assert str(tmp_path / "labels.csv") in str(caught.value)


def test_a_missing_or_binary_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="none.csv: cannot be read: No such file"):
        imagenet.read_table(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\x00")
    with pytest.raises(UserError, match="picture.csv: is not a CSV table in UTF-8"):
        imagenet.read_table(tmp_path / "picture.csv")
