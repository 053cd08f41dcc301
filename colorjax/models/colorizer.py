"""The paper's networks: VGG16, a residual-encoder decoder, and one of two heads.

Classification (Fig. 3) joins the decoder's maps at full size and scores bins; regression (Fig. 2)
predicts chroma from the last map alone. With SqueezeNet for an encoder, whose first convolution
halves the picture already, the outputs have half the picture's sides, or a quarter of them with a
decoder of three units, as in Zhang, Isola and Efros 2016: the eye sees colour no finer.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from colorjax.models.squeezenet import SqueezeNet
from colorjax.models.vgg16 import BATCH_NORM, CONV, GLOROT, VGG16, scale_width
from colorjax.resample import conv_same, conv_upsampled, upsample

MERGES = ("concat", "sum")

# By encoder, what the decoder takes from it, from coarse to fine, and how much smaller that is than
# the image. Without residual units VGG16's max-pools are joined as they are; the encoder ends
# before block 4's pool, so its last activation stands for it. SqueezeNet's pools come right after
# activations that are joined instead.
RESIDUAL_TAPS = {
    "vgg16": (("block4_conv3", 8), ("block3_conv3", 4), ("block2_conv2", 2), ("block1_conv2", 1)),
    "squeezenet": (("fire9", 16), ("fire5", 8), ("fire3", 4), ("conv1", 2)),
}
POOL_TAPS = {
    "vgg16": (("block4_conv3", 8), ("block3_pool", 8), ("block2_pool", 4), ("block1_pool", 2)),
    "squeezenet": RESIDUAL_TAPS["squeezenet"],
}
ENCODERS = tuple(RESIDUAL_TAPS)
UNITS = (3, 4)  # numbers of residual units that a decoder may have


def stride(encoder: str) -> int:
    """What the sides of an image must divide by."""
    return RESIDUAL_TAPS[encoder][0][1]


def output_factor(encoder: str, units: int = 4) -> int:
    """How much smaller than the image the outputs are, after so many residual units."""
    return RESIDUAL_TAPS[encoder][units - 1][1]


class Colorizer(nn.Module):
    """Scores of `num_bins` bins from each head, one a chroma channel (the paper, Fig. 3).

    Attributes:
      encoder: `vgg16` (the paper), or `squeezenet`, which is light.
      num_bins: scores per head; None for the regression network (Fig. 2), which gives the two
        chroma channels themselves and has no use for `heads`, `merge`, `final_features` and the
        last of `decoder_features`.
      heads: what is scored, in the order of the output: a 1x1 convolution `<head>_logits` each.
        The paper's U and V apart, or ("uv",) for bins that hold both at once.
      merge: how the full-size maps are joined: `concat`, or `sum` of 1x1 projections to the
        depth of the finest map.
      residual_units: True for the residual encoder of Fig. 2; False to join the encoder's
        max-pools directly.
      decoder_features: depths of the residual units, coarse to fine: four, or three to leave out
        the finest map and predict at half the sides. Where a depth is not that of the encoder's map
        to be added, a 1x1 convolution brings the map to it.
      final_features: depths of the 3x3 convolutions after the merge; the paper tries one to three.
      upscaling: `nearest` (the paper) or `bilinear`.
      encoder_batch_norm: batch norm before every ReLU of VGG16 too; SqueezeNet has none.
      final_batch_norm: batch norm in the final convolutions, which the paper leaves out of "the
        last few layers".
      width: scales every depth but the scores; 1 is the paper's network.
      fused: compute the first final convolution at the sizes of the maps where upscaling is
        `nearest`, so that the full-size maps are never joined. The same function and parameters up
        to rounding, in a fraction of the time and memory.
      dtype: type of the computation; parameters and statistics stay float32.
      axis_name: device axis over which batch statistics are averaged, if there is one.
    """

    encoder: str = "vgg16"
    num_bins: int | None = 50
    heads: Sequence[str] = ("u", "v")
    merge: str = "concat"
    residual_units: bool = True
    decoder_features: Sequence[int] = (256, 128, 64, 64)
    final_features: Sequence[int] = (128, 64, 64)
    upscaling: str = "nearest"
    encoder_batch_norm: bool = True
    final_batch_norm: bool = False
    width: float = 1.0
    fused: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, gray: jax.Array, train: bool = False) -> jax.Array:
        """`gray` [b, h, w, 1] in [0, 255] -> logits [b, h / f, w / f, len(heads), num_bins].

        f is the `output_factor`, 1 for the paper's network. The regression network gives chroma
        [b, h / f, w / f, 2]. Either comes in `dtype`.

        Raises ValueError if h or w does not divide by `stride`, or a setting is unknown.
        """
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}, want one of {ENCODERS}")
        height, width = gray.shape[-3:-1]
        if height % stride(self.encoder) or width % stride(self.encoder):
            raise ValueError(f"image is {height}x{width}, want multiples of {stride(self.encoder)}")
        if self.merge not in MERGES:
            raise ValueError(f"merge is {self.merge!r}, want one of {MERGES}")
        taps = self._encode(gray, train)
        if self.num_bins is None:
            return self._regress(taps, train)
        maps = self._maps(taps, train)
        x = self._merge(maps) if self._is_fused() else self._join(self._merge(maps))
        for i, features in enumerate(self.final_features, start=1):
            x = self._conv(x, features, 3, train, f"final{i}", norm=self.final_batch_norm)
        return self._score(x)

    def _encode(self, gray: jax.Array, train: bool) -> dict:
        if self.encoder == "squeezenet":
            return SqueezeNet(width=self.width, dtype=self.dtype, name="encoder")(gray)
        return VGG16(
            batch_norm=self.encoder_batch_norm,
            width=self.width,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="encoder",
        )(gray, train)

    def _score(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, h, w, len(heads), num_bins]: a 1x1 convolution for each head."""
        heads = [
            ConvParams(self.num_bins, 1, dtype=self.dtype, name=f"{head}_logits")(x.shape[-1])
            for head in self.heads
        ]
        # Computed as one, because logits are the largest of all maps, and dear to put together.
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True))
        logits = conv_same(x, kernel) + bias
        return logits.reshape(*x.shape[:-1], len(self.heads), self.num_bins)

    def _regress(self, taps: dict, train: bool) -> jax.Array:
        """Fig. 2: the last unit is a linear convolution to two channels."""
        units = len(self.decoder_features) - 1
        x, _ = self._residual_maps(taps, train, units)[-1]
        tap, _ = RESIDUAL_TAPS[self.encoder][units]
        x = self._upscale_and_add(x, taps, tap, train)
        return CONV(2, (3, 3), dtype=self.dtype, name="chroma")(x)

    def _residual_maps(self, taps: dict, train: bool, units: int) -> list:
        """Upscale, add the encoder's map of that size, convolve; and again: (map, factor) each."""
        (tap, factor), *finer_taps = RESIDUAL_TAPS[self.encoder][:units]
        depth, *finer_depths = self.decoder_features[:units]
        # Its bias would be cancelled by the next batch norm, and drift on rounding errors.
        x = self._norm(taps[tap], train, f"{tap}_norm", use_bias=False)
        x = self._conv(x, depth, 1, train, "unit1")
        maps = [(x, factor)]
        for i, ((tap, factor), depth) in enumerate(zip(finer_taps, finer_depths, strict=True), 2):
            x = self._conv(self._upscale_and_add(x, taps, tap, train), depth, 3, train, f"unit{i}")
            maps.append((x, factor))
        return maps

    def _upscale_and_add(self, x: jax.Array, taps: dict, tap: str, train: bool) -> jax.Array:
        skip = self._norm(taps[tap], train, f"{tap}_norm")
        if skip.shape[-1] != x.shape[-1]:  # only with depths other than the paper's
            skip = self._project(skip, x.shape[-1], f"{tap}_project")
        return upsample(x, 2, self.upscaling) + skip

    def _maps(self, taps: dict, train: bool) -> list:
        """What is joined: (map, factor) each, by which the map is smaller than the outputs."""
        units = len(self.decoder_features)
        if self.residual_units:
            maps = self._residual_maps(taps, train, units)
        else:
            pools = POOL_TAPS[self.encoder][:units]
            maps = [(self._norm(taps[tap], train, f"{tap}_norm"), f) for tap, f in pools]
        return [(x, factor // output_factor(self.encoder, units)) for x, factor in maps]

    def _is_fused(self) -> bool:
        return self.fused and self.upscaling == "nearest" and len(self.final_features) > 0

    def _merge(self, maps: list) -> list:
        """The maps to be upscaled and joined, (map, factor) each: a single one for `sum`."""
        if self.merge == "concat":
            return maps
        depth = scale_width(self.decoder_features[-1], self.width)
        # Repeated pixels may be repeated again; interpolated ones not interpolated again.
        finest = min(factor for _, factor in maps) if self.upscaling == "nearest" else 1
        projected = (
            upsample(self._project(x, depth, f"merge{i}"), factor // finest, self.upscaling)
            for i, (x, factor) in enumerate(maps, start=1)
        )
        return [(sum(projected), finest)]

    def _join(self, maps: list) -> jax.Array:
        return jnp.concatenate([upsample(x, f, self.upscaling) for x, f in maps], axis=-1)

    def _project(self, x: jax.Array, depth: int, name: str) -> jax.Array:
        return CONV(depth, (1, 1), use_bias=False, dtype=self.dtype, name=name)(x)

    def _conv(self, x, features, size, train, name, norm=True):
        """Convolution, batch norm, ReLU; the bias is left out where batch norm would cancel it.

        `x` is an array, or a list of maps (map, factor) to be upscaled and joined.
        """
        features = scale_width(features, self.width)
        settings = {"use_bias": not norm, "dtype": self.dtype, "name": name}
        if isinstance(x, list):
            depth = sum(part.shape[-1] for part, _ in x)
            x = conv_upsampled(x, *ConvParams(features, size, **settings)(depth))
        else:
            x = CONV(features, (size, size), **settings)(x)
        return nn.relu(self._norm(x, train, f"{name}_bn") if norm else x)

    def _norm(self, x, train, name, use_bias=True):
        return nn.BatchNorm(
            use_running_average=not train, use_bias=use_bias, dtype=self.dtype,
            axis_name=self.axis_name, name=name, **BATCH_NORM,
        )(x)


class ConvParams(nn.Module):
    """The parameters of `nn.Conv(features, (size, size), use_bias, kernel_init=GLOROT)` alone.

    Their names and initial values are the same. They are computed with in `dtype`.
    """

    features: int
    size: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, depth: int) -> tuple[jax.Array, jax.Array | None]:
        """The kernel [size, size, depth, features] and the bias [features], if there is one."""
        kernel = self.param("kernel", GLOROT, (self.size, self.size, depth, self.features))
        kernel = kernel.astype(self.dtype)
        if not self.use_bias:
            return kernel, None
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return kernel, bias.astype(self.dtype)
