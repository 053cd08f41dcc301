"""Colorizes photographs of any size: one path for the command, the Python API and the page.

The network sees a small copy and says what chroma belongs where; the photograph keeps its own
lightness, pixel by pixel. Both halves are compiled programs whose shapes come from short lists, so
that a folder of a thousand sizes compiles a handful of times.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from colorjax.coloring.settings import Settings, check_settings
from colorjax.errors import check_at_least
from colorjax.models.build import build_model, build_task
from colorjax.models.task import Task, cell_means
from colorjax.ops import color, resample
from colorjax.ops.spaces import SPACES
from colorjax.pictures import image_io
from colorjax.settings import Decoding
from colorjax.weights.released import Network

# Sides of the network's input are multiples of this, as every encoder here wants.
QUANTUM = 16
# Beyond this ratio of its sides a photo is squeezed into the longest input there is.
MOST_RATIO = 8.0
# Side of the squares in which full-size pictures are put together, and how many are under way.
TILE, IN_FLIGHT = 512, 3


class Scores(NamedTuple):
    """What the network says of a batch of small pictures."""

    outputs: jax.Array
    lightness: jax.Array  # [b, h, w, 1], L* at the size of the outputs
    space_lightness: jax.Array  # [b, h, w, 1], the same in the network's own space


class Painter(NamedTuple):
    """A network with its compiled programs; see `open_painter`."""

    network: Network
    size: int
    batch_size: int
    score: Any  # variables, uint8 [b, h, w, 3] -> Scores
    # Scores, temperature, rebalance, saturation, seed, method, edges -> fits [b, h, w, 6]
    decode: Any
    join: Any  # fits of one picture, tile of 8 or 16 bits, rows, columns -> tile of as many


def open_painter(
    network: Network, *, size: int | None = None, batch_size: int | None = None
) -> Painter:
    """Makes ready to colorize; programs are compiled when they are first wanted.

    Args:
      network: what colours.
      size: side of the square that has as many pixels as the network's input: the size of the
        photographs that it was trained on unless given.
      batch_size: most pictures that the network sees at once; 8 on a GPU and 1 on a CPU, where
        more are no faster, unless given.

    Raises:
      UserError: size or batch_size is too small.
    """
    size = network.config.data.load_size if size is None else size
    check_at_least("size", size, QUANTUM)
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else 8
    check_at_least("batch_size", batch_size, 1)
    model = build_model(network.config)
    return Painter(
        network,
        size,
        batch_size,
        score=jax.jit(partial(_score, model, SPACES[network.config.space])),
        decode=jax.jit(
            partial(_decode, build_task(network.config, network.statistics), network.config.space),
            static_argnames=("method", "edges"),
        ),
        join=jax.jit(_join),
    )


def colorize(
    painter: Painter, photos: Sequence[np.ndarray], settings: Sequence[Settings]
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Colours photos, each in every one of `settings`.

    Photos of like proportions go through the network together. Only one result is made at a time,
    so that memory holds the photos and the results of one of them.

    Args:
      painter: from `open_painter`.
      photos: uint8 or uint16 [height, width, 3] sRGB each, of any size; what colour they have is
        not looked at, only their luminance.
      settings: at least one.

    Yields:
      The index of a photo and its results, [height, width, 3] each of as many bits as the photo,
      in the order of `settings`; photos come in the order in which they are done. The luminance of
      a result is the photo's, to within one step of gray at every pixel, of as many bits.

    Raises:
      UserError: a setting is wrong.
    """
    for one in settings:
        check_settings(one, painter.network)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, photo in enumerate(photos):
        groups.setdefault(network_shape(*photo.shape[:2], painter.size), []).append(i)
    for shape, members in groups.items():
        for start in range(0, len(members), painter.batch_size):
            chosen = members[start : start + painter.batch_size]
            small = np.stack([_resized(photos[i], shape) for i in chosen])
            scores = painter.score(painter.network.variables, _padded(small, painter.batch_size))
            fits = [_decoded(painter, scores, one) for one in settings]
            for place, i in enumerate(chosen):
                yield i, [full_size(painter, fit[place], photos[i]) for fit in fits]


def network_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Sides of the network's input for a photo: of its proportions, nearly, and size^2 pixels.

    The width follows from the height, so that there are no more shapes than heights.
    """
    stretch = float(np.clip(height / width, 1 / MOST_RATIO, MOST_RATIO)) ** 0.5
    rows = max(1, round(size * stretch / QUANTUM))
    columns = max(1, round(size * size / (rows * QUANTUM * QUANTUM)))
    return rows * QUANTUM, columns * QUANTUM


def full_size(painter: Painter, fits: jax.Array, rgb: np.ndarray) -> np.ndarray:
    """Joins a photo's own luminance with chroma from fits [h, w, 6]: [height, width, 3] as it is.

    Photo and result have 8 bits, or both 16.
    """
    height, width, _ = rgb.shape
    result = np.empty_like(rgb)
    coarse_height, coarse_width, _ = fits.shape
    under_way = []

    def settle():
        rows, columns, tile = under_way.pop(0)
        result[rows, columns] = np.asarray(tile)[
            : rows.stop - rows.start, : columns.stop - columns.start
        ]

    for top, left in product(range(0, height, TILE), range(0, width, TILE)):
        rows = slice(top, min(top + TILE, height))
        columns = slice(left, min(left + TILE, width))
        tile = np.zeros((TILE, TILE, 3), rgb.dtype)
        part = rgb[rows, columns]
        tile[: part.shape[0], : part.shape[1]] = part
        done = painter.join(
            fits, tile, _places(top, height, coarse_height), _places(left, width, coarse_width)
        )
        under_way.append((rows, columns, done))
        if len(under_way) == IN_FLIGHT:
            settle()
    while under_way:
        settle()
    return result


def _places(start: int, full: int, coarse: int) -> np.ndarray:
    """Where the pixels of a tile lie on a grid of `coarse` pixels over the `full` side."""
    return (((np.arange(start, start + TILE) + 0.5) * (coarse / full)) - 0.5).astype(np.float32)


def _resized(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As training pictures are made small, uint8: bicubic, antialiased."""
    image = Image.fromarray(image_io.eight_bits(rgb))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0))


def _padded(small: np.ndarray, batch_size: int) -> np.ndarray:
    """Up to the next power of two, at most `batch_size`: few shapes, little work in vain."""
    count = min(batch_size, 1 << (len(small) - 1).bit_length())
    return np.concatenate([small, np.zeros((count - len(small), *small.shape[1:]), np.uint8)])


def _decoded(painter: Painter, scores: Scores, settings: Settings) -> jax.Array:
    own = painter.network.config.decoding
    share = own.rebalance if settings.rebalance is None else settings.rebalance
    return painter.decode(
        scores,
        jnp.float32(settings.temperature or own.temperature),
        jnp.float32(share),
        jnp.float32(settings.saturation),
        jnp.uint32(settings.seed),
        method=settings.decode or own.method,
        edges=settings.edges,
    )


def _score(model, space, variables, rgb_u8) -> Scores:
    gray, lightness, _ = space.split(rgb_u8)
    outputs = model.apply(variables, gray)
    true_lightness, width = color.rgb_u8_to_luv(rgb_u8)[..., :1], outputs.shape[2]
    return Scores(outputs, *(cell_means(x, width) for x in (true_lightness, lightness)))


def _decode(
    task: Task,
    space: str,
    scores: Scores,
    temperature,
    rebalance,
    saturation,
    seed,
    method: str,
    edges: str,
) -> jax.Array:
    """CIELUV chroma, whatever the network's space, made ready to be enlarged."""
    how = Decoding(method=method, temperature=temperature, seed=seed, rebalance=rebalance)
    chroma = task.decode(scores.outputs, how)
    if space != "luv":
        chroma = color.rgb_to_luv(task.colors(scores.space_lightness, chroma))[..., 1:]
    chroma = chroma * saturation
    if edges == "bilinear":
        return resample.plain_chroma(chroma)
    return resample.guide_chroma(chroma, scores.lightness)


def _join(fits, rgb, rows, columns) -> jax.Array:
    """One tile of 8 or 16 bits, [t, t, 3].

    Chroma that leaves the gamut is reduced at constant L and hue. Rounding each channel by up to
    half a step moves the gray of the luminance by no more than that: the slopes of sRGB's curve,
    averaged by the weights of luminance, are at most its slope at the gray, as slope is a concave
    function of linear light.
    """
    is_deep = rgb.dtype == jnp.uint16
    luv = color.rgb_to_luv(rgb / jnp.float32(65535)) if is_deep else color.rgb_u8_to_luv(rgb)
    lightness = luv[..., :1]
    chroma = resample.guided_chroma(resample.sample_bilinear(fits, rows, columns), lightness)
    luv = color.fit_chroma(jnp.concatenate([lightness, chroma], axis=-1))
    return (color.to_u16 if is_deep else color.to_u8)(color.luv_to_rgb(luv))
