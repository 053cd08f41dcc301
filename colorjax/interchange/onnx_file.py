"""The network as a file of ONNX, which runs wherever onnxruntime does."""

import numpy as np

from colorjax.interchange import onnx_network, onnx_picture
from colorjax.interchange.graph import argument, model
from colorjax.weights.released import Network


def serialized(network: Network, facts: dict[str, str]) -> bytes:
    """The bytes of a file: uint8 `photo` [1, h, w, 1 or 3] -> uint8 `coloured` [1, h, w, 3].

    Args:
      network: what colours.
      facts: what the file is to say of itself.

    Raises:
      UserError: the network is of a kind that has no graph here.
    """
    onnx_network.check_network(network.config)
    photo = argument("photo", np.uint8)
    coloured = onnx_picture.coloured(network, photo)
    shapes = [1, "height", "width", "channels"], [1, "height", "width", 3]
    return model(coloured, "coloured", photo, shapes, facts).SerializeToString()
