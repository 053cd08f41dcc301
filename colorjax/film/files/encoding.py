"""Chooses the encoder of a film and encodes segments (PyAV)."""

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
    """One of libav's encoders and its options.

    Attributes:
      name: libav's name.
      pixels_8, pixels_10: pixel formats of 8 and 10 bits; None if there is none.
      crf: default constant rate factor, nearly indistinguishable from the source; None if the codec
        has no CRF.
      options: other options.
      containers: suffixes of the files that can hold the codec.
      segment_format: libav's name of the container of segments.
      max_crf: the greatest CRF that the encoder accepts.
      smallest: least width and height in pixels, both even.
      max_rate: most frames per second that the encoder accepts.
    """

    name: str
    pixels_8: str | None
    pixels_10: str | None
    crf: int | None
    options: dict[str, str]
    containers: tuple[str, ...]
    segment_format: str = "nut"
    max_crf: int = 63
    smallest: tuple[int, int] = (2, 2)
    max_rate: float = float("inf")


ALL = tuple(CONTAINERS)
NO_WEBM = tuple(suffix for suffix in ALL if suffix != ".webm")
ENCODERS = {
    # x264's mbtree reads uninitialised memory, so no two results would be the same.
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
        max_crf=51,
        smallest=(64, 16),  # x265 writes outside its buffers if a picture is narrower
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
        smallest=(4, 4),
        max_rate=240,
    ),
}
CODECS = tuple(ENCODERS)


class Choice(NamedTuple):
    """How the frames of a film are encoded."""

    codec: str
    crf: int | None
    bits: int
    suffix: str  # of the target, in lower case

    @property
    def encoder(self) -> Encoder:
        return ENCODERS[self.codec]

    @property
    def pixel_format(self) -> str:
        name = self.encoder.pixels_8 if self.bits == 8 else self.encoder.pixels_10
        assert name is not None
        return name

    @property
    def subsampling(self) -> tuple[int, int]:
        """Pixels per chroma sample, vertically and horizontally."""
        return (1, 2) if "422" in self.pixel_format else (2, 2)


def choose(film: Film, suffix: str, codec: str | None, crf: int | None) -> Choice:
    """Chooses the codec, CRF and bit depth of a result.

    The bit depth is the film's, up to 10 bits, if the codec supports it. Without `codec`, a WebM
    file gets VP9 (8 bits) or AV1 (10 bits), ProRes stays ProRes, and other films become H.264. A
    10-bit film that is not H.264 becomes HEVC instead, since few players decode 10-bit H.264.
    ProRes and HEVC are chosen only for containers that can hold them, AV1 and HEVC only for films
    of a size and rate that their encoders accept.

    Raises:
      UserError: the container cannot hold the codec, the encoder does not accept the size or the
        rate of the film, the codec has no CRF, or `crf` is too great.
    """
    suffix, bits = suffix.lower(), 8 if film.coding.bits == 8 else 10
    if codec is None:
        codec = _default_codec(film, suffix, bits)
    encoder = ENCODERS[codec]
    if suffix not in encoder.containers:
        wanted = " or ".join(encoder.containers)
        raise UserError(f"{film.path}: {codec} cannot be in a {suffix} file, want {wanted}")
    if not _accepts(encoder, film):
        (width, height), rate = encoder.smallest, encoder.max_rate
        at_most = "" if rate == float("inf") else f" and at most {rate:g} frames per second"
        raise UserError(
            f"{film.path}: has {film.width} x {film.height} pixels and {float(film.rate):g} frames "
            f"per second, want at least {width} x {height}{at_most} for {codec}, or another codec"
        )
    if crf is not None and encoder.crf is None:
        raise UserError(f"crf is {crf}, but {codec} has no such scale: want none")
    if crf is not None and crf > encoder.max_crf:
        raise UserError(f"crf is {crf}, want at most {encoder.max_crf} for {codec}")
    if encoder.pixels_10 is None:
        bits = 8
    elif encoder.pixels_8 is None:
        bits = 10
    return Choice(codec, encoder.crf if crf is None else crf, bits, suffix)


def _accepts(encoder: Encoder, film: Film) -> bool:
    """Whether an encoder accepts the size and the rate of a film."""
    sides = even(film.width), even(film.height)
    large_enough = all(have >= least for have, least in zip(sides, encoder.smallest, strict=True))
    return large_enough and film.rate <= encoder.max_rate


def _default_codec(film: Film, suffix: str, bits: int) -> str:
    if suffix == ".webm":
        return "av1" if bits == 10 and _accepts(ENCODERS["av1"], film) else "vp9"
    if film.codec == "prores" and suffix in ENCODERS["prores"].containers:
        return "prores"
    hevc = ENCODERS["hevc"]
    usable = suffix in hevc.containers and _accepts(hevc, film)
    return "hevc" if bits == 10 and film.codec != "h264" and usable else "h264"


def result_coding(film: Film, choice: Choice) -> Coding:
    """Returns the coding of the result: the film's matrix, its range if tagged, else limited.

    Players assume full range for untagged RGB, but not for untagged luma and chroma.
    """
    tagged = film.tags[0] in (planes.LIMITED, planes.FULL)
    return film.coding._replace(bits=choice.bits, range=film.tags[0] if tagged else planes.LIMITED)


def even(side: int) -> int:
    """Rounds a side up to an even number, as encoders need it."""
    return side + side % 2


def add_stream(container: Any, film: Film, choice: Choice) -> Any:
    """Adds a video stream with an encoder for a film to a container; returns the stream."""
    encoder = choice.encoder
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 logs at length by default
    options = dict(encoder.options)
    if choice.crf is not None:
        options["crf"] = str(choice.crf)
    stream = container.add_stream(encoder.name, rate=_encodable_rate(film.rate), options=options)
    stream.width, stream.height = even(film.width), even(film.height)
    stream.pix_fmt = choice.pixel_format
    context = stream.codec_context
    context.time_base = stream.time_base = film.time_base
    context.sample_aspect_ratio = film.aspect
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = tags(
        film, choice
    )
    if choice.suffix == ".avi":
        context.max_b_frames = 0  # AVI has no presentation time stamps to reorder frames by
        options["bf"] = "0"
        stream.options = options
    return stream


def tags(film: Film, choice: Choice) -> tuple[int, int, int, int]:
    """Returns colour range, matrix, primaries and transfer curve, with defaults for unset ones."""
    _, _, primaries, curve = film.tags
    usual_primaries, usual_curve = planes.PRIMARIES_AND_CURVE[film.coding.matrix]
    unspecified = (0, planes.UNSPECIFIED)
    return (
        result_coding(film, choice).range,
        film.coding.matrix,
        usual_primaries if primaries in unspecified else primaries,
        usual_curve if curve in unspecified else curve,
    )


def write(path: Path, film: Film, choice: Choice, frames: Iterable[tuple[int, np.ndarray]]) -> None:
    """Encodes a segment.

    Args:
      path: where it is written.
      film: the source.
      choice: from `choose`.
      frames: time stamps and frames, uint8 or uint16 [height, width, 3] sRGB.
    """
    coding = result_coding(film, choice)
    with av.open(as_file(path), "w", format=choice.encoder.segment_format) as container:
        stream = add_stream(container, film, choice)
        count = 0
        for pts, rgb in frames:
            count += 1
            container.mux(stream.encode(as_frame(pts, rgb, film, coding, choice)))
        for packet in stream.encode(None):
            if count < 3:
                # x265 leaves the decoding times of one or two frames uninitialised (its issue 781).
                packet.dts = packet.pts
            container.mux(packet)


def as_frame(pts: int, rgb: np.ndarray, film: Film, coding: Coding, choice: Choice) -> Any:
    """Returns a frame for the encoder, its last row or column repeated if a side is odd."""
    height, width, _ = rgb.shape
    full = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    yuv = planes.from_rgb(full, coding)
    chroma = planes.subsampled(np.ascontiguousarray(yuv[..., 1:]), choice.subsampling)
    frame = av.VideoFrame(full.shape[1], full.shape[0], choice.pixel_format)
    for plane, values in zip(
        frame.planes, (yuv[..., 0], chroma[..., 0], chroma[..., 1]), strict=True
    ):
        rounded = planes.rounded(values, coding)
        dtype = rounded.dtype
        lines = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        lines[:, : rounded.shape[1]] = rounded
        plane.update(lines.tobytes())
    frame.pts, frame.time_base = pts, film.time_base
    frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc = tags(film, choice)
    return frame


def _encodable_rate(rate: Fraction) -> Fraction:
    """Returns the nearest rate whose denominator encoders accept."""
    return rate.limit_denominator(65535)
