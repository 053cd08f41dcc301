"""The conventions that all public functions of `colorjax.ops` follow."""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import ops
from colorjax.ops import bins
from colorjax.ops.spaces import SPACES

FUNCTIONS = {
    f"{module}.{name}": function
    for _, module, _ in iter_modules(ops.__path__)
    for name, function in vars(import_module(f"colorjax.ops.{module}")).items()
    if not name.startswith("_")
    and callable(function)
    and not isinstance(function, type)
    and getattr(function, "__module__", None) == f"colorjax.ops.{module}"
}


def bf16(*shape):
    """A placeholder in bfloat16, the type in which networks compute."""
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)


def placeholder(*shape, dtype=jnp.int32):
    return jax.ShapeDtypeStruct(shape, dtype)


KEY = jax.random.key(0)
BINNING = bins.channel_bins()
RGB, LUV, GRAY, CHROMA = (
    bf16(1, 16, 16, 3),
    bf16(1, 16, 16, 3),
    bf16(1, 16, 16, 1),
    bf16(1, 16, 16, 2),
)
RGB_U8, BINS = placeholder(1, 16, 16, 3, dtype=jnp.uint8), placeholder(1, 16, 16, 2)
LOGITS, VALUES, COUNTS = bf16(1, 16, 16, 2, 50), bf16(2, 50, 1), placeholder(2, 50)

TO_COLOR = "linearize delinearize rgb_to_xyz xyz_to_rgb rgb_to_luv luv_to_rgb fit_chroma rgb_to_lab"
TO_COLOR += " lab_to_rgb rgb_to_hsv hsv_to_rgb rgb_to_yuv yuv_to_rgb gray_from_rgb"
ONE_IMAGE, TWO_IMAGES = (
    "saturation colorfulness colorfulness_absolute",
    "psnr ssim saturation_difference",
)
FLOATS = {
    "arrays.widen": [RGB],
    **{f"color.{name}": [RGB] for name in TO_COLOR.split()},
    "color.rgb_u8_to_luv": [RGB_U8],
    "color.rgb_u8_to_lab": [RGB_U8],
    "color.gray_from_lightness": [GRAY],
    "color.lightness_from_gray": [GRAY],
    "spaces.difference": [SPACES["hsv"], CHROMA, CHROMA],
    "spaces.wrap": [CHROMA, placeholder(2, dtype=bool)],
    "bins.channel_bins": [],
    "bins.joint_bins": [np.zeros((9, 2), np.float32), 10.0],
    "bins.centers": [],
    "bins.unbin_chroma": [BINS, VALUES],
    "bins.clipped_fraction": [CHROMA],
    "bins.bin_counts_and_sums": [BINNING, CHROMA],
    "bins.bin_means": [COUNTS, VALUES, VALUES],
    # These run on the host, on NumPy arrays.
    "bins.smooth_prior": [np.ones((2, 50), np.int32), np.ones((2, 50, 50), np.float16), 5.0],
    "bins.rebalancing_weights": [np.full((2, 50), 0.02, np.float16), 0.5],
    "losses.cross_entropy": [LOGITS, BINS],
    "losses.soft_cross_entropy": [LOGITS, LOGITS],
    "losses.kl_divergence": [LOGITS, LOGITS],
    "losses.squared_error": [CHROMA, CHROMA],
    "losses.huber": [CHROMA, CHROMA, 1.0],
    "decoding.decode": [LOGITS, VALUES, SPACES["hsv"]],
    "decoding.undo_rebalancing": [LOGITS, bf16(2, 50), 0.5],
    "decoding.confidence": [LOGITS],
    "decoding.add_vibrance": [CHROMA, 5.0],
    "decoding.distribution": [LOGITS, VALUES],
    "decoding.expectation": [LOGITS, VALUES, SPACES["hsv"]],
    **{f"metrics.{name}": [RGB] for name in ONE_IMAGE.split()},
    **{f"metrics.{name}": [RGB, RGB] for name in TWO_IMAGES.split()},
    **{f"metrics.{name}": [CHROMA] * 2 for name in "l_reg auc pixel_auc auc_by_color".split()},
    "metrics.bin_accuracy": [BINS, BINS],
    "resample.box_mean": [RGB, 1],
    "resample.fit_guided_filter": [CHROMA, GRAY],
    "resample.unguided_fits": [CHROMA],
    "joining.luminance": [RGB_U8],
    "joining.lightness": [bf16(4, 4)],
    "joining.join": [bf16(4, 4), bf16(4, 4), bf16(4, 4, 2)],
    "resample.apply_fits": [bf16(4, 6), bf16(4, 1)],
    "resample.sample_bilinear": [bf16(4, 4, 2), bf16(5), bf16(6)],
    "propagation.affinities": [bf16(8, 9, 1)],
    "propagation.propagate": [bf16(8, 6, 7), bf16(6, 7, 2), bf16(6, 7, 1)],
    "correspondence.similarity": [[bf16(6, 4)], [bf16(5, 4)], bf16(5)],
    "correspondence.transfer": [bf16(6, 5), bf16(5, 2), bf16(5)],
    "ageing.age": [KEY, GRAY, placeholder(1), 0.0],
    "ageing.gaussian": [bf16()],
    "ageing.blur": [bf16(8, 8, 1), bf16(3)],
}
INTEGERS = {
    "color.to_u8": [RGB],
    "color.to_u16": [RGB],
    "joining.encode_u8": [RGB],
    "bins.bin_chroma": [CHROMA],
    "bins.most_frequent": [COUNTS],
    "decoding.sample_bins": [KEY, LOGITS],
}
# These run on the host, on results of whole sets or on sizes.
NUMBERS = {"metrics.balanced_auc", "metrics.frechet_distance", "winograd.is_faster"}
# Parts of networks, which compute in one type from end to end.
NETWORKS = {
    "resample.upsample": [RGB, 2],
    "resample.conv_same": [RGB, bf16(3, 3, 3, 8)],
    "winograd.conv": [RGB, bf16(3, 3, 3, 8)],
    "resample.conv_upsampled": [[(RGB, 1), (bf16(1, 8, 8, 4), 2)], bf16(3, 3, 7, 8)],
}


def dtypes(name, arguments):
    """Returns the dtypes of the float arrays and of all arrays that a function returns."""
    leaves, tree = jax.tree.flatten(arguments)
    arrays = [i for i, x in enumerate(leaves) if isinstance(x, jax.ShapeDtypeStruct)]

    def call(*given):
        filled = list(leaves)
        for i, x in zip(arrays, given, strict=True):
            filled[i] = x
        return FUNCTIONS[name](*jax.tree.unflatten(tree, filled))

    result = jax.eval_shape(call, *(leaves[i] for i in arrays)) if arrays else call()
    found = [x.dtype for x in jax.tree.leaves(result) if hasattr(x, "dtype")]
    return {d for d in found if jnp.issubdtype(d, jnp.floating)}, set(found)


def test_every_public_function_is_listed():
    assert set(FUNCTIONS) == {*FLOATS, *INTEGERS, *NUMBERS, *NETWORKS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_given_by_name_and_a_key_comes_first(name):
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    by_place = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    options = [n for n in by_place if parameters[n].default is not inspect.Parameter.empty]
    assert not options
    assert "key" not in by_place or by_place[0] == "key"


@pytest.mark.parametrize("name", FLOATS)
def test_results_are_float32_for_inputs_of_lower_precision(name):
    floats, _ = dtypes(name, FLOATS[name])
    assert floats == {np.dtype("float32")}


@pytest.mark.parametrize("name", INTEGERS)
def test_bins_and_pixels_are_integers(name):
    _, found = dtypes(name, INTEGERS[name])
    pixels = {"color.to_u8": "uint8", "color.to_u16": "uint16", "joining.encode_u8": "uint8"}
    assert found == {np.dtype(pixels.get(name, "int32"))}


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_of_networks_keep_the_dtype_of_their_inputs(name):
    _, found = dtypes(name, NETWORKS[name])
    assert found == {jnp.dtype("bfloat16")}
