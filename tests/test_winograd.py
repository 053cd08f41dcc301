"""Winograd's convolution against XLA's own, and when it is used."""

from itertools import product

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from colorjax.ops import resample, winograd


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def test_the_transforms_compute_four_sums_of_three_products():
    to_kernel, to_input, to_result = (
        np.array(rows, np.float64)
        for rows in (winograd.KERNEL_TRANSFORM, winograd.INPUT_TRANSFORM, winograd.OUTPUT_TRANSFORM)
    )
    for row, element, pixel in product(range(4), range(3), range(6)):
        sum_of_products = to_result[row] @ (to_kernel[:, element] * to_input[:, pixel])
        assert abs(sum_of_products - (pixel == row + element)) < 1e-12


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (4, 4), (5, 2), (12, 7)])
def test_it_equals_the_plain_convolution_at_every_height(height, width):
    x, kernel = random((2, height, width, 8)), random((3, 3, 8, 5), 1)
    want = plain(x, kernel)
    assert_allclose(winograd.conv(x, kernel), want, rtol=0, atol=1e-5 * jnp.abs(want).max())


def test_errors_do_not_grow_with_many_channels():
    x, kernel = jnp.maximum(random((1, 8, 8, 512)), 0), random((3, 3, 512, 16), 1)
    want = plain(x, kernel)
    assert_allclose(winograd.conv(x, kernel), want, rtol=0, atol=1e-5 * jnp.abs(want).max())


@pytest.fixture
def without_a_minimum(monkeypatch):
    monkeypatch.setattr(winograd, "MIN_PRODUCTS", 1)


def test_gradients_are_those_of_the_plain_convolution(without_a_minimum):
    x, kernel, g = random((2, 6, 8, 32)), random((3, 3, 32, 40), 1), random((2, 6, 8, 40), 2)
    assert winograd.is_faster(x, kernel)
    want = jax.vjp(plain, x, kernel)[1](g)
    found = jax.vjp(resample.conv_same, x, kernel)[1](g)
    for mine, theirs in zip(found, want, strict=True):
        assert_allclose(mine, theirs, rtol=0, atol=1e-5 * jnp.abs(theirs).max())


def test_in_training_the_convolution_is_the_plain_one(without_a_minimum):
    def in_training(x, kernel):
        return jax.vjp(resample.conv_same, x, kernel)[0]

    x, kernel = shapes(224, 64)
    program = jax.jit(in_training).trace(x, kernel).lower(lowering_platforms=("cpu",))
    assert program.as_text().count("stablehlo.convolution") == 1


def uses_winograd(x, kernel):
    """Returns whether a convolution is compiled to the six smaller ones of `winograd.conv`."""
    return str(jax.make_jaxpr(resample.conv_same)(x, kernel)).count("conv_general_dilated") > 6


def shapes(side, channels, dtype="float32", kernel=3):
    x = jax.ShapeDtypeStruct((1, side, side, channels), dtype)
    return x, jax.ShapeDtypeStruct((kernel, kernel, channels, channels), dtype)


def test_it_is_used_only_for_large_convolutions_in_float32():
    assert uses_winograd(*shapes(224, 64)) and uses_winograd(*shapes(28, 512))
    assert not uses_winograd(*shapes(32, 64))  # few products
    assert not uses_winograd(*shapes(224, 64, "bfloat16"))  # its errors would be visible
    assert not uses_winograd(*shapes(224, 256, kernel=1))
    long = jax.ShapeDtypeStruct((1, 44, 1488, 64), "float32")
    assert not uses_winograd(
        long, shapes(44, 64)[1]
    )  # a panorama is treated like any picture of its height
    assert not uses_winograd(*shapes(2048, 16))  # few channels: more sums than products


def test_other_devices_use_the_plain_convolution():
    x, kernel = shapes(224, 64)
    traced = jax.jit(resample.conv_same).trace(x, kernel)
    on_gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert on_gpu.count("stablehlo.convolution") == 1
    assert on_cpu.count("stablehlo.convolution") == 6


def test_an_image_of_symbolic_size_uses_the_plain_convolution():
    height, width = jax.export.symbolic_shape("h, w")
    x = jax.ShapeDtypeStruct((1, height, width, 64), "float32")
    kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), "float32")
    program = jax.export.export(jax.jit(resample.conv_same), platforms=("cpu",))(x, kernel)
    assert program.mlir_module().count("stablehlo.convolution") == 1
