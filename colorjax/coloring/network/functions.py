"""Pure functions of arrays that a painter compiles, from small pictures to coloured tiles.

`weights.programs.Program` compiles and caches them. If a compiled copy is cached, nothing here is
traced and flax is not imported.
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
from colorjax.settings import Decoding, Settings

BAND = 64  # rows of a tile that are processed at a time


class Scores(NamedTuple):
    """The network's outputs for a batch of small pictures."""

    outputs: jax.Array  # [b, h, w, G, Q] logits of G groups of Q bins, or chroma of a regression
    lightness: jax.Array  # [b, h, w, 1], L* at the size of the outputs
    space_lightness: jax.Array  # [b, h, w, 1], lightness in the network's own space
    # bool [b, h, w, 1]: where the picture is on its canvas; None if there is no canvas.
    inside: jax.Array | None = None
    transferred: Transferred | None = None  # colours of a reference, if there is one


class Distribution(NamedTuple):
    """The probabilities of all colours that the network can predict, at one pixel."""

    probabilities: jax.Array  # [n], with sum 1
    luv: jax.Array  # [n, 3], CIELUV at one lightness, within the gamut
    rgb: jax.Array  # uint8 [n, 3], the same in sRGB


def score(config: Settings, variables, rgb_u8, sides=None) -> Scores:
    """Runs the network on pictures, or on their upper left corners of [height, width] `sides`."""
    # Imported here, since they load flax, which is only needed for tracing.
    from colorjax.models import canvas
    from colorjax.models.build import build_model, predict

    gray, lightness, _ = SPACES[config.space].split(rgb_u8)
    model, inside = build_model(config), None
    if sides is None:
        outputs = predict(model, variables, gray)
    else:
        outputs = canvas.predict_on_canvas(model, variables, gray, sides)
        inside = canvas.inside_mask(sides, gray.shape[1], (*outputs.shape[:3], 1))
    true_lightness, width = color.rgb_u8_to_luv(rgb_u8)[..., :1], outputs.shape[2]
    return Scores(outputs, cell_means(true_lightness, width), cell_means(lightness, width), inside)


def confidence(config: Settings, statistics: Statistics, scores: Scores) -> jax.Array:
    """Returns the network's confidence, [b, h, w] in [0, 1]."""
    from colorjax.models.build import build_task  # as in `score`

    confidence = build_task(config, statistics).confidence
    assert confidence is not None  # `open_painter` makes this program only for classification
    return confidence(scores.outputs)


def likely(
    config: Settings,
    statistics: Statistics,
    outputs: jax.Array,
    own_lightness: jax.Array,
    lightness: jax.Array,
    rebalance: jax.Array,
) -> Distribution:
    """Returns the distribution of colours at a pixel, shown at a given lightness.

    Args:
      config, statistics: of the network.
      outputs: [G, Q], the network's outputs at the pixel.
      own_lightness: [1], the pixel's lightness in the network's own space.
      lightness: L* at which the colours are returned.
      rebalance: as in `ColorSettings.rebalance`.
    """
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    assert task.color_distribution is not None  # as in `confidence`
    probabilities, chroma = task.color_distribution(outputs, rebalance)
    if config.space != "luv":
        own_lightness = jnp.broadcast_to(own_lightness, (len(chroma), 1))
        chroma = color.rgb_to_luv(task.to_rgb(own_lightness, chroma))[..., 1:]
    luv = jnp.concatenate([jnp.broadcast_to(lightness, (len(chroma), 1)), chroma], axis=-1)
    luv = color.fit_chroma(luv)
    return Distribution(probabilities, luv, color.to_u8(color.luv_to_rgb(luv)))


def decode(
    config: Settings,
    statistics: Statistics,
    scores: Scores,
    *numbers: jax.Array,
    method: str,
    edges: str,
) -> jax.Array:
    """Decodes scores to CIELUV chroma and returns its fits [b, h, w, 6] for upsampling.

    `numbers` are the temperature, rebalance, saturation and seed.
    """
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    chroma = _chroma(task, config, scores, numbers, method)
    if edges == "bilinear":
        return resample.unguided_fits(chroma)
    return resample.fit_guided_filter(chroma, scores.lightness, inside=scores.inside)


def _chroma(
    task: Task, config: Settings, scores: Scores, numbers: Sequence[Any], method: str
) -> jax.Array:
    """Decodes scores to CIELUV chroma at the outputs' size, whatever the network's space."""
    temperature, rebalance, saturation, seed = numbers
    decoding = Decoding(
        method=method,
        temperature=temperature,
        seed=seed,
        rebalance=rebalance,
        vibrance=config.decoding.vibrance,
    )
    chroma = task.decode(scores.outputs, decoding)
    if config.space != "luv":
        chroma = color.rgb_to_luv(task.to_rgb(scores.space_lightness, chroma))[..., 1:]
    if scores.transferred is not None:
        chroma += scores.transferred.weight * (scores.transferred.chroma - chroma)
    return chroma * saturation


def hint(
    config: Settings,
    statistics: Statistics,
    scores: Scores,
    small: jax.Array,
    hint_map: hint_propagation.HintMap,
    *numbers: jax.Array,
    method: str,
    edges: str,
) -> jax.Array:
    """Like `decode` for one picture, with hints: returns fits [h, w, 6] of the hint map's size."""
    from colorjax.models.build import build_task  # as in `score`

    task = build_task(config, statistics)
    chroma = _chroma(task, config, scores, numbers, method)
    confidence = task.confidence(scores.outputs) if task.confidence else jnp.ones(chroma.shape[:-1])
    width = hint_map.number.shape[1]
    lightness = color.rgb_u8_to_luv(small[None])[..., :1]
    return hint_propagation.apply_hints(
        enlarge(chroma, width)[0],
        enlarge(confidence[..., None], width)[0],
        cell_means(lightness, width)[0],
        hint_map,
        guided=edges == "guided",
    )


def color_tile(fits, rgb, rows, columns) -> jax.Array:
    """Colours one tile of 8 or 16 bits, [t, s, 3], with the chroma of the fits.

    Chroma outside the gamut is reduced at constant lightness and hue. Rounding each channel by up
    to half a step changes the gray of the same luminance by no more than half a step: the slopes of
    the sRGB curve at the channels, averaged with the weights of luminance, are at most its slope at
    that gray, because the slope is a concave function of linear light.

    Args:
      fits: [h, w, 6], from `resample.fit_guided_filter`.
      rgb: uint8 or uint16 [t, s, 3]; if t exceeds BAND, it must be a multiple of BAND.
      rows, columns: [t] and [s], positions of the tile's rows and columns on the fits.
    """
    height, width, _ = rgb.shape
    # One band at a time, so that intermediate arrays stay in a core's cache.
    band = min(BAND, height)

    def color_one_band(rgb_and_rows):
        rgb, rows = rgb_and_rows
        return color_band(fits, rgb, rows, columns)

    bands = rgb.reshape(-1, band, width, 3), rows.reshape(-1, band)
    return jax.lax.map(color_one_band, bands).reshape(rgb.shape)


def color_band(fits, rgb, rows, columns) -> jax.Array:
    """Like `color_tile`, but not split into bands; sizes may be symbolic."""
    fits = resample.sample_bilinear(fits, rows, columns)
    return (_join_u16 if rgb.dtype == jnp.uint16 else _join_u8)(rgb, fits)


def _join_u8(rgb, fits) -> jax.Array:
    luminance = joining.luminance(rgb)
    lightness = joining.lightness(luminance)
    chroma = resample.apply_fits(fits, lightness[..., None])
    channels = joining.join(luminance, lightness, chroma)
    return jnp.stack([joining.encode_u8(x) for x in channels], axis=-1)


def _join_u16(rgb, fits) -> jax.Array:
    """Like `_join_u8`, with powers that are accurate to a 16-bit step."""
    luminance = joining.luminance(rgb)
    lightness = color.rgb_to_luv(rgb / jnp.float32(65535))[..., 0]
    chroma = resample.apply_fits(fits, lightness[..., None])
    channels = joining.join(luminance, lightness, chroma)
    return color.to_u16(color.delinearize(jnp.stack(channels, axis=-1)))
