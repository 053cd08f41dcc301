"""Stores the published weights of a network in a safetensors file.

`weights` is a dict: layer name -> {"kernel": float32 [height, width, in, out], "bias": float32
[out]} for all convolutions. The input channels of the first are in RGB order (in Keras, BGR).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from colorjax.errors import UserError
from colorjax.pictures import files
from colorjax.pictures.files import cache_folder

Weights = dict[str, dict[str, np.ndarray]]


class Published(NamedTuple):
    """A network with published weights, and how to get, read and verify them."""

    network: str  # its name, such as "VGG16"
    shapes: Mapping[str, tuple[int, int, int, int]]  # of the kernels of all its convolutions
    # Reads a published file: (self, path) -> weights. Raises UserError if the file is invalid.
    read: Callable[["Published", str | Path], Weights]
    file: str  # the kind of file that `read` reads, such as "a file saved by Keras"
    format: str  # version of the ported file; changes whenever older versions would misread it
    module: str  # whose command ports a file, such as "colorjax.vgg16_weights"
    url: str
    md5: str  # of the file at `url`
    md5s: Mapping[str, str]  # md5 -> name of every published file
    describe_match: Callable[[Weights], str]  # a clause: how much of weights equals the published
    # Only for Keras's files: the convolution whose input channels are BGR in the file and RGB here,
    # and layers that a file may contain but that are not read.
    bgr_layer: str = ""
    ignored_layers: tuple[str, ...] = ()


def check_names(published: Published, path: Path, wanted: Iterable[str], found: set[str]) -> None:
    """Raises UserError if names are missing from `found`, or are not among the wanted ones."""
    missing = [name for name in wanted if name not in found]
    foreign = sorted(found - set(wanted))
    faults = []
    if missing:
        faults.append(f"lacks {missing[0]}{_and_more(missing)}")
    if foreign:
        faults.append(
            f"has {foreign[0]}{_and_more(foreign)}, which {published.network} does not have"
        )
    if faults:
        raise UserError(
            f"{path} does not hold {published.network}'s weights: it {' and '.join(faults)}"
        )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def check_kind(path: Path, name: str, found: tuple, wanted: tuple) -> None:
    """Raises UserError unless an array has the wanted type and shape, such as ("F32", 3, 3)."""
    if found != wanted:
        raise UserError(
            f"{path}: {name} is {found[0]} of shape {found[1:]}, want {wanted[0]} of {wanted[1:]}"
        )


def check_finite(path: Path, what: str, array: np.ndarray) -> None:
    """Raises UserError if an array holds NaN or infinity; `what` names the array."""
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise UserError(f"{path}: {what} has {bad} values that are NaN or infinite")


def save(
    published: Published, weights: Weights, path: str | Path, source: str | Path | None = None
) -> None:
    """Writes `weights` as safetensors, atomically.

    The metadata contains the version of the format, and the name and sha256 of `source`, the file
    from which the weights were read.
    """
    path = Path(path)
    metadata = {"format": published.format}
    if source is not None:
        metadata |= {"source": Path(source).name, "source_sha256": file_hash(source, "sha256")}
    # safetensors ignores strides and writes the memory of an array as it is.
    arrays = {name: np.ascontiguousarray(array) for name, array in flat(weights).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as temporary:
        # The writer of safetensors makes files readable by the owner only; a cache may be shared.
        temporary.write_bytes(to_safetensors(arrays, metadata))


def load(published: Published, path: str | Path) -> Weights:
    """Reads `weights` from a file that `save` wrote.

    Raises UserError if the file is of another format, or if a layer is missing, unexpected, of a
    wrong shape, not float32 or not finite.
    """
    path = Path(path)
    with open_weights(published, path) as file:
        names = [f"{name}/{part}" for name in published.shapes for part in ("kernel", "bias")]
        check_names(published, path, names, set(file.keys()))
        return {
            name: {
                "kernel": _load_array(path, file, f"{name}/kernel", shape),
                "bias": _load_array(path, file, f"{name}/bias", shape[-1:]),
            }
            for name, shape in published.shapes.items()
        }


def open_weights(published: Published, path: Path) -> safe_open:
    # The format is checked because files of other programs may be BGR or have another layout.
    return open_safetensors(
        path,
        published.format,
        f"{published.network} weights in safetensors",
        f"make it with `python -m {published.module} FILE`",
    )


def open_safetensors(path: Path, format: str, what: str, hint: str) -> safe_open:
    """Opens a safetensors file that colorjax wrote; `what` and `hint` are used in error messages.

    Raises UserError if the file does not exist, is damaged or is of another `format`.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file, want {what}")
    try:
        file = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a valid safetensors file ({error})") from error
    found = (file.metadata() or {}).get("format")
    if found != format:
        raise UserError(f"{path} is of format {found!r}, want {format!r}: {hint}")
    return file


def _load_array(path: Path, file: safe_open, name: str, shape: tuple[int, ...]) -> np.ndarray:
    header = file.get_slice(name)
    check_kind(path, name, (header.get_dtype(), *header.get_shape()), ("F32", *shape))
    array = file.get_tensor(name)
    check_finite(path, f"layer {name}", array)
    return array


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{layer: {part: array}} -> {"layer/part": array}, at any depth."""
    # Not with flax, which is slow to import and not needed if nothing is compiled.
    return dict(_leaves(tree, ""))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, part in tree.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", part


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """{"layer/part": array} -> {layer: {part: array}}; the inverse of `flat`."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *layers, name = path.split("/")
        branch = tree
        for layer in layers:
            branch = branch.setdefault(layer, {})
        branch[name] = array
    return tree


def arrays_sha256(weights: Weights) -> str:
    """Returns the sha256 in hex of all arrays, as float32 and sorted by name."""
    digest = hashlib.sha256()
    for _, array in sorted(flat(weights).items()):
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def match_by_sha256(sha256: str) -> Callable[[Weights], str]:
    """Returns a `Published.describe_match` that compares `arrays_sha256` with `sha256`."""
    return lambda weights: (
        "the published arrays" if arrays_sha256(weights) == sha256 else "not the published arrays"
    )


def file_hash(path: str | Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def cached_path(published: Published) -> Path:
    """Returns the path of the ported weights in the cache, whether they exist or not."""
    return cache_folder() / f"{published.network.lower()}_imagenet.safetensors"
