"""SqueezeNet and its weights, compared with Keras on files in the published layout."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.errors import UserError
from colorjax.models import squeezenet
from colorjax.weights import store
from colorjax.weights.published import keras_file, pretrained
from colorjax.weights.published import squeezenet as squeezenet_weights
from colorjax.weights.published import vgg16 as vgg16_weights

MEAN_BGR = np.float32([103.939, 116.779, 123.68])


def file_name(layer):
    return layer.replace("_", "/")  # as the published file has it


def random_keras_weights():
    """Layer name -> (kernel, bias) as in Keras: the inputs of conv1 are BGR."""
    rng = np.random.default_rng(0)
    return {
        name: (
            # He's scale keeps the activations' size, so that a lost bias shows in every layer.
            rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32),
            rng.normal(0, 3, shape[-1:]).astype(np.float32),
        )
        for name, shape in squeezenet.layer_shapes().items()
    }


def write_published_layout(path, layers):
    """A layer a/b is a group b in a group a; kernels are called uniform1, uniform2 and so on."""
    with h5py.File(path, "w") as file:
        names = [file_name(name) for name in layers]
        file.attrs["layer_names"] = np.array(["input_1", *names, "fire2/concat", "drop9"], "S")
        for i, (name, (kernel, bias)) in enumerate(layers.items(), start=1):
            layer = file.create_group(file_name(name))
            arrays = {f"uniform{i}": kernel, f"{file_name(name)}_b": bias}
            layer.attrs["weight_names"] = np.array(list(arrays), "S")
            for array_name, array in arrays.items():
                layer[array_name] = array
        for name in ("input_1", "fire2/concat", "drop9"):
            file.create_group(name).attrs["weight_names"] = np.array([], "S")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("squeezenet") / "squeezenet.h5"
    return write_published_layout(path, random_keras_weights())


def keras_taps(bgr):
    """The activations of Keras after each ReLU with the same weights, by colorjax's names."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    weights = random_keras_weights()
    created = []

    def conv(x, name, size, **settings):
        layer = layers.Conv2D(
            weights[name][0].shape[-1], size, padding="same", activation="relu", **settings
        )
        created.append((layer, name))
        return layer(x)

    x = inputs = keras.Input(bgr.shape[1:])
    taps = {"conv1": conv(x, "conv1", 3, strides=2)}
    x = taps["conv1"]
    for i in range(2, 10):
        if i in (2, 4, 6):
            x = layers.MaxPooling2D(3, 2, padding="same")(x)
        squeezed = conv(x, f"fire{i}_squeeze1x1", 1)
        parts = [conv(squeezed, f"fire{i}_expand{n}x{n}", n) for n in (1, 3)]
        x = taps[f"fire{i}"] = layers.Concatenate()(parts)
    model = keras.Model(inputs, taps)
    for layer, name in created:
        layer.set_weights(weights[name])
    return {name: np.asarray(tap) for name, tap in model(bgr).items()}


@pytest.mark.parametrize("channels", [pytest.param(3, marks=pytest.mark.slow), 1])
def test_the_encoder_with_the_weights_of_a_file_equals_keras(file, channels):
    picture = np.random.default_rng(1).uniform(0, 255, (2, 48, 32, channels)).astype(np.float32)
    rgb = np.broadcast_to(picture, (2, 48, 32, 3))
    weights = keras_file.read_keras_file(squeezenet_weights.PUBLISHED, file)
    params = squeezenet.from_pretrained(weights)
    taps = jax.jit(squeezenet.SqueezeNet().apply)({"params": params}, picture)
    want = keras_taps(rgb[..., ::-1] - MEAN_BGR)
    assert taps.keys() == want.keys()
    for name, tap in want.items():
        assert_allclose(taps[name], tap, rtol=0, atol=1e-5 * tap.max(), err_msg=name)


def test_weights_are_unchanged_by_the_cache(file, tmp_path, monkeypatch):
    monkeypatch.setenv("COLORJAX_HOME", str(tmp_path))
    path = pretrained.port(squeezenet_weights.PUBLISHED, file)
    assert path == tmp_path / "squeezenet_imagenet.safetensors"
    weights = store.load(squeezenet_weights.PUBLISHED, path)
    for name, (kernel, bias) in random_keras_weights().items():
        want = kernel[:, :, ::-1] if name == "conv1" else kernel
        assert_array_equal(weights[name]["kernel"], want)
        assert_array_equal(weights[name]["bias"], bias)
    assert squeezenet_weights.PUBLISHED.describe_match(weights) == "not the published arrays"
    _, record = pretrained.resolve(squeezenet_weights.PUBLISHED, "auto")
    assert record.startswith("imagenet (sha256 ") and "not the published arrays" in record


def test_the_published_file_is_recognised(vgg16_kernels):
    (path,) = (vgg16_kernels / "squeezenet").glob("*.h5")
    weights, record = pretrained.resolve(squeezenet_weights.PUBLISHED, str(path))
    assert squeezenet_weights.PUBLISHED.describe_match(weights) == "the published arrays"
    assert record.endswith(", the published arrays)")
    assert store.file_hash(path, "md5") == squeezenet_weights.PUBLISHED.md5
    weights["conv1"]["kernel"] = weights["conv1"]["kernel"][:, :, ::-1]
    assert squeezenet_weights.PUBLISHED.describe_match(weights) == "not the published arrays"


def refusal(path, published=squeezenet_weights.PUBLISHED):
    with pytest.raises(UserError) as caught:
        keras_file.read_keras_file(published, path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_and_a_misshapen_layer_are_named(tmp_path):
    layers = random_keras_weights()
    kernel, bias = layers.pop("fire5_expand3x3")
    path = write_published_layout(tmp_path / "squeezenet.h5", layers)
    assert "lacks fire5_expand3x3" in refusal(path)
    write_published_layout(path, {**layers, "fire5_expand3x3": (kernel[:1, :1], bias)})
    assert "fire5_expand3x3 has arrays of shapes" in refusal(path)


def test_each_network_refuses_the_file_of_the_other(file, tmp_path):
    assert "does not hold VGG16's weights: it lacks block1_conv1" in refusal(
        file, vgg16_weights.PUBLISHED
    )
    with h5py.File(tmp_path / "vgg16.h5", "w") as f:
        f["block1_conv1/kernel"] = np.zeros((3, 3, 3, 64), np.float32)
    assert "does not hold SqueezeNet's weights: it lacks conv1 (and 24 more) and has block1" in (
        refusal(tmp_path / "vgg16.h5")
    )


def test_a_link_inside_a_nested_layer_is_refused_and_not_followed(file, tmp_path):
    path = write_published_layout(tmp_path / "squeezenet.h5", random_keras_weights())
    with h5py.File(path, "a") as f:
        del f["fire2/expand1x1"]
        f["fire2/expand1x1"] = h5py.ExternalLink("gone.h5", "/")
    assert "/fire2/expand1x1 is a link to another place or file" in refusal(path)


def test_max_pool_equals_flax():
    import flax.linen as nn

    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 6, 3)), jnp.float32)
    assert_array_equal(squeezenet.max_pool(x), nn.max_pool(x, (3, 3), (2, 2), "SAME"))


@pytest.mark.slow
def test_every_parameter_has_a_gradient():
    model = squeezenet.SqueezeNet(width=1 / 8)
    gray = jnp.asarray(np.random.default_rng(3).uniform(0, 255, (1, 32, 32, 1)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), gray)["params"]
    params = jax.tree.map(lambda x: x + 0.01, params)  # no ReLU is dead
    grads = jax.grad(lambda p: jnp.mean(model.apply({"params": p}, gray)["fire9"] ** 2))(params)
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_a_side_that_does_not_divide_by_16_is_refused():
    with pytest.raises(ValueError, match="24x32, want multiples of 16"):
        squeezenet.SqueezeNet(1 / 8).init(jax.random.key(0), jnp.zeros((1, 24, 32, 1)))
