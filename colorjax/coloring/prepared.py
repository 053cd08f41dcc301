"""A picture that the network has seen already: colourings of it take no further run."""

import threading
from typing import Any

import jax
import numpy as np
from PIL import Image

from colorjax.coloring import confidence, likely_colours
from colorjax.coloring.colorize import (
    Analysis,
    Painter,
    analyze,
    check_pixels,
    feature_levels,
    fits_of,
    render,
    with_reference,
)
from colorjax.coloring.hints import Hint, check_inside, check_place, within
from colorjax.coloring.likely_colours import Guess
from colorjax.coloring.network import borders
from colorjax.coloring.network.transfer import Reference
from colorjax.coloring.reference import as_settings
from colorjax.coloring.settings import Settings, check_settings
from colorjax.errors import check_at_least


class Prepared:
    """A picture and what a network says of it; made by `Colorizer.prepare`.

    The network is run when its scores are first wanted, and once more where hints or a question are
    of a border, which is not shown to it otherwise. A reference wants what its encoder sees, which
    is kept likewise. Threads may share it.

    Attributes:
      rgb: uint8 or uint16 [height, width, 3], the picture.
    """

    def __init__(self, painter: Painter, device: jax.Device, rgb: np.ndarray):
        self.rgb = check_pixels(rgb)
        self._painter, self._device = painter, device
        self._seen: dict[borders.Box, Analysis] = {}
        self._levels: dict[borders.Box, tuple[jax.Array, ...]] = {}
        self._inner = borders.without_borders(rgb)
        self._lock = threading.Lock()
        self._ready: set[tuple[str | None, str, bool]] = set()

    @property
    def nbytes(self) -> int:
        """Bytes of the picture, and of what is kept about it."""
        kept = [
            self.rgb,
            *(x for one in list(self._seen.values()) for x in (one.small, *one.scores[:3])),
            *(x for levels in list(self._levels.values()) for x in levels),
        ]
        return sum(x.nbytes for x in kept)

    def colorize(self, **settings: Any) -> Image.Image:
        """An image of mode RGB: the picture in colour, by the settings of `Colorizer.colorize`.

        Raises:
          UserError: a setting is wrong, or a hint is outside of the picture.
        """
        with jax.default_device(self._device):
            chosen = as_settings(self._painter, **settings)
        return Image.fromarray(self.array(chosen))

    def array(self, settings: Settings) -> np.ndarray:
        """The picture in colour, [height, width, 3] of as many bits.

        Raises:
          UserError: a setting is wrong, or a hint is outside of the picture.
        """
        check_settings(settings, self._painter.network)
        check_inside(settings.hints, self.rgb)
        with jax.default_device(self._device):
            seen = self._lent(self._look(settings.hints), settings.reference)
            return render(self._painter, seen, self.rgb, settings._replace(reference=None))

    def confidence(self) -> np.ndarray:
        """uint8 [height, width]: as `Colorizer.confidence`.

        Raises:
          UserError: the model predicts chroma itself.
        """
        confidence.check_confidence(self._painter)
        with jax.default_device(self._device):
            return confidence.of_seen(self._painter, self._look(), self.rgb)

    def likely(
        self, x: int, y: int, *, count: int = 8, rebalance: float | None = None
    ) -> tuple[Guess, ...]:
        """As `Colorizer.likely`.

        Raises:
          UserError: the pixel is outside of the picture, a number is wrong, or the model predicts
            chroma itself.
        """
        check_at_least("count", count, 1)
        check_settings(Settings(rebalance=rebalance), self._painter.network)
        check_place(x, y, "pixel")
        spot = Hint(x, y, "")
        check_inside([spot], self.rgb, "pixel")
        with jax.default_device(self._device):
            seen = self._look((spot,))
            return likely_colours.at_pixel(
                self._painter, seen, self.rgb, x, y, rebalance=rebalance, count=count
            )

    def make_ready(self, settings: Settings) -> None:
        """Has the program compiled, once, that colours the picture by hints and these settings."""
        kind = settings.decode, settings.edges, settings.reference is not None
        if kind not in self._ready:
            self._ready.add(kind)
            middle = Hint(self.rgb.shape[1] // 2, self.rgb.shape[0] // 2, "#808080")
            with jax.default_device(self._device):
                seen = self._lent(self._look((middle,)), settings.reference)
                settings = settings._replace(hints=(middle,), reference=None)
                fits_of(self._painter, seen, self.rgb, [settings])

    def _look(self, places: tuple[Hint, ...] = ()) -> Analysis:
        box = self._inner if within(places, self._inner) else borders.whole(self.rgb)
        with self._lock:
            if box not in self._seen:
                self._seen[box] = analyze(self._painter, self.rgb, box)
            return self._seen[box]

    def _lent(self, seen: Analysis, reference: Reference | None) -> Analysis:
        """What was seen, with what a reference says of it."""
        if reference is None:
            return seen
        with self._lock:
            if seen.box not in self._levels:
                self._levels[seen.box] = feature_levels(self._painter, seen)
            levels = self._levels[seen.box]
        return with_reference(self._painter, seen, levels, reference)
