"""A network as a program that runs where colorjax is not: gray pictures in, coloured ones out.

`program` is that program in JAX, which `stablehlo` writes down. `graph`, `onnx_network` and
`onnx_picture` say the same in ONNX, which `onnx_file` writes. What `colorjax` does around it is not
in it: borders are coloured like the rest, and files, with their profiles and metadata, are the
business of whoever calls it.
"""
