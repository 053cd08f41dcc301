"""The paper's measurements (section 4), one number an image."""

import jax
import jax.numpy as jnp

from colorjax import color

_PIXELS = (-3, -2)  # height and width of a channel-last image


def l_reg(chroma: jax.Array, true_chroma: jax.Array) -> jax.Array:
    """Squared distance in the U, V plane, averaged over pixels: [..., h, w, 2] -> [...].

    The paper's L_reg sums the squared differences of both channels; its mean over pixels makes
    images of different sizes comparable.
    """
    return jnp.mean(jnp.sum(jnp.square(chroma - true_chroma), axis=-1), axis=(-2, -1))


def bin_accuracy(bins: jax.Array, true_bins: jax.Array) -> jax.Array:
    """Share of pixels in the right bin by channel: int [..., h, w, c] -> [..., c] in [0, 1].

    Its two channels are the paper's Acc.U and Acc.V.
    """
    return jnp.mean((bins == true_bins).astype(jnp.float32), axis=_PIXELS)


def saturation_difference(rgb: jax.Array, true_rgb: jax.Array) -> jax.Array:
    """The paper's Sat. diff: |sum S - sum S_true| / sum S_true, [..., h, w, 3] in [0, 1] -> [...].

    S is HSV saturation, summed over the image's pixels. A true image without any colour would
    divide by zero: its mean saturation counts as at least one 8-bit step, 1/255.
    """
    saturation = jnp.mean(color.rgb_to_hsv(rgb)[..., 1], axis=(-2, -1))
    true_saturation = jnp.mean(color.rgb_to_hsv(true_rgb)[..., 1], axis=(-2, -1))
    return jnp.abs(saturation - true_saturation) / jnp.maximum(true_saturation, 1 / 255)


def psnr(rgb: jax.Array, true_rgb: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB over all three channels, [..., h, w, 3] in [0, 1] -> [...].

    An image that is exactly right has 100 dB instead of infinity, so that means stay finite.
    """
    error = jnp.mean(jnp.square(rgb - true_rgb), axis=(-3, -2, -1))
    return -10 * jnp.log10(jnp.maximum(error, 1e-10))
