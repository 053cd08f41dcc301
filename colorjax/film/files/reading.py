"""Decodes films to gray frames with time stamps, and probes their properties (PyAV)."""

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

from colorjax.errors import UserError
from colorjax.film.files import planes
from colorjax.film.files.planes import Coding

# PyAV before 19 fails on metadata that is not UTF-8 unless this option is set.
_IS_OLD = int(av.__version__.split(".")[0]) < 19
_OPEN_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if _IS_OLD else {}
DEFAULT_RATE = Fraction(25)  # of films whose header has no credible rate
MAX_RATE = 1000  # frames per second above which a rate is not credible: raw DV reports 60,000
JITTER_FRAMES = 5  # time stamps that go back by more frames than this start another joined film
HDR = (16, 18)  # transfer curves PQ and HLG (ITU-T H.273), whose luma is not close to sRGB gray
# Pixel formats whose first plane is luma.
_PLANAR = re.compile(r"(yuva?4\d\dp|yuvj4\d\dp|gray)(9|10|12|14|16)?(le)?|nv12|nv16|nv21")


class Film(NamedTuple):
    """Properties of a film's video stream.

    Attributes:
      path: path of the file.
      stream: index of the stream in the file.
      codec: libav's name of the codec.
      width, height: size of the stored frames.
      aspect: pixel aspect ratio, width / height.
      coding: how luma encodes gray.
      tags: the stream's codes of colour range, matrix, primaries and transfer curve.
      time_base: unit of time stamps, in seconds.
      rate: frames per second, possibly approximate.
      expected: number of frames in the header; 0 if unknown.
      seconds: duration in the header; 0 if unknown.
      display: display matrix, nine values, that makes frames upright; empty if they are.
      turns: number of 90-degree turns to the left that make frames upright.
      notices: sentences for the user.
      end: time stamp of the end of the last frame in the header; None if unknown.
    """

    path: str
    stream: int
    codec: str
    width: int
    height: int
    aspect: Fraction
    coding: Coding
    tags: tuple[int, int, int, int]
    time_base: Fraction
    rate: Fraction
    expected: int
    seconds: Fraction
    display: tuple[int, ...]
    turns: int
    notices: tuple[str, ...]
    end: int | None = None


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
      pts: its time stamp.
      gray: uint8 or uint16 [height, width].
      offset: offset added to the film's own time stamp.
      duration: how long it is shown, in units of time stamps; 0 if unknown.
    """

    pts: int
    gray: np.ndarray
    offset: int = 0
    duration: int = 0


def as_file(path: str | os.PathLike) -> str:
    """Returns an absolute path: libav would read the relative path "take:1.mp4" as a protocol."""
    return os.path.abspath(path)


@contextlib.contextmanager
def open_film(path: str) -> Iterator[Any]:
    """Opens a film for reading; raises UserError if libav cannot."""
    try:
        container = av.open(as_file(path), **_OPEN_OPTIONS)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a film: {_reason(error)}") from error
    with container:
        yield container


def probe(path: str) -> Film:
    """Reads the properties of a film.

    Raises:
      UserError: the film cannot be read, has no video stream, is encrypted, has no frame that can
        be decoded, or has a high dynamic range.
    """
    with open_film(path) as container:
        stream = _video_stream(path, container)
        frame = _first_frame(path, container, stream)
        return _film_info(path, container, stream, frame)


def frames(film: Film, skip: int = 0) -> Iterator[Frame]:
    """Yields the frames of a film in order, with strictly increasing time stamps.

    Frames that cannot be decoded are skipped; the film ends where its file is truncated. Where the
    film's own time stamps start again, as in files that were concatenated byte by byte, an offset
    makes them continue from the last frame.

    Args:
      film: from `probe`.
      skip: number of frames at the beginning that are decoded, which is cheap, but not yielded.
    """
    table = planes.gray_table(film.coding)
    step = max(1, round(1 / (film.rate * film.time_base)))
    with open_film(film.path) as container:
        decoded = _decode(container, container.streams[film.stream])
        for i, (frame, pts, offset) in enumerate(_monotonic(decoded, step)):
            if i >= skip:
                yield Frame(pts, table[_luma(frame, film)], offset, max(0, frame.duration or 0))


def _monotonic(decoded: Iterable[Any], step: int) -> Iterator[tuple[Any, int, int]]:
    """Yields frames with strictly increasing time stamps, and the offset added to their own."""
    last: int | None = None
    offset = 0
    for frame in decoded:
        if last is None:
            last = frame.pts or 0
        elif frame.pts is None:
            last += step
        else:
            if frame.pts + offset < last - JITTER_FRAMES * step:
                offset = last + step - frame.pts
            last = max(frame.pts + offset, last + 1)
        yield frame, last, offset


def _video_stream(path: str, container: Any) -> Any:
    """Returns the best video stream, but no cover art."""
    videos = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not videos:
        content = "only sound" if container.streams.audio else "no pictures"
        raise UserError(f"{path}: holds {content}, want a film")
    best = container.streams.best("video")
    return best if best in videos else videos[0]


def _first_frame(path: str, container: Any, stream: Any) -> Any:
    encrypted = stream.codec_context is None or stream.codec_context.codec_tag in ("encv", "drmi")
    if stream.codec_context is None:
        raise UserError(f"{path}: its video is in a format that cannot be decoded")
    for packet in _packets(container, stream):
        encrypted = encrypted or packet.has_sidedata("encryption_info")
        if encrypted:
            raise UserError(f"{path}: is encrypted, want a film without copy protection")
        for frame in _try_decode(packet.decode):
            return frame
    for frame in _try_decode(stream.decode):
        return frame
    raise UserError(f"{path}: holds no frame that can be decoded, want at least one")


def _film_info(path: str, container: Any, stream: Any, frame: Any) -> Film:
    context, format = stream.codec_context, frame.format
    tags = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
    if tags[3] in HDR:
        raise UserError(
            f"{path}: has a high dynamic range (PQ or HLG), want a film converted to BT.709"
        )
    bits = 8 if format.has_palette else format.components[0].bits
    gray_only = format.name.startswith(("gray", "ya", "mono"))
    is_full = format.has_palette or format.name.startswith("yuvj") or _is_rgb(format)
    is_full = is_full or (gray_only and tags[0] != planes.LIMITED)
    matrix = tags[1] if tags[1] in planes.WEIGHTS else planes.UNSPECIFIED
    if matrix == planes.UNSPECIFIED:
        matrix = planes.BT709 if frame.height >= planes.HD else planes.BT601
    full = planes.FULL if is_full or tags[0] == planes.FULL else planes.LIMITED
    rate = _rate(stream)
    aspect = as_fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1))
    display = _display(frame)
    return Film(
        path,
        stream.index,
        context.name,
        frame.width,
        frame.height,
        aspect if aspect > 0 else Fraction(1),
        Coding(max(8, bits), full, matrix),
        tags,
        as_fraction(stream.time_base or 1 / rate),
        rate,
        stream.frames,
        Fraction(container.duration or 0, av.time_base),
        display,
        _turns(display),
        _notices(path, container, stream, frame),
        stream.duration and (stream.start_time or 0) + stream.duration,
    )


def _rate(stream: Any) -> Fraction:
    """Returns the reported frames per second, or DEFAULT_RATE if none is credible."""
    reported = [as_fraction(r) for r in (stream.average_rate, stream.guessed_rate) if r]
    return next((rate for rate in reported if 0 < rate <= MAX_RATE), DEFAULT_RATE)


def as_fraction(ratio: Any) -> Fraction:
    """Converts the ratios of PyAV, which from 19 on have fewer operations, to Fraction."""
    return Fraction(ratio.numerator, ratio.denominator)


def _notices(path: str, container: Any, stream: Any, frame: Any) -> tuple[str, ...]:
    notices = []
    others = [s for s in container.streams.video if s.index != stream.index]
    if others:
        notices.append(f"{path}: has {len(others) + 1} video streams; only the best is coloured")
    if frame.interlaced_frame:
        notices.append(f"{path}: is interlaced; the result has whole frames of both fields")
    if len(frame.format.components) in (2, 4) and not frame.format.has_palette:
        notices.append(f"{path}: its transparency is not kept")
    return tuple(notices)


def _display(frame: Any) -> tuple[int, ...]:
    """Returns the display matrix of a frame; empty without one, or for the identity."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return ()
    matrix = tuple(int(x) for x in np.frombuffer(bytes(data), "<i4"))
    return () if matrix == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30) else matrix


def _turns(display: tuple[int, ...]) -> int:
    """Returns the 90-degree turns to the left with which the top of the shown picture is on top."""
    if not display:
        return 0
    # Where a display matrix sends the downward direction; a mirrored picture stays mirrored.
    return round(math.atan2(display[3], display[4]) / (math.pi / 2)) % 4


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    stream.thread_type = "AUTO"
    for packet in _packets(container, stream):
        yield from _try_decode(packet.decode)
    yield from _try_decode(stream.decode)  # flushes the decoder where the file is truncated


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yields packets up to the end, or up to where the file is damaged."""
    packets = container.demux(stream)
    with contextlib.suppress(av.error.FFmpegError, OSError):
        yield from packets


def _try_decode(decode: Callable[[], list[Any]]) -> list[Any]:
    """Returns decoded frames; none for a damaged packet."""
    try:
        return decode()
    except (av.error.FFmpegError, ValueError):
        return []


def _luma(frame: Any, film: Film) -> np.ndarray:
    """Returns the luma values of a frame, [height, width] with the film's bit depth."""
    bits = film.coding.bits
    if _is_rgb(frame.format) or frame.format.has_palette:
        frame = frame.reformat(format="gbrp" if bits == 8 else f"gbrp{bits}le")
        green, blue, red = (_plane(frame, i, bits).astype(np.float32) for i in range(3))
        red_weight, blue_weight = planes.WEIGHTS[planes.BT709]
        luma = green + red_weight * (red - green) + blue_weight * (blue - green)
        values = np.rint(luma).astype(np.uint8 if bits == 8 else np.uint16)
    else:
        # Joined films may change their bit depth.
        depth = max(8, frame.format.components[0].bits)
        if depth != bits or not _PLANAR.fullmatch(frame.format.name):
            gray_only = frame.format.name.startswith(("gray", "mono", "ya"))
            kind = "gray" if gray_only else "yuv444p"
            frame = frame.reformat(format=kind if bits == 8 else f"{kind}{bits}le")
        values = _plane(frame, 0, bits)
    if values.shape != (film.height, film.width):
        rows, columns = (
            np.arange(want) * have // want
            for have, want in zip(values.shape, (film.height, film.width), strict=True)
        )
        values = values[rows][:, columns]
    return values


def _plane(frame: Any, index: int, bits: int) -> np.ndarray:
    plane = frame.planes[index]
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    lines = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return lines[: plane.height, : plane.width]


def _is_rgb(format: Any) -> bool:
    return format.name.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2"))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
