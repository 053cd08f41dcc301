"""Weights that others have published, ported from their files without trusting those.

`vgg16`, `squeezenet` and `efficientnet` say what each encoder's are, `keras_file` and `torch_file`
read them, and `pretrained` fetches, keeps and gives them.
"""
