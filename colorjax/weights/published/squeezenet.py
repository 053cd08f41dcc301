"""The published ImageNet weights of SqueezeNet.

    python -m colorjax.squeezenet_weights FILE      ports a Keras file into the cache
    python -m colorjax.squeezenet_weights --fetch   downloads the published one (3 MB) and ports it

They are the weights of SqueezeNet 1.1 for Caffe (https://github.com/forresti/SqueezeNet, BSD),
converted to Keras by https://github.com/rcmalli/keras-squeezenet (MIT), and trained on BGR images.
"""

from colorjax.models.squeezenet import layer_shapes
from colorjax.weights import store
from colorjax.weights.published import keras_file
from colorjax.weights.store import Published

URL = (
    "https://github.com/rcmalli/keras-squeezenet/releases/download/v1.0/"
    "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
PUBLISHED_MD5 = {
    "80b66c92d79d4310e07fb60a297bf0d1": "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
}
# `store.arrays_sha256` of the published weights, with the inputs of conv1 in RGB order.
_PUBLISHED_SHA256 = "31b66f6e4595ec9b63a9a595d6d4d3cc2d485df9cd71e91b519be889d2a5ac93"


PUBLISHED = Published(
    network="SqueezeNet",
    shapes=layer_shapes(),
    read=keras_file.read_keras_file,
    file="a file saved by Keras",
    format="colorjax-squeezenet-1",
    module="colorjax.squeezenet_weights",
    url=URL,
    md5=next(iter(PUBLISHED_MD5)),
    md5s=PUBLISHED_MD5,
    describe_match=store.match_by_sha256(_PUBLISHED_SHA256),
    bgr_layer="conv1",
    ignored_layers=("conv10",),
)
