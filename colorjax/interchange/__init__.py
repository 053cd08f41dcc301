"""Exports a network as a program that runs without colorjax: gray photo in, coloured photo out.

`program` is this program in JAX, which `stablehlo` serializes. `graph`, `onnx_network` and
`onnx_picture` build the same program as an ONNX graph, which `onnx_file` serializes. The programs
contain nothing else that `colorjax` does: they colour borders like the rest of a photo, and the
caller handles files with their colour profiles and metadata.
"""
