"""The Python interface: `colorjax.Colorizer(model).colorize(photo)`."""

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import jax
import numpy as np
from PIL import Image

from colorjax.coloring.cancellation import cancellable
from colorjax.coloring.colorize import colorize, open_painter
from colorjax.coloring.inputs import ERRORS, Picture, as_array, as_photo, results_in_order
from colorjax.coloring.likely_colours import Guess
from colorjax.coloring.network.shapes import USUAL_SIZES, chequered
from colorjax.coloring.network.transfer import Reference
from colorjax.coloring.prepared import Prepared
from colorjax.coloring.reference import as_settings, prepare_reference
from colorjax.coloring.settings import ColorSettings, check_settings, own_decoding, rebalanced
from colorjax.errors import UserError, check_at_least, check_choice
from colorjax.pictures import photo, writing
from colorjax.weights.devices import pick_device, refuse_forked
from colorjax.weights.released import load_network


class Colorizer:
    """A trained network that colours photographs.

    Its programs are compiled once and cached on disk, so that other processes can use them: in
    jax's own cache folder if one is set, or else in the user's cache folder (or $COLORJAX_HOME). No
    setting of jax is changed. Photographs of up to 2:1 are padded to one of two canvases. Each
    canvas and each way of decoding has its own programs; `warm_up` compiles them in advance.

    A Colorizer may be used from several threads. Pickling keeps only its arguments: the other
    process loads the model again and compiles its own programs. Processes must be spawned: in a
    process that was forked from one that has used JAX, a UserError is raised, because JAX would
    hang there.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        size: int | None = None,
        batch_size: int | None = None,
        device: str | None = None,
    ):
        """Loads a model.

        Args:
          model: folder of a training run, or a released file. The default is the model that comes
            with colorjax.
          size: side of the square that has as many pixels as the network's input. The default is
            the size it was trained on. A larger one shows the network smaller details, and takes
            longer.
          batch_size: most pictures in a batch. The default is 8 on a GPU and 1 on a CPU.
          device: cpu, gpu, or gpu:1 and so on. The default is the best one available.

        Raises:
          UserError: the model or device does not exist, or a number is too small.
        """
        refuse_forked()
        # Absolute, as a process that unpickles it may have another working directory.
        model = None if model is None else os.path.abspath(os.path.expanduser(model))
        self._arguments = {"model": model, "size": size, "batch_size": batch_size, "device": device}
        self._device = pick_device(device)
        with jax.default_device(self._device):
            self._painter = open_painter(load_network(model), size=size, batch_size=batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        Colorizer.__init__(self, **arguments)

    @property
    def decode(self) -> str | None:
        """The model's own `decode`; None if it predicts chroma itself."""
        own = own_decoding(self._painter.network)
        return None if own is None else own.method

    @property
    def temperature(self) -> float | None:
        """The model's own `temperature`; None if it predicts chroma itself."""
        own = own_decoding(self._painter.network)
        return None if own is None else own.temperature

    @property
    def rebalance(self) -> float | None:
        """The model's own `rebalance`; None if its training was not rebalanced."""
        own = own_decoding(self._painter.network)
        return own.rebalance if own and rebalanced(self._painter.network) else None

    def warm_up(self, *sizes: tuple[int, int], **settings: Any) -> None:
        """Compiles programs in advance, so that the first picture takes no longer than the next.

        Args:
          sizes: (width, height) of the expected pictures; only the proportions and the approximate
            size matter. The default is small photographs of 3:2 and 4:3, in landscape and portrait
            format.
          settings: as for `colorize`.

        Raises:
          UserError: a setting is invalid, or a size is too small.
        """
        chosen = self._settings(**settings)
        check_settings(chosen, self._painter.network)
        for width, height in sizes or USUAL_SIZES:
            check_at_least("width", width, 1)
            check_at_least("height", height, 1)
            self._results([chequered(width, height)], [chosen])

    def colorize(
        self,
        picture: Picture,
        *,
        decode: str | None = None,
        temperature: float | None = None,
        rebalance: float | None = None,
        saturation: float = 1.0,
        seed: int = 0,
        edges: str = "guided",
        hints: Iterable[Any] = (),
        reference: Picture | Reference | None = None,
    ) -> Image.Image:
        """Colours one picture.

        Args:
          picture: path or bytes of a file in one of `pictures.photo.FORMATS`, a file opened for
            reading bytes, a Pillow image, or an sRGB array, uint8 [height, width] or
            [height, width, 1 or 3].
          decode: argmax, mean, annealed or sample. The default is the model's own.
          temperature: for annealed and sample, > 0; a lower one favours likely colours more. The
            default is the model's own.
          rebalance: from 0, likely colours, to 1, rare and vivid ones. The default is the model's
            own.
          saturation: factor on chroma; 0 is gray.
          seed: random seed for sample.
          edges: `guided` ends colours at the edges of the photo; `bilinear` ignores edges.
          hints: known colours, at most 10,000; each is (x, y, "#rrggbb") or a mapping with the keys
            x, y and colour. (x, y) is a pixel of the upright picture; the colour spreads over
            similar pixels around it. Only the chroma of a hint is used, not its lightness.
          reference: a picture in colour, or the result of `prepare_reference`. Its colours go to
            similar parts of this picture, the more similar, the more strongly; an unrelated
            reference has nearly no effect. Hints take precedence over it.

        Returns:
          An image of mode RGB, or RGBA if the picture has transparency, of the size of the upright
          picture. It has the luminance of the picture to within one 8-bit step. Its `info` holds
          EXIF, XMP, resolution and an sRGB profile if the picture has them, and in the XMP a mark
          by which results are recognised in folders. `colorjax.save` writes them to the file;
          Pillow's own `save` drops most of them.

        Raises:
          UserError: the picture or the reference cannot be read, the reference is gray, or a
            setting is invalid.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        settings = self._settings(
            decode=decode,
            temperature=temperature,
            rebalance=rebalance,
            saturation=saturation,
            seed=seed,
            edges=edges,
            hints=hints,
            reference=reference,
        )
        return self._run([as_photo(picture)], [settings])[0][0]

    def colorize_file(
        self,
        picture: Picture,
        target: str | os.PathLike | BinaryIO,
        *,
        format: str | None = None,
        **settings: Any,
    ) -> tuple[str, ...]:
        """Colours one picture and writes it with the metadata of its file.

        As the command does, it adds a mark to the XMP, by which results are recognised in folders.
        A PNG or TIFF result has 16 bits per channel if the picture's file has.

        Args:
          picture: as for `colorize`.
          target: path, whose suffix selects the format, or a binary stream. An existing file is
            replaced.
          format: a suffix such as "png", which overrides that of a path; required for a stream.
          settings: as for `colorize`.

        Returns:
          Notices for the user: what could not be read or preserved.

        Raises:
          UserError: the picture cannot be read, the target cannot be written, or a setting is
            invalid.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        _, kind = writing.check_target(target, format)
        one = photo.marked(as_photo(picture, 16 if kind in writing.DEEP else 8))
        ((rgb,),) = self._results([one.rgb], [self._settings(**settings)])
        return one.notices + writing.write_photo(target, rgb, one, format=format)

    def samples(
        self,
        picture: Picture,
        count: int,
        *,
        temperature: float | None = None,
        rebalance: float | None = None,
        saturation: float = 1.0,
        seed: int = 0,
        edges: str = "guided",
        hints: Iterable[Any] = (),
        reference: Picture | Reference | None = None,
    ) -> list[Image.Image]:
        """Draws `count` samples from the predicted distribution, with the seeds from `seed` on.

        The other arguments are those of `colorize`. The network runs only once.
        """
        first = self._settings(
            decode="sample",
            temperature=temperature,
            rebalance=rebalance,
            saturation=saturation,
            edges=edges,
            hints=hints,
            reference=reference,
        )
        settings = [first._replace(seed=seed + i) for i in range(count)]
        return self._run([as_photo(picture)], settings)[0]

    def confidence(self, picture: Picture) -> Image.Image:
        """Returns how confident the network is of its colours, from 0 (black) to 255 (white).

        The value at a pixel is 255 (1 - H / H_max), where H is the entropy of the predicted
        distribution of colours and H_max its maximum, at which the colour is a mere guess. The
        value does not depend on the decoding. Borders, which stay gray, are white.
        docs/model_card.md gives the colour error at each confidence.

        Args:
          picture: as for `colorize`.

        Returns:
          An image of mode L, of the size of the upright picture.

        Raises:
          UserError: the picture cannot be read, or the model predicts chroma itself.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        return Image.fromarray(self.prepare(picture).confidence())

    def likely(
        self, picture: Picture, x: int, y: int, *, count: int = 8, rebalance: float | None = None
    ) -> tuple[Guess, ...]:
        """Returns the colours that the network considers likely at one pixel, the likeliest first.

        Each of them may be passed as a hint. They have the pixel's own lightness; if that is near
        black or white, they have a lightness at which colours can be told apart.

        Args:
          picture: as for `colorize`.
          x, y: the pixel in the upright picture.
          count: most colours, >= 1. Colours with a probability below 0.001 are left out.
          rebalance: as for `colorize`.

        Returns:
          (colour "#rrggbb", probability) pairs. Nearly equal colours are merged.

        Raises:
          UserError: the picture cannot be read, the pixel is outside it, a number is invalid, or
            the model predicts chroma itself.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        return self.prepare(picture).likely(x, y, count=count, rebalance=rebalance)

    def prepare(self, picture: Picture) -> Prepared:
        """Prepares a picture to be coloured several times while the network runs only once.

        For instance, for a slider: `prepared = colorizer.prepare(photo)`, then
        `prepared.colorize(...)` with any settings, `prepared.confidence()` and
        `prepared.likely(x, y)`. An array is not copied.

        Raises:
          UserError: the picture cannot be read.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        refuse_forked()
        return Prepared(self._painter, self._device, as_photo(picture).rgb)

    def prepare_reference(
        self, picture: Picture | photo.Photo, *, name: str = "reference"
    ) -> Reference:
        """Analyses a reference once, so that it can be passed as `reference` several times.

        Args:
          picture: a picture in colour, as for `colorize`.
          name: what messages call it.

        Raises:
          UserError: the picture cannot be read, or is gray.
          TypeError, ValueError: the picture is of an unsupported type or shape.
        """
        refuse_forked()
        with jax.default_device(self._device):
            return prepare_reference(self._painter, as_photo(picture), name)

    def between(self, check: Callable[[], None]) -> "Colorizer":
        """Returns a copy that calls `check` before each computation on the device, tile by tile.

        An exception that `check` raises cancels the work, for example if its result is no longer
        needed.
        """
        other = copy.copy(self)
        other._painter = cancellable(self._painter, check)
        return other

    def colorize_many(
        self,
        pictures: Iterable[Picture],
        *,
        at_once: int = 16,
        errors: str = "raise",
        **settings: Any,
    ) -> Iterator[Image.Image | UserError]:
        """Colours many pictures, in order.

        Args:
          pictures: as for `colorize`.
          at_once: how many pictures are read and coloured together; among them, those of similar
            proportions share a batch.
          errors: how a picture that cannot be read is handled. `raise` raises its UserError after
            the results of all pictures before it; `return` returns the UserError in place of the
            result and continues.
          settings: as for `colorize`.

        Returns:
          An iterator over as many results as pictures, each like that of `colorize`.

        Raises:
          UserError: a setting is invalid; while iterating, also if a picture cannot be read, unless
            `errors` is `return`.
          TypeError, ValueError: while iterating, a picture is of an unsupported type or shape.
        """
        check_at_least("at_once", at_once, 1)
        check_choice("errors", errors, ERRORS)
        chosen = self._settings(**settings)
        if chosen.hints:
            raise UserError(
                "hints belong to one picture, want `colorize` for each picture with hints"
            )
        check_settings(chosen, self._painter.network)
        run = partial(self._run, settings=[chosen])
        return results_in_order(iter(pictures), at_once, errors, run)

    def colorize_arrays(self, arrays: Sequence[np.ndarray], **settings: Any) -> list[np.ndarray]:
        """Colours arrays, uint8 [height, width] or [height, width, 1 or 3] each.

        The results are uint8 [height, width, 3]. The arrays may differ in size; `settings` are as
        for `colorize`.
        """
        chosen = self._settings(**settings)
        all_results = self._results([as_array(a) for a in arrays], [chosen])
        return [results[0] for results in all_results]

    def _settings(self, **given: Any) -> ColorSettings:
        refuse_forked()
        with jax.default_device(self._device):
            return as_settings(self._painter, **given)

    def _run(
        self, photos: Sequence[photo.Photo], settings: Sequence[ColorSettings]
    ) -> list[list[Image.Image]]:
        all_results = self._results([one.rgb for one in photos], settings)
        return [
            [photo.as_image(rgb, photo.marked(one)) for rgb in results]
            for one, results in zip(photos, all_results, strict=True)
        ]

    def _results(
        self, arrays: Sequence[np.ndarray], settings: Sequence[ColorSettings]
    ) -> list[list[np.ndarray]]:
        refuse_forked()
        with jax.default_device(self._device):
            results = dict(colorize(self._painter, arrays, settings))
        return [results[i] for i in range(len(arrays))]
