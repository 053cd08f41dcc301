"""Confidence maps: their values, and that errors are larger where confidence is low."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from networks import rebalanced_network, tiny_network
from numpy.testing import assert_allclose
from PIL import Image

import colorjax
from colorjax.coloring import colorize, confidence
from colorjax.errors import UserError
from colorjax.ops import color, decoding
from colorjax.pictures import mark

SAMPLE = Path(colorjax.__file__).parent / "data" / "sample"


def test_confidence_is_one_minus_the_normalized_entropy():
    sure, none, half = [0.0, -1e4, -1e4, -1e4], [3.0] * 4, [0.0, 0.0, -1e4, -1e4]
    found = decoding.confidence(jnp.array([[sure], [none], [half]]))
    assert_allclose(found, [1.0, 0.0, 0.5], atol=1e-6)


def test_confidence_of_several_groups_is_their_mean():
    groups = jnp.array([[[0.0, -1e4], [2.0, 2.0]]])
    assert_allclose(decoding.confidence(groups), [0.5], atol=1e-6)


def test_undoing_the_rebalancing_restores_the_confidence():
    frequencies = np.array([[0.9, 0.06, 0.04]])
    weights = np.array([[0.2, 3.0, 4.5]])
    learned = jnp.log(jnp.asarray(frequencies * weights))
    plain = decoding.confidence(jnp.log(jnp.asarray(frequencies)))
    restored = decoding.undo_rebalancing(learned, weights, 1.0)
    assert_allclose(decoding.confidence(restored), plain, rtol=1e-4)
    assert decoding.confidence(learned) < plain - 0.1


def test_a_painters_confidence_undoes_the_rebalancing_of_the_loss():
    painter = colorize.open_painter(rebalanced_network(0.5))
    outputs = jnp.zeros((1, 2, 2, 2, 50))  # equal before rebalancing is undone
    found = painter.confidence(colorize.Scores(outputs, None, None))
    assert np.asarray(found).min() > 0.05


def test_a_confidence_map_has_the_size_of_its_photo_and_white_borders():
    painter = colorize.open_painter(tiny_network())
    photo = np.random.default_rng(0).integers(60, 200, (90, 130, 3), dtype=np.uint8)
    inner = confidence.of_photo(painter, photo)
    assert inner.shape == (90, 130) and inner.dtype == np.uint8 and inner.max() < 255
    framed = np.zeros((110, 150, 3), np.uint8)
    framed[10:100, 10:140] = photo
    found = confidence.of_photo(painter, framed)
    assert (found[:10] == 255).all() and (found[:, 140:] == 255).all()
    np.testing.assert_array_equal(found[10:100, 10:140], inner)


def test_a_regression_model_has_no_confidence():
    painter = colorize.open_painter(tiny_network(objective="regression"))
    with pytest.raises(UserError, match="has no confidence: want a model that scores"):
        confidence.of_photo(painter, np.zeros((8, 8, 3), np.uint8))


def test_a_confidence_file_is_gray_and_marked_and_replaces_no_file(tmp_path):
    path = tmp_path / "new" / "a.png"
    confidence.write(str(path), np.arange(6, dtype=np.uint8).reshape(2, 3), overwrite=False)
    assert Image.open(path).mode == "L" and mark.is_marked(path)
    with pytest.raises(UserError, match="exists already"):
        confidence.write(str(path), np.zeros((2, 3), np.uint8), overwrite=False)


@pytest.fixture(scope="module")
def errors():
    """Confidence and chroma error of all bundled photographs."""
    colorizer = colorjax.Colorizer()
    pairs = []
    for path in sorted(SAMPLE.glob("*.jpg")):
        with Image.open(path) as image:
            small = np.asarray(image.convert("RGB").resize((160, 120)))
        found = np.asarray(colorizer.colorize(small))
        chroma, truth = (np.asarray(color.rgb_u8_to_luv(x))[..., 1:] for x in (found, small))
        error = np.hypot(*np.moveaxis(chroma - truth, -1, 0))
        pairs.append((np.asarray(colorizer.confidence(small)), error))
    return [np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1)]


def test_error_falls_as_confidence_rises(errors):
    sure, error = errors
    fifths = np.array_split(error[np.argsort(sure, kind="stable")], 5)
    means = [float(part.mean()) for part in fifths]
    assert means[0] > means[2] > means[4] and means[0] > 1.3 * means[4], means
