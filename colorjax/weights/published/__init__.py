"""Weights published by others, ported from their files without trusting the files.

`vgg16`, `squeezenet` and `efficientnet` describe the weights of each encoder, `keras_file` and
`torch_file` read the files, and `pretrained` downloads, caches and loads the weights.
"""
