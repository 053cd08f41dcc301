"""Reads the convolutions of a network from Keras's HDF5, without trusting the file.

It is read once, and nothing of it but arrays of the right shape is ever loaded; links and storage
outside the file are refused unread.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from colorjax.errors import UserError
from colorjax.weights.store import Published, Weights, check_finite, check_names

MAX_FILE_BYTES = 2 * 2**30  # VGG16 with its classifier takes 0.55 GB
MAX_OBJECTS = 1000  # in one layer of a file, where there are at most five


def read_keras_file(published: Published, path: str | Path) -> Weights:
    """Reads a network's convolutions from a file of Keras's, with or without what is `left_out`.

    Accepted are Keras's legacy HDF5 (weights alone, or a whole model) and Keras 3's `.weights.h5`;
    of a larger model of Keras 3, which keeps the network's layers in groups of its own, those.
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
    if keras3 is None and top.keys().isdisjoint(published.shapes):
        inside = dict(_named_within(published, path, top))
        if inside:
            return inside
    groups = top if keras3 is None else dict(_members(path, keras3))
    layers = {}
    for member, group in groups.items():
        name = member if keras3 is None else _keras3_name(published, path, member, group)
        for layer, found in _unfolded(published, path, name, group):
            if layer in layers:
                raise UserError(f"{path} has the layer {layer} twice")
            layers[layer] = _datasets(path, found)
    return layers


def _named_within(
    published: Published, path: Path, top: dict[str, h5py.HLObject]
) -> Iterator[tuple[str, list[h5py.Dataset]]]:
    """The network's layers at any depth below `top`, by the names that Keras 3 gives their arrays.

    In other files there is nothing of the kind.
    """
    rest = [thing for thing in top.values() if isinstance(thing, h5py.Group)]
    for _ in range(MAX_OBJECTS):  # a group may contain itself
        if not rest:
            return
        group = rest.pop()
        name = group.attrs.get("name")
        if isinstance(name, str) and name in published.shapes:
            yield name, _datasets(path, group)
        else:
            members = (thing for _, thing in _members(path, group))
            rest += [thing for thing in members if isinstance(thing, h5py.Group)]


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
    found: list[h5py.Dataset] = []
    rest = [layer]
    for _ in range(MAX_OBJECTS):  # a group may contain itself
        if not rest:
            return found
        thing = rest.pop()
        if isinstance(thing, h5py.Dataset):
            found.append(thing)
        elif isinstance(thing, h5py.Group):
            rest += [member for _, member in _members(path, thing)]
    raise UserError(f"{path}: {layer.name} holds itself or over {MAX_OBJECTS} things")


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
    check_finite(path, f"layer {name}", array)
    return array
