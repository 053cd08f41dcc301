"""The Python interface to films: `colorjax.colorize_film(source, target)`."""

import os

import jax

from colorjax import extras
from colorjax.coloring.colorize import open_painter
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import check_choice
from colorjax.weights.devices import pick_device
from colorjax.weights.released import load_network


def colorize_film(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    model: str | os.PathLike | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    decode: str | None = None,
    temperature: float | None = None,
    rebalance: float | None = None,
    saturation: float = 1.0,
    seed: int = 0,
    edges: str = "guided",
    codec: str | None = None,
    crf: int | None = None,
    overwrite: bool = True,
) -> tuple[str, ...]:
    """Colours a film, as the command does; needs `pip install 'colorjax[video]'`.

    The result keeps the film's luma, time stamps, rotation, pixel aspect ratio, colour matrix and
    colour range; its sound is copied without re-encoding. Finished segments stay in the folder
    `TARGET.parts` until the film is complete, so the same call resumes after a stop or an error.

    Args:
      source: path of the film.
      target: path of the result: .mp4, .m4v, .mov, .mkv, .webm or .avi.
      model, size, batch_size, device: as in `Colorizer`.
      decode, temperature, rebalance, saturation, seed, edges: as in `Colorizer.colorize`.
      codec: h264, hevc, prores, vp9 or av1. By default H.264, or a codec that the target can hold
        and that keeps the 10 bits of a 10-bit film.
      crf: constant rate factor of the codec, from 0 to 63 (51 for hevc); lower is better. The
        default is nearly indistinguishable from the source.
      overwrite: whether to replace an existing target.

    Returns:
      Sentences for the user about everything that could not be read or preserved.

    Raises:
      UserError: a library is missing, the film cannot be read, the target cannot be written or
        cannot hold the film's sound, rotation or pauses, or a setting is invalid.
    """
    source, target = os.fspath(source), os.fspath(target)
    extras.check_installed("video", f"{source}: is a film, which")
    from colorjax.film import pipeline
    from colorjax.film.files import encoding

    if codec is not None:
        check_choice("codec", codec, encoding.CODECS)
    if crf is not None:
        check_choice("crf", crf, range(64))
    settings = ColorSettings(decode, temperature, rebalance, saturation, seed, edges)
    with jax.default_device(pick_device(device)):
        painter = open_painter(load_network(model), size=size, batch_size=batch_size)
        options = pipeline.FilmOptions(settings, codec, crf)
        return pipeline.run(painter, source, target, options, overwrite=overwrite)
