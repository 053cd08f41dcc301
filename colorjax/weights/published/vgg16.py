"""The published ImageNet weights of VGG16.

python -m colorjax.vgg16_weights FILE      ports a Keras file into the cache
python -m colorjax.vgg16_weights --fetch   downloads the published one (59 MB) and ports it
"""

import hashlib
import struct
from collections.abc import Mapping

import numpy as np

from colorjax.models.vgg16 import layer_shapes
from colorjax.weights import store
from colorjax.weights.published import keras_file
from colorjax.weights.store import Published, Weights

URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
# From keras.applications.vgg16: without the classifier (the file at URL), and with it.
PUBLISHED_MD5 = {
    "6d6bbae143d832006294945121d1f1fc": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "64373286793e3c8b2b4e3219cbf3544b": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
}


def genuine_layers(weights: Mapping[str, Mapping[str, np.ndarray]]) -> set[str]:
    """Returns the names, such as "block1_conv1/kernel", of arrays equal to the published ones."""
    return {
        name
        for name, array in store.flat(weights).items()
        if _PUBLISHED_SHA256.get(name) == hashlib.sha256(_old_npy(array)).hexdigest()
    }


def _describe_match(weights: Weights) -> str:
    equal = len(genuine_layers(weights))
    return f"{equal} of {len(_PUBLISHED_SHA256)} arrays equal to the published ones"


def _old_npy(array: np.ndarray) -> bytes:
    """Returns `array` as a .npy file of NumPy before 1.14, for which the checksums were published.

    Those versions padded the header with at least one space to a multiple of 16 bytes. Today's
    `np.lib.format` pads it to 64, which would give other checksums.
    """
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {array.shape}, }}"
    preamble = 6 + 2 + 2  # magic, version, header's length
    header += " " * (16 - (preamble + len(header) + 1) % 16) + "\n"
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    return magic + header.encode() + array.astype("<f4").tobytes()


# sha256 of the published arrays, each as a .npy file; block1_conv1's inputs are in RGB order.
_PUBLISHED_SHA256 = {
    "block1_conv1/kernel": "0b1cf41d353ae96b186f2cffb6c17b5c89578e1cbaca2570f01bd29b1ae4bff3",
    "block1_conv1/bias": "39b777679d117e1bf0b5d10f7aa39a06a5b7c2419d37ef018f2dcce04b2b1f4b",
    "block1_conv2/kernel": "e0726ea150fbc302519bc612216965b73e54e06edf4eee18bbf3275b2bb5fe8a",
    "block1_conv2/bias": "02b83a47ae29c4f36f5882286297445b4f1de63236e57c2fd2e1a4d92efaaad3",
    "block2_conv1/kernel": "a5afaf85c57ef8bc57b1a6f836f028803c43db7d5a273804c2209940abd63e3a",
    "block2_conv1/bias": "0bae357e418c37c926b64dd9891c123a9cdba0c5aea6c571b723be9fbe31c6ba",
    "block2_conv2/kernel": "301ed9e0f016731a0d40c24d85e64722411d60e71f6abbbfa54b067d37f7ac24",
    "block2_conv2/bias": "a557d3ffcd15035c8eba506716060701d0f7a8a0c0bdc4428cb048fc864726bc",
    "block3_conv1/kernel": "475259f3d0b67228b8ca3ee86d8886aafd426de9c105c313536a3e5a7e2dc21b",
    "block3_conv1/bias": "9c0511e766da165a93e405cca152c62ecf04537a313f59692d843341a6609dc4",
    "block3_conv2/kernel": "849222494fc38d91b48c3ecbf926902b00ac948ad320d0e090adcdf7e8d0c4ea",
    "block3_conv2/bias": "fb0bd38723825fda7dc2d0420e006c735d5ff2ddba28cc6b8afab52ab532c084",
    "block3_conv3/kernel": "c5477b3e8acd8b06a0bb61a911ab8ee8a6d170ee0a472be10e11a34d348a90e1",
    "block3_conv3/bias": "1e266025a896e451e18e82c9dbc566f937c8d472d5ea26144371652db5fbaee7",
    "block4_conv1/kernel": "3b47a57c89a0830ba1d9254b04294d19672cbaaf13b6435468a667c3e8d44719",
    "block4_conv1/bias": "7c4bb9644cdd0b5597f4bfb4613fdc9603672956330af6931b2a62700b5085ae",
    "block4_conv2/kernel": "5bc77036717f670f9a60c3eaaedb99dd20b0ad724b3d9a726d98136f37df6926",
    "block4_conv2/bias": "104bbb00dd5c08ad1cb9fa0f334e68d543335d35f953f1710a97841db9cb7932",
    "block4_conv3/kernel": "30b04aee37776be57ea02a6b3f675f558fa112be093ad04bb154cdba40972217",
    "block4_conv3/bias": "c5b74eb9033f318179fdcdba8050376c2864b14e8e4db897a32a872eb9bdf27b",
    "block5_conv1/kernel": "0762da95abcd9bb50e3f8f3ceb92896248acb11c915560ebff9986d8c0feef6b",
    "block5_conv1/bias": "358765a638d307302043c63d2b9db87868e45a3815bcf77e275dedbb03a619e6",
    "block5_conv2/kernel": "23b9a3044d08e6dc9505eef72e287a3761d5244abc52aa64ba1d4242517f22a3",
    "block5_conv2/bias": "df27c8839fc4aff5094536eab4fab56007ba03dc80b33743d1f455d6e912e32e",
    "block5_conv3/kernel": "4658b83cf8520e863527595824183c7bfc09b29705178e2b95929445a617a403",
    "block5_conv3/bias": "be2107dcffff80e6098e0fb344dbce3c2939674ad1f510d2987bce51fb16304a",
}

PUBLISHED = Published(
    network="VGG16",
    shapes=layer_shapes(),
    read=keras_file.read_keras_file,
    file="a file saved by Keras",
    format="colorjax-vgg16-1",
    module="colorjax.vgg16_weights",
    url=URL,
    md5=next(iter(PUBLISHED_MD5)),
    md5s=PUBLISHED_MD5,
    describe_match=_describe_match,
    bgr_layer="block1_conv1",
    ignored_layers=("fc1", "fc2", "predictions"),
)
