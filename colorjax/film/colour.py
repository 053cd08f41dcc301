"""From gray frames to coloured ones: the network, the averages along the motion, the photo path."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from PIL import Image

from colorjax.coloring import colorize
from colorjax.coloring.colorize import Painter
from colorjax.coloring.network import borders, shapes, tiles
from colorjax.coloring.settings import Settings
from colorjax.film import smoothing
from colorjax.film.smoothing import State
from colorjax.ops import color, resample
from colorjax.pictures import image_io
from colorjax.weights import devices
from colorjax.weights.programs import Program

CHUNK = 8  # frames that are looked at together; as many begin a scene
# Of `resample.guide_chroma`: contrast of L* that grain has, which should show in no colour.
SMOOTHNESS = 2.0
# Sigma of the blur of what guides chroma, in pixels of a frame so wide; wider ones have more. Films
# have half as many pixels of chroma as of luma a side anyhow.
GUIDE_BLUR, GUIDE_WIDTH = 1.0, 960


class FilmPainter(NamedTuple):
    """A painter for the frames of a film, and how they are coloured."""

    painter: Painter  # whose tiles hold gray, and the gray that guides chroma
    guide: Program  # chroma [h, w, 2], L* [h, w, 1] -> fits [h, w, 6]
    plain: bool  # chroma is not guided
    decode: tuple[tuple, dict]  # numbers and names of the painter's program


class View(NamedTuple):
    """How the network sees the frames of a scene.

    Attributes:
      box: what is coloured; the bars around stay gray.
      aspect: width of a pixel, in heights.
      turns: quarters of a turn to the left that set frames upright.
    """

    box: borders.Box
    aspect: float = 1.0
    turns: int = 0


def brush(painter: Painter, settings: Settings) -> FilmPainter:
    """Makes ready to colour a film; `settings` must be checked."""
    device = devices.default_device()
    plain = settings.edges == "bilinear"
    return FilmPainter(
        painter._replace(color_tile=Program(color_gray_tile, device)),
        Program(partial(resample.guide_chroma, smoothness=SMOOTHNESS), device, facts=SMOOTHNESS),
        plain,
        # Chroma comes before it is guided: what guides it here is another picture.
        colorize.decoding_arguments(painter, settings._replace(edges="bilinear")),
    )


def color_gray_tile(fits, grays, rows, columns):
    """As `functions.color_tile`, of gray tiles [t, t, 3] whose second channel guides the chroma."""
    scale = jnp.float32(255 / np.iinfo(grays.dtype).max)
    lightness, guide = (color.lightness_from_gray(grays[..., i : i + 1] * scale) for i in (0, 1))
    chroma = resample.guided_chroma(resample.sample_bilinear(fits, rows, columns), guide)
    luv = color.fit_chroma(jnp.concatenate([lightness, chroma], axis=-1))
    is_deep = grays.dtype == jnp.uint16
    return (color.to_u16 if is_deep else color.to_u8)(color.luv_to_rgb(luv))


class Coloured(NamedTuple):
    """A frame in colour, and what is known after it."""

    rgb: np.ndarray  # as many bits as the gray frame
    state: State


def run(
    brush: FilmPainter,
    frames: Iterable[np.ndarray],
    view: View,
    state: State | None,
    flashes: Sequence[bool],
) -> Iterator[Coloured]:
    """Colours consecutive frames of one scene.

    Args:
      frames: uint8 or uint16 [height, width].
      view: of the scene.
      state: after the frame before; None at the beginning of a scene.
      flashes: of each frame whether it is of a flash, after which all is as it was.
    """
    places = iter(flashes)
    waiting = iter(frames)
    while chunk := list(islice(waiting, CHUNK)):
        small = np.stack([seen(gray, view, brush.painter.size) for gray in chunk])
        chroma, lightness = _scores(brush, small)
        grays = list(small[..., 0])
        for i, gray in enumerate(chunk):
            is_flash = next(places)
            if state is None:
                new = smoothing.begun(grays, list(chroma))
            else:
                new = smoothing.averaged(state, grays[i], chroma[i])
            fits = fitted(brush, smoothing.chroma_of(new, chroma.shape[1:3]), lightness[i])
            if state is None or not is_flash:
                state = new
            yield Coloured(_painted(brush, np.rot90(fits, -view.turns), gray, view.box), state)


def seen(gray: np.ndarray, view: View, size: int) -> np.ndarray:
    """What the network sees of a frame, uint8 [h, w, 3], upright and without bars."""
    inside = np.rot90(image_io.eight_bits(gray[view.box.inside]), view.turns)
    aspect = view.aspect if view.turns % 2 == 0 else 1 / view.aspect
    height, width = inside.shape
    shape = shapes.network_shape(height, max(1, round(width * aspect)), size)
    image = Image.fromarray(np.ascontiguousarray(inside))
    small = image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.repeat(np.asarray(small)[..., None], 3, axis=-1)


def fitted(brush: FilmPainter, chroma: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Fits [h, w, 6] of chroma [h, w, 2] to the L* [h, w, 1] of a frame."""
    if brush.plain:
        return np.asarray(resample.plain_chroma(chroma))
    return np.asarray(brush.guide(chroma, lightness))


def _scores(brush: FilmPainter, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chroma and L* of the network's outputs for [n, h, w, 3], in batches of one size."""
    painter, (numbers, names) = brush.painter, brush.decode
    chroma, lightness = [], []
    for start in range(0, len(small), painter.batch_size):
        some = small[start : start + painter.batch_size]
        filled = np.concatenate([some, np.repeat(some[-1:], painter.batch_size - len(some), 0)])
        scores = painter.score(painter.network.variables, filled)
        decoded = np.asarray(painter.decode(scores, *numbers, **names))
        chroma.append(decoded[: len(some), ..., 2:4])
        lightness.append(np.asarray(scores.lightness)[: len(some)])
    return np.concatenate(chroma), np.concatenate(lightness)


def _painted(
    brush: FilmPainter, fits: np.ndarray, gray: np.ndarray, box: borders.Box
) -> np.ndarray:
    """The frame in colour, [height, width, 3]; gray around the box."""
    inside = gray[box.inside]
    sigma = GUIDE_BLUR * max(1.0, max(gray.shape) / GUIDE_WIDTH)
    guide = cv2.GaussianBlur(inside, (0, 0), sigma)
    coloured = tiles.full_size(
        brush.painter.color_tile, fits, np.stack([inside, guide, guide], axis=-1)
    )
    if inside.shape == gray.shape:
        return coloured
    result = np.repeat(gray[..., None], 3, axis=-1)
    result[box.inside] = coloured
    return result
