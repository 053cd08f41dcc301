"""Canvases: photographs that share a program, and are coloured as if each were alone."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from networks import tiny_network
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.coloring.network import functions, shapes
from colorjax.coloring.network.shapes import network_shape
from colorjax.models import canvas
from colorjax.ops import resample

LIGHT = SimpleNamespace(encoder="efficientnet-lite0", upscaling="nearest")


def test_all_shapes_up_to_two_to_one_have_two_canvases_not_much_larger_than_they_are():
    found = {}
    for ratio in np.geomspace(0.5, 2, 500):
        shape = network_shape(1000, round(1000 * ratio), 144)
        found[shape] = shapes.canvas_of(shape, 144, LIGHT)
    assert len(found) == 8 and len(set(found.values())) == 2
    for shape, one in found.items():
        assert shape[0] <= one[0] and shape[1] <= one[1]
        assert one[0] * one[1] <= 1.6 * shape[0] * shape[1]


def test_longer_shapes_have_canvases_up_to_where_they_are_dear():
    found = {}
    for ratio in np.geomspace(2, 11.9, 500):
        shape = network_shape(1000, round(1000 * ratio), 144)
        found[shape] = shapes.canvas_of(shape, 144, LIGHT)
    assert len(found) == 16 and len(set(found.values())) <= 8
    assert all(one and one[0] * one[1] <= 1.5 * h * w for (h, w), one in found.items())
    assert shapes.canvas_of((512, 512), 512, LIGHT) is None


@pytest.mark.parametrize("other", [{"encoder": "vgg16"}, {"upscaling": "bilinear"}])
def test_networks_that_look_beyond_a_corner_have_no_canvas(other):
    assert shapes.canvas_of((144, 144), 144, SimpleNamespace(**(vars(LIGHT) | other))) is None


@pytest.mark.parametrize("factor", [1, 2, 16, 32])
def test_cells_of_a_picture_are_told_from_those_of_its_canvas(factor):
    sides = np.array([[80, 112], [112, 16]], np.int32)
    height, width = -(-112 // factor), -(-144 // factor)
    found = np.asarray(canvas.inside_mask(sides, 112, (2, height, width, 1)))
    for one, (rows, columns) in zip(found, sides, strict=True):
        want = np.zeros((height, width, 1), bool)
        want[: -(-rows // factor), : -(-columns // factor)] = True
        assert_array_equal(one, want)


def changed(network, seed=0):
    """A network without zero parameters, so that an effect of the padding would show."""
    rng = np.random.default_rng(seed)
    noisy = lambda x: np.abs(x + rng.normal(0.1, 0.1, x.shape)).astype(np.float32)  # noqa: E731
    variables = network.variables
    return {
        "params": jax.tree.map(
            lambda x: np.asarray(x) + rng.normal(0, 0.1, x.shape).astype(np.float32),
            variables["params"],
        ),
        "batch_stats": jax.tree.map(noisy, variables["batch_stats"]),
    }


def test_a_picture_on_a_canvas_has_the_scores_that_it_has_alone():
    network = tiny_network(**{"model.encoder": "efficientnet-lite0", "model.final_features": (8,)})
    variables, size = changed(network), [(80, 48), (64, 80)]
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (*one, 3), dtype=np.uint8) for one in size]
    pixels = np.full((2, 80, 80, 3), 200, np.uint8)
    for place, one in zip(pixels, photos, strict=True):
        place[: one.shape[0], : one.shape[1]] = one
    score = jax.jit(functions.score, static_argnums=0)
    config = network.config
    together = score(config, variables, pixels, np.array(size, np.int32))
    assert np.ptp(together.outputs) > 1
    for i, one in enumerate(photos):
        alone = score(config, variables, one[None])
        _, rows, columns, _ = alone.lightness.shape
        assert together.inside[i].sum() == rows * columns
        for mine, own in zip(together[:3], alone[:3], strict=True):
            assert_allclose(mine[i, :rows, :columns], own[0], rtol=1e-4, atol=1e-3)


def test_fits_at_the_edge_of_what_is_inside_are_those_of_the_picture_alone():
    rng = np.random.default_rng(0)
    chroma, lightness = rng.normal(0, 30, (2, 9, 12, 2)), rng.uniform(0, 100, (2, 9, 12, 1))
    inside = np.zeros((2, 9, 12, 1), bool)
    inside[:, :7, :5] = True
    fits = resample.fit_guided_filter(chroma, lightness, inside=inside)
    alone = resample.fit_guided_filter(chroma[:, :7, :5], lightness[:, :7, :5])
    assert_allclose(fits[:, :7, :5], alone, rtol=1e-4, atol=1e-3)
