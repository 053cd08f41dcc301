"""Transfers a reference's colours to similar parts of a photo: pure functions of arrays."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from colorjax.ops import color, correspondence, resample
from colorjax.ops.spaces import SPACES
from colorjax.settings import Settings

# Side of a cell, in pixels of a small picture; it is doubled until there are at most MAX_CELLS.
CELL, MAX_CELLS = 4, 4096
# A reference has the weight 1 / (1 + exp(-SLOPE (similarity - HALF))). With the released model, the
# mean similarity is about 0.2 for unrelated pictures, 0.3 to 0.4 for similar scenes, and 0.6 for
# pictures of the same place.
SLOPE, HALF = 16.0, 0.4
# Side of the squares over which similarity is averaged, as a share of the longer side.
WINDOW = 0.4


class Features(NamedTuple):
    """The encoder's features of a batch of small pictures, resized to cells."""

    levels: tuple[jax.Array, ...]  # [b, h, w, c] each
    chroma: jax.Array  # [b, h, w, 2], the pictures' own chroma, CIELUV


class Reference(NamedTuple):
    """The features and colours of a reference, with its n cells flattened into one axis."""

    levels: tuple[jax.Array, ...]  # [n, c] each
    chroma: jax.Array  # [n, 2], CIELUV
    coverage: jax.Array  # [n] in [0, 1]; 0 where the picture is transparent, and for padding


class Transferred(NamedTuple):
    """Colours from a reference for a batch of small pictures, at the size of the outputs."""

    chroma: jax.Array  # [b, h, w, 2], CIELUV
    weight: jax.Array  # [b, h, w, 1] in [0, 1], of this chroma against the network's


def cells(height: int, width: int) -> tuple[int, int]:
    """Returns how many cells a small picture has along its height and width."""
    side = CELL
    while (height // side) * (width // side) > MAX_CELLS:
        side *= 2
    return height // side, width // side


def features(config: Settings, variables, rgb_u8) -> Features:
    """Runs the network's encoder on small pictures uint8 [b, h, w, 3]."""
    # Imported here, since they load flax, which is only needed for tracing.
    from colorjax.models.build import build_model
    from colorjax.models.colorizer import ENCODERS

    gray, _, _ = SPACES[config.space].split(rgb_u8)
    _, state = build_model(config).apply(
        variables,
        gray,
        capture_intermediates=lambda module, _: module.name == "encoder",
        mutable=["intermediates"],
    )
    (activations,) = state["intermediates"]["encoder"]["__call__"]
    names = [name for name, _ in ENCODERS[config.model.encoder].residual]
    shape = cells(*rgb_u8.shape[1:3])
    chroma = color.rgb_u8_to_luv(rgb_u8)[..., 1:]
    levels = tuple(_resized(activations[name], shape) for name in names)
    return Features(levels, _resized(chroma, shape))


def transfer(
    levels: tuple[jax.Array, ...], reference: Reference, lightness: jax.Array
) -> Transferred:
    """Transfers the colours of a reference to small pictures.

    Args:
      levels: the levels of the pictures' `features`.
      reference: the reference, with the same number of levels.
      lightness: [b, h, w, 1]; the result has its height and width.
    """
    chroma, weight = jax.lax.map(partial(_transfer_to_one, reference), levels)
    return Transferred(*(_resized(x, lightness.shape[1:3]) for x in (chroma, weight)))


def _transfer_to_one(
    reference: Reference, levels: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    height, width, _ = levels[0].shape
    ours = [x.reshape(height * width, -1) for x in levels]
    similarities = correspondence.similarity(ours, reference.levels, reference.coverage)
    chroma, best = correspondence.transfer(similarities, reference.chroma, reference.coverage)
    return chroma.reshape(height, width, 2), weights(best.reshape(height, width, 1))


def weights(similarity: jax.Array) -> jax.Array:
    """Returns the weight of a reference from each cell's best similarity to it: [h, w, 1] both.

    A single cell resembles something in any picture. Whether two pictures show the same kind of
    scene follows from the mean over all cells, and where they do, from the mean of a neighbourhood.
    """
    local = resample.box_mean(similarity, max(1, round(WINDOW / 2 * max(similarity.shape))))
    mean = (local + jnp.mean(similarity)) / 2
    return jax.nn.sigmoid(SLOPE * (mean - HALF))


def _resized(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Resizes [b, h, w, c] to another height and width, antialiased, in float32."""
    return jax.image.resize(x.astype(jnp.float32), (x.shape[0], *shape, x.shape[-1]), "linear")
