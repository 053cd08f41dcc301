"""Colours gray frames: runs the network, averages its chroma along the motion, adds the luma."""

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
from colorjax.coloring.settings import ColorSettings
from colorjax.film import smoothing
from colorjax.film.smoothing import State
from colorjax.ops import color, resample
from colorjax.pictures import image_io
from colorjax.weights import devices
from colorjax.weights.programs import Program

CHUNK = 8  # frames that go through the network together; the first ones initialise the average
# `smoothness` of `resample.fit_guided_filter`, in L*: about the contrast of film grain, which
# should not show in the colours.
SMOOTHNESS = 2.0
# Sigma of the blur of the guide image, in pixels, for frames whose longer side is at most
# GUIDE_WIDTH; for larger ones it grows in proportion. Most films store chroma at half the
# resolution of luma anyway.
GUIDE_BLUR, GUIDE_WIDTH = 1.0, 960


class FilmPainter(NamedTuple):
    """A painter for the frames of a film, and its settings."""

    painter: Painter  # its color_tile is `color_gray_tile`
    guide: Program  # chroma [h, w, 2], L* [h, w, 1] -> fits [h, w, 6]
    plain: bool  # enlarge chroma bilinearly, without a guide
    decode_arguments: tuple[tuple, dict]  # positional and keyword arguments of painter.decode


class View(NamedTuple):
    """How the frames of a scene are presented to the network.

    Attributes:
      box: the part that is coloured; the bars around it stay gray.
      aspect: pixel aspect ratio, width / height.
      turns: number of 90-degree turns to the left that make the frames upright.
    """

    box: borders.Box
    aspect: float = 1.0
    turns: int = 0


def open_film_painter(painter: Painter, settings: ColorSettings) -> FilmPainter:
    """Returns a painter for a film; `settings` must have passed `check_settings`."""
    device = devices.default_device()
    plain = settings.edges == "bilinear"
    return FilmPainter(
        painter._replace(color_tile=Program(color_gray_tile, device)),
        Program(
            partial(resample.fit_guided_filter, smoothness=SMOOTHNESS), device, facts=SMOOTHNESS
        ),
        plain,
        # "bilinear" makes `decode` return unguided chroma: it is guided here, after averaging.
        colorize.decoding_arguments(painter, settings._replace(edges="bilinear")),
    )


def color_gray_tile(fits, grays, rows, columns):
    """Like `functions.color_tile`, for a tile [t, s, 3] of gray, guide and an unused channel."""
    scale = jnp.float32(255 / np.iinfo(grays.dtype).max)
    lightness, guide = (color.lightness_from_gray(grays[..., i : i + 1] * scale) for i in (0, 1))
    chroma = resample.apply_fits(resample.sample_bilinear(fits, rows, columns), guide)
    luv = color.fit_chroma(jnp.concatenate([lightness, chroma], axis=-1))
    is_deep = grays.dtype == jnp.uint16
    return (color.to_u16 if is_deep else color.to_u8)(color.luv_to_rgb(luv))


class Coloured(NamedTuple):
    """A frame in colour, and the smoothing state after it."""

    rgb: np.ndarray  # dtype of the gray frame
    state: State


def run(
    film_painter: FilmPainter,
    frames: Iterable[np.ndarray],
    view: View,
    state: State | None,
    flashes: Sequence[bool],
) -> Iterator[Coloured]:
    """Colours consecutive frames of one scene.

    Args:
      film_painter: from `open_film_painter`.
      frames: uint8 or uint16 [height, width].
      view: the view of this scene.
      state: the state after the previous frame; None at the beginning of a scene.
      flashes: for each frame, whether it belongs to a flash. Such a frame is coloured, but does
        not change the state.
    """
    flash_marks = iter(flashes)
    remaining = iter(frames)
    while chunk := list(islice(remaining, CHUNK)):
        small = np.stack([network_input(gray, view, film_painter.painter.size) for gray in chunk])
        chroma, lightness = _predict(film_painter, small)
        grays = list(small[..., 0])
        for i, gray in enumerate(chunk):
            is_flash = next(flash_marks)
            if state is None:
                updated = smoothing.first_state(grays, list(chroma))
            else:
                updated = smoothing.next_state(state, grays[i], chroma[i])
            fits = chroma_fits(
                film_painter, smoothing.chroma_of(updated, chroma.shape[1:3]), lightness[i]
            )
            if state is None or not is_flash:
                state = updated
            yield Coloured(
                _render(film_painter, np.rot90(fits, -view.turns), gray, view.box), state
            )


def network_input(gray: np.ndarray, view: View, size: int) -> np.ndarray:
    """Returns a frame as the network's input, uint8 [h, w, 3]: upright and without bars."""
    inside = np.rot90(image_io.eight_bits(gray[view.box.inside]), view.turns)
    aspect = view.aspect if view.turns % 2 == 0 else 1 / view.aspect
    height, width = inside.shape
    shape = shapes.network_shape(height, max(1, round(width * aspect)), size)
    image = Image.fromarray(np.ascontiguousarray(inside))
    small = image.resize(shape[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.repeat(np.asarray(small)[..., None], 3, axis=-1)


def chroma_fits(film_painter: FilmPainter, chroma: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Returns the fits [h, w, 6] of chroma [h, w, 2] to the L* [h, w, 1] of a frame."""
    if film_painter.plain:
        return np.asarray(resample.unguided_fits(chroma))
    return np.asarray(film_painter.guide(chroma, lightness))


def _predict(film_painter: FilmPainter, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs the network on [n, h, w, 3] in padded batches; returns chroma and L* of its outputs."""
    painter, (numbers, names) = film_painter.painter, film_painter.decode_arguments
    chroma, lightness = [], []
    for start in range(0, len(small), painter.batch_size):
        batch = small[start : start + painter.batch_size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], painter.batch_size - len(batch), 0)])
        scores = painter.score(painter.network.variables, padded)
        decoded = np.asarray(painter.decode(scores, *numbers, **names))
        chroma.append(decoded[: len(batch), ..., 2:4])
        lightness.append(np.asarray(scores.lightness)[: len(batch)])
    return np.concatenate(chroma), np.concatenate(lightness)


def _render(
    film_painter: FilmPainter, fits: np.ndarray, gray: np.ndarray, box: borders.Box
) -> np.ndarray:
    """Returns the frame in colour, [height, width, 3]; it stays gray around the box."""
    inside = gray[box.inside]
    sigma = GUIDE_BLUR * max(1.0, max(gray.shape) / GUIDE_WIDTH)
    guide = cv2.GaussianBlur(inside, (0, 0), sigma)
    coloured = tiles.color_photo(
        film_painter.painter.color_tile, fits, np.stack([inside, guide, guide], axis=-1)
    )
    if inside.shape == gray.shape:
        return coloured
    result = np.repeat(gray[..., None], 3, axis=-1)
    result[box.inside] = coloured
    return result
