"""Propagation of known values over regions of similar lightness, against a direct solver."""

import jax
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.ops import propagation

HEIGHT, WIDTH = 11, 14


def lightness(seed=0):
    """A dark and a light half, with some noise."""
    noise = np.random.default_rng(seed).normal(0, 2, (HEIGHT, WIDTH, 1))
    halves = np.where(np.arange(WIDTH) < 7, 30, 70)[None, :, None]
    return (halves + noise).astype(np.float32)


def matrix(light):
    """Returns the affinities by their definition, pixel by pixel, in float64: sparse [n, n]."""
    found = scipy.sparse.lil_matrix((light.size, light.size))
    light = light[..., 0].astype(np.float64)
    for y, x in np.ndindex(light.shape):
        rows, columns = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
        variance = np.clip(
            propagation.VARIANCE_SHARE * light[rows, columns].var(), *propagation.VARIANCES
        )
        others = [
            (r, c)
            for r in range(light.shape[0])[rows]
            for c in range(light.shape[1])[columns]
            if (r, c) != (y, x)
        ]
        squares = np.array([(light[place] - light[y, x]) ** 2 for place in others])
        weights = np.exp(-(squares - squares.min()) / (2 * variance))
        for (r, c), weight in zip(others, weights / weights.sum(), strict=True):
            found[y * light.shape[1] + x, r * light.shape[1] + c] = weight
    return (found + found.T).tocsr() / 2


def test_propagation_agrees_with_a_direct_solver():
    light, rng = lightness(), np.random.default_rng(1)
    known = rng.normal(0, 30, (HEIGHT, WIDTH, 2)).astype(np.float32)
    trust = rng.uniform(5e-3, 2e-2, (HEIGHT, WIDTH, 1)).astype(np.float32)
    trust[3, 4] = trust[8, 10] = 100
    weights = matrix(light)
    system = scipy.sparse.diags(np.asarray(weights.sum(1)).ravel() + trust.ravel()) - weights
    right = trust.reshape(-1, 1).astype(np.float64) * known.reshape(-1, 2)
    want = scipy.sparse.linalg.spsolve(system.tocsc(), right).reshape(known.shape)
    found = jax.jit(propagation.propagate)(propagation.affinities(light), known, trust)
    assert_allclose(found, want, atol=0.1)
    assert np.abs(want - known).max() > 20


def test_affinities_are_symmetric_and_none_lead_out_of_the_picture():
    weights = np.asarray(propagation.affinities(lightness()))
    for i, (down, right) in enumerate(propagation.NEIGHBOURS):
        back = np.roll(weights[7 - i], (-down, -right), (0, 1))
        assert_allclose(weights[i][1:-1, 1:-1], back[1:-1, 1:-1], rtol=1e-6)
    assert_array_equal(weights[:3, 0], 0)
    assert_array_equal(weights[[0, 3, 5], :, 0], 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 6)])
def test_one_known_pixel_gives_a_uniform_picture_its_value_everywhere(shape):
    known, trust = np.zeros((*shape, 2), np.float32), np.zeros((*shape, 1), np.float32)
    known[0, -1], trust[0, -1] = (40, -25), 100
    weights = propagation.affinities(np.full((*shape, 1), 50, np.float32))
    found = propagation.propagate(weights, known, trust)
    assert_allclose(found, np.broadcast_to(known[0, -1], known.shape), atol=0.05)


def test_an_edge_stops_the_propagation():
    known, trust = (np.zeros((HEIGHT, WIDTH, n), np.float32) for n in (1, 1))
    trust += 1e-3
    known[5, 3], trust[5, 3] = 50, 100
    found = np.asarray(propagation.propagate(propagation.affinities(lightness()), known, trust))
    assert found[:, :7].min() > 15 and found[:, 7:].max() < 1


def test_results_stay_within_the_range_of_known_values():
    rng = np.random.default_rng(2)
    known = rng.uniform(-10, 10, (HEIGHT, WIDTH, 1)).astype(np.float32)
    trust = np.full((HEIGHT, WIDTH, 1), 1e-3, np.float32)
    found = propagation.propagate(propagation.affinities(lightness()), known, trust)
    assert known.min() - 0.01 <= found.min() and found.max() <= known.max() + 0.01
