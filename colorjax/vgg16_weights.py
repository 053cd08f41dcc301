"""The published ImageNet weights of VGG16: from Keras's file to a checked safetensors file.

    python -m colorjax.vgg16_weights FILE      ports a Keras file into the cache
    python -m colorjax.vgg16_weights --fetch   downloads the published one and ports it

`weights` are a plain dict: layer name -> {"kernel": float32 [3, 3, in, out], "bias": float32 [out]}
for the 13 convolutions, the inputs of block1_conv1 in RGB order (Keras's own are BGR). HDF5 from
elsewhere is not trusted: it is read once, links and storage outside the file are refused unread,
and nothing of it but arrays of the right shape is ever loaded.
"""

import argparse
import hashlib
import queue
import struct
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import numpy as np
import pooch
from absl import logging
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from colorjax import files
from colorjax.errors import UserError
from colorjax.files import cache_folder
from colorjax.models.vgg16 import layer_shapes

Weights = dict[str, dict[str, np.ndarray]]

URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
# As keras.applications.vgg16 has them: without the classifier (what URL gives), and with it.
PUBLISHED_MD5 = {
    "6d6bbae143d832006294945121d1f1fc": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "64373286793e3c8b2b4e3219cbf3544b": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
}
FETCH_MD5 = next(iter(PUBLISHED_MD5))
FORMAT = "colorjax-vgg16-1"  # changes with anything that an older program would misread

ANSWER_SECONDS = 8.0  # without a network a job must start, not wait
STALL_SECONDS = 30.0
MAX_FILE_BYTES = 2 * 2**30  # VGG16 with its classifier takes 0.55 GB
MAX_OBJECTS = 1000  # in one layer of a file, where there are at most five

_FULLY_CONNECTED = ("fc1", "fc2", "predictions")
_HOW_TO_GET = (
    f"download {URL} on a machine with a network and run "
    "`python -m colorjax.vgg16_weights FILE` on it"
)


# Keras's file


def read_keras_file(path: str | Path) -> Weights:
    """Reads VGG16's convolutions from a file of Keras's, with or without the classifier.

    Accepted are Keras's legacy HDF5 (weights alone, or a whole model) and Keras 3's `.weights.h5`.
    Raises UserError naming the file and the layer if the file is no sound HDF5 file or is too
    large, if layers are missing, foreign, misshapen, not of real floats or not finite, or if
    anything in it is linked to, stored elsewhere or packed (Keras does none of that).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file, want VGG16 weights saved by Keras")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(
            f"{path} has {path.stat().st_size} bytes, more than the {MAX_FILE_BYTES} that any "
            "VGG16 of Keras's needs"
        )
    if not h5py.is_hdf5(path):
        raise UserError(f"{path} is not an HDF5 file, want VGG16 weights saved by Keras")
    try:
        # Reading needs no lock, and network file systems often cannot give one.
        with h5py.File(path, "r", locking=False) as file:
            layers = _layers(path, file)
            weighted = {name for name, arrays in layers.items() if arrays}
            _check_names(path, layer_shapes(), weighted - set(_FULLY_CONNECTED))
            return {
                name: _read_layer(path, name, layers[name], shape)
                for name, shape in layer_shapes().items()
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is a truncated or damaged HDF5 file ({reason})") from error


def _layers(path: Path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Layer name -> its datasets, unread, in either of Keras's layouts."""
    top = dict(_members(path, file))
    if "model_weights" in top:  # a whole model in the legacy layout
        top = dict(_members(path, top["model_weights"]))
    # TensorFlow 2.13 had this other name for it.
    keras3 = top.get("layers", top.get("_layer_checkpoint_dependencies"))
    groups = top if keras3 is None else dict(_members(path, keras3))
    layers = {}
    for member, group in groups.items():
        name = member if keras3 is None else _keras3_name(path, member, group)
        if name in layers:
            raise UserError(f"{path} has the layer {name} twice")
        layers[name] = _datasets(path, group)
    return layers


def _keras3_name(path: Path, member: str, group: h5py.HLObject) -> str:
    """The layer's own name; older files have but its class and place, such as `conv2d_1`."""
    arrays = dict(_members(path, group)).get("vars")
    if arrays is not None and "name" in arrays.attrs:
        return str(arrays.attrs["name"])
    places = {"conv2d": list(layer_shapes()), "dense": list(_FULLY_CONNECTED)}
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


def _check_names(path: Path, wanted: Iterable[str], found: set[str]) -> None:
    missing = [name for name in wanted if name not in found]
    foreign = sorted(found - set(wanted))
    faults = []
    if missing:
        faults.append(f"lacks {missing[0]}{_and_more(missing)}")
    if foreign:
        faults.append(f"has {foreign[0]}{_and_more(foreign)}, which VGG16 has not")
    if faults:
        raise UserError(f"{path} does not hold VGG16's weights: it {' and '.join(faults)}")


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _read_layer(
    path: Path, name: str, datasets: list[h5py.Dataset], shape: tuple[int, ...]
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
    if name == "block1_conv1":
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
    _check_finite(path, name, array)
    return array


def _check_finite(path: Path, name: str, array: np.ndarray) -> None:
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise UserError(f"{path}: layer {name} has {bad} values that are NaN or infinite")


# Our file


def save(weights: Weights, path: str | Path, source: str | Path | None = None) -> None:
    """Writes `weights` as safetensors, aside and then renamed, so that `path` is never half a file.

    Kept beside them are the format's version and the name and sha256 of the file `source` that they
    came from.
    """
    path = Path(path)
    metadata = {"format": FORMAT}
    if source is not None:
        metadata |= {"source": Path(source).name, "source_sha256": _file_hash(source, "sha256")}
    # safetensors writes an array's memory as it lies, whatever its strides.
    arrays = {name: np.ascontiguousarray(array) for name, array in _flat(weights).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.written_aside(path) as aside:
        # Its own writer lets none but the owner read the file, and a cache may be shared.
        aside.write_bytes(to_safetensors(arrays, metadata))


def load(path: str | Path) -> Weights:
    """Reads `weights` from a file that `save` made.

    Raises UserError if it is none, or if a layer is missing, foreign, misshapen, not float32 or not
    finite.
    """
    path = Path(path)
    with _open(path) as file:
        names = [f"{name}/{part}" for name in layer_shapes() for part in ("kernel", "bias")]
        _check_names(path, names, set(file.keys()))
        return {
            name: {
                "kernel": _load_array(path, file, f"{name}/kernel", shape),
                "bias": _load_array(path, file, f"{name}/bias", shape[-1:]),
            }
            for name, shape in layer_shapes().items()
        }


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise UserError(f"{path} is not a file, want VGG16 weights in safetensors")
    try:
        file = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no sound safetensors file ({error})") from error
    found = (file.metadata() or {}).get("format")
    if found != FORMAT:  # another program's arrays may be BGR, or laid out otherwise
        raise UserError(
            f"{path} is of format {found!r}, want {FORMAT!r}: make it with "
            "`python -m colorjax.vgg16_weights FILE`"
        )
    return file


def _load_array(path: Path, file: safe_open, name: str, shape: tuple[int, ...]) -> np.ndarray:
    header = file.get_slice(name)
    found = (tuple(header.get_shape()), header.get_dtype())
    if found != (shape, "F32"):
        raise UserError(f"{path}: {name} is {found[1]} of shape {found[0]}, want F32 of {shape}")
    array = file.get_tensor(name)
    _check_finite(path, name, array)
    return array


def _flat(weights: Weights) -> dict[str, np.ndarray]:
    return {f"{name}/{p}": array for name, parts in weights.items() for p, array in parts.items()}


def _file_hash(path: str | Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# The cache and the published file


def cached_path() -> Path:
    """The ported weights in the cache, there or not."""
    return cache_folder() / "vgg16_imagenet.safetensors"


def port(path: str | Path) -> Path:
    """Ports the Keras file `path` into the cache; returns where.

    Raises UserError, with nothing written, if the file is not as `read_keras_file` wants it, or if
    the cache cannot be written.
    """
    weights = read_keras_file(path)
    try:
        save(weights, cached_path(), source=path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(error) from error
    return cached_path()


def fetch() -> Path:
    """Downloads the published file (59 MB), checks its checksum and ports it into the cache.

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
            _await_answer(URL, ANSWER_SECONDS)
            file = _download(folder)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            raise UserError(f"{_reason(error)}; {_HOW_TO_GET}") from error
        return port(file)


def _unwritable(error: Exception) -> UserError:
    return UserError(
        f"{cache_folder()} cannot be written ({error}); set COLORJAX_HOME to a folder that can"
    )


def _download(folder: str) -> str:
    pooch.get_logger().setLevel("WARNING")  # the progress bar says it all
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=2**18,
        timeout=(ANSWER_SECONDS, STALL_SECONDS),
    )
    name = URL.rpartition("/")[2]
    return pooch.retrieve(URL, f"md5:{FETCH_MD5}", name, folder, downloader=downloader)


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


def _reason(error: Exception) -> str:
    """One clause, where requests and pooch say several lines."""
    import requests

    host = urlsplit(URL).netloc
    if isinstance(error, requests.HTTPError):
        return f"{host} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.RequestException):
        return f"{host} could not be reached ({type(error).__name__})"
    if isinstance(error, ValueError):
        return f"what {host} sent is not the published file (its md5 is not {FETCH_MD5})"
    return f"the download from {host} failed ({error})"


def resolve(setting: str) -> tuple[Weights | None, str]:
    """What the field `model.encoder_weights` asks for: (weights or None for random, a record).

    - "auto": the cached weights, else the published ones fetched, else None after one warning;
    - "imagenet": the same, but UserError if they cannot be had;
    - "none": None;
    - a path: that file, `.safetensors` as `save` makes it or else one of Keras's.

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
        weights = load(path) if path.suffix == ".safetensors" else read_keras_file(path)
        return weights, f"{path.name} ({_provenance(path, weights)})"
    if not cached_path().is_file():
        try:
            fetch()
        except UserError as error:
            if setting == "imagenet":
                raise UserError(f"The ImageNet weights are not cached: {error}") from error
            logging.warning("The encoder starts from random weights, not ImageNet's: %s", error)
            reason = str(error).removesuffix(f"; {_HOW_TO_GET}")
            return None, f"random (ImageNet weights not cached and not fetchable: {reason})"
    weights = load(cached_path())
    return weights, f"imagenet ({_provenance(cached_path(), weights)})"


def _provenance(path: Path, weights: Weights) -> str:
    digest = _file_hash(path, "sha256")
    if path.suffix == ".safetensors":
        with _open(path) as file:
            digest = file.metadata().get("source_sha256", digest)
    return f"sha256 {digest}, {_genuine_share(weights)}"


# Genuineness


def genuine_layers(weights: Mapping[str, Mapping[str, np.ndarray]]) -> set[str]:
    """The arrays, as "block1_conv1/kernel", that equal the published ones to the last bit."""
    return {
        name
        for name, array in _flat(weights).items()
        if _PUBLISHED_SHA256.get(name) == hashlib.sha256(_old_npy(array)).hexdigest()
    }


def _genuine_share(weights: Weights) -> str:
    equal = len(genuine_layers(weights))
    return f"{equal} of {len(_PUBLISHED_SHA256)} arrays equal to the published ones"


def _old_npy(array: np.ndarray) -> bytes:
    """`array` as a .npy file of a NumPy before 1.14, as the published checksums were made of.

    Those padded the header to a multiple of 16 bytes, always by one space at least; today's
    `np.lib.format` pads it to 64, which would give other checksums.
    """
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {array.shape}, }}"
    preamble = 6 + 2 + 2  # magic, version, header's length
    header += " " * (16 - (preamble + len(header) + 1) % 16) + "\n"
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    return magic + header.encode() + array.astype("<f4").tobytes()


# sha256 of the published arrays, each as a .npy file with block1_conv1's inputs in RGB order.
_PUBLISHED_SHA256 = {
    "block1_conv1/kernel": "0b1cf41d353ae96b186f2cffb6c17b5c89578e1cbaca2570f01bd29b1ae4bff3",
    "block1_conv1/bias": "39b777679d117e1bf0b5d10f7aa39a06a5b7c2419d37ef018f2dcce04b2b1f4b",
    "block1_conv2/kernel": "e0726ea150fbc302519bc612216965b73e54e06edf4eee18bbf3275b2bb5fe8a",
    "block1_conv2/bias": "02b83a47ae29c4f36f5882286297445b4f1de63236e57c2fd2e1a4d92efaaad3",
    "block2_conv1/kernel": "a5afaf85c57ef8bc57b1a6f836f028803c43db7d5a273804c2209940abd63e3a",
    "block2_conv1/bias": "0bae357e418c37c926b64dd9891c123a9cdba0c5aea6c571b723be9fbe31c6ba",
    "block2_conv2/kernel": "301ed9e0f016731a0d40c24d85e64722411d60e71f6abbbfa54b067d37f7ac24",
    "block2_conv2/bias": "a557d3ffcd15035c8eba506716060701d0f7a8a0c0bdc4428cb048fc864726bc",
    "block3_conv1/kernel": "475259f3d0b67228b8ca3ee86d8886aafd426de9c105c313536a3e5a7e2dc21b",
    "block3_conv1/bias": "9c0511e766da165a93e405cca152c62ecf04537a313f59692d843341a6609dc4",
    "block3_conv2/kernel": "849222494fc38d91b48c3ecbf926902b00ac948ad320d0e090adcdf7e8d0c4ea",
    "block3_conv2/bias": "fb0bd38723825fda7dc2d0420e006c735d5ff2ddba28cc6b8afab52ab532c084",
    "block3_conv3/kernel": "c5477b3e8acd8b06a0bb61a911ab8ee8a6d170ee0a472be10e11a34d348a90e1",
    "block3_conv3/bias": "1e266025a896e451e18e82c9dbc566f937c8d472d5ea26144371652db5fbaee7",
    "block4_conv1/kernel": "3b47a57c89a0830ba1d9254b04294d19672cbaaf13b6435468a667c3e8d44719",
    "block4_conv1/bias": "7c4bb9644cdd0b5597f4bfb4613fdc9603672956330af6931b2a62700b5085ae",
    "block4_conv2/kernel": "5bc77036717f670f9a60c3eaaedb99dd20b0ad724b3d9a726d98136f37df6926",
    "block4_conv2/bias": "104bbb00dd5c08ad1cb9fa0f334e68d543335d35f953f1710a97841db9cb7932",
    "block4_conv3/kernel": "30b04aee37776be57ea02a6b3f675f558fa112be093ad04bb154cdba40972217",
    "block4_conv3/bias": "c5b74eb9033f318179fdcdba8050376c2864b14e8e4db897a32a872eb9bdf27b",
    "block5_conv1/kernel": "0762da95abcd9bb50e3f8f3ceb92896248acb11c915560ebff9986d8c0feef6b",
    "block5_conv1/bias": "358765a638d307302043c63d2b9db87868e45a3815bcf77e275dedbb03a619e6",
    "block5_conv2/kernel": "23b9a3044d08e6dc9505eef72e287a3761d5244abc52aa64ba1d4242517f22a3",
    "block5_conv2/bias": "df27c8839fc4aff5094536eab4fab56007ba03dc80b33743d1f455d6e912e32e",
    "block5_conv3/kernel": "4658b83cf8520e863527595824183c7bfc09b29705178e2b95929445a617a403",
    "block5_conv3/bias": "be2107dcffff80e6098e0fb344dbce3c2939674ad1f510d2987bce51fb16304a",
}


def main(argv: list[str] | None = None) -> int:
    """Ports a file, or fetches the published one, and says in one line where it is and what."""
    parser = argparse.ArgumentParser(
        prog="python -m colorjax.vgg16_weights", description="Port VGG16's weights into the cache."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help="a VGG16 file saved by Keras")
    source.add_argument("--fetch", action="store_true", help=f"download {URL}")
    args = parser.parse_args(argv)
    try:
        path = fetch() if args.fetch else port(args.file)
        md5 = FETCH_MD5 if args.fetch else _file_hash(args.file, "md5")
        share = _genuine_share(load(path))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    kind = "the published file" if md5 in PUBLISHED_MD5 else "NOT the published file"
    print(f"{path}: ported from {kind} (md5 {md5}), {share}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
