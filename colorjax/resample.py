"""Upsampling of feature maps and chroma, channel last."""

import jax
import jax.numpy as jnp

METHODS = ("nearest", "bilinear")


def upsample(x: jax.Array, factor: int, method: str = "nearest") -> jax.Array:
    """Enlarges `x` [..., height, width, channels] by a whole `factor` along height and width.

    `nearest` repeats pixels, as Lasagne's Upscale2D does (the paper, section 3); `bilinear`
    interpolates between pixel centres and repeats the border.
    Raises ValueError for any other method.
    """
    if method not in METHODS:
        raise ValueError(f"upsampling method is {method!r}, want one of {METHODS}")
    if factor == 1:
        return x
    *batch, height, width, channels = x.shape
    if method == "bilinear":
        return jax.image.resize(
            x, (*batch, height * factor, width * factor, channels), "bilinear"
        )
    x = jnp.broadcast_to(
        x[..., :, None, :, None, :], (*batch, height, factor, width, factor, channels)
    )
    return x.reshape(*batch, height * factor, width * factor, channels)
