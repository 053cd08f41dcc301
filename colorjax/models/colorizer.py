"""The paper's networks: VGG16, a residual-encoder decoder, and one of two heads.

Classification (Fig. 3) joins the decoder's maps at full size and scores bins; regression (Fig. 2)
predicts chroma from the last map alone. A light encoder halves the picture in its first
convolution already: the outputs then have half the picture's sides, or a quarter of them with one
unit less, as in Zhang, Isola and Efros 2016: the eye sees colour no finer.
"""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from colorjax.models import efficientnet, squeezenet, vgg16
from colorjax.models.layers import Conv, ConvParams, add_bias, scale_width
from colorjax.models.vgg16 import BATCH_NORM
from colorjax.ops.arrays import AnyArray
from colorjax.ops.resample import conv_same, upsample
from colorjax.settings import Model

MERGES = ("concat", "sum")
LEAST_UNITS = 3  # that a decoder may have

Map = Float[Array, "b _ _ _"]
Maps = list[tuple[Map, int]]  # maps, and by how much each is smaller than what is asked for
Activations = Mapping[str, Map]  # of an encoder, by name
Taps = tuple[tuple[str, int], ...]  # activations, and how much smaller than the image each is


class Encoder(NamedTuple):
    """An encoder: all that tells one from another. Taps are listed from coarse to fine."""

    stride: int  # the sides of an image must divide by it
    residual: Taps  # what residual units add
    pools: Taps  # what is joined without residual units
    # The colorizer, gray [b, h, w, 1], whether it is training, and width, dtype and name of the
    # module -> {activation: [b, ., ., c]}
    apply: Callable[..., Mapping[str, Array]]
    # Published weights, the settings, gray pictures to calibrate on -> (params, batch_stats)
    from_pretrained: Callable[[Mapping[str, Any], Model, Array], tuple[dict, dict]]
    # A layer's name, train_depthwise, frozen_stages -> whether it has no gradient; None: all have.
    is_frozen: Callable[[str, bool, int], bool] | None = None


def _apply_vgg16(colorizer, gray, train, **common):
    normed = {"batch_norm": colorizer.encoder_batch_norm, "axis_name": colorizer.axis_name}
    return vgg16.VGG16(**normed, **common)(gray, train)


def _apply_squeezenet(colorizer, gray, train, **common):
    return squeezenet.SqueezeNet(**common)(gray)


def _apply_efficientnet(colorizer, gray, train, **common):
    trained = {name: getattr(colorizer, name) for name in ("train_depthwise", "frozen_stages")}
    return efficientnet.EfficientNetLite(**trained, **common)(gray)


def _pretrained_vgg16(weights, settings, gray):
    if settings.encoder_batch_norm and settings.calibrate_batch_norm:
        return vgg16.batch_norm_from_pretrained(weights, gray)
    return vgg16.from_pretrained(weights, settings.encoder_batch_norm)


_SQUEEZENET = (("fire9", 16), ("fire5", 8), ("fire3", 4), ("conv1", 2))
_EFFICIENTNET = (("stage7", 32), ("stage5", 16), ("stage3", 8), ("stage2", 4), ("stage1", 2))

ENCODERS = {
    # It ends before block 4's pool, so its last activation stands for that.
    "vgg16": Encoder(
        8,
        (("block4_conv3", 8), ("block3_conv3", 4), ("block2_conv2", 2), ("block1_conv2", 1)),
        (("block4_conv3", 8), ("block3_pool", 8), ("block2_pool", 4), ("block1_pool", 2)),
        _apply_vgg16,
        _pretrained_vgg16,
    ),
    # Their pools, or strides, come right after activations that are joined instead.
    "squeezenet": Encoder(
        16,
        _SQUEEZENET,
        _SQUEEZENET,
        _apply_squeezenet,
        lambda weights, settings, gray: (squeezenet.from_pretrained(weights), {}),
    ),
    "efficientnet-lite0": Encoder(
        16,
        _EFFICIENTNET,
        _EFFICIENTNET,
        _apply_efficientnet,
        lambda weights, settings, gray: (efficientnet.from_pretrained(weights), {}),
        efficientnet.is_frozen,
    ),
}


def stride(encoder: str) -> int:
    """What the sides of an image must divide by."""
    return ENCODERS[encoder].stride


def output_factor(encoder: str, units: int = 4) -> int:
    """How much smaller than the image the outputs are, after so many residual units."""
    return ENCODERS[encoder].residual[units - 1][1]


class Colorizer(nn.Module):
    """Scores of `num_bins` bins from each head, one a chroma channel (the paper, Fig. 3).

    Attributes:
      encoder: `vgg16` (the paper), or `squeezenet` or `efficientnet-lite0`, which are light.
      num_bins: scores per head; None for the regression network (Fig. 2), which gives the two
        chroma channels themselves and has no use for `heads`, `merge`, `final_features` and the
        last of `decoder_features`.
      heads: what is scored, in the order of the output: a 1x1 convolution `<head>_logits` each.
        The paper's U and V apart, or ("uv",) for bins that hold both at once.
      merge: how the full-size maps are joined: `concat`, or `sum` of 1x1 projections to the
        depth of the finest map.
      residual_units: True for the residual encoder of Fig. 2; False to join the encoder's
        max-pools directly.
      decoder_features: depths of the residual units, coarse to fine: as many as the encoder has
        maps, or fewer, three at least, to leave out the finest and predict at smaller sides. Where
        a depth is not that of the encoder's map to be added, a 1x1 convolution brings the map to
        it.
      final_features: depths of the 3x3 convolutions after the merge; the paper tries one to three.
      upscaling: `nearest` or `bilinear`; the paper leaves it open.
      encoder_batch_norm: batch norm before every ReLU of VGG16 too; the others have none.
      train_depthwise, frozen_stages: what of EfficientNet has gradients.
      final_batch_norm: batch norm in the final convolutions, which the paper leaves out of "the
        last few layers".
      skip_batch_norm: batch norm on the encoder's maps before they are added or joined; with False
        they come as they are.
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
    train_depthwise: bool = True
    frozen_stages: int = 0
    final_batch_norm: bool = False
    skip_batch_norm: bool = True
    width: float = 1.0
    fused: bool = True
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, gray: Float[AnyArray, "b h w 1"], train: bool = False
    ) -> Float[Array, "b _ _ ..."]:
        """`gray` [b, h, w, 1] in [0, 255] -> logits [b, h / f, w / f, len(heads), num_bins].

        f is the `output_factor`, 1 for the paper's network. The regression network gives chroma
        [b, h / f, w / f, 2]. Either comes in `dtype`.

        Raises ValueError if h or w does not divide by `stride`, or a setting is unknown.
        """
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}, want one of {tuple(ENCODERS)}")
        height, width = gray.shape[-3:-1]
        if height % stride(self.encoder) or width % stride(self.encoder):
            raise ValueError(f"image is {height}x{width}, want multiples of {stride(self.encoder)}")
        if self.merge not in MERGES:
            raise ValueError(f"merge is {self.merge!r}, want one of {MERGES}")
        common = {"width": self.width, "dtype": self.dtype, "name": "encoder"}
        taps = ENCODERS[self.encoder].apply(self, gray, train, **common)
        if self.num_bins is None:
            return self._regress(taps, train)
        maps = self._maps(taps, train)
        merged = self._merge(maps)
        x: Map | Maps = merged if self._is_fused() else self._join(merged)
        for i, features in enumerate(self.final_features, start=1):
            x = self._conv(x, features, 3, train, f"final{i}", norm=self.final_batch_norm)
        assert not isinstance(x, list)  # maps are left apart for a convolution alone
        return self._score(x, self.num_bins)

    def _score(self, x: Map, num_bins: int) -> Float[Array, "b h w heads num_bins"]:
        """[b, h, w, c] -> [b, h, w, len(heads), num_bins]: a 1x1 convolution for each head."""
        shape = (1, 1, x.shape[-1], num_bins)
        heads = [ConvParams(shape, name=f"{head}_logits")() for head in self.heads]
        # Computed as one, because logits are the largest of all maps, and dear to put together.
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True))
        logits = add_bias(conv_same(x, kernel.astype(self.dtype)), bias)
        return logits.reshape(*x.shape[:-1], len(self.heads), num_bins)

    def _regress(self, taps: Activations, train: bool) -> Float[Array, "b h w 2"]:
        """Fig. 2: the last unit is a linear convolution to two channels."""
        units = len(self.decoder_features) - 1
        x, factor = self._residual_maps(taps, train, units)[-1]
        x = self._upscale_and_add(x, factor, taps, units, train)
        return Conv(2, (3, 3), dtype=self.dtype, name="chroma")(x)

    def _residual_maps(self, taps: Activations, train: bool, units: int) -> Maps:
        """Upscale, add the encoder's map of that size, convolve; and again: (map, factor) each."""
        encoder = ENCODERS[self.encoder]
        depth, *finer_depths = self.decoder_features[:units]
        tap, factor = encoder.residual[0]
        # Its bias would be cancelled by the next batch norm, and drift on rounding errors.
        x = self._skip(taps, tap, train, use_bias=False)
        x = self._conv(x, depth, 1, train, "unit1")
        maps = [self._at_stride(x, factor, taps)]
        x, factor = maps[0]
        for i, depth in enumerate(finer_depths, start=1):
            x = self._upscale_and_add(x, factor, taps, i, train)
            x, factor = self._conv(x, depth, 3, train, f"unit{i + 1}"), encoder.residual[i][1]
            maps.append((x, factor))
        return maps

    def _at_stride(self, x: Map, factor: int, taps: Activations) -> tuple[Map, int]:
        """A map that is coarser than the encoder's stride, enlarged to that; others as they are.

        Where the sides of the image do not divide by `factor`, its last cells reach beyond them.
        """
        encoder = ENCODERS[self.encoder]
        if factor <= encoder.stride:
            return x, factor
        height, width = next(taps[t].shape[1:3] for t, f in encoder.residual if f == encoder.stride)
        x = upsample(x, factor // encoder.stride, method=self.upscaling)
        return x[:, :height, :width], encoder.stride

    def _upscale_and_add(
        self, x: Map, factor: int, taps: Activations, unit: int, train: bool
    ) -> Map:
        """Brings `x`, which is `factor` smaller than the image, to the size of a unit's tap."""
        tap, finer = ENCODERS[self.encoder].residual[unit]
        skip = self._skip(taps, tap, train)
        if skip.shape[-1] != x.shape[-1]:  # only with depths other than the paper's
            skip = self._project(skip, x.shape[-1], f"{tap}_project")
        return upsample(x, factor // finer, method=self.upscaling) + skip

    def _maps(self, taps: Activations, train: bool) -> Maps:
        """What is joined: (map, factor) each, by which the map is smaller than the outputs."""
        units = len(self.decoder_features)
        if self.residual_units:
            maps = self._residual_maps(taps, train, units)
        else:
            pools = ENCODERS[self.encoder].pools[:units]
            normed = [(self._skip(taps, tap, train), factor) for tap, factor in pools]
            maps = [self._at_stride(x, factor, taps) for x, factor in normed]
        return [(x, factor // output_factor(self.encoder, units)) for x, factor in maps]

    def _is_fused(self) -> bool:
        return self.fused and self.upscaling == "nearest" and len(self.final_features) > 0

    def _merge(self, maps: Maps) -> Maps:
        """The maps to be upscaled and joined, (map, factor) each: a single one for `sum`."""
        if self.merge == "concat":
            return maps
        depth = scale_width(self.decoder_features[-1], self.width)
        # Repeated pixels may be repeated again; interpolated ones not interpolated again.
        finest = min(factor for _, factor in maps) if self.upscaling == "nearest" else 1
        projected = (
            upsample(self._project(x, depth, f"merge{i}"), factor // finest, method=self.upscaling)
            for i, (x, factor) in enumerate(maps, start=1)
        )
        return [(functools.reduce(operator.add, projected), finest)]

    def _join(self, maps: Maps) -> Map:
        return jnp.concatenate([upsample(x, f, method=self.upscaling) for x, f in maps], axis=-1)

    def _project(self, x: Map, depth: int, name: str) -> Float[Array, "b h w {depth}"]:
        return Conv(depth, (1, 1), use_bias=False, dtype=self.dtype, name=name)(x)

    def _conv(
        self, x: Map | Maps, features: int, size: int, train: bool, name: str, norm: bool = True
    ) -> Map:
        """Convolution, batch norm, ReLU; the bias is left out where batch norm would cancel it.

        `x` is an array, or a list of maps (map, factor) to be upscaled and joined.
        """
        features = scale_width(features, self.width)
        x = Conv(features, (size, size), not norm, self.dtype, name=name)(x)
        return nn.relu(self._norm(x, train, f"{name}_bn") if norm else x)

    def _skip(self, taps: Activations, tap: str, train: bool, use_bias: bool = True) -> Map:
        """An encoder's map as the decoder takes it."""
        x = taps[tap]
        return self._norm(x, train, f"{tap}_norm", use_bias) if self.skip_batch_norm else x

    def _norm(self, x: Map, train: bool, name: str, use_bias: bool = True) -> Map:
        return nn.BatchNorm(
            use_running_average=not train,
            use_bias=use_bias,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
            **BATCH_NORM,
        )(x)
