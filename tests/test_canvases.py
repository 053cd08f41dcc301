"""Canvases: photos of different shapes share a program, with the same results as alone."""

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


def test_all_shapes_up_to_two_to_one_share_two_canvases_of_similar_size():
    canvases = {}
    for ratio in np.geomspace(0.5, 2, 500):
        shape = network_shape(1000, round(1000 * ratio), 144)
        canvases[shape] = shapes.canvas_of(shape, 144, LIGHT)
    assert len(canvases) == 8 and len(set(canvases.values())) == 2
    for shape, canvas_shape in canvases.items():
        assert shape[0] <= canvas_shape[0] and shape[1] <= canvas_shape[1]
        assert canvas_shape[0] * canvas_shape[1] <= 1.6 * shape[0] * shape[1]


def test_longer_shapes_share_canvases_and_large_shapes_have_none():
    canvases = {}
    for ratio in np.geomspace(2, 11.9, 500):
        shape = network_shape(1000, round(1000 * ratio), 144)
        canvases[shape] = shapes.canvas_of(shape, 144, LIGHT)
    assert len(canvases) == 16 and len(set(canvases.values())) <= 8
    assert all(one and one[0] * one[1] <= 1.5 * h * w for (h, w), one in canvases.items())
    assert shapes.canvas_of((512, 512), 512, LIGHT) is None


@pytest.mark.parametrize("other", [{"encoder": "vgg16"}, {"upscaling": "bilinear"}])
def test_networks_that_read_beyond_the_picture_have_no_canvas(other):
    assert shapes.canvas_of((144, 144), 144, SimpleNamespace(**(vars(LIGHT) | other))) is None


@pytest.mark.parametrize("factor", [1, 2, 16, 32])
def test_the_inside_mask_marks_the_cells_of_the_picture(factor):
    sides = np.array([[80, 112], [112, 16]], np.int32)
    height, width = -(-112 // factor), -(-144 // factor)
    masks = np.asarray(canvas.inside_mask(sides, 112, (2, height, width, 1)))
    for mask, (rows, columns) in zip(masks, sides, strict=True):
        want = np.zeros((height, width, 1), bool)
        want[: -(-rows // factor), : -(-columns // factor)] = True
        assert_array_equal(mask, want)


def perturbed_variables(network, seed=0):
    """Returns variables without zeros, so that an effect of the padding would show."""
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


@pytest.mark.slow
def test_a_picture_on_a_canvas_has_the_same_outputs_as_alone():
    network = tiny_network(**{"model.encoder": "efficientnet-lite0", "model.final_features": (8,)})
    variables, sizes = perturbed_variables(network), [(80, 48), (64, 80)]
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in sizes]
    pixels = np.full((2, 80, 80, 3), 200, np.uint8)
    for target, photo in zip(pixels, photos, strict=True):
        target[: photo.shape[0], : photo.shape[1]] = photo
    score = jax.jit(functions.score, static_argnums=0)
    config = network.config
    together = score(config, variables, pixels, np.array(sizes, np.int32))
    assert np.ptp(together.outputs) > 1
    for i, photo in enumerate(photos):
        alone = score(config, variables, photo[None])
        _, rows, columns, _ = alone.lightness.shape
        assert together.inside[i].sum() == rows * columns
        for got, want in zip(together[:3], alone[:3], strict=True):
            assert_allclose(got[i, :rows, :columns], want[0], rtol=1e-4, atol=1e-3)


def test_filter_fits_on_a_canvas_equal_those_of_the_picture_alone():
    rng = np.random.default_rng(0)
    chroma, lightness = rng.normal(0, 30, (2, 9, 12, 2)), rng.uniform(0, 100, (2, 9, 12, 1))
    inside = np.zeros((2, 9, 12, 1), bool)
    inside[:, :7, :5] = True
    fits = resample.fit_guided_filter(chroma, lightness, inside=inside)
    alone = resample.fit_guided_filter(chroma[:, :7, :5], lightness[:, :7, :5])
    assert_allclose(fits[:, :7, :5], alone, rtol=1e-4, atol=1e-3)
