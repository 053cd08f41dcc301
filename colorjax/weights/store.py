"""Weights of a network that somebody has published, as one safetensors file of ours.

`weights` are a plain dict: layer name -> {"kernel": float32 [height, width, in, out], "bias":
float32 [out]} for all convolutions, the inputs of the first in RGB order (Keras's own are BGR).
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
    """A network whose weights somebody has published."""

    network: str  # its name, as "VGG16"
    shapes: Mapping[str, tuple[int, int, int, int]]  # of the kernels of all its convolutions
    # Reads such a file, given this and its path; raises UserError if it is none.
    read: Callable[["Published", str | Path], Weights]
    file: str  # what `read` reads, as "a file saved by Keras"
    format: str  # of the ported file; changes with anything that an older program would misread
    module: str  # whose command ports a file, as "colorjax.vgg16_weights"
    url: str
    md5: str  # of what url gives
    md5s: Mapping[str, str]  # of every published file, with its name
    share: Callable[[Weights], str]  # how much of weights is the published ones': a clause
    # Of Keras's files alone: the convolution whose inputs are BGR there and RGB here, and layers
    # that a file may have and that are not read.
    first: str = ""
    left_out: tuple[str, ...] = ()


def check_names(published: Published, path: Path, wanted: Iterable[str], found: set[str]) -> None:
    missing = [name for name in wanted if name not in found]
    foreign = sorted(found - set(wanted))
    faults = []
    if missing:
        faults.append(f"lacks {missing[0]}{_and_more(missing)}")
    if foreign:
        faults.append(f"has {foreign[0]}{_and_more(foreign)}, which {published.network} has not")
    if faults:
        raise UserError(
            f"{path} does not hold {published.network}'s weights: it {' and '.join(faults)}"
        )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def check_kind(path: Path, name: str, found: tuple, wanted: tuple) -> None:
    """Raises UserError unless an array has the type and sides that are wanted: ("F32", 3, 3)."""
    if found != wanted:
        raise UserError(
            f"{path}: {name} is {found[0]} of shape {found[1:]}, want {wanted[0]} of {wanted[1:]}"
        )


def check_finite(path: Path, what: str, array: np.ndarray) -> None:
    """Raises UserError, which says `what` the array is, if it holds NaN or infinity."""
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise UserError(f"{path}: {what} has {bad} values that are NaN or infinite")


def save(
    published: Published, weights: Weights, path: str | Path, source: str | Path | None = None
) -> None:
    """Writes `weights` as safetensors, aside and then renamed, so that `path` is never half a file.

    Kept beside them are the format's version and the name and sha256 of the file `source` that they
    came from.
    """
    path = Path(path)
    metadata = {"format": published.format}
    if source is not None:
        metadata |= {"source": Path(source).name, "source_sha256": file_hash(source, "sha256")}
    # safetensors writes an array's memory as it lies, whatever its strides.
    arrays = {name: np.ascontiguousarray(array) for name, array in flat(weights).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as aside:
        # Its own writer lets none but the owner read the file, and a cache may be shared.
        aside.write_bytes(to_safetensors(arrays, metadata))


def load(published: Published, path: str | Path) -> Weights:
    """Reads `weights` from a file that `save` made.

    Raises UserError if it is none, or if a layer is missing, foreign, misshapen, not float32 or not
    finite.
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
    # Another program's arrays may be BGR, or laid out otherwise.
    return open_safetensors(
        path,
        published.format,
        f"{published.network} weights in safetensors",
        f"make it with `python -m {published.module} FILE`",
    )


def open_safetensors(path: Path, format: str, what: str, hint: str) -> safe_open:
    """Opens a safetensors file of ours; `what` and `hint` end the sentences where it is none.

    Raises UserError if there is no such file, or it is damaged or of another `format`.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file, want {what}")
    try:
        file = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no sound safetensors file ({error})") from error
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
    # Not by flax, which takes long to import, and is not needed where nothing is compiled.
    return dict(_leaves(tree, ""))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, part in tree.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", part


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """{"layer/part": array} -> {layer: {part: array}}, which `flat` takes back."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *layers, name = path.split("/")
        branch = tree
        for layer in layers:
            branch = branch.setdefault(layer, {})
        branch[name] = array
    return tree


def arrays_sha256(weights: Weights) -> str:
    """The sha256 in hex of all arrays, as float32 and in the order of their names."""
    digest = hashlib.sha256()
    for _, array in sorted(flat(weights).items()):
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def all_or_none(sha256: str) -> Callable[[Weights], str]:
    """A `Published.share` of arrays whose `arrays_sha256` is known: they equal them all, or not."""
    return lambda weights: (
        "the published arrays" if arrays_sha256(weights) == sha256 else "not the published arrays"
    )


def file_hash(path: str | Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def cached_path(published: Published) -> Path:
    """The ported weights in the cache, there or not."""
    return cache_folder() / f"{published.network.lower()}_imagenet.safetensors"
