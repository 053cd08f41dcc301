"""The Python interface: `colorjax.Colorizer(model).colorize(photo)`."""

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import jax
import numpy as np
from PIL import Image

from colorjax.coloring.cancellation import checked
from colorjax.coloring.colorize import colorize, open_painter
from colorjax.coloring.inputs import ERRORS, Picture, as_array, as_photo, in_order
from colorjax.coloring.likely_colours import Guess
from colorjax.coloring.network.shapes import USUAL_SIZES, chequered
from colorjax.coloring.network.transfer import Reference
from colorjax.coloring.prepared import Prepared
from colorjax.coloring.reference import as_settings, of_photo
from colorjax.coloring.settings import Settings, check_settings, own_decoding, rebalanced
from colorjax.errors import UserError, check_at_least, check_choice
from colorjax.pictures import photo, writing
from colorjax.weights.devices import pick_device, refuse_forked
from colorjax.weights.released import load_network


class Colorizer:
    """A trained network, ready to colour; programs are compiled once and then used again.

    Other processes use them too: they are kept where jax was told to keep programs, or else in the
    user's cache folder (or $COLORJAX_HOME), and no setting of jax is touched. There are programs
    for each of two canvases on which the network is shown photographs of up to 2:1, and for each
    way of decoding; `warm_up` makes them ready beforehand.

    May be called from several threads. Pickled, it is its arguments: another process loads the
    model again, and compiles its own programs. Processes must be spawned: one that is forked from a
    process that has used JAX raises a UserError, as JAX would wait forever there.
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
          model: folder of a training run, or a released file; the one that colorjax comes with
            unless given.
          size: side of the square with as many pixels as the network sees; what it was trained on
            unless given. More shows it smaller things, and takes longer.
          batch_size: most pictures that the network sees at once; 8 on a GPU and 1 on a CPU unless
            given.
          device: cpu, gpu, or gpu:1 and so on; the best there is unless given.

        Raises:
          UserError: there is no such model or device, or a number is too small.
        """
        refuse_forked()
        # Another process may have another working folder.
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
        """How scores are decoded unless told; None if the model predicts chroma itself."""
        own = own_decoding(self._painter.network)
        return None if own is None else own.method

    @property
    def temperature(self) -> float | None:
        """The temperature of annealed and sample unless told; None as `decode`."""
        own = own_decoding(self._painter.network)
        return None if own is None else own.temperature

    @property
    def rebalance(self) -> float | None:
        """How far rare colours are favoured unless told; None if training was not rebalanced."""
        own = own_decoding(self._painter.network)
        return own.rebalance if own and rebalanced(self._painter.network) else None

    def warm_up(self, *sizes: tuple[int, int], **settings: Any) -> None:
        """Makes programs ready, so that the first picture takes no longer than the next.

        Args:
          sizes: (width, height) of pictures to come; of each, what counts is its proportions, and
            roughly how large it is. Those of a small photograph of 3:2 and of 4:3, upright and
            lying, unless given.
          settings: those of `colorize`.

        Raises:
          UserError: a setting is wrong, or a size is too small.
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
          picture: path or bytes of a file of `pictures.photo.FORMATS`, a file that is open for
            reading bytes, a Pillow image, or uint8 [height, width] or [height, width, 1 or 3]
            (sRGB).
          decode: argmax, mean, annealed or sample; the model's own unless given.
          temperature: of annealed and sample, > 0; lower is more sure of itself.
          rebalance: from 0, likely colours, to 1, rare and vivid ones; the model's own unless
            given.
          saturation: by which chroma is multiplied; 0 is gray.
          seed: of sample.
          edges: `guided` has colour end at the edges of the photo, `bilinear` does not look.
          hints: colours that are given, each (x, y, "#rrggbb") or a mapping of x, y and colour: at
            a pixel of the upright picture, which what belongs together follows. Of the colour the
            chroma is taken; lightness stays the picture's. At most 10,000.
          reference: another picture, in colour, whose colours go to what is like it here, the more
            the more it is alike; of an unrelated one next to nothing is taken. Hints go before it.
            Or what `prepare_reference` has made of one.

        Returns:
          An image of mode RGB, RGBA where the picture has transparency, of the size of the picture
          (upright), whose luminance it keeps to within one 8-bit step. Its `info` holds EXIF, XMP,
          resolution and an sRGB profile where the picture has them. `colorjax.save` writes them
          too; Pillow's own `save` drops most of them.

        Raises:
          UserError: the picture or the reference cannot be read, the reference is gray, or a
            setting is wrong.
          TypeError, ValueError: the picture is no such thing.
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
        """Colours one picture and writes it as the command does, with all that its file carries.

        A PNG or TIFF has 16 bits a channel where the picture's file has.

        Args:
          picture: as for `colorize`.
          target: path, whose suffix says the format, or a binary stream. An existing file is
            replaced.
          format: a suffix such as "png", which goes before that of a path; needed for a stream.
          settings: those of `colorize`.

        Returns:
          Sentences for the user: what could not be taken or kept as it was.

        Raises:
          UserError: the picture cannot be read, the target cannot be written, or a setting is
            wrong.
          TypeError, ValueError: the picture is no such thing.
        """
        _, kind = writing.check_target(target, format)
        one = as_photo(picture, 16 if kind in writing.DEEP else 8)
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
        """Several draws from what the network thinks likely, of the seeds from `seed` on.

        The arguments are those of `colorize`; the network is run once.
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
        """How sure the network is of its colours, from 0 (black), a guess, to 255 (white).

        1 - the entropy of what it thinks possible at a place, as a share of the most that it can
        be, times 255. It does not depend on how scores are decoded. Borders, which stay gray, are
        white. docs/model_card.md says how wrong colours are at each confidence.

        Args:
          picture: as for `colorize`.

        Returns:
          An image of mode L, of the size of the picture (upright).

        Raises:
          UserError: the picture cannot be read, or the model predicts chroma itself.
          TypeError, ValueError: the picture is no such thing.
        """
        return Image.fromarray(self.prepare(picture).confidence())

    def likely(
        self, picture: Picture, x: int, y: int, *, count: int = 8, rebalance: float | None = None
    ) -> tuple[Guess, ...]:
        """What colours the network thinks likely at one pixel, the likeliest first.

        Any may be given back as a hint. They have the pixel's own lightness, or where that is near
        black or white one at which colours can be told apart.

        Args:
          picture: as for `colorize`.
          x, y: the pixel, of the upright picture.
          count: most colours, >= 1; those of less than one part in a thousand are left out.
          rebalance: as for `colorize`.

        Returns:
          (colour "#rrggbb", probability) each. All look different: what is nearly the same colour
          counts as one.

        Raises:
          UserError: the picture cannot be read, the pixel is outside of it, a number is wrong, or
            the model predicts chroma itself.
          TypeError, ValueError: the picture is no such thing.
        """
        return self.prepare(picture).likely(x, y, count=count, rebalance=rebalance)

    def prepare(self, picture: Picture) -> Prepared:
        """A picture that may be coloured again and again while the network is run once.

        As for a slider: `prepared = colorizer.prepare(photo)`, then `prepared.colorize(...)` with
        any settings, `prepared.confidence()` and `prepared.likely(x, y)`. An array is not copied.

        Raises:
          UserError: the picture cannot be read.
          TypeError, ValueError: the picture is no such thing.
        """
        refuse_forked()
        return Prepared(self._painter, self._device, as_photo(picture).rgb)

    def prepare_reference(
        self, picture: Picture | photo.Photo, *, name: str = "reference"
    ) -> Reference:
        """A reference that is looked at once, to be given as `reference` again and again.

        Args:
          picture: in colour, as for `colorize`.
          name: what messages call it.

        Raises:
          UserError: the picture cannot be read, or is gray.
          TypeError, ValueError: the picture is no such thing.
        """
        refuse_forked()
        with jax.default_device(self._device):
            return of_photo(self._painter, as_photo(picture), name)

    def between(self, check: Callable[[], None]) -> "Colorizer":
        """The same, which calls `check` before all that its device computes, tile by tile.

        What `check` raises ends the work: so a program gives up what nobody waits for any more.
        """
        other = copy.copy(self)
        other._painter = checked(self._painter, check)
        return other

    def colorize_many(
        self,
        pictures: Iterable[Picture],
        *,
        at_once: int = 16,
        errors: str = "raise",
        **settings: Any,
    ) -> Iterator[Image.Image | UserError]:
        """Colours many pictures, in their order; `settings` are those of `colorize`.

        Args:
          pictures: as for `colorize`; they are taken `at_once` at a time, and those of like
            proportions go through the network together.
          errors: what becomes of a picture that cannot be read. `raise` raises its UserError after
            the results of all pictures before it, and ends; `return` gives the UserError in the
            result's place, and goes on.

        Returns:
          An iterator over as many results as pictures, each as that of `colorize`.

        Raises:
          UserError: a setting is wrong; while iterating also where a picture cannot be read, unless
            `errors` is `return`.
          TypeError, ValueError: while iterating, a picture is no such thing as `colorize` takes.
        """
        check_at_least("at_once", at_once, 1)
        check_choice("errors", errors, ERRORS)
        chosen = self._settings(**settings)
        if chosen.hints:
            raise UserError("hints are of one picture, want `colorize` for each that has some")
        check_settings(chosen, self._painter.network)
        run = partial(self._run, settings=[chosen])
        return in_order(iter(pictures), at_once, errors, run)

    def colorize_arrays(self, arrays: Sequence[np.ndarray], **settings: Any) -> list[np.ndarray]:
        """numpy in, numpy out: uint8 [height, width] or [height, width, 1 or 3] each.

        Results are uint8 [height, width, 3]. The arrays may differ in size; `settings` are those
        of `colorize`.
        """
        chosen = self._settings(**settings)
        found = self._results([as_array(a) for a in arrays], [chosen])
        return [results[0] for results in found]

    def _settings(self, **given: Any) -> Settings:
        refuse_forked()
        with jax.default_device(self._device):
            return as_settings(self._painter, **given)

    def _run(
        self, photos: Sequence[photo.Photo], settings: Sequence[Settings]
    ) -> list[list[Image.Image]]:
        found = self._results([one.rgb for one in photos], settings)
        return [
            [photo.as_image(rgb, one) for rgb in results]
            for one, results in zip(photos, found, strict=True)
        ]

    def _results(
        self, arrays: Sequence[np.ndarray], settings: Sequence[Settings]
    ) -> list[list[np.ndarray]]:
        refuse_forked()
        with jax.default_device(self._device):
            found = dict(colorize(self._painter, arrays, settings))
        return [found[i] for i in range(len(arrays))]
