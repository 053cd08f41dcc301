"""Reads the convolutions of a network from a Keras HDF5 file, without trusting the file.

Only arrays of the expected shape are loaded. Links and external storage are rejected before they
are read.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from colorjax.errors import UserError, first_line
from colorjax.weights.store import Published, Weights, check_finite, check_names

MAX_FILE_BYTES = 2 * 2**30  # VGG16 with its classifier takes 0.55 GB
MAX_OBJECTS = 1000  # per layer of a file; valid files have at most five


def read_keras_file(published: Published, path: str | Path) -> Weights:
    """Reads a network's convolutions from a Keras file, with or without its `ignored_layers`.

    Accepts Keras's legacy HDF5 (only weights, or a whole model) and Keras 3's `.weights.h5`. In the
    `.weights.h5` of a larger model that contains the network, the network's layers are found in
    nested groups.

    Raises UserError, with the names of file and layer, if the file is not a valid HDF5 file or is
    too large, if layers are missing, unexpected, of a wrong shape, not real floats or not finite,
    or if anything is a link, stored externally or compressed (Keras does none of these).
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
        # Reading needs no lock, and network file systems often do not support locks.
        with h5py.File(path, "r", locking=False) as file:
            layers = _layers(published, path, file)
            weighted = {name for name, arrays in layers.items() if arrays}
            check_names(published, path, published.shapes, weighted - set(published.ignored_layers))
            return {
                name: _read_layer(published, path, name, layers[name], shape)
                for name, shape in published.shapes.items()
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = first_line(error)
        raise UserError(f"{path} is a truncated or damaged HDF5 file ({reason})") from error


def _layers(published: Published, path: Path, file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Returns {layer: its datasets}, without reading them, for all layouts of Keras files."""
    top = dict(_members(path, file))
    if "model_weights" in top:  # a whole model in the legacy layout
        top = dict(_members(path, top["model_weights"]))
    # TensorFlow 2.13 uses the second name.
    keras3 = top.get("layers", top.get("_layer_checkpoint_dependencies"))
    if keras3 is None and top.keys().isdisjoint(published.shapes):
        nested = dict(_nested_layers(published, path, top))
        if nested:
            return nested
    groups = top if keras3 is None else dict(_members(path, keras3))
    layers = {}
    for member, group in groups.items():
        name = member if keras3 is None else _keras3_name(published, path, member, group)
        for layer, member_group in _split_group(published, path, name, group):
            if layer in layers:
                raise UserError(f"{path} has the layer {layer} twice")
            layers[layer] = _datasets(path, member_group)
    return layers


def _nested_layers(
    published: Published, path: Path, top: dict[str, h5py.HLObject]
) -> Iterator[tuple[str, list[h5py.Dataset]]]:
    """Yields the network's layers at any depth, by the attribute "name" that Keras 3 writes.

    Other files do not have this attribute.
    """
    pending = [member for member in top.values() if isinstance(member, h5py.Group)]
    for _ in range(MAX_OBJECTS):  # a group may contain itself
        if not pending:
            return
        group = pending.pop()
        name = group.attrs.get("name")
        if isinstance(name, str) and name in published.shapes:
            yield name, _datasets(path, group)
        else:
            members = (member for _, member in _members(path, group))
            pending += [member for member in members if isinstance(member, h5py.Group)]


def _split_group(
    published: Published, path: Path, name: str, group: h5py.HLObject
) -> Iterable[tuple[str, h5py.HLObject]]:
    """Returns the layers in a group; Keras stores a layer called a/b, here a_b, in a group a."""
    if name in published.shapes or not any(n.startswith(f"{name}_") for n in published.shapes):
        return [(name, group)]
    return [(f"{name}_{part}", member) for part, member in _members(path, group)]


def _keras3_name(published: Published, path: Path, member: str, group: h5py.HLObject) -> str:
    """Returns a layer's name; older files have only its class and index, such as `conv2d_1`."""
    arrays = dict(_members(path, group)).get("vars")
    if arrays is not None and "name" in arrays.attrs:
        return str(arrays.attrs["name"])
    layers = {"conv2d": list(published.shapes), "dense": list(published.ignored_layers)}
    names = {
        kind if i == 0 else f"{kind}_{i}": layer
        for kind, kind_layers in layers.items()
        for i, layer in enumerate(kind_layers)
    }
    return names.get(member, member)


def _members(path: Path, group: h5py.HLObject) -> Iterator[tuple[str, h5py.HLObject]]:
    """Yields the members of a group; rejects links before they are followed."""
    if not isinstance(group, h5py.Group):
        raise UserError(f"{path}: {group.name} is not a group, as it is in files saved by Keras")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(
                f"{path}: {group.name.rstrip('/')}/{name} is a link to another place or file, "
                "which weights do not need"
            )
        yield name, group[name]


def _datasets(path: Path, layer: h5py.HLObject) -> list[h5py.Dataset]:
    datasets: list[h5py.Dataset] = []
    pending = [layer]
    for _ in range(MAX_OBJECTS):  # a group may contain itself
        if not pending:
            return datasets
        member = pending.pop()
        if isinstance(member, h5py.Dataset):
            datasets.append(member)
        elif isinstance(member, h5py.Group):
            pending += [inner for _, inner in _members(path, member)]
    raise UserError(f"{path}: {layer.name} contains itself or over {MAX_OBJECTS} objects")


def _read_layer(
    published: Published,
    path: Path,
    name: str,
    datasets: list[h5py.Dataset],
    shape: tuple[int, ...],
) -> dict[str, np.ndarray]:
    for dataset in datasets:
        _check_storage(path, name, dataset)
    shapes = [dataset.shape for dataset in datasets]
    # Kernel and bias are recognised by shape, since each version of Keras names them differently.
    if sorted(shapes, key=len, reverse=True) != [shape, shape[-1:]]:
        raise UserError(
            f"{path}: layer {name} has arrays of shapes {' and '.join(map(str, shapes))}, "
            f"want {shape} and {shape[-1:]}"
        )
    bias, kernel = (_read_array(path, name, d) for d in sorted(datasets, key=lambda d: d.ndim))
    if name == published.bgr_layer:
        kernel = kernel[:, :, ::-1]  # BGR to RGB
    return {"kernel": np.ascontiguousarray(kernel), "bias": bias}


def _check_storage(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Raises UserError unless the data are stored uncompressed and unchunked in this file.

    External storage would read other files, and compressed data could expand to any size. Must be
    called before the shape is read, which for virtual datasets already opens other files.
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
    check_finite(path, f"layer {name}", array)
    return array
