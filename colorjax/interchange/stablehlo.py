"""Serializes a network as a StableHLO program for CPUs and CUDA, which runs wherever jax does."""

from functools import partial

import jax
import numpy as np
from jax import export

from colorjax.coloring.network.shapes import QUANTUM, network_shape
from colorjax.errors import UserError
from colorjax.interchange import program
from colorjax.weights.released import Network

PLATFORMS = ("cpu", "cuda")


def serialized(network: Network, photo_shape: tuple[int, int] | None = None) -> bytes:
    """Serializes `program.colored` with its network for `jax.export.deserialize`.

    Args:
      network: the network to export.
      photo_shape: height and width of the photographs, uint8 [batch, height, width, 3], which the
        program then downscales for the network itself. If None, they may have any size, and their
        downscaled copies, uint8 [batch, 16 rows, 16 columns, 3], are the second argument.

    Raises:
      UserError: the network cannot be exported for photographs of any size.
    """
    scope = export.SymbolicScope()  # shared by all arguments: they have the same batch size

    def pictures(height, width):
        shape = export.symbolic_shape(f"batch, {height}, {width}, 3", scope=scope)
        return jax.ShapeDtypeStruct(shape, np.uint8)

    if photo_shape is not None:
        function = jax.jit(partial(_of_photos, network))
        exported = export.export(function, platforms=PLATFORMS)(pictures(*photo_shape))
        return bytes(exported.serialize())
    function = jax.jit(partial(program.colored, network))
    small = pictures(f"{QUANTUM} * rows", f"{QUANTUM} * columns")
    try:
        exported = export.export(function, platforms=PLATFORMS)(pictures("height", "width"), small)
    # jax raises all of these where symbolic shapes are not supported.
    except (TypeError, ValueError, NotImplementedError, jax.errors.JAXTypeError) as error:
        raise UserError(
            "this network cannot be exported for photographs of any size: want --photo-size"
        ) from error
    return bytes(exported.serialize())


def _of_photos(network: Network, photos: jax.Array) -> jax.Array:
    """Colours photographs of known size."""
    _, height, width, _ = photos.shape
    shape = network_shape(height, width, network.config.data.load_size)
    return program.colored(network, photos, program.resized(photos, shape))
