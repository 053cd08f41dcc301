"""The Python interface to films: `colorjax.colorize_film(source, target)`."""

import os

import jax

from colorjax import extras
from colorjax.coloring.colorize import open_painter
from colorjax.coloring.settings import Settings
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
    """Colours a film, as the command does; wants `pip install 'colorjax[video]'`.

    The luma of the film is kept, with its time stamps, turn, shape of pixels, matrix and range of
    colours, and its sound as it is. What is done is kept in the folder `TARGET.parts` until all is
    there: after a stop or an error the same call goes on.

    Args:
      source: path of a film.
      target: path of the result, in .mp4, .m4v, .mov, .mkv, .webm or .avi.
      model, size, batch_size, device: those of `Colorizer`.
      decode, temperature, rebalance, saturation, seed, edges: those of `Colorizer.colorize`.
      codec: h264, hevc, prores, vp9 or av1; H.264 unless given, or what keeps the 10 bits of a film
        and can be in the target.
      crf: of the codec, from 0 to 63, and to 51 for hevc, less is better; what can hardly be told
        from the film unless given.
      overwrite: whether an existing target is replaced.

    Returns:
      Sentences for the user: what could not be taken or kept as it was.

    Raises:
      UserError: the libraries are missing, the film cannot be read, the target cannot be written or
        cannot hold the film's sound, or a setting is wrong.
    """
    source, target = os.fspath(source), os.fspath(target)
    extras.check_installed("video", f"{source}: is a film, which")
    from colorjax.film import pipeline
    from colorjax.film.files import encoding

    if codec is not None:
        check_choice("codec", codec, encoding.CODECS)
    if crf is not None:
        check_choice("crf", crf, range(64))
    settings = Settings(decode, temperature, rebalance, saturation, seed, edges)
    with jax.default_device(pick_device(device)):
        painter = open_painter(load_network(model), size=size, batch_size=batch_size)
        how = pipeline.FilmOptions(settings, codec, crf)
        return pipeline.run(painter, source, target, how, overwrite=overwrite)
