"""A picture that is analysed once and then coloured again and again."""

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
    compute_fits,
    feature_levels,
    render,
    with_reference,
)
from colorjax.coloring.hints import Hint, check_inside, check_place, within
from colorjax.coloring.likely_colours import Guess
from colorjax.coloring.network import borders
from colorjax.coloring.network.transfer import Reference
from colorjax.coloring.reference import as_settings
from colorjax.coloring.settings import ColorSettings, check_settings
from colorjax.errors import check_at_least
from colorjax.pictures import mark, photo
from colorjax.pictures.metadata import Metadata


class Prepared:
    """A picture and its cached network results; made by `Colorizer.prepare`.

    The network runs when its scores are first needed. It runs once more if hints or queries lie on
    a border, because borders are not part of its usual input. The encoder's features, which a
    reference needs, are cached likewise. A Prepared may be used from several threads.

    Attributes:
      rgb: uint8 or uint16 [height, width, 3], the picture.
    """

    def __init__(self, painter: Painter, device: jax.Device, rgb: np.ndarray):
        self.rgb = check_pixels(rgb)
        self._painter, self._device = painter, device
        self._analyses: dict[borders.Box, Analysis] = {}
        self._levels: dict[borders.Box, tuple[jax.Array, ...]] = {}
        self._inner = borders.without_borders(rgb)
        self._lock = threading.Lock()
        self._compiled: set[tuple[str | None, str, bool]] = set()

    @property
    def nbytes(self) -> int:
        """Bytes of the picture and of the cached results."""
        arrays = [
            self.rgb,
            *(x for one in list(self._analyses.values()) for x in (one.small, *one.scores[:3])),
            *(x for levels in list(self._levels.values()) for x in levels),
        ]
        return sum(x.nbytes for x in arrays)

    def colorize(self, **settings: Any) -> Image.Image:
        """Returns the coloured picture in mode RGB; settings are those of `Colorizer.colorize`.

        Its `info` holds a mark by which results are recognised in folders, but no metadata of the
        photo. `colorjax.save` writes the mark to the file.

        Raises:
          UserError: a setting is invalid, or a hint is outside the picture.
        """
        with jax.default_device(self._device):
            chosen = as_settings(self._painter, **settings)
        metadata = Metadata(xmp=mark.marked(None))
        return photo.as_image(self.array(chosen), photo.Photo(self.rgb, metadata=metadata))

    def array(self, settings: ColorSettings) -> np.ndarray:
        """Returns the coloured picture, [height, width, 3] with as many bits as `rgb`.

        Raises:
          UserError: a setting is invalid, or a hint is outside the picture.
        """
        check_settings(settings, self._painter.network)
        check_inside(settings.hints, self.rgb)
        with jax.default_device(self._device):
            analysis = self._with_reference(self._analyze(settings.hints), settings.reference)
            return render(self._painter, analysis, self.rgb, settings._replace(reference=None))

    def confidence(self) -> np.ndarray:
        """Returns the confidence map, uint8 [height, width], as `Colorizer.confidence` does.

        Raises:
          UserError: the model predicts chroma itself.
        """
        confidence.check_confidence(self._painter)
        with jax.default_device(self._device):
            return confidence.of_analysis(self._painter, self._analyze(), self.rgb)

    def likely(
        self, x: int, y: int, *, count: int = 8, rebalance: float | None = None
    ) -> tuple[Guess, ...]:
        """Returns the likely colours of a pixel, as `Colorizer.likely` does.

        Raises:
          UserError: the pixel is outside the picture, a number is invalid, or the model predicts
            chroma itself.
        """
        check_at_least("count", count, 1)
        check_settings(ColorSettings(rebalance=rebalance), self._painter.network)
        check_place(x, y, "pixel")
        pixel = Hint(x, y, "")
        check_inside([pixel], self.rgb, "pixel")
        with jax.default_device(self._device):
            analysis = self._analyze((pixel,))
            return likely_colours.at_pixel(
                self._painter, analysis, self.rgb, x, y, rebalance=rebalance, count=count
            )

    def make_ready(self, settings: ColorSettings) -> None:
        """Compiles the program that colours the picture with hints, once for each kind of settings.

        The kind is given by `decode`, `edges` and whether there is a reference.
        """
        kind = settings.decode, settings.edges, settings.reference is not None
        if kind not in self._compiled:
            self._compiled.add(kind)
            middle = Hint(self.rgb.shape[1] // 2, self.rgb.shape[0] // 2, "#808080")
            with jax.default_device(self._device):
                analysis = self._with_reference(self._analyze((middle,)), settings.reference)
                settings = settings._replace(hints=(middle,), reference=None)
                compute_fits(self._painter, analysis, self.rgb, [settings])

    def _analyze(self, pixels: tuple[Hint, ...] = ()) -> Analysis:
        """Returns the cached analysis whose box includes the pixels, making it if needed."""
        box = self._inner if within(pixels, self._inner) else borders.whole(self.rgb)
        with self._lock:
            if box not in self._analyses:
                self._analyses[box] = analyze(self._painter, self.rgb, box)
            return self._analyses[box]

    def _with_reference(self, analysis: Analysis, reference: Reference | None) -> Analysis:
        """Returns the analysis with the colours of the reference, if there is one."""
        if reference is None:
            return analysis
        with self._lock:
            if analysis.box not in self._levels:
                self._levels[analysis.box] = feature_levels(self._painter, analysis)
            levels = self._levels[analysis.box]
        return with_reference(self._painter, analysis, levels, reference)
