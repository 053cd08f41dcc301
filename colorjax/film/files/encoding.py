"""Segments of coloured film: which encoder makes them, and how (PyAV)."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from colorjax.errors import UserError
from colorjax.film.files import planes
from colorjax.film.files.formats import CONTAINERS
from colorjax.film.files.planes import Coding
from colorjax.film.files.reading import Film, as_file


class Encoder(NamedTuple):
    """One of libav's encoders, and what is told it.

    Attributes:
      name: libav's.
      eight, ten: pixel formats of 8 and of 10 bits; None where there is none.
      crf: quality that can hardly be told from the film's own; None where there is no such scale.
      options: others.
      containers: suffixes of files that its results may be in.
      segment: what libav calls the kind of file that keeps them until then.
      most: the greatest crf that it takes.
    """

    name: str
    eight: str | None
    ten: str | None
    crf: int | None
    options: dict[str, str]
    containers: tuple[str, ...]
    segment: str = "nut"
    most: int = 63


ALL = tuple(CONTAINERS)
NO_WEBM = tuple(suffix for suffix in ALL if suffix != ".webm")
ENCODERS = {
    # What x264 calls mbtree reads memory that nothing has written: no two results are the same.
    "h264": Encoder(
        "libx264",
        "yuv420p",
        "yuv420p10le",
        17,
        {"preset": "medium", "x264-params": "mbtree=0"},
        NO_WEBM,
    ),
    "hevc": Encoder(
        "libx265",
        "yuv420p",
        "yuv420p10le",
        18,
        {"preset": "medium", "x265-params": "log-level=error"},
        (".mp4", ".m4v", ".mov", ".mkv"),
        most=51,
    ),
    "prores": Encoder(
        "prores_ks", None, "yuv422p10le", None, {"profile": "3"}, (".mov", ".mkv"), "mov"
    ),
    "vp9": Encoder(
        "libvpx-vp9",
        "yuv420p",
        None,
        20,
        {"b": "0", "row-mt": "1", "cpu-used": "3"},
        (".webm", ".mkv", ".mp4"),
    ),
    "av1": Encoder(
        "libsvtav1",
        "yuv420p",
        "yuv420p10le",
        20,
        {"preset": "6", "svtav1-params": "tune=0"},
        (".webm", ".mkv", ".mp4"),
    ),
}
CODECS = tuple(ENCODERS)


class Choice(NamedTuple):
    """How the pictures of a film are encoded."""

    codec: str
    crf: int | None
    bits: int
    suffix: str  # of the file that it is for, in small letters

    @property
    def encoder(self) -> Encoder:
        return ENCODERS[self.codec]

    @property
    def pixels(self) -> str:
        found = self.encoder.eight if self.bits == 8 else self.encoder.ten
        assert found is not None
        return found

    @property
    def down(self) -> tuple[int, int]:
        """How many pixels have one of chroma, up and down and sideways."""
        return (1, 2) if "422" in self.pixels else (2, 2)


def choose(film: Film, suffix: str, codec: str | None, crf: int | None) -> Choice:
    """What encodes a film: as deep as the film is, up to 10 bits, unless the codec cannot.

    Unless told, H.264, and VP9 or AV1 where the file cannot hold that. Films of 10 bits stay HEVC
    or ProRes if they are; players that know H.264 of 10 bits are few, so that others become HEVC.

    Raises:
      UserError: a file of that suffix cannot hold the codec, or the codec has no crf, or
        none as great.
    """
    suffix, bits = suffix.lower(), 8 if film.coding.bits == 8 else 10
    if codec is None:
        codec = _usual(film, suffix, bits)
    encoder = ENCODERS[codec]
    if suffix not in encoder.containers:
        wanted = " or ".join(encoder.containers)
        raise UserError(f"{film.path}: {codec} cannot be in a {suffix} file, want {wanted}")
    if crf is not None and encoder.crf is None:
        raise UserError(f"crf is {crf}, but {codec} has no such scale: want none")
    if crf is not None and crf > encoder.most:
        raise UserError(f"crf is {crf}, want at most {encoder.most} for {codec}")
    if encoder.ten is None:
        bits = 8
    elif encoder.eight is None:
        bits = 10
    return Choice(codec, encoder.crf if crf is None else crf, bits, suffix)


def _usual(film: Film, suffix: str, bits: int) -> str:
    if suffix == ".webm":
        return "vp9" if bits == 8 else "av1"
    if film.codec == "prores" and suffix in ENCODERS["prores"].containers:
        return "prores"
    if bits == 8 or film.codec == "h264" or suffix not in ENCODERS["hevc"].containers:
        return "h264"
    return "hevc"


def coding(film: Film, choice: Choice) -> Coding:
    """That of the result: the film's own, of other bits, and limited unless the film says full.

    Players take numbers of red, green and blue as full without a word, but not those of luma.
    """
    says = film.tags[0] in (planes.LIMITED, planes.FULL)
    return film.coding._replace(bits=choice.bits, range=film.tags[0] if says else planes.LIMITED)


def even(side: int) -> int:
    """A side as encoders want it."""
    return side + side % 2


def add_stream(container: Any, film: Film, choice: Choice) -> Any:
    """A stream of pictures for a film, which is encoded there."""
    encoder = choice.encoder
    os.environ.setdefault("SVT_LOG", "1")  # else AV1's tells of itself at length
    options = dict(encoder.options)
    if choice.crf is not None:
        options["crf"] = str(choice.crf)
    stream = container.add_stream(encoder.name, rate=_limited(film.rate), options=options)
    stream.width, stream.height = even(film.width), even(film.height)
    stream.pix_fmt = choice.pixels
    context = stream.codec_context
    context.time_base = stream.time_base = film.time_base
    context.sample_aspect_ratio = film.aspect
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = tags(
        film, choice
    )
    if choice.suffix == ".avi":
        context.max_b_frames = 0  # it has one time stamp a frame, in the order of the file
        options["bf"] = "0"
        stream.options = options
    return stream


def tags(film: Film, choice: Choice) -> tuple[int, int, int, int]:
    """Colour range, matrix, primaries and curve, said in any case where they are not the usual."""
    _, _, primaries, curve = film.tags
    same = planes.BT709 if film.coding.matrix == planes.BT709 else planes.BT601
    unsaid = (0, planes.UNSPECIFIED)
    return (
        coding(film, choice).range,
        film.coding.matrix,
        same if primaries in unsaid else primaries,
        same if curve in unsaid else curve,
    )


def write(path: Path, film: Film, choice: Choice, frames: Iterable[tuple[int, np.ndarray]]) -> None:
    """Encodes a segment.

    Args:
      frames: time stamps, and uint8 or uint16 [height, width, 3] sRGB.
    """
    wanted = coding(film, choice)
    with av.open(as_file(path), "w", format=choice.encoder.segment) as container:
        stream = add_stream(container, film, choice)
        for pts, rgb in frames:
            container.mux(stream.encode(as_frame(pts, rgb, film, wanted, choice)))
        container.mux(stream.encode(None))


def as_frame(pts: int, rgb: np.ndarray, film: Film, wanted: Coding, choice: Choice) -> Any:
    """A frame for the encoder, its last row and column repeated where their number is odd."""
    height, width, _ = rgb.shape
    # Encoders have no odd sides.
    full = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    numbers = planes.from_rgb(full, wanted)
    chroma = planes.subsampled(np.ascontiguousarray(numbers[..., 1:]), choice.down)
    frame = av.VideoFrame(full.shape[1], full.shape[0], choice.pixels)
    for plane, values in zip(
        frame.planes, (numbers[..., 0], chroma[..., 0], chroma[..., 1]), strict=True
    ):
        rounded = planes.rounded(values, wanted)
        kind = rounded.dtype
        lines = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        lines[:, : rounded.shape[1]] = rounded
        plane.update(lines.tobytes())
    frame.pts, frame.time_base = pts, film.time_base
    frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc = tags(film, choice)
    return frame


def _limited(rate: Fraction) -> Fraction:
    """A rate of numbers that encoders take."""
    return rate.limit_denominator(65535)
