from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from test_train import tiny_config

from colorjax.data import opening
from colorjax.errors import UserError
from colorjax.studies.prior import prior
from colorjax.weights import runs


def photos(folder, colors):
    folder.mkdir()
    for i, rgb in enumerate(colors):
        picture = np.full((20, 20, 3), rgb, np.uint8)
        picture[0, 0] = i  # so that no two files are equal
        Image.fromarray(picture).save(folder / f"{i:02}.png")
    return f"folder:{folder}"


@pytest.mark.parametrize("layout", ["channels", "joint"])
def test_the_prior_of_one_colour_is_that_colour_which_gets_the_least_weight(tmp_path, layout):
    source = photos(tmp_path / "photos", [(200, 80, 60)] * 20)
    config = tiny_config(data__source=source, data__holdout=0.2, bins__layout=layout)
    result = prior(config, tmp_path / "run")
    assert result["images"] == result["data"]["train"] < 20
    for counts, blurred, weights in zip(
        result["counts"], result["prior"], result["weights"], strict=True
    ):
        best = int(np.argmax(counts))
        assert counts[best] > 0.9 * sum(counts)
        assert sum(counts) == result["images"] * 16 * 16
        assert_allclose(sum(blurred), 1, rtol=1e-5)
        assert np.argmax(blurred) == best and np.argmin(weights) == best
        assert np.isfinite(weights).all() and max(weights) > 3 * weights[best]
    assert runs.read_json(tmp_path / "run" / "prior.json") == runs.as_json(result)
    picture = np.asarray(Image.open(tmp_path / "run" / "prior.png"))
    assert picture.shape[1] == 1300 and picture.std() > 10


def test_the_prior_counts_every_photograph_not_a_sample_of_them(tmp_path):
    source = photos(tmp_path / "photos", np.random.default_rng(0).integers(0, 255, (30, 3)))
    config = tiny_config(data__source=source, data__holdout=0.2, data__statistics_images=2)
    assert prior(config, tmp_path / "run")["images"] > 15


def test_a_uniform_share_above_one_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="rebalance.uniform is 2.0"):
        prior(tiny_config(rebalance__uniform=2.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_max_images_picks_from_the_whole_source_and_keeps_the_hold_out_share(tmp_path):
    colors = np.random.default_rng(1).integers(0, 255, (40, 3))
    source = photos(tmp_path / "photos", colors)
    whole = opening.open_source(tiny_config(data__source=source, data__holdout=0.25).data)
    limited = opening.open_source(
        tiny_config(data__source=source, data__holdout=0.25, data__max_images=13).data
    )
    assert len(limited.train) + len(limited.holdout) == 13
    share = len(whole.holdout) / (len(whole.train) + len(whole.holdout))
    assert abs(len(limited.holdout) - 13 * share) <= 0.5
    assert limited.notes["train"] == len(limited.train) and limited.notes["found"] == 40
    keys = [item.key for item in limited.train]
    assert len(set(keys)) == len(keys) and set(keys) <= {item.key for item in whole.train}
    assert min(keys) < "05" and max(keys) > "30"


def test_max_images_above_the_source_changes_nothing_and_one_is_refused(tmp_path):
    source = photos(tmp_path / "photos", [(200, 80, 60)] * 8)
    data = tiny_config(data__source=source, data__holdout=0.3).data
    whole = opening.open_source(data)
    assert opening.open_source(replace(data, max_images=100)).notes == whole.notes
    with pytest.raises(UserError, match="data.max_images is 1, want at least 2"):
        opening.open_source(replace(data, max_images=1))


def test_the_prior_leaves_a_runs_config_unchanged_and_saves_its_own_settings(tmp_path):
    runs.write_settings(tmp_path, tiny_config(space="lab"))
    before = (tmp_path / "config.json").read_bytes()
    prior(tiny_config(space="yuv"), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
    assert runs.read_json(tmp_path / "prior.json")["settings"]["space"] == "yuv"
