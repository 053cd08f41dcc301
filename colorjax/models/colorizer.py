"""The paper's networks: a VGG16 encoder, a decoder of residual units, and one of two heads.

The classification network (Fig. 3) joins the decoder's feature maps at full size and predicts
logits over bins. The regression network (Fig. 2) predicts chroma from the last map only.

The light encoders halve the resolution in their first convolution. Their outputs have half the
picture's sides, or a quarter with one residual unit less, as in Zhang, Isola and Efros 2016: the
eye does not resolve colour any finer.
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
MIN_UNITS = 3  # residual units of the smallest decoder

Map = Float[Array, "b _ _ _"]
Maps = list[tuple[Map, int]]  # feature maps, each with its downsampling factor
Activations = Mapping[str, Map]  # an encoder's activations by name
Taps = tuple[tuple[str, int], ...]  # names of activations, each with its downsampling factor


class Encoder(NamedTuple):
    """What distinguishes an encoder from the others. Taps are listed from coarse to fine.

    Attributes:
      stride: the sides of an image must be multiples of it.
      residual: the activations that the residual units add.
      pools: the activations that are joined if there are no residual units.
      apply: the colorizer, gray [b, h, w, 1], whether it is training, and the module's width, dtype
        and name -> the activations by name, [b, ., ., c] each.
      from_pretrained: published weights, the settings, gray pictures for calibration ->
        (params, batch_stats).
      is_frozen: a layer's name, train_depthwise, frozen_stages -> whether the layer is frozen; None
        if no layer ever is.
    """

    stride: int
    residual: Taps
    pools: Taps
    apply: Callable[..., Mapping[str, Array]]
    from_pretrained: Callable[[Mapping[str, Any], Model, Array], tuple[dict, dict]]
    is_frozen: Callable[[str, bool, int], bool] | None = None


def _apply_vgg16(colorizer, gray, train, **common):
    options = {"batch_norm": colorizer.encoder_batch_norm, "axis_name": colorizer.axis_name}
    return vgg16.VGG16(**options, **common)(gray, train)


def _apply_squeezenet(colorizer, gray, train, **common):
    return squeezenet.SqueezeNet(**common)(gray)


def _apply_efficientnet(colorizer, gray, train, **common):
    options = {name: getattr(colorizer, name) for name in ("train_depthwise", "frozen_stages")}
    return efficientnet.EfficientNetLite(**options, **common)(gray)


def _pretrained_vgg16(weights, settings, gray):
    if settings.encoder_batch_norm and settings.calibrate_batch_norm:
        return vgg16.batch_norm_from_pretrained(weights, gray)
    return vgg16.from_pretrained(weights, settings.encoder_batch_norm)


_SQUEEZENET = (("fire9", 16), ("fire5", 8), ("fire3", 4), ("conv1", 2))
_EFFICIENTNET = (("stage7", 32), ("stage5", 16), ("stage3", 8), ("stage2", 4), ("stage1", 2))

ENCODERS = {
    # The encoder ends before block 4's pool; its last activation takes the place of that pool.
    "vgg16": Encoder(
        stride=8,
        residual=(
            ("block4_conv3", 8),
            ("block3_conv3", 4),
            ("block2_conv2", 2),
            ("block1_conv2", 1),
        ),
        pools=(("block4_conv3", 8), ("block3_pool", 8), ("block2_pool", 4), ("block1_pool", 2)),
        apply=_apply_vgg16,
        from_pretrained=_pretrained_vgg16,
    ),
    # The light encoders downsample directly after these activations, which therefore take the place
    # of the pools.
    "squeezenet": Encoder(
        stride=16,
        residual=_SQUEEZENET,
        pools=_SQUEEZENET,
        apply=_apply_squeezenet,
        from_pretrained=lambda weights, settings, gray: (squeezenet.from_pretrained(weights), {}),
    ),
    "efficientnet-lite0": Encoder(
        stride=16,
        residual=_EFFICIENTNET,
        pools=_EFFICIENTNET,
        apply=_apply_efficientnet,
        from_pretrained=lambda weights, settings, gray: (efficientnet.from_pretrained(weights), {}),
        is_frozen=efficientnet.is_frozen,
    ),
}


def stride(encoder: str) -> int:
    """Returns the stride of an encoder; the sides of an image must be multiples of it."""
    return ENCODERS[encoder].stride


def output_factor(encoder: str, units: int = 4) -> int:
    """Returns the downsampling factor of the outputs after `units` residual units."""
    return ENCODERS[encoder].residual[units - 1][1]


class ColorizationNet(nn.Module):
    """The colorization network: predicts logits over the bins of chroma (the paper, Fig. 3).

    Depths are numbers of channels.

    Attributes:
      encoder: `vgg16` (the paper), or one of the light encoders `squeezenet` and
        `efficientnet-lite0`.
      num_bins: logits per head; None for the regression network (Fig. 2), which predicts the two
        chroma channels and ignores `heads`, `merge`, `final_features` and the last of
        `decoder_features`.
      heads: names of the heads, in the order of the output. Each is a 1x1 convolution named
        `<head>_logits`. ("u", "v") classifies U and V separately, as in the paper; ("uv",)
        classifies both jointly.
      merge: how the full-size maps are joined: `concat`, or `sum` of 1x1 projections to the
        depth of the finest map.
      residual_units: True for the residual units of Fig. 2; False joins the encoder's max-pools
        directly.
      decoder_features: depths of the residual units, coarse to fine, one per map of the encoder.
        Fewer depths, at least three, leave out the finest maps and give smaller outputs. Where the
        depth of an encoder's map differs from that of the unit, a 1x1 convolution projects it.
      final_features: depths of the 3x3 convolutions after the merge; the paper tries one to three.
      upscaling: `nearest` or `bilinear`; the paper leaves it open.
      encoder_batch_norm: whether VGG16 has batch norm before every ReLU; the other encoders have
        none.
      train_depthwise: whether EfficientNet's depthwise kernels are trained.
      frozen_stages: how many of EfficientNet's first stages are frozen.
      final_batch_norm: batch norm in the final convolutions, which the paper leaves out of "the
        last few layers".
      skip_batch_norm: batch norm on the encoder's maps before they are added or joined.
      width: scales every depth except that of the logits; 1 is the paper's network.
      fused: with `nearest` upscaling, computes the first final convolution at the resolutions of
        the maps, so that the full-size maps are never joined. Function and parameters are the same
        up to rounding, at a fraction of the time and memory.
      dtype: dtype of the computation; parameters and statistics stay float32.
      axis_name: device axis over which batch statistics are averaged, None for no averaging.
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
        """Predicts logits, or chroma if `num_bins` is None.

        Args:
          gray: [b, h, w, 1] in [0, 255].
          train: whether batch norm uses the statistics of the batch.
        Returns:
          [b, h / f, w / f, len(heads), num_bins] logits, or [b, h / f, w / f, 2] chroma, in
          `dtype`. f is the `output_factor`, 1 for the paper's network.
        Raises:
          ValueError: if h or w is not a multiple of `stride`, or a setting is unknown.
        """
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}, want one of {tuple(ENCODERS)}")
        height, width = gray.shape[-3:-1]
        if height % stride(self.encoder) or width % stride(self.encoder):
            raise ValueError(f"image is {height}x{width}, want multiples of {stride(self.encoder)}")
        if self.merge not in MERGES:
            raise ValueError(f"merge is {self.merge!r}, want one of {MERGES}")
        common = {"width": self.width, "dtype": self.dtype, "name": "encoder"}
        activations = ENCODERS[self.encoder].apply(self, gray, train, **common)
        if self.num_bins is None:
            return self._regress(activations, train)
        maps = self._maps(activations, train)
        merged = self._merge(maps)
        x: Map | Maps = merged if self._is_fused() else self._join(merged)
        for i, features in enumerate(self.final_features, start=1):
            x = self._conv(x, features, 3, train, f"final{i}", norm=self.final_batch_norm)
        assert not isinstance(x, list)  # maps stay separate only if a final convolution follows
        return self._logits(x, self.num_bins)

    def _logits(self, x: Map, num_bins: int) -> Float[Array, "b h w heads num_bins"]:
        """Applies the 1x1 convolution of each head: -> [b, h, w, len(heads), num_bins]."""
        shape = (1, 1, x.shape[-1], num_bins)
        heads = [ConvParams(shape, name=f"{head}_logits")() for head in self.heads]
        # One convolution for all heads, because the logits are the largest of all maps and
        # concatenating them is expensive.
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True))
        logits = add_bias(conv_same(x, kernel.astype(self.dtype)), bias)
        return logits.reshape(*x.shape[:-1], len(self.heads), num_bins)

    def _regress(self, activations: Activations, train: bool) -> Float[Array, "b h w 2"]:
        """Predicts chroma: the last unit is a linear convolution to two channels (Fig. 2)."""
        units = len(self.decoder_features) - 1
        x, factor = self._residual_maps(activations, train, units)[-1]
        x = self._upsample_and_add(x, factor, activations, units, train)
        return Conv(2, (3, 3), dtype=self.dtype, name="chroma")(x)

    def _residual_maps(self, activations: Activations, train: bool, units: int) -> Maps:
        """Returns the output of each residual unit with its downsampling factor, coarse to fine.

        A unit upsamples the previous map, adds the encoder's map of that size, and convolves.
        """
        encoder = ENCODERS[self.encoder]
        depth, *finer_depths = self.decoder_features[:units]
        tap, factor = encoder.residual[0]
        # The next batch norm would cancel a bias, which would then drift with rounding errors.
        x = self._skip(activations, tap, train, use_bias=False)
        x = self._conv(x, depth, 1, train, "unit1")
        maps = [self._at_stride(x, factor, activations)]
        x, factor = maps[0]
        for i, depth in enumerate(finer_depths, start=1):
            x = self._upsample_and_add(x, factor, activations, i, train)
            x, factor = self._conv(x, depth, 3, train, f"unit{i + 1}"), encoder.residual[i][1]
            maps.append((x, factor))
        return maps

    def _at_stride(self, x: Map, factor: int, activations: Activations) -> tuple[Map, int]:
        """Upsamples a map that is coarser than the encoder's stride to it; keeps other maps.

        If the sides of the image are not multiples of `factor`, the upsampled map extends beyond
        the image and is cropped.
        """
        encoder = ENCODERS[self.encoder]
        if factor <= encoder.stride:
            return x, factor
        height, width = next(
            activations[t].shape[1:3] for t, f in encoder.residual if f == encoder.stride
        )
        x = upsample(x, factor // encoder.stride, method=self.upscaling)
        return x[:, :height, :width], encoder.stride

    def _upsample_and_add(
        self, x: Map, factor: int, activations: Activations, unit: int, train: bool
    ) -> Map:
        """Upsamples `x`, of downsampling factor `factor`, to the unit's tap and adds that."""
        tap, tap_factor = ENCODERS[self.encoder].residual[unit]
        skip = self._skip(activations, tap, train)
        if skip.shape[-1] != x.shape[-1]:  # only with depths other than the paper's
            skip = self._project(skip, x.shape[-1], f"{tap}_project")
        return upsample(x, factor // tap_factor, method=self.upscaling) + skip

    def _maps(self, activations: Activations, train: bool) -> Maps:
        """Returns the maps to join, each with its downsampling factor relative to the outputs."""
        units = len(self.decoder_features)
        if self.residual_units:
            maps = self._residual_maps(activations, train, units)
        else:
            pools = ENCODERS[self.encoder].pools[:units]
            normed = [(self._skip(activations, tap, train), factor) for tap, factor in pools]
            maps = [self._at_stride(x, factor, activations) for x, factor in normed]
        return [(x, factor // output_factor(self.encoder, units)) for x, factor in maps]

    def _is_fused(self) -> bool:
        return self.fused and self.upscaling == "nearest" and len(self.final_features) > 0

    def _merge(self, maps: Maps) -> Maps:
        """Merges the maps as far as possible before upsampling: into a single one for `sum`."""
        if self.merge == "concat":
            return maps
        depth = scale_width(self.decoder_features[-1], self.width)
        # Nearest upsampling in two steps equals that in one step; bilinear upsampling does not.
        finest = min(factor for _, factor in maps) if self.upscaling == "nearest" else 1
        projected = (
            upsample(self._project(x, depth, f"merge{i}"), factor // finest, method=self.upscaling)
            for i, (x, factor) in enumerate(maps, start=1)
        )
        return [(functools.reduce(operator.add, projected), finest)]

    def _join(self, maps: Maps) -> Map:
        """Upsamples the maps to the size of the outputs and concatenates them."""
        return jnp.concatenate([upsample(x, f, method=self.upscaling) for x, f in maps], axis=-1)

    def _project(self, x: Map, depth: int, name: str) -> Float[Array, "b h w {depth}"]:
        return Conv(depth, (1, 1), use_bias=False, dtype=self.dtype, name=name)(x)

    def _conv(
        self, x: Map | Maps, features: int, size: int, train: bool, name: str, norm: bool = True
    ) -> Map:
        """Applies a convolution, batch norm and ReLU, without a bias if there is batch norm.

        `x` is an array, or a list of maps with their factors, to be upsampled and joined.
        """
        features = scale_width(features, self.width)
        x = Conv(features, (size, size), not norm, self.dtype, name=name)(x)
        return nn.relu(self._norm(x, train, f"{name}_bn") if norm else x)

    def _skip(self, activations: Activations, tap: str, train: bool, use_bias: bool = True) -> Map:
        """Returns an encoder's map, normalized if `skip_batch_norm` is set."""
        x = activations[tap]
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
