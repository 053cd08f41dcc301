"""The VGG16 encoder, compared with Keras, Flax's pooling and arrays computed by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.models import vgg16
from colorjax.models.vgg16 import VGG16

ALL = "block5_pool"


def random_images(seed, channels=3, size=32, batch=2):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (batch, size, size, channels)).astype(np.float32)


def init(model, images):
    return jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(images)


def infer(model, variables, images):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)


def train(model, variables, images):
    def apply(variables, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    return jax.jit(apply)(variables, images)


@pytest.fixture(scope="module")
def keras_vgg16():
    """Keras's VGG16 with random kernels and biases, giving the activations of all its layers."""
    keras = pytest.importorskip("keras")
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if "conv" in layer.name:
            kernel, bias = layer.get_weights()
            # He's scale keeps the activations' size, so that a lost bias shows in every layer.
            kernel = rng.normal(0, (2 / kernel[..., 0].size) ** 0.5, kernel.shape)
            layer.set_weights([kernel, rng.normal(0, 20, bias.shape)])
    return keras.Model(model.inputs, {layer.name: layer.output for layer in model.layers[1:]})


@pytest.fixture(scope="module")
def weights(keras_vgg16):
    weights = {}
    for layer in keras_vgg16.layers:
        if "conv" in layer.name:
            kernel, bias = layer.get_weights()
            weights[layer.name] = {"kernel": kernel, "bias": bias}
    weights["block1_conv1"]["kernel"] = weights["block1_conv1"]["kernel"][:, :, ::-1]
    return weights


def keras_taps(model, rgb):
    from keras.applications.vgg16 import preprocess_input

    return {n: np.asarray(x) for n, x in model([preprocess_input(rgb.copy())]).items()}


def assert_taps_close(taps, wanted):
    assert list(taps) == list(vgg16.layers_up_to(list(taps)[-1]))
    for name, tap in taps.items():
        error = np.abs(np.asarray(tap) - wanted[name]).max()
        assert error < 1e-4 * np.abs(wanted[name]).max(), name


def test_every_tap_equals_keras(keras_vgg16, weights):
    params, stats = vgg16.from_pretrained(weights, batch_norm=False, last_layer=ALL)
    rgb = random_images(1)
    taps = infer(VGG16(ALL, batch_norm=False), {"params": params}, rgb)
    assert stats == {}
    assert len(taps) == 18
    assert_taps_close(taps, keras_taps(keras_vgg16, rgb))


def test_gray_counts_as_three_equal_channels(keras_vgg16, weights):
    params, _ = vgg16.from_pretrained(weights, batch_norm=False)
    gray = random_images(2, channels=1)
    taps = infer(VGG16(batch_norm=False), {"params": params}, gray)
    assert_taps_close(taps, keras_taps(keras_vgg16, np.repeat(gray, 3, axis=-1)))


def test_calibrated_batch_norm_equals_keras_on_any_input(keras_vgg16, weights):
    params, stats = vgg16.batch_norm_from_pretrained(weights, random_images(3), ALL)
    variables = {"params": params, "batch_stats": stats}
    rgb = random_images(4)
    taps = infer(VGG16(ALL), variables, rgb)
    assert_taps_close(taps, keras_taps(keras_vgg16, rgb))


def test_calibrated_batch_norm_equals_keras_in_training_on_its_batch(keras_vgg16, weights):
    rgb = random_images(3)
    params, stats = vgg16.batch_norm_from_pretrained(weights, rgb)
    variables = {"params": params, "batch_stats": stats}
    taps, _ = train(VGG16(), variables, rgb)
    assert_taps_close(taps, keras_taps(keras_vgg16, rgb))


def test_calibrated_batch_norm_uses_the_epsilon(weights):
    params, stats = vgg16.batch_norm_from_pretrained(weights, random_images(3), "block1_conv1", 2.0)
    want = np.sqrt(stats["block1_conv1_bn"]["var"] + 2)
    np.testing.assert_allclose(params["block1_conv1_bn"]["scale"], want, rtol=1e-6)


def random_weights():
    rng = np.random.default_rng(5)
    return {
        name: {
            "kernel": rng.normal(0, 0.1, shape).astype(np.float32),
            "bias": rng.normal(0, 1, shape[-1:]).astype(np.float32),
        }
        for name, shape in vgg16.layer_shapes("block2_conv2").items()
    }


@pytest.mark.parametrize("origin", ["plain", "plain with batch norm", "calibrated"])
def test_pretrained_variables_have_the_structure_of_init(origin):
    last, images = "block2_conv2", random_images(6, size=8)
    if origin == "calibrated":
        params, stats = vgg16.batch_norm_from_pretrained(random_weights(), images, last)
    else:
        params, stats = vgg16.from_pretrained(random_weights(), origin != "plain", last)
    fresh = jax.eval_shape(lambda: init(VGG16(last, batch_norm=origin != "plain"), images))

    def structure(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    assert structure(params) == structure(fresh["params"])
    assert structure(stats) == structure(fresh.get("batch_stats", {}))


def test_uncalibrated_batch_norm_keeps_the_kernels_and_starts_as_a_fresh_norm():
    weights = random_weights()
    params, stats = vgg16.from_pretrained(weights, last_layer="block1_conv1")
    np.testing.assert_array_equal(
        params["block1_conv1"]["kernel"], weights["block1_conv1"]["kernel"]
    )
    assert set(params["block1_conv1"]) == {"kernel"}
    norm = params["block1_conv1_bn"] | stats["block1_conv1_bn"]
    assert {name: set(np.asarray(x).tolist()) for name, x in norm.items()} == {
        "scale": {1},
        "bias": {0},
        "mean": {0},
        "var": {1},
    }


def test_layer_shapes_are_those_of_the_published_network():
    shapes = vgg16.layer_shapes()
    assert len(shapes) == 13
    assert shapes["block1_conv1"] == (3, 3, 3, 64)
    assert shapes["block3_conv1"] == (3, 3, 128, 256)
    assert shapes["block5_conv3"] == (3, 3, 512, 512)
    # Keras gives its VGG16 without the classifier as many parameters.
    assert sum(np.prod(shape) + shape[-1] for shape in shapes.values()) == 14_714_688


def test_width_scales_channels_but_leaves_one_at_least():
    assert vgg16.layer_shapes("block2_conv1", width=0.25) == {
        "block1_conv1": (3, 3, 3, 16),
        "block1_conv2": (3, 3, 16, 16),
        "block2_conv1": (3, 3, 16, 32),
    }
    assert vgg16.layer_shapes("block1_conv1", width=1e-3) == {"block1_conv1": (3, 3, 3, 1)}


def test_layers_after_the_last_are_not_built():
    model = VGG16("block2_pool", width=0.1)
    taps, variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), random_images(7), train=False)
    )
    assert list(taps) == [
        "block1_conv1",
        "block1_conv2",
        "block1_pool",
        "block2_conv1",
        "block2_conv2",
        "block2_pool",
    ]
    convs = {"block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"}
    assert set(variables["params"]) == convs | {f"{name}_bn" for name in convs}
    assert taps["block2_pool"].shape == (2, 8, 8, 12)


def test_an_unknown_last_layer_raises_a_user_error():
    with pytest.raises(UserError, match="block9_conv1.*block1_conv1.*block5_pool"):
        vgg16.layer_shapes("block9_conv1")


@pytest.mark.parametrize("shape", [(2, 8, 8, 2), (8, 8, 3)])
def test_inputs_other_than_batches_of_gray_or_rgb_are_refused(unchecked_shapes, shape):
    with pytest.raises(ValueError, match="shape"):
        VGG16("block1_conv1").init(jax.random.key(0), jnp.zeros(shape), train=False)


def test_fresh_kernels_are_glorot_uniform():
    model = VGG16("block1_conv2", batch_norm=False)
    params = init(model, random_images(8, size=4))["params"]
    kernel = np.asarray(params["block1_conv2"]["kernel"])
    limit = (6 / (9 * 64 + 9 * 64)) ** 0.5
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / 3**0.5, rtol=0.02)
    assert not np.any(params["block1_conv2"]["bias"])


def test_running_statistics_move_by_a_tenth_per_batch():
    model = VGG16("block1_conv1", width=0.1)
    rgb = random_images(9, size=8)
    variables = init(model, rgb)
    mean_rgb = np.array([123.68, 116.779, 103.939], np.float32)
    kernel = variables["params"]["block1_conv1"]["kernel"]
    x = jax.lax.conv_general_dilated(
        rgb - mean_rgb, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    _, new = train(model, variables, rgb)
    stats = new["batch_stats"]["block1_conv1_bn"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)


def test_statistics_over_named_axis_are_those_of_the_whole_batch():
    rgb = random_images(10, size=8, batch=4)
    settings = {"last_layer": "block1_conv2", "width": 0.1}
    whole = VGG16(**settings)
    split = VGG16(**settings, axis_name="devices")
    variables = init(whole, rgb)
    want, want_stats = train(whole, variables, rgb)

    def on_a_device(part):
        return split.apply(variables, part, train=True, mutable=["batch_stats"])

    on_devices = jax.jit(jax.vmap(on_a_device, axis_name="devices"))
    taps, stats = on_devices(rgb.reshape(2, 2, 8, 8, 3))
    jax.tree.map(
        lambda got, wanted: np.testing.assert_allclose(got[1], wanted, rtol=1e-4, atol=1e-4),
        stats,
        want_stats,
    )
    last = taps["block1_conv2"].reshape(want["block1_conv2"].shape)
    np.testing.assert_allclose(last, want["block1_conv2"], rtol=1e-3, atol=1e-3)


def test_with_bfloat16_the_parameters_stay_in_float32():
    rgb = random_images(11, size=8)
    settings = {"last_layer": "block1_conv2", "width": 0.25}
    model = VGG16(**settings, dtype=jnp.bfloat16)
    variables = init(model, rgb)
    taps, new = train(model, variables, rgb)
    assert {x.dtype for x in taps.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {x.dtype for x in jax.tree.leaves((variables, new))} == {jnp.dtype(jnp.float32)}
    want, _ = train(VGG16(**settings), variables, rgb)
    np.testing.assert_allclose(
        taps["block1_conv2"].astype(jnp.float32), want["block1_conv2"], atol=0.1
    )


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_max_pool_equals_flax_and_drops_an_odd_last_row_and_column(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    want = nn.max_pool(x, (2, 2), (2, 2), "VALID")
    assert want.shape == (2, size[0] // 2, size[1] // 2, 3)
    np.testing.assert_array_equal(vgg16.max_pool(x), want)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_max_pool_has_the_gradient_of_flax_where_maxima_are_unique(size):
    x = jax.random.permutation(jax.random.key(1), jnp.arange(2.0 * size[0] * size[1]))
    x = x.reshape(1, *size, 2)

    def loss(pool):
        return lambda x: jnp.sum(jnp.sin(pool(x)))

    got = jax.grad(loss(vgg16.max_pool))(x)
    want = jax.grad(loss(lambda x: nn.max_pool(x, (2, 2), (2, 2), "VALID")))(x)
    np.testing.assert_array_equal(got, want)


def test_tied_maxima_share_the_gradient():
    x = jnp.array([[3.0, 1.0], [3.0, 0.0]]).reshape(1, 2, 2, 1)
    got = jax.grad(lambda x: vgg16.max_pool(x).sum())(x)
    np.testing.assert_array_equal(got.reshape(2, 2), [[0.5, 0], [0.5, 0]])
