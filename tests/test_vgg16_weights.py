"""Porting VGG16's weights, against files that Keras wrote, hostile files and genuine kernels."""

import functools
import http.server
import io
import json
import shutil
import socket
import threading
import time

import h5py
import jax
import numpy as np
import pytest
from absl import logging
from safetensors.numpy import load_file, save_file

from colorjax.errors import UserError
from colorjax.models import vgg16
from colorjax.weights import store
from colorjax.weights.published import pretrained
from colorjax.weights.published import vgg16 as vgg16_weights
from colorjax.weights.published.keras_file import read_keras_file

ADDRESS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


def published():
    return vgg16_weights.PUBLISHED  # looked up at each call, because tests replace it


def publish(monkeypatch, **changes):
    """Changes fields of `PUBLISHED`."""
    monkeypatch.setattr(vgg16_weights, "PUBLISHED", vgg16_weights.PUBLISHED._replace(**changes))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Sets an empty cache, and replaces the real address by one where nothing listens."""
    assert published().url == ADDRESS
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    home = tmp_path / "home"
    monkeypatch.setenv("COLORJAX_HOME", str(home))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    publish(monkeypatch, url=f"http://127.0.0.1:{port}/vgg16_notop.h5")
    yield home
    shutil.rmtree(tmp_path)  # 60 MB per test


@functools.cache
def random_keras_weights():
    """Layer name -> (kernel, bias) as Keras stores them: the inputs of block1_conv1 are BGR."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.standard_normal(shape, np.float32), rng.standard_normal(shape[-1:], np.float32))
        for name, shape in vgg16.layer_shapes().items()
    }


def write_legacy(path, layers):
    """Writes the layout of Keras's published files, whose attributes list layers and weights."""
    names = ["input_1", *layers, "block1_pool", "flatten"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(names, "S")
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"1.2.0"
        for name in names:
            layer = file.create_group(name)
            suffixes = ("W_1:0", "b_1:0") if name in layers else ()
            arrays = dict(zip(suffixes, layers.get(name, ()), strict=True))
            arrays = {f"{name}_{suffix}": array for suffix, array in arrays.items()}
            layer.attrs["weight_names"] = np.array(list(arrays), "S")
            for array_name, array in arrays.items():
                layer[array_name] = array
    return path


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    path = write_legacy(tmp_path_factory.mktemp("whole") / "vgg16.h5", random_keras_weights())
    yield path
    path.unlink()


@pytest.fixture
def file(whole_file, tmp_path):
    """A valid file for a test to damage."""
    return shutil.copy(whole_file, tmp_path / "vgg16.h5")


def assert_ported(weights, keras_weights):
    assert list(weights) == list(vgg16.layer_shapes())
    for name, (kernel, bias) in keras_weights.items():
        if name == "block1_conv1":
            kernel = np.stack([kernel[:, :, 2], kernel[:, :, 1], kernel[:, :, 0]], axis=2)
        np.testing.assert_array_equal(weights[name]["kernel"], kernel)
        np.testing.assert_array_equal(weights[name]["bias"], bias)
        assert {array.dtype for array in weights[name].values()} == {np.dtype(np.float32)}


def refusal(path):
    """Returns the error of porting `path`; checks that nothing was written."""
    with pytest.raises(UserError) as caught:
        pretrained.port(published(), path)
    assert not store.cached_path(published()).exists()
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence
    return sentence


# Valid files


@pytest.fixture(scope="module", params=[False, True], ids=["without top", "with top"])
def keras_vgg16(request):
    keras = pytest.importorskip("keras")
    model = keras.applications.VGG16(
        weights=None, include_top=request.param, input_shape=(32, 32, 3), classes=2
    )
    for name, (kernel, bias) in random_keras_weights().items():
        # He's scaling keeps the size of the activations, so that every lost bias shows.
        kernel = kernel * (2 / kernel[..., 0].size) ** 0.5
        model.get_layer(name).set_weights([kernel, 20 * bias])
    return model


@pytest.fixture(params=["legacy", "keras 3", "older keras 3", "whole legacy model"])
def keras_file(request, keras_vgg16, tmp_path):
    path = tmp_path / "vgg16.weights.h5"
    if "keras 3" in request.param:
        keras_vgg16.save_weights(path)
        if request.param == "older keras 3":
            with h5py.File(path, "a") as file:
                for layer in file["layers"].values():
                    del layer["vars"].attrs["name"]
        return path
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        whole = request.param == "whole legacy model"
        group = file.create_group("model_weights") if whole else file
        save_weights_to_hdf5_group(group, keras_vgg16)
    return path


def test_files_saved_by_keras_port_exactly(keras_vgg16, keras_file):
    layers = [layer for layer in keras_vgg16.layers if "conv" in layer.name]
    want = {layer.name: layer.get_weights() for layer in layers}
    assert_ported(read_keras_file(published(), keras_file), want)


@pytest.mark.slow
def test_the_encoder_with_weights_from_a_keras_file_agrees_with_keras(tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "vgg16.weights.h5")
    weights = read_keras_file(published(), tmp_path / "vgg16.weights.h5")
    params, _ = vgg16.from_pretrained(weights, batch_norm=False, last_layer="block5_pool")
    encoder = vgg16.VGG16("block5_pool", batch_norm=False)
    rgb = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    got = jax.jit(lambda x: encoder.apply({"params": params}, x, False)["block5_pool"])(rgb)
    want = np.asarray(model(keras.applications.vgg16.preprocess_input(rgb.copy())))
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_the_published_layout_ports_exactly(whole_file):
    assert_ported(read_keras_file(published(), whole_file), random_keras_weights())


def write_within(path, layers):
    """Writes a larger model in Keras 3's layout, with the layers of VGG16 in a group per block."""
    with h5py.File(path, "w") as file:
        for i, (name, arrays) in enumerate(layers.items()):
            variables = file.create_group(f"{name.partition('_')[0]}/layers/conv2d_{i}/vars")
            variables.attrs["name"] = name
            for place, array in enumerate(arrays):
                variables[str(place)] = array
        variables = file.create_group("head/vars")  # what the larger model adds
        variables.attrs["name"] = "conv2d"
        variables["0"], variables["1"] = np.zeros((1, 1, 64, 1), "f4"), np.zeros(1, "f4")
    return path


def test_layers_within_a_larger_model_are_found_and_reported_as_unpublished(tmp_path, warnings):
    path = write_within(tmp_path / "edges.weights.h5", random_keras_weights())
    weights, record = pretrained.resolve(published(), str(path))
    assert_ported(weights, random_keras_weights())
    assert "0 of 26 arrays equal to the published ones" in record
    (line,) = warnings
    assert f"{path} is not the published file of VGG16" in line


def test_a_layer_that_a_larger_model_lacks_is_named(tmp_path):
    layers = {n: x for n, x in random_keras_weights().items() if n != "block3_conv2"}
    assert "block3_conv2" in refusal(write_within(tmp_path / "edges.weights.h5", layers))


def test_the_classifier_is_left_out(tmp_path):
    top = {name: (np.ones((2, 2)), np.ones(2)) for name in ("fc1", "fc2", "predictions")}
    path = write_legacy(tmp_path / "top.h5", random_keras_weights() | top)
    assert_ported(read_keras_file(published(), path), random_keras_weights())


def test_float16_and_float64_become_float32(tmp_path):
    layers = {
        name: (kernel.astype(np.float64), bias.astype(np.float16))
        for name, (kernel, bias) in random_keras_weights().items()
    }
    file = write_legacy(tmp_path / "vgg16.h5", layers)
    weights = read_keras_file(published(), file)
    want = {name: (k.astype(np.float32), b.astype(np.float32)) for name, (k, b) in layers.items()}
    assert_ported(weights, want)


def test_genuine_kernels_port_exactly_and_match_their_checksums(vgg16_kernels, tmp_path):
    genuine = np.load(vgg16_kernels / "vgg16_keras_block1-2_kernels_exact.npz")
    layers = dict(random_keras_weights())
    names = ["block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"]
    for name in names:
        layers[name] = (genuine[f"{name}/kernel"], layers[name][1])
    file = write_legacy(tmp_path / "vgg16.h5", layers)
    weights = read_keras_file(published(), file)
    assert_ported(weights, layers)
    assert vgg16_weights.genuine_layers(weights) == {f"{name}/kernel" for name in names}
    # Without the swap from BGR to RGB, or with one bit changed, the checksum does not match.
    swapped = {"block1_conv1": {"kernel": genuine["block1_conv1/kernel"]}}
    assert vgg16_weights.genuine_layers(swapped) == set()
    weights["block2_conv2"]["kernel"].view(np.int32)[2, 2, 5, 7] ^= 1
    assert "block2_conv2/kernel" not in vgg16_weights.genuine_layers(weights)


def test_the_embedded_checksums_are_the_published_ones(vgg16_kernels):
    manifest = json.loads((vgg16_kernels / "vgg16_conv_npy_sha256_manifest.json").read_text())
    embedded = {
        name.replace("block", "conv")
        .replace("_conv", "_")
        .replace("/kernel", "_W.npy")
        .replace("/bias", "_b.npy"): sha256
        for name, sha256 in vgg16_weights._PUBLISHED_SHA256.items()
    }
    assert embedded == {name: entry["sha256"] for name, entry in manifest.items()}


@pytest.mark.parametrize(
    "shape, size", [((3, 3, 3, 64), 6992), ((3, 3, 128, 128), 589920), ((512,), 2128)]
)
def test_checksums_are_of_npy_files_of_the_published_size(shape, size):
    array = np.random.default_rng(0).standard_normal(shape, np.float32)
    data = vgg16_weights._old_npy(array)
    assert len(data) == size
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), array)


# Invalid files


def test_another_network_is_refused_and_its_differences_are_named(vgg16_kernels):
    (path,) = (vgg16_kernels / "squeezenet").glob("*.h5")
    sentence = refusal(path)
    assert "lacks block1_conv1 (and 12 more)" in sentence
    assert "has conv1 (and 8 more), which VGG16 does not have" in sentence


def test_a_missing_layer_is_named(file):
    with h5py.File(file, "a") as f:
        del f["block3_conv2"]
    assert "lacks block3_conv2" in refusal(file)


def test_a_layer_without_its_arrays_counts_as_missing(file):
    with h5py.File(file, "a") as f:
        for name in list(f["block3_conv2"]):
            del f["block3_conv2"][name]
    assert "lacks block3_conv2" in refusal(file)


def test_an_extra_layer_is_named(file):
    with h5py.File(file, "a") as f:  # VGG19 has it
        f["block3_conv4/kernel"] = np.zeros((3, 3, 256, 256), np.float32)
    sentence = refusal(file)
    assert "has block3_conv4, which VGG16 does not have" in sentence and "lacks" not in sentence


def replace(file, name, **options):
    """Replaces the dataset `name` by another; returns the file."""
    with h5py.File(file, "a") as f:
        del f[name]
        f.create_dataset(name, **options)
    return file


KERNEL = "block4_conv1/block4_conv1_W_1:0"
BIAS = "block4_conv1/block4_conv1_b_1:0"


def test_a_misshapen_layer_is_named_with_both_shapes(file):
    sentence = refusal(replace(file, KERNEL, data=np.zeros((3, 3, 512, 256), np.float32)))
    assert "block4_conv1" in sentence
    assert "(3, 3, 512, 256)" in sentence and "(3, 3, 256, 512)" in sentence


def test_a_layer_without_a_bias_is_named(file):
    with h5py.File(file, "a") as f:
        del f[BIAS]
    assert "layer block4_conv1 has arrays of shapes (3, 3, 256, 512), want" in refusal(file)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_layer_with_a_value_that_is_not_finite_is_named(file, value):
    with h5py.File(file, "a") as f:
        f[KERNEL][0, 1, 2, 3] = value
    assert "layer block4_conv1 has 1 values that are NaN or infinite" in refusal(file)


def test_doubles_beyond_float32_are_not_finite(file):
    sentence = refusal(replace(file, BIAS, data=np.full(512, 1e300)))
    assert "layer block4_conv1 has 512 values that are NaN or infinite" in sentence


def test_a_layer_of_integers_is_named(file):
    sentence = refusal(replace(file, BIAS, data=np.zeros(512, np.int32)))
    assert "layer block4_conv1 is of type int32, want float32" in sentence


def test_a_layer_whose_values_were_never_written_is_named(file):
    sentence = refusal(replace(file, BIAS, shape=(512,), dtype=np.float32))
    assert "layer block4_conv1 has an array whose values were never written" in sentence


@pytest.mark.parametrize("place", ["block4_conv1", KERNEL, "elsewhere"])
@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_are_refused_and_not_followed(file, tmp_path, monkeypatch, kind, place):
    secret = tmp_path / "secret.h5"
    shutil.copy(file, secret)
    with h5py.File(file, "a") as f:
        f.pop(place, None)
        other = "block4_conv2" if kind == "soft" else place
        f[place] = h5py.SoftLink(f"/{other}") if kind == "soft" else h5py.ExternalLink(secret, "/")
    secret.unlink()  # following the link would now fail, with another sentence
    assert f"/{place} is a link to another place or file" in refusal(file)


def test_a_linked_vars_group_of_keras_3_is_refused_and_not_followed(tmp_path):
    path = tmp_path / "vgg16.weights.h5"
    with h5py.File(path, "w") as f:
        f.create_group("layers/conv2d")["vars"] = h5py.ExternalLink("gone.h5", "/")
    assert "/layers/conv2d/vars is a link to another place or file" in refusal(path)


def test_storage_in_other_files_is_refused_and_not_read(file, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(2048))
    external = [(str(secret), 0, 2048)]
    replace(file, BIAS, shape=(512,), dtype=np.float32, external=external)
    assert f"layer block4_conv1 keeps /{BIAS} in other files" in refusal(file)


def test_virtual_datasets_are_refused_and_not_read(file, tmp_path):
    layout = h5py.VirtualLayout((512,), np.float32)
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", shape=(512,))
    with h5py.File(file, "a") as f:
        del f[BIAS]
        f.create_virtual_dataset(BIAS, layout)
    assert f"layer block4_conv1 keeps /{BIAS} in other files" in refusal(file)


def test_compressed_datasets_are_refused_and_not_read(file):
    replace(file, BIAS, data=np.zeros(512, np.float32), compression="gzip")
    assert "layer block4_conv1" in refusal(file)


def test_a_group_that_contains_itself_is_refused(file):
    with h5py.File(file, "a") as f:
        f["block4_conv1/again"] = f["block4_conv1"]
    assert "/block4_conv1 contains itself" in refusal(file)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert "truncated" in refusal(file)


def test_a_file_that_is_not_hdf5_is_refused(file):
    file.write_bytes(b"PK" + bytes(1000))
    assert "not an HDF5 file" in refusal(file)
    file.write_bytes(b"")
    assert "not an HDF5 file" in refusal(file)
    file.unlink()
    assert "not a file" in refusal(file)


def test_a_file_that_is_far_too_large_is_refused_and_not_opened(file):
    with open(file, "ab") as f:
        f.truncate(2**31 + 1)  # sparse
    assert "bytes, more than" in refusal(file)


def test_a_group_in_place_of_an_array_is_refused(tmp_path):
    path = tmp_path / "vgg16.h5"
    with h5py.File(path, "w") as f:
        f["layers"] = np.zeros(3)
    assert "/layers is not a group" in refusal(path)


# The ported file


def ported():
    return {
        name: {"kernel": kernel, "bias": bias}
        for name, (kernel, bias) in random_keras_weights().items()
    }


def test_saved_weights_load_unchanged(tmp_path):
    weights = ported()
    flipped = weights["block1_conv1"]["kernel"][:, :, ::-1]  # a view that is not contiguous
    weights["block1_conv1"]["kernel"] = flipped
    store.save(published(), weights, tmp_path / "new folder" / "w.safetensors")
    loaded = store.load(published(), tmp_path / "new folder" / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, loaded, weights)
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == ["w.safetensors"]


def test_saved_weights_have_the_permissions_that_the_umask_gives(tmp_path):
    path = tmp_path / "w.safetensors"
    (tmp_path / "ordinary").write_bytes(b"")
    store.save(published(), ported(), path)
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_failed_save_leaves_the_old_file_intact(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def fail(self, data):
        with open(self, "wb") as half:
            half.write(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save(published(), ported(), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, b"old")]


def damage_and_load(path, key=None, array=None, fmt="colorjax-vgg16-1"):
    """Saves weights with one array left out or replaced; returns the error of loading them."""
    store.save(published(), ported(), path)
    arrays = load_file(path)
    if key is not None:
        arrays.pop(key, None)
    if array is not None:
        arrays[key] = array
    save_file(arrays, path, {"format": fmt})
    with pytest.raises(UserError) as caught:
        store.load(published(), path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_damaged_ported_file_is_refused_and_the_array_named(tmp_path):
    path = tmp_path / "w.safetensors"
    key = "block2_conv1/bias"
    assert f"lacks {key}" in damage_and_load(path, key)
    assert "has extra, which" in damage_and_load(path, "extra", np.zeros(1))
    assert f"{key} is F32 of shape (64,), want F32 of (128,)" in damage_and_load(
        path, key, np.zeros(64, np.float32)
    )
    assert f"{key} is F64" in damage_and_load(path, key, np.zeros(128))
    assert f"{key} has 128 values that are NaN" in damage_and_load(
        path, key, np.full(128, np.nan, "f4")
    )
    assert "format 'other', want 'colorjax-vgg16-1'" in damage_and_load(path, fmt="other")


def test_a_truncated_ported_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    store.save(published(), ported(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a valid safetensors file"):
        store.load(published(), path)


def test_colorjax_home_sets_the_folder_of_the_cache(home, monkeypatch):
    assert store.cached_path(published()).parent == home
    monkeypatch.delenv("COLORJAX_HOME")
    assert pretrained.cache_folder().name == "colorjax"


# Settings, fetching, the command


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


@pytest.fixture
def server(whole_file, monkeypatch):
    """Serves the whole file in place of the published one."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=whole_file.parent)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{whole_file.name}"
        publish(monkeypatch, url=url)
        md5 = store.file_hash(whole_file, "md5")
        publish(monkeypatch, md5=md5)
        yield
        server.shutdown()


def test_the_setting_none_gives_random_weights():
    assert pretrained.resolve(published(), "none") == (None, "random (as configured)")


def test_auto_without_internet_gives_random_weights_and_one_warning(home, warnings):
    weights, record = pretrained.resolve(published(), "auto")
    assert weights is None
    assert record.startswith("random (ImageNet weights not cached and not fetchable: 127.0.0.1:")
    (line,) = warnings
    assert "random weights" in line and "could not be reached" in line and "\n" not in line
    assert "python -m colorjax.vgg16_weights FILE" in line and published().url in line
    assert list(home.iterdir()) == []


def test_imagenet_without_internet_says_how_to_get_the_weights(warnings):
    with pytest.raises(UserError, match="python -m colorjax.vgg16_weights FILE") as caught:
        pretrained.resolve(published(), "imagenet")
    assert published().url in str(caught.value)
    assert warnings == []


def test_a_server_that_never_answers_times_out(warnings, monkeypatch):
    monkeypatch.setattr(pretrained, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/vgg16.h5"
        publish(monkeypatch, url=url)
        start = time.monotonic()
        assert pretrained.resolve(published(), "auto")[0] is None
        assert time.monotonic() - start < 3
    assert len(warnings) == 1


def test_a_name_lookup_that_hangs_times_out(warnings, monkeypatch):
    monkeypatch.setattr(pretrained, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **settings: time.sleep(6))
    start = time.monotonic()
    assert "no answer in 0.3 s" in pretrained.resolve(published(), "auto")[1]
    assert time.monotonic() - start < 3
    assert len(warnings) == 1


@pytest.mark.parametrize("setting", ["auto", "imagenet"])
def test_weights_are_fetched_once_and_then_cached(server, home, warnings, monkeypatch, setting):
    weights, record = pretrained.resolve(published(), setting)
    assert_ported(weights, random_keras_weights())
    assert [path.name for path in home.iterdir()] == ["vgg16_imagenet.safetensors"]
    monkeypatch.setattr(pretrained, "fetch", None)
    again, record_again = pretrained.resolve(published(), setting)
    jax.tree.map(np.testing.assert_array_equal, again, weights)
    assert record == record_again and warnings == []


def test_the_record_has_the_sha256_of_the_file_that_was_ported(server, whole_file):
    sha256 = store.file_hash(whole_file, "sha256")
    want = f"(sha256 {sha256}, 0 of 26 arrays equal to the published ones)"
    assert pretrained.resolve(published(), "imagenet")[1] == f"imagenet {want}"
    assert pretrained.resolve(published(), str(whole_file))[1] == f"{whole_file.name} {want}"
    cached = store.cached_path(published())
    assert pretrained.resolve(published(), str(cached))[1] == f"{cached.name} {want}"


def test_a_download_with_another_checksum_is_refused(server, home, monkeypatch):
    publish(monkeypatch, md5="0" * 32)
    with pytest.raises(UserError, match="is not the published file"):
        pretrained.fetch(published())
    assert list(home.iterdir()) == []


def test_an_answer_of_not_found_is_reported(server, monkeypatch):
    publish(monkeypatch, url=published().url + ".gone")
    with pytest.raises(UserError, match="answered 404"):
        pretrained.fetch(published())


def test_a_damaged_cache_is_never_ignored(home):
    home.mkdir()
    store.cached_path(published()).write_bytes(b"spoilt")
    with pytest.raises(UserError, match="not a valid safetensors file"):
        pretrained.resolve(published(), "auto")


def test_an_unknown_setting_is_a_user_error():
    with pytest.raises(UserError, match="'imagenett', want 'auto'"):
        pretrained.resolve(published(), "imagenett")


def test_a_cache_that_cannot_be_written_is_reported(whole_file, tmp_path, monkeypatch):
    (tmp_path / "in the way").write_bytes(b"")
    monkeypatch.setenv("COLORJAX_HOME", str(tmp_path / "in the way" / "cache"))
    for act in (pretrained.fetch, lambda vgg16: pretrained.port(vgg16, whole_file)):
        with pytest.raises(UserError, match="cannot be written.*COLORJAX_HOME"):
            act(published())


def test_the_checksums_are_those_that_keras_publishes():
    keras = pytest.importorskip("keras")
    with open(keras.src.applications.vgg16.__file__) as file:
        source = file.read()
    for md5, name in vgg16_weights.PUBLISHED_MD5.items():
        assert md5 in source and name in source
    assert vgg16_weights.PUBLISHED_MD5["6d6bbae143d832006294945121d1f1fc"].endswith("_notop.h5")


def test_the_command_ports_a_file_and_reports_where_and_what(whole_file, capsys):
    assert pretrained.main(published(), [str(whole_file)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    path = store.cached_path(published())
    assert line.startswith(f"{path}: ported from NOT the published file")
    assert "0 of 26 arrays" in line
    weights = store.load(published(), path)
    assert_ported(weights, random_keras_weights())


def test_the_command_recognises_the_published_file(whole_file, capsys, monkeypatch):
    md5 = store.file_hash(whole_file, "md5")
    monkeypatch.setitem(vgg16_weights.PUBLISHED_MD5, md5, "vgg16.h5")
    assert pretrained.main(published(), [str(whole_file)]) == 0
    assert "ported from the published file" in capsys.readouterr().out


def test_the_command_fetches_the_weights(server, capsys):
    assert pretrained.main(published(), ["--fetch"]) == 0
    assert str(store.cached_path(published())) in capsys.readouterr().out


def test_the_command_reports_a_mistake_in_one_line_and_exits_with_two(tmp_path, capsys):
    path = tmp_path / "gone.h5"
    assert pretrained.main(published(), [str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{path} is not a file, want VGG16 weights saved by Keras\n")
