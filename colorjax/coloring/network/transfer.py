"""A reference's colours, given to what is like it in a photo: pure functions of arrays."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax.ops import color, correspondence, resample
from colorjax.ops.spaces import SPACES
from colorjax.settings import Settings as Config

# Pixels of a small picture along the sides of a cell, or more, so that there are no more cells.
CELL, MOST_CELLS = 4, 4096
# A reference counts by 1 / (1 + exp(-SLOPE (likeness - HALF))): with the released model, likeness
# is about 0.2 in the mean of unrelated pictures, 0.3 to 0.4 of like scenes, and 0.6 of one place.
SLOPE, HALF = 16.0, 0.4
# Likeness around is a mean over squares of this share of the longer side.
AROUND = 0.4


class Features(NamedTuple):
    """What an encoder sees in small pictures, cell by cell."""

    levels: tuple[jax.Array, ...]  # [b, h, w, c] each
    chroma: jax.Array  # [b, h, w, 2], the pictures' own, CIELUV


class Reference(NamedTuple):
    """A picture in colour, whose cells stand in one row."""

    levels: tuple[jax.Array, ...]  # [n, c] each
    chroma: jax.Array  # [n, 2], CIELUV
    there: jax.Array  # [n] in [0, 1], 0 where it is transparent, and for what is no cell


class Transferred(NamedTuple):
    """What a reference says of a batch of small pictures, at the size of the outputs."""

    chroma: jax.Array  # [b, h, w, 2], CIELUV
    weight: jax.Array  # [b, h, w, 1] in [0, 1], how much it is to count


def cells(height: int, width: int) -> tuple[int, int]:
    """How many cells a small picture has."""
    side = CELL
    while (height // side) * (width // side) > MOST_CELLS:
        side *= 2
    return height // side, width // side


def features(config: Config, variables, rgb_u8) -> Features:
    """Of small pictures uint8 [b, h, w, 3], by the network's encoder."""
    # Loads flax, where nothing is traced in vain.
    from colorjax.models.build import build_model
    from colorjax.models.colorizer import ENCODERS

    gray, _, _ = SPACES[config.space].split(rgb_u8)
    _, state = build_model(config).apply(
        variables,
        gray,
        capture_intermediates=lambda module, _: module.name == "encoder",
        mutable=["intermediates"],
    )
    (taps,) = state["intermediates"]["encoder"]["__call__"]
    names = [name for name, _ in ENCODERS[config.model.encoder].residual]
    shape = cells(*rgb_u8.shape[1:3])
    chroma = color.rgb_u8_to_luv(rgb_u8)[..., 1:]
    return Features(tuple(_sized(taps[name], shape) for name in names), _sized(chroma, shape))


def transfer(
    levels: tuple[jax.Array, ...], reference: Reference, lightness: jax.Array
) -> Transferred:
    """What a reference says of small pictures.

    Args:
      levels: of their `features`.
      reference: of as many levels.
      lightness: [b, h, w, 1], whose size the result has.
    """
    chroma, weight = jax.lax.map(partial(_transfer_to_one, reference), levels)
    return Transferred(*(_sized(x, lightness.shape[1:3]) for x in (chroma, weight)))


def _transfer_to_one(
    reference: Reference, levels: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    height, width, _ = levels[0].shape
    ours = [x.reshape(height * width, -1) for x in levels]
    similarities = correspondence.similarity(ours, reference.levels, reference.there)
    chroma, like = correspondence.transferred(similarities, reference.chroma, reference.there)
    return chroma.reshape(height, width, 2), weights(like.reshape(height, width, 1))


def weights(like: jax.Array) -> jax.Array:
    """How much a reference is to count, from how like it is: [h, w, 1] both.

    Single places are like something in any picture. Whether two pictures show the same is told by
    all of them together, and where they do by what is around.
    """
    around = resample.box_mean(like, max(1, round(AROUND / 2 * max(like.shape))))
    likeness = (around + jnp.mean(like)) / 2
    return jax.nn.sigmoid(SLOPE * (likeness - HALF))


def _sized(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[b, h, w, c] in float32 at another size, antialiased."""
    return jax.image.resize(x.astype(jnp.float32), (x.shape[0], *shape, x.shape[-1]), "linear")
