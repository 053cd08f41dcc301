"""Serializes a network as an ONNX model, which runs wherever onnxruntime does."""

import numpy as np

from colorjax.interchange import onnx_network, onnx_picture
from colorjax.interchange.graph import argument, model
from colorjax.weights.released import Network


def serialized(network: Network, properties: dict[str, str]) -> bytes:
    """Returns an ONNX model: uint8 `photo` [1, h, w, 1 or 3] -> uint8 `coloured` [1, h, w, 3].

    Args:
      network: the network to export.
      properties: metadata of the model.

    Raises:
      UserError: this kind of network cannot be exported to ONNX.
    """
    onnx_network.check_network(network.config)
    photo = argument("photo", np.uint8)
    coloured = onnx_picture.coloured(network, photo)
    shapes = [1, "height", "width", "channels"], [1, "height", "width", 3]
    return model(coloured, "coloured", photo, shapes, properties).SerializeToString()
