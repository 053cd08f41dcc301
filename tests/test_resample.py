import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.transform import resize

from colorjax.ops import resample
from colorjax.ops.resample import conv_same, conv_upsampled, upsample
from colorjax.training import parallel

X = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_nearest_repeats_each_pixel(factor):
    assert_array_equal(upsample(X, factor), X.repeat(factor, 1).repeat(factor, 2))


@pytest.mark.parametrize("factor", [2, 4])
def test_bilinear_agrees_with_skimage(factor):
    expected = resize(X[0], (3 * factor, 5 * factor), order=1, mode="edge", anti_aliasing=False)
    assert_allclose(upsample(X, factor, method="bilinear")[0], expected, atol=1e-5)


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="'cubic'"):
        upsample(jnp.zeros((1, 2, 2, 1)), 2, method="cubic")


def xla_conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def plain_conv(maps, kernel):
    """What `conv_upsampled` must equal: upsample, concatenate, convolve."""
    x = jnp.concatenate([upsample(x, factor) for x, factor in maps], axis=-1)
    return xla_conv(x, kernel)


def random_case(factors, channels, dtype, height=16, width=24, features=3):
    """Returns maps (without factors), kernel, bias, and the weights of the outputs in a loss."""
    rng = np.random.default_rng(0)
    maps = [
        rng.normal(size=(2, height // factor, width // factor, depth))
        for factor, depth in zip(factors, channels, strict=True)
    ]
    kernel = rng.normal(size=(3, 3, sum(channels), features)) / np.sqrt(9 * sum(channels))
    weights = rng.normal(size=(2, height, width, features)) / np.sqrt(height * width)
    case = (maps, kernel, rng.normal(size=features), weights)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), case)


def outputs_and_gradients(conv, factors, maps, kernel, bias, weights):
    def loss(maps, kernel, bias):
        y = conv(list(zip(maps, factors, strict=True)), kernel) + bias
        return jnp.vdot(weights, y), y

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(maps, kernel, bias)


@pytest.mark.parametrize(
    "factors, channels",
    [
        ((1,), (5,)),
        ((2,), (3,)),
        ((4,), (3,)),
        ((8,), (1,)),
        ((8, 4, 2, 1), (5, 3, 1, 2)),
        ((2, 8, 1, 8), (1, 3, 3, 2)),
        ((8, 4), (3, 5)),
    ],
)
def test_convolving_before_upsampling_changes_neither_outputs_nor_gradients(factors, channels):
    with jax.enable_x64(True):
        case = random_case(factors, channels, jnp.float64)
        fast = outputs_and_gradients(conv_upsampled, factors, *case)
        plain = outputs_and_gradients(plain_conv, factors, *case)
    for ours, expected in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        assert ours.dtype == jnp.float64
        assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_convolving_before_upsampling_is_as_accurate_in_float32():
    factors = (8, 4, 2, 1)
    case = random_case(factors, (16, 8, 4, 4), jnp.float32)
    fast = outputs_and_gradients(conv_upsampled, factors, *case)
    plain = outputs_and_gradients(plain_conv, factors, *case)
    for ours, expected in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_a_map_of_one_pixel_is_padded_with_zeros():
    x, kernel = jnp.ones((1, 1, 1, 1)), jnp.ones((3, 3, 1, 1))
    y = conv_upsampled([(x, 4)], kernel)[0, :, :, 0]
    assert_array_equal(y, np.outer([2, 3, 3, 2], [2, 3, 3, 2]))


@pytest.mark.parametrize(
    "maps, message",
    [
        ([((4, 4, 3), 3)], "3, want a power of two"),
        ([((4, 4, 1), 2), ((4, 4, 2), 1)], "want one size"),
        ([((4, 4, 2), 2)], "want \\(3, 3, 2\\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, message):
    maps = [(jnp.zeros((1, *shape)), factor) for shape, factor in maps]
    with pytest.raises(ValueError, match=message):
        conv_upsampled(maps, jnp.zeros((3, 3, 3, 1)))


# A single band, bands with a remainder of rows, and bands of a single row.
@pytest.mark.parametrize("shape", [(2, 7, 5), (3, 41, 50), (1, 3, 3000)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_kernel_gradient_in_bands_is_that_of_the_convolution(shape, size):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel, g = (
            jnp.asarray(rng.normal(size=s)) for s in [(*shape, 3), (size, size, 3, 2), (*shape, 2)]
        )
        y, ours = jax.vjp(jax.jit(conv_same), x, kernel)
        expected_y, expected = jax.vjp(jax.jit(xla_conv), x, kernel)
        assert_array_equal(y, expected_y)
        for a, b in zip(ours(g), expected(g), strict=True):
            assert_allclose(a, b, rtol=0, atol=1e-12 * float(jnp.abs(b).max()))


def test_the_kernel_gradient_in_bfloat16_is_summed_in_float32():
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    gradient = jax.grad(lambda k: conv_same(x, k).sum().astype(jnp.float32))(
        jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    )
    assert gradient.dtype == jnp.bfloat16 and float(gradient[0, 0, 0, 0]) == 4096


def test_box_means_are_those_of_the_pixels_inside():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 9, 3))
    result = resample.box_mean(jnp.asarray(x), 2)
    for i, j in np.ndindex(7, 9):
        inside = x[:, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
        assert_allclose(result[:, i, j], inside.mean(axis=(1, 2)), atol=1e-5)


def test_fits_are_those_of_least_squares_in_every_window():
    rng = np.random.default_rng(0)
    lightness = rng.uniform(0, 100, (9, 11))
    chroma = rng.normal(scale=30, size=(9, 11, 2))
    radius, smoothness = 1, 3.0
    slope, offset = np.zeros((9, 11, 2)), np.zeros((9, 11, 2))
    for i, j in np.ndindex(9, 11):
        window = slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2)
        light = lightness[window].ravel()
        for c in range(2):
            values = chroma[(*window, c)].ravel()
            # Ridge regression of the slope, written as a system of equations.
            a = np.array(
                [
                    [light @ light + light.size * smoothness**2, light.sum()],
                    [light.sum(), light.size],
                ]
            )
            slope[i, j, c], offset[i, j, c] = np.linalg.solve(a, [light @ values, values.sum()])
    fits = resample.fit_guided_filter(
        jnp.asarray(chroma), jnp.asarray(lightness)[..., None], radius=radius, smoothness=smoothness
    )
    inside = slice(2, -2), slice(2, -2)
    for part, want in ((fits[..., :2], slope), (fits[..., 2:4], offset)):
        means = [
            [want[i - 1 : i + 2, j - 1 : j + 2].mean(axis=(0, 1)) for j in range(2, 9)]
            for i in range(2, 7)
        ]
        assert_allclose(part[inside], means, rtol=1e-3, atol=2e-3)


def test_lightness_outside_the_range_of_a_fit_is_clipped_to_it():
    lightness = jnp.linspace(40.0, 60.0, 8)[None, :, None] * jnp.ones((8, 1, 1))
    fits = resample.fit_guided_filter(jnp.concatenate([lightness, -lightness], -1), lightness)
    fit = fits[4, 4]
    low, high = float(fit[4]), float(fit[5])
    for outside, edge in ((0.0, low), (100.0, high)):
        assert_allclose(
            resample.apply_fits(fit, jnp.array([outside])),
            resample.apply_fits(fit, jnp.array([edge])),
        )


@pytest.mark.parametrize("shape, size", [((5, 7), (23, 40)), ((1, 1), (3, 4)), ((6, 1), (12, 5))])
def test_bilinear_samples_agree_with_jax_image_resize(shape, size):
    x = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    rows, columns = ((np.arange(n) + 0.5) * (m / n) - 0.5 for n, m in zip(size, shape, strict=True))
    want = jax.image.resize(x, (*size, 2), "bilinear")
    assert_allclose(resample.sample_bilinear(jnp.asarray(x), rows, columns), want, atol=1e-5)


def test_unguided_fits_leave_chroma_unchanged():
    chroma = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 2)), jnp.float32)
    fits = resample.unguided_fits(chroma)
    assert_array_equal(resample.apply_fits(fits, jnp.full((4, 5, 1), 70.0)), chroma)


def test_kernel_gradients_are_scheduled_before_input_gradients():
    rng = np.random.default_rng(0)
    kernels = list(jnp.asarray(rng.normal(size=(3, 3, 3, 4, 4)), jnp.float32))
    x = jnp.asarray(rng.normal(size=(1, 8, 8, 4)), jnp.float32)

    def loss(kernels, x):
        for kernel in kernels:
            x = jnp.tanh(conv_same(x, kernel))
        return jnp.sum(x)

    gradient = jax.jit(jax.grad(loss))
    compiled = gradient.lower(kernels, x).compile(compiler_options=parallel.CPU_OPTIONS)
    # Without these barriers, a step of the paper's network needs a third more memory.
    assert compiled.as_text().count("opt-barrier(") >= len(kernels) - 1
    for ordered, free in zip(compiled(kernels, x), gradient(kernels, x), strict=True):
        assert_allclose(ordered, free, rtol=0, atol=1e-6 * jnp.abs(free).max())
