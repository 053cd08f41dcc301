"""Published ImageNet weights of an encoder: from the published file to a safetensors file.

`weights` are a plain dict: layer name -> {"kernel": float32 [height, width, in, out], "bias":
float32 [out]} for all convolutions, the inputs of the first in RGB order (Keras's own are BGR).
A file from elsewhere is not trusted: it is read once, and nothing of it but arrays of the right
shape is ever loaded. Keras's HDF5 is read here, links and storage outside the file refused unread;
a network that is published otherwise brings its own reader.
"""

import argparse
import hashlib
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import h5py
import numpy as np
import pooch
from absl import logging
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from colorjax.errors import UserError
from colorjax.pictures import files
from colorjax.pictures.files import cache_folder

Weights = dict[str, dict[str, np.ndarray]]

ANSWER_SECONDS = 8.0  # without a network a job must start, not wait
STALL_SECONDS = 30.0
MAX_FILE_BYTES = 2 * 2**30  # VGG16 with its classifier takes 0.55 GB
MAX_OBJECTS = 1000  # in one layer of a file, where there are at most five


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


# Keras's file


def read_keras_file(published: Published, path: str | Path) -> Weights:
    """Reads a network's convolutions from a file of Keras's, with or without what is `left_out`.

    Accepted are Keras's legacy HDF5 (weights alone, or a whole model) and Keras 3's `.weights.h5`.
    Raises UserError naming the file and the layer if the file is no sound HDF5 file or is too
    large, if layers are missing, foreign, misshapen, not of real floats or not finite, or if
    anything in it is linked to, stored elsewhere or packed (Keras does none of that).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file, want {published.network} weights saved by Keras")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(
            f"{path} has {path.stat().st_size} bytes, more than the {MAX_FILE_BYTES} that any "
            f"{published.network} of Keras's needs"
        )
    if not h5py.is_hdf5(path):
        raise UserError(
            f"{path} is not an HDF5 file, want {published.network} weights saved by Keras"
        )
    try:
        # Reading needs no lock, and network file systems often cannot give one.
        with h5py.File(path, "r", locking=False) as file:
            layers = _layers(published, path, file)
            weighted = {name for name, arrays in layers.items() if arrays}
            check_names(published, path, published.shapes, weighted - set(published.left_out))
            return {
                name: _read_layer(published, path, name, layers[name], shape)
                for name, shape in published.shapes.items()
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is a truncated or damaged HDF5 file ({reason})") from error


def _layers(published: Published, path: Path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Layer name -> its datasets, unread, in either of Keras's layouts."""
    top = dict(_members(path, file))
    if "model_weights" in top:  # a whole model in the legacy layout
        top = dict(_members(path, top["model_weights"]))
    # TensorFlow 2.13 had this other name for it.
    keras3 = top.get("layers", top.get("_layer_checkpoint_dependencies"))
    groups = top if keras3 is None else dict(_members(path, keras3))
    layers = {}
    for member, group in groups.items():
        name = member if keras3 is None else _keras3_name(published, path, member, group)
        for layer, found in _unfolded(published, path, name, group):
            if layer in layers:
                raise UserError(f"{path} has the layer {layer} twice")
            layers[layer] = _datasets(path, found)
    return layers


def _unfolded(
    published: Published, path: Path, name: str, group: h5py.HLObject
) -> Iterable[tuple[str, h5py.HLObject]]:
    """A layer called a/b lies in a group a of its own, and is a_b here."""
    if name in published.shapes or not any(n.startswith(f"{name}_") for n in published.shapes):
        return [(name, group)]
    return [(f"{name}_{member}", thing) for member, thing in _members(path, group)]


def _keras3_name(published: Published, path: Path, member: str, group: h5py.HLObject) -> str:
    """The layer's own name; older files have but its class and place, such as `conv2d_1`."""
    arrays = dict(_members(path, group)).get("vars")
    if arrays is not None and "name" in arrays.attrs:
        return str(arrays.attrs["name"])
    places = {"conv2d": list(published.shapes), "dense": list(published.left_out)}
    names = {
        kind if i == 0 else f"{kind}_{i}": layer
        for kind, kind_layers in places.items()
        for i, layer in enumerate(kind_layers)
    }
    return names.get(member, member)


def _members(path: Path, group: h5py.HLObject) -> Iterator[tuple[str, h5py.HLObject]]:
    """What a group itself holds; a link to anywhere else is refused before it is followed."""
    if not isinstance(group, h5py.Group):
        raise UserError(f"{path}: {group.name} is no group, as it is in files of Keras's")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(
                f"{path}: {group.name.rstrip('/')}/{name} is a link to another place or file, "
                "which weights have no need of"
            )
        yield name, group[name]


def _datasets(path: Path, layer: h5py.HLObject) -> list[h5py.Dataset]:
    found, rest = [], [layer]
    for _ in range(MAX_OBJECTS):  # a group may contain itself
        if not rest:
            return found
        thing = rest.pop()
        if isinstance(thing, h5py.Dataset):
            found.append(thing)
        elif isinstance(thing, h5py.Group):
            rest += [member for _, member in _members(path, thing)]
    raise UserError(f"{path}: {layer.name} holds itself or over {MAX_OBJECTS} things")


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


def _read_layer(
    published: Published,
    path: Path,
    name: str,
    datasets: list[h5py.Dataset],
    shape: tuple[int, ...],
) -> dict[str, np.ndarray]:
    for dataset in datasets:
        _check_storage(path, name, dataset)
    found = [dataset.shape for dataset in datasets]
    # Told apart by shape, since every version of Keras calls them something else.
    if sorted(found, key=len, reverse=True) != [shape, shape[-1:]]:
        raise UserError(
            f"{path}: layer {name} has arrays of shapes {' and '.join(map(str, found))}, "
            f"want {shape} and {shape[-1:]}"
        )
    bias, kernel = (_read_array(path, name, d) for d in sorted(datasets, key=lambda d: d.ndim))
    if name == published.first:
        kernel = kernel[:, :, ::-1]  # BGR to RGB
    return {"kernel": np.ascontiguousarray(kernel), "bias": bias}


def _check_storage(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Plain bytes inside this file only: others' files are not ours to read, packed ones may burst.

    Comes before the shape is asked for, which for virtual arrays already opens other files.
    """
    properties = dataset.id.get_create_plist()
    plain = properties.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not plain or properties.get_external_count():
        raise UserError(
            f"{path}: layer {name} keeps {dataset.name} in other files or in chunks, want a plain "
            "array inside the file"
        )


def _read_array(path: Path, name: str, dataset: h5py.Dataset) -> np.ndarray:
    if not np.issubdtype(dataset.dtype, np.floating):
        raise UserError(f"{path}: layer {name} is of type {dataset.dtype}, want float32")
    if dataset.id.get_storage_size() == 0:  # HDF5 would read it as zeros
        raise UserError(f"{path}: layer {name} has an array whose values were never written")
    with np.errstate(over="ignore"):
        array = dataset[()].astype(np.float32)
    check_finite(path, name, array)
    return array


def check_finite(path: Path, name: str, array: np.ndarray) -> None:
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise UserError(f"{path}: layer {name} has {bad} values that are NaN or infinite")


# Our file


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
    with files.written_aside(path) as aside:
        # Its own writer lets none but the owner read the file, and a cache may be shared.
        aside.write_bytes(to_safetensors(arrays, metadata))


def load(published: Published, path: str | Path) -> Weights:
    """Reads `weights` from a file that `save` made.

    Raises UserError if it is none, or if a layer is missing, foreign, misshapen, not float32 or not
    finite.
    """
    path = Path(path)
    with _open(published, path) as file:
        names = [f"{name}/{part}" for name in published.shapes for part in ("kernel", "bias")]
        check_names(published, path, names, set(file.keys()))
        return {
            name: {
                "kernel": _load_array(path, file, f"{name}/kernel", shape),
                "bias": _load_array(path, file, f"{name}/bias", shape[-1:]),
            }
            for name, shape in published.shapes.items()
        }


def _open(published: Published, path: Path) -> safe_open:
    # Another program's arrays may be BGR, or laid out otherwise.
    return open_safetensors(
        path, published.format, f"{published.network} weights in safetensors",
        f"make it with `python -m {published.module} FILE`",
    )  # fmt: skip


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
    found = (tuple(header.get_shape()), header.get_dtype())
    if found != (shape, "F32"):
        raise UserError(f"{path}: {name} is {found[1]} of shape {found[0]}, want F32 of {shape}")
    array = file.get_tensor(name)
    check_finite(path, name, array)
    return array


def flat(weights: Weights) -> dict[str, np.ndarray]:
    """{layer: {part: array}} -> {"layer/part": array}."""
    return {f"{name}/{p}": array for name, parts in weights.items() for p, array in parts.items()}


def file_hash(path: str | Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# The cache and the published file


def cached_path(published: Published) -> Path:
    """The ported weights in the cache, there or not."""
    return cache_folder() / f"{published.network.lower()}_imagenet.safetensors"


def port(published: Published, path: str | Path) -> Path:
    """Ports the published file `path` into the cache; returns where.

    Raises UserError, with nothing written, if the file is not as `published.read` wants it, or if
    the cache cannot be written.
    """
    weights = published.read(published, path)
    try:
        save(published, weights, cached_path(published), source=path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(error) from error
    return cached_path(published)


def _how_to_get(published: Published) -> str:
    return (
        f"download {published.url} on a machine with a network and run "
        f"`python -m {published.module} FILE` on it"
    )


def fetch(published: Published) -> Path:
    """Downloads the published file, checks its checksum and ports it into the cache.

    Gives up after ANSWER_SECONDS without an answer and does not try again. The download itself is
    removed. Raises UserError, with nothing written, saying what failed and how to get the file.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        workplace = tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".fetch.")
    except OSError as error:
        raise _unwritable(error) from error
    with workplace as folder:
        try:
            _await_answer(published.url, ANSWER_SECONDS)
            file = _download(published, folder)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            raise UserError(f"{_reason(published, error)}; {_how_to_get(published)}") from error
        return port(published, file)


def _unwritable(error: Exception) -> UserError:
    return UserError(
        f"{cache_folder()} cannot be written ({error}); set COLORJAX_HOME to a folder that can"
    )


def _download(published: Published, folder: str) -> str:
    pooch.get_logger().setLevel("WARNING")  # the progress bar says it all
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=2**18,
        timeout=(ANSWER_SECONDS, STALL_SECONDS),
    )
    name = published.url.rpartition("/")[2]
    md5 = f"md5:{published.md5}"
    return pooch.retrieve(published.url, md5, name, folder, downloader=downloader)


def _await_answer(url: str, seconds: float) -> None:
    """Raises OSError unless `url`'s server answers in time.

    In a thread, because no timeout of requests bounds the looking up of a name, nor the trying of
    one address after another; both take minutes behind a firewall that drops packets.
    """
    import requests

    answer: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            requests.head(url, timeout=seconds, allow_redirects=True).raise_for_status()
            answer.put(None)
        except Exception as error:  # whatever it is, it is raised in the caller's thread
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error:
        raise error


def _reason(published: Published, error: Exception) -> str:
    """One clause, where requests and pooch say several lines."""
    import requests

    host = urlsplit(published.url).netloc
    if isinstance(error, requests.HTTPError):
        return f"{host} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.RequestException):
        return f"{host} could not be reached ({type(error).__name__})"
    if isinstance(error, ValueError):
        return f"what {host} sent is not the published file (its md5 is not {published.md5})"
    return f"the download from {host} failed ({error})"


def resolve(published: Published, setting: str) -> tuple[Weights | None, str]:
    """What the field `model.encoder_weights` asks for: (weights or None for random, a record).

    - "auto": the cached weights, else the published ones fetched, else None after one warning;
    - "imagenet": the same, but UserError if they cannot be had;
    - "none": None;
    - a path: that file, `.safetensors` as `save` makes it or else as it was published.

    The record is a short text to keep with the run: what the encoder starts from. Raises UserError
    if a file that is there is not as it should be; only an absent one is ever passed over.
    """
    if setting == "none":
        return None, "random (as configured)"
    if setting not in ("auto", "imagenet"):
        path = Path(setting).expanduser()
        if not path.is_file():
            raise UserError(
                f"model.encoder_weights is {setting!r}, want 'auto', 'imagenet', 'none' or a file"
            )
        read = load if path.suffix == ".safetensors" else published.read
        weights = read(published, path)
        return weights, f"{path.name} ({_provenance(published, path, weights)})"
    if not cached_path(published).is_file():
        try:
            fetch(published)
        except UserError as error:
            if setting == "imagenet":
                raise UserError(f"The ImageNet weights are not cached: {error}") from error
            logging.warning("The encoder starts from random weights, not ImageNet's: %s", error)
            reason = str(error).removesuffix(f"; {_how_to_get(published)}")
            return None, f"random (ImageNet weights not cached and not fetchable: {reason})"
    weights = load(published, cached_path(published))
    return weights, f"imagenet ({_provenance(published, cached_path(published), weights)})"


def _provenance(published: Published, path: Path, weights: Weights) -> str:
    digest = file_hash(path, "sha256")
    if path.suffix == ".safetensors":
        with _open(published, path) as file:
            digest = file.metadata().get("source_sha256", digest)
    return f"sha256 {digest}, {published.share(weights)}"


# The command


def main(published: Published, argv: list[str] | None = None) -> int:
    """Ports a file, or fetches the published one, and says in one line where it is and what."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {published.module}",
        description=f"Port {published.network}'s weights into the cache.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help=published.file)
    source.add_argument("--fetch", action="store_true", help=f"download {published.url}")
    args = parser.parse_args(argv)
    try:
        path = fetch(published) if args.fetch else port(published, args.file)
        md5 = published.md5 if args.fetch else file_hash(args.file, "md5")
        share = published.share(load(published, path))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    kind = "the published file" if md5 in published.md5s else "NOT the published file"
    print(f"{path}: ported from {kind} (md5 {md5}), {share}")
    return 0
