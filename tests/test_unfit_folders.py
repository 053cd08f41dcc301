"""Folders of photographs that will not do: the sentence names what would help, and it does."""

import re

import numpy as np
import pytest
from pictures import noise
from PIL import Image

from colorjax.data import sources
from colorjax.errors import UserError


def fill(folder, count, gray=False):
    for i in range(count):
        picture = noise(24, 24, seed=i)
        picture = np.repeat(picture[..., :1], 3, axis=-1) if gray else picture
        Image.fromarray(picture).save(folder / f"{i}.png")
    return f"folder:{folder}"


def refusal(source, **settings):
    with pytest.raises(UserError) as caught:
        sources.open_source(source, min_chroma=3.0, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_gray_pictures_is_told_of_min_chroma(tmp_path):
    said = refusal(fill(tmp_path, 4, gray=True))
    assert "all 4 readable pictures are nearly gray" in said and "data.min_chroma is 3" in said


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("asked", [1e-9, 1 - 1e-9])
def test_the_share_that_a_small_folder_is_told_of_splits_it(tmp_path, count, asked):
    source = fill(tmp_path, count)
    share = float(re.search(r"want data.holdout=([\d.]+),", refusal(source, holdout=asked))[1])
    opened = sources.open_source(source, min_chroma=3.0, holdout=share)
    assert len(opened.train) + len(opened.holdout) == count
    assert min(len(opened.train), len(opened.holdout)) == 1


def test_where_no_share_splits_a_folder_more_pictures_are_wanted(tmp_path):
    assert refusal(fill(tmp_path, 1)).endswith("each needs one: want more pictures")
    for i in range(3):  # equal files stay on one side
        Image.fromarray(noise(24, 24)).save(tmp_path / f"{i}.png")
    assert refusal(f"folder:{tmp_path}").endswith("each needs one: want more pictures")


def test_a_folder_for_measuring_may_have_as_many_bad_files_as_it_is_told_of(tmp_path):
    fill(tmp_path, 2)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(UserError, match=r"1 of 3 .* share of 0.1 .*\(max_unreadable\)"):
        sources.open_folders(str(tmp_path))
    assert len(sources.open_folders(str(tmp_path), max_unreadable=0.5)) == 2
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="1 of 1 pictures cannot be used"):
        sources.open_folders(str(tmp_path), max_unreadable=1.0)
