import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.transform import resize

from colorjax.resample import upsample

X = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_nearest_repeats_each_pixel(factor):
    assert_array_equal(upsample(X, factor), X.repeat(factor, 1).repeat(factor, 2))


@pytest.mark.parametrize("factor", [2, 4])
def test_bilinear_agrees_with_skimage(factor):
    expected = resize(X[0], (3 * factor, 5 * factor), order=1, mode="edge", anti_aliasing=False)
    assert_allclose(upsample(X, factor, "bilinear")[0], expected, atol=1e-5)


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="'cubic'"):
        upsample(jnp.zeros((1, 2, 2, 1)), 2, "cubic")
