"""What a painter compiles: pure functions of arrays, from small pictures to coloured tiles.

They are called within `weights.programs.Program` alone: where a compiled copy was kept, nothing
here is ever traced, and flax not even imported.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from colorjax.coloring.network import hint_propagation
from colorjax.coloring.network.transfer import Transferred
from colorjax.models.task import Statistics, Task, cell_means, enlarge
from colorjax.ops import color, joining, resample
from colorjax.ops.spaces import SPACES
from colorjax.settings import Decoding
from colorjax.settings import Settings as Config

BAND = 64  # rows of a tile


class Scores(NamedTuple):
    """What the network says of a batch of small pictures."""

    outputs: jax.Array
    lightness: jax.Array  # [b, h, w, 1], L* at the size of the outputs
    space_lightness: jax.Array  # [b, h, w, 1], the same in the network's own space
    # bool [b, h, w, 1]: the rest, where there is some, means nothing.
    inside: jax.Array | None = None
    transferred: Transferred | None = None  # what a reference says, where there is one


class Likely(NamedTuple):
    """All colours that the network may give a place."""

    shares: jax.Array  # [n], probabilities, which add up to 1
    luv: jax.Array  # [n, 3], CIELUV at one lightness, within the gamut
    rgb: jax.Array  # uint8 [n, 3], the same in sRGB


def score(config: Config, variables, rgb_u8, sides=None) -> Scores:
    """What the network says of pictures: of all, or of `sides` in the upper left corner."""
    # Load flax, where nothing is traced in vain.
    from colorjax.models import canvas
    from colorjax.models.build import build_model, predict

    gray, lightness, _ = SPACES[config.space].split(rgb_u8)
    model, inside = build_model(config), None
    if sides is None:
        outputs = predict(model, variables, gray)
    else:
        outputs = canvas.predict_within(model, variables, gray, sides)
        inside = canvas.inside(sides, gray.shape[1], (*outputs.shape[:3], 1))
    true_lightness, width = color.rgb_u8_to_luv(rgb_u8)[..., :1], outputs.shape[2]
    return Scores(outputs, cell_means(true_lightness, width), cell_means(lightness, width), inside)


def confidence(config: Config, statistics: Statistics, scores: Scores) -> jax.Array:
    """How sure the network is, [b, h, w] in [0, 1]."""
    from colorjax.models.build import build_task  # as in `score`

    confidence = build_task(config, statistics).confidence
    assert confidence is not None  # of a network without scores there is no such program
    return confidence(scores.outputs)


def likely(
    config: Config,
    statistics: Statistics,
    outputs: jax.Array,
    own: jax.Array,
    lightness: jax.Array,
    rebalance: jax.Array,
) -> Likely:
    """What the network thinks possible at a pixel, at a lightness L*.

    Of the pixel are given the outputs [G, Q], and the lightness [1] in the network's own space.
    """
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    assert task.likely is not None  # as in `confidence`
    shares, chroma = task.likely(outputs, rebalance)
    if config.space != "luv":
        own = jnp.broadcast_to(own, (len(chroma), 1))
        chroma = color.rgb_to_luv(task.colors(own, chroma))[..., 1:]
    luv = jnp.concatenate([jnp.broadcast_to(lightness, (len(chroma), 1)), chroma], axis=-1)
    luv = color.fit_chroma(luv)
    return Likely(shares, luv, color.to_u8(color.luv_to_rgb(luv)))


def decode(
    config: Config,
    statistics: Statistics,
    scores: Scores,
    *numbers: jax.Array,
    method: str,
    edges: str,
) -> jax.Array:
    """CIELUV chroma, made ready to be enlarged."""
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    chroma = _chroma(task, config, scores, numbers, method)
    if edges == "bilinear":
        return resample.plain_chroma(chroma)
    return resample.guide_chroma(chroma, scores.lightness, inside=scores.inside)


def _chroma(
    task: Task, config: Config, scores: Scores, numbers: Sequence[Any], method: str
) -> jax.Array:
    """CIELUV chroma of the outputs' size, whatever the network's space."""
    temperature, rebalance, saturation, seed = numbers
    how = Decoding(
        method=method,
        temperature=temperature,
        seed=seed,
        rebalance=rebalance,
        vibrance=config.decoding.vibrance,
    )
    chroma = task.decode(scores.outputs, how)
    if config.space != "luv":
        chroma = color.rgb_to_luv(task.colors(scores.space_lightness, chroma))[..., 1:]
    if scores.transferred is not None:
        chroma += scores.transferred.weight * (scores.transferred.chroma - chroma)
    return chroma * saturation


def hint(
    config: Config,
    statistics: Statistics,
    scores: Scores,
    small: jax.Array,
    map: hint_propagation.HintMap,
    *numbers: jax.Array,
    method: str,
    edges: str,
) -> jax.Array:
    """As `decode` of one picture, with hints, at the size of their map: [h, w, 6]."""
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    chroma = _chroma(task, config, scores, numbers, method)
    sure = task.confidence(scores.outputs) if task.confidence else jnp.ones(chroma.shape[:-1])
    width = map.number.shape[1]
    lightness = color.rgb_u8_to_luv(small[None])[..., :1]
    return hint_propagation.corrected(
        enlarge(chroma, width)[0],
        enlarge(sure[..., None], width)[0],
        cell_means(lightness, width)[0],
        map,
        guided=edges == "guided",
    )


def color_tile(fits, rgb, rows, columns) -> jax.Array:
    """Gives one tile of 8 or 16 bits, [t, s, 3], the chroma of the fits.

    Chroma that leaves the gamut is reduced at constant L and hue. Rounding each channel by up to
    half a step moves the gray of the luminance by no more than that: the slopes of sRGB's curve,
    averaged by the weights of luminance, are at most its slope at the gray, as slope is a concave
    function of linear light.

    Args:
      fits: [h, w, 6], as of `resample.guide_chroma`.
      rgb: uint8 or uint16 [t, s, 3]; t is divisible by BAND if it is more.
      rows, columns: [t] and [s], where the tile's lie on the fits.
    """
    height, width, _ = rgb.shape
    # What is worked on together stays in the cache of a core.
    band = min(BAND, height)

    def joined(part):
        rgb, rows = part
        return color_band(fits, rgb, rows, columns)

    bands = rgb.reshape(-1, band, width, 3), rows.reshape(-1, band)
    return jax.lax.map(joined, bands).reshape(rgb.shape)


def color_band(fits, rgb, rows, columns) -> jax.Array:
    """As `color_tile`, at once: of any size, symbolic ones too."""
    here = resample.sample_bilinear(fits, rows, columns)
    return (_join_u16 if rgb.dtype == jnp.uint16 else _join_u8)(rgb, here)


def _join_u8(rgb, fits) -> jax.Array:
    luminance = joining.luminance(rgb)
    lightness = joining.lightness(luminance)
    chroma = resample.guided_chroma(fits, lightness[..., None])
    channels = joining.join(luminance, lightness, chroma)
    return jnp.stack([joining.encoded_u8(x) for x in channels], axis=-1)


def _join_u16(rgb, fits) -> jax.Array:
    """As `_join_u8`, with powers that are exact to a 16-bit step."""
    luminance = joining.luminance(rgb)
    lightness = color.rgb_to_luv(rgb / jnp.float32(65535))[..., 0]
    chroma = resample.guided_chroma(fits, lightness[..., None])
    channels = joining.join(luminance, lightness, chroma)
    return color.to_u16(color.delinearize(jnp.stack(channels, axis=-1)))
