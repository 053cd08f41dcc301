"""The likely colours of one pixel, and prepared pictures, for which the network runs once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import rebalanced_network, save_run, tiny_network
from numpy.testing import assert_allclose, assert_array_equal

from colorjax import Colorizer
from colorjax.coloring import colorize, confidence, likely_colours, prepared
from colorjax.coloring.folders import batch
from colorjax.coloring.folders.naming import Job
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.ops import color, decoding
from colorjax.pictures import image_io

DEVICE = jax.devices()[0]


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    return Colorizer(save_run(tmp_path_factory.mktemp("run"), tiny_network()))


def photo(height=64, width=96):
    """Gray noise, which has no borders."""
    gray = np.random.default_rng(0).integers(60, 200, (height, width, 1), dtype=np.uint8)
    return np.repeat(gray, 3, -1)


def luv_of(likely):
    return np.asarray(
        color.rgb_u8_to_luv(np.frombuffer(bytes.fromhex(likely.colour[1:]), np.uint8))
    )


def test_a_distribution_gives_every_pair_of_bins_its_joint_probability():
    logits = jnp.log(jnp.array([[[0.25, 0.75], [0.9, 0.1]]]))
    values = jnp.array([[[-5.0], [5.0]], [[7.0], [9.0]]])
    probabilities, chroma = decoding.distribution(logits, values)
    assert_allclose(probabilities, [[0.225, 0.025, 0.675, 0.075]], rtol=1e-5)
    assert_array_equal(chroma, [[-5, 7], [-5, 9], [5, 7], [5, 9]])


def test_a_distribution_of_joint_bins_is_that_of_the_bins():
    logits = jnp.log(jnp.array([[0.2, 0.5, 0.3]]))
    values = jnp.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    probabilities, chroma = decoding.distribution(logits, values)
    assert_allclose(probabilities, [0.2, 0.5, 0.3], rtol=1e-5)
    assert_array_equal(chroma, values[0])


def test_similar_colours_are_merged_and_sorted_by_probability():
    luv = np.array([[50, 0, 0], [50, 60, 0], [50, 5, 0], [50, 0, 60], [50, 0, -60]], float)
    rgb = np.arange(15, dtype=np.uint8).reshape(5, 3)
    probabilities = np.array([0.3, 0.25, 0.2, 0.2495, 0.0005])
    found = likely_colours.distinct(probabilities, luv, rgb, 8)
    assert [one.colour for one in found] == ["#000102", "#030405", "#090a0b"]
    assert_allclose([one.probability for one in found], [0.5, 0.25, 0.2495])
    assert likely_colours.distinct(probabilities, luv, rgb, 2) == found[:2]


def test_likely_colours_follow_the_networks_output_at_the_pixel(colorizer):
    rgb = photo()
    found = colorizer.likely(rgb, 40, 30, count=5)
    probabilities = [one.probability for one in found]
    assert (
        len(found) == 5
        and probabilities == sorted(probabilities, reverse=True)
        and sum(probabilities) <= 1.0
    )
    pixel = np.asarray(color.rgb_u8_to_luv(rgb[30, 40]))
    for i, one in enumerate(found):
        assert abs(luv_of(one)[0] - pixel[0]) < 1.0
        for other in found[:i]:
            assert np.hypot(*(luv_of(one) - luv_of(other))[1:]) > likely_colours.MIN_DISTANCE - 2
    # The likeliest colour is that of argmax, unless others are merged with it.
    painter = colorizer._painter
    analysis = colorize.analyze(painter, rgb)
    height, width = analysis.scores.outputs.shape[1:3]
    logits = analysis.scores.outputs[0, 30 * height // 64, 40 * width // 96]
    best = np.argmax(logits, -1) * 4.0 - 98
    nearest = min(np.hypot(*(luv_of(one)[1:] - best)) for one in found)
    assert nearest < likely_colours.MIN_DISTANCE + 2


def test_black_and_white_pixels_have_distinguishable_likely_colours(colorizer):
    rgb = photo()
    rgb[10, 10], rgb[20, 20] = 0, 255
    for x, lightness in ((10, likely_colours.LIGHTNESS[0]), (20, likely_colours.LIGHTNESS[1])):
        found = colorizer.likely(rgb, x, x)
        assert len(found) > 1
        assert all(abs(luv_of(one)[0] - lightness) < 1.0 for one in found)


def test_rebalancing_makes_rare_colours_likelier(tmp_path):
    colorizer = Colorizer(save_run(tmp_path, rebalanced_network(0.5)))
    usual, own, rare = (colorizer.likely(photo(), 5, 5, rebalance=r) for r in (0.0, None, 1.0))
    chroma = [
        sum(one.probability * np.hypot(*luv_of(one)[1:]) for one in found)
        / sum(one.probability for one in found)
        for found in (usual, own, rare)
    ]
    assert chroma[0] < chroma[1] < chroma[2]


@pytest.mark.parametrize(
    "position, options, message",
    [
        ((96, 3), {}, "96,3: is outside the picture of 96 x 64 pixels"),
        ((3, -1), {}, "3,-1: is outside"),
        ((1.5, 2), {}, "pixel has the position 1.5, 2, want whole numbers of pixels"),
        (("3", 2), {}, "want whole numbers of pixels"),
        ((1, 1), {"count": 0}, "count is 0"),
        ((1, 1), {"rebalance": 0.5}, "training was not rebalanced"),
    ],
)
def test_an_invalid_pixel_or_option_is_one_sentence(colorizer, position, options, message):
    with pytest.raises(UserError, match=message):
        colorizer.likely(photo(), *position, **options)


def test_likely_colours_work_in_another_colour_space(tmp_path):
    colorizer = Colorizer(save_run(tmp_path, tiny_network(space="hsv")))
    rgb = np.full((64, 96, 3), 128, np.uint8)
    found = colorizer.likely(rgb, 40, 30)
    lightness = float(color.rgb_u8_to_luv(rgb[0, 0])[0])
    assert len(found) > 3 and all(abs(luv_of(one)[0] - lightness) < 1.0 for one in found)


def test_a_regression_model_has_no_likely_colours(tmp_path):
    colorizer = Colorizer(save_run(tmp_path, tiny_network(objective="regression")))
    with pytest.raises(UserError, match="predicts chroma itself"):
        colorizer.likely(photo(), 1, 1)


def test_a_prepared_picture_gives_the_same_results_with_one_network_run(colorizer, monkeypatch):
    rgb = np.zeros((84, 116, 3), np.uint8)
    rgb[10:74, 10:106] = photo()  # surrounded by borders, which the network is not given
    want = [
        ColorSettings(),
        ColorSettings("sample", 0.8, seed=3, saturation=1.5),
        ColorSettings(edges="bilinear", hints=((20, 30, "#a04030"),)),
    ]
    found = [np.asarray(colorizer.colorize(rgb, **one._asdict())) for one in want]
    confidence_map = colorizer.confidence(rgb)
    runs, analyze = [], prepared.analyze
    monkeypatch.setattr(prepared, "analyze", lambda *args: runs.append(1) or analyze(*args))
    picture = colorizer.prepare(rgb)
    for one, result in zip(want, found, strict=True):
        assert_array_equal(np.asarray(picture.colorize(**one._asdict())), result)
    assert_array_equal(picture.confidence(), np.asarray(confidence_map))
    assert picture.likely(50, 50) and len(runs) == 1
    # A query on a border needs a run on the whole picture.
    assert picture.likely(2, 2) and len(runs) == 2
    picture.colorize(hints=[(2, 3, "#a04030")])
    small = picture._analyses[picture._inner].small
    assert len(runs) == 2 and picture.nbytes > rgb.nbytes + 2 * small.nbytes


def test_the_confidence_map_needs_no_further_network_run(tmp_path):
    painter = colorize.open_painter(tiny_network())
    runs = []
    score = painter.score
    painter = painter._replace(score=lambda *args: runs.append(1) or score(*args))
    path = str(tmp_path / "a.png")
    image_io.write(tmp_path / "a.png", photo())
    job = Job(path, (str(tmp_path / "b.png"),), None, confidence=str(tmp_path / "c.png"))
    (done,) = batch.run(painter, [job], [ColorSettings()])
    assert not done.fault and len(runs) == 1
    want = confidence.of_photo(painter, photo())
    assert_array_equal(image_io.read_rgb(tmp_path / "c.png")[..., 0], want)
