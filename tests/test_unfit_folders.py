"""Unsuitable folders of photographs: the error suggests a remedy, and the remedy works."""

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


def error_message(source, **settings):
    with pytest.raises(UserError) as caught:
        sources.open_source(source, min_chroma=3.0, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_error_for_a_folder_of_gray_pictures_names_min_chroma(tmp_path):
    message = error_message(fill(tmp_path, 4, gray=True))
    assert (
        "all 4 readable pictures are nearly gray" in message and "data.min_chroma is 3" in message
    )


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("holdout", [1e-9, 1 - 1e-9])
def test_the_share_that_is_suggested_for_a_small_folder_splits_it(tmp_path, count, holdout):
    source = fill(tmp_path, count)
    share = float(
        re.search(r"want data.holdout=([\d.]+),", error_message(source, holdout=holdout))[1]
    )
    opened = sources.open_source(source, min_chroma=3.0, holdout=share)
    assert len(opened.train) + len(opened.holdout) == count
    assert min(len(opened.train), len(opened.holdout)) == 1


def test_if_no_share_splits_a_folder_the_error_asks_for_more_pictures(tmp_path):
    assert error_message(fill(tmp_path, 1)).endswith("each needs one: want more pictures")
    for i in range(3):  # equal files stay on one side
        Image.fromarray(noise(24, 24)).save(tmp_path / f"{i}.png")
    assert error_message(f"folder:{tmp_path}").endswith("each needs one: want more pictures")


def test_a_folder_for_measuring_may_have_the_allowed_share_of_bad_files(tmp_path):
    fill(tmp_path, 2)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(UserError, match=r"1 of 3 .* share of 0.1 .*\(max_unreadable\)"):
        sources.open_folders(str(tmp_path))
    assert len(sources.open_folders(str(tmp_path), max_unreadable=0.5)) == 2
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="1 of 1 pictures cannot be used"):
        sources.open_folders(str(tmp_path), max_unreadable=1.0)
