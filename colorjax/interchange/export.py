"""Writes a network to a file that runs without colorjax."""

import os
from pathlib import Path

from colorjax.errors import UserError
from colorjax.extras import check_installed
from colorjax.pictures import image_io
from colorjax.weights.released import Network, load_network


def export(
    model: str | os.PathLike | None,
    file: str | os.PathLike,
    format: str,
    photo_shape: tuple[int, int] | None = None,
) -> Path:
    """Writes a network to `file`; returns its path.

    Args:
      model: a run's folder or a released file; None for the model bundled with colorjax.
      file: path of the result; an existing file is replaced.
      format: `jax-export` or `onnx`.
      photo_shape: height and width of the photographs, for jax-export only; None for any size.

    Raises:
      UserError: there is no such model, the format does not support it, the format's extra is not
        installed, or the file cannot be written.
    """
    file = Path(file)
    check_installed(format, f"--format {format}")  # extras have the formats' names
    content = _content(load_network(model), format, photo_shape)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}") from error
    with image_io.atomic_write(file) as temporary:
        temporary.write_bytes(content)
    return file


def _content(network: Network, format: str, photo_shape: tuple[int, int] | None) -> bytes:
    if format == "jax-export":
        from colorjax.interchange import stablehlo

        return stablehlo.serialized(network, photo_shape)
    from importlib.metadata import version

    from colorjax.interchange import onnx_file

    return onnx_file.serialized(network, {"colorjax": version("colorjax")})
