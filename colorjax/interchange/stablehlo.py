"""The network as a program of StableHLO, for CPUs and CUDA, which runs wherever jax does."""

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
    """What `jax.export.deserialize` reads: `program.colored` with its network.

    Args:
      network: what colours.
      photo_shape: height and width of the photographs, uint8 [batch, height, width, 3], of which
        the program then makes the network's small copies itself. Unless given they are of any size,
        and their small copies, uint8 [batch, 16 rows, 16 columns, 3], the second argument.

    Raises:
      UserError: the network cannot be written down for photographs of any size.
    """
    scope = export.SymbolicScope()  # to all arguments together

    def pictures(height, width):
        shape = export.symbolic_shape(f"batch, {height}, {width}, 3", scope=scope)
        return jax.ShapeDtypeStruct(shape, np.uint8)

    if photo_shape is not None:
        function = jax.jit(partial(_of_photos, network))
        found = export.export(function, platforms=PLATFORMS)(pictures(*photo_shape))
        return bytes(found.serialize())
    function = jax.jit(partial(program.colored, network))
    small = pictures(f"{QUANTUM} * rows", f"{QUANTUM} * columns")
    try:
        found = export.export(function, platforms=PLATFORMS)(pictures("height", "width"), small)
    # What cannot be said of sides that are not known is an error of many kinds.
    except (TypeError, ValueError, NotImplementedError, jax.errors.JAXTypeError) as error:
        raise UserError(
            "this network cannot be written down for photographs of any size: want --photo-size"
        ) from error
    return bytes(found.serialize())


def _of_photos(network: Network, photos: jax.Array) -> jax.Array:
    _, height, width, _ = photos.shape
    shape = network_shape(height, width, network.config.data.load_size)
    return program.colored(network, photos, program.made_small(photos, shape))
