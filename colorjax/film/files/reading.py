"""Films as gray frames with their time stamps, and what there is to know of a film (PyAV)."""

import contextlib
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

# PyAV from 19 on reads texts of any encoding; before it must be told to.
_IS_OLD = int(av.__version__.split(".")[0]) < 19
_OPENING: dict[str, Any] = {"metadata_errors": "replace"} if _IS_OLD else {}
USUAL_RATE = Fraction(25)  # of films that do not say theirs
MOST_RATE = 1000  # more frames a second are no film's: raw DV is said to have 60,000
FEW = 5  # frames by which time stamps may go back without another film being joined on
HDR = (16, 18)  # transfer curves, PQ and HLG, whose luma is no gray of a photo
# Formats whose first plane is luma, as it is.
_PLANAR = re.compile(r"(yuva?4\d\dp|yuvj4\d\dp|gray)(9|10|12|14|16)?(le)?|nv12|nv16|nv21")


class Film(NamedTuple):
    """What there is to know of a film's pictures.

    Attributes:
      path: of the file.
      stream: its number in the file.
      codec: what libav calls it.
      width, height: of frames as they are stored.
      aspect: width of a pixel, in heights.
      coding: how its numbers are grays.
      tags: the stream's own colour range, matrix, primaries and transfer curve, as numbers.
      time_base: seconds, the unit of time stamps.
      rate: frames a second, at least nearly.
      expected: frames that the file is said to hold; 0 if it does not say.
      seconds: that it is said to last; 0 if it does not say.
      display: nine numbers that turn frames upright; none where they are so.
      turns: quarters of a turn to the left that do so.
      notices: sentences for the user.
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


class Frame(NamedTuple):
    """A frame.

    Attributes:
      pts: its time stamp.
      gray: uint8 or uint16 [height, width].
      offset: what was added to the film's own time stamp.
    """

    pts: int
    gray: np.ndarray
    offset: int = 0


def as_file(path: str | os.PathLike) -> str:
    """A path that libav takes for nothing else, as it would "take:1.mp4" for a protocol's."""
    return os.path.abspath(path)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """A film that is open for reading; what libav says of it becomes a sentence."""
    try:
        container = av.open(as_file(path), **_OPENING)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a film: {_reason(error)}") from error
    with container:
        yield container


def look(path: str) -> Film:
    """What there is to know of a film.

    Raises:
      UserError: it cannot be read, has no pictures that move, is encrypted, has no frame that can
        be decoded, or is of high dynamic range.
    """
    with opened(path) as container:
        stream = _stream(path, container)
        frame = _first(path, container, stream)
        return _film(path, container, stream, frame)


def frames(film: Film, skip: int = 0) -> Iterator[Frame]:
    """The frames of a film in the order of their time stamps, which rise.

    Frames that cannot be decoded are left out, and what comes after the end of a file that was cut
    short. Where the film's own time stamps begin anew, as in files that were joined byte by byte,
    they go on from the last frame.

    Args:
      skip: so many frames at the beginning are decoded, which costs little, and not given.
    """
    table = planes.gray_table(film.coding)
    step = max(1, round(1 / (film.rate * film.time_base)))
    with opened(film.path) as container:
        decoded = _decoded(container, container.streams[film.stream])
        for i, (frame, pts, offset) in enumerate(_rising(decoded, step)):
            if i >= skip:
                yield Frame(pts, table[_luma(frame, film)], offset)


def _rising(decoded: Iterable[Any], step: int) -> Iterator[tuple[Any, int, int]]:
    """Frames with time stamps that rise, and what was added to their own."""
    last: int | None = None
    offset = 0
    for frame in decoded:
        if last is None:
            last = frame.pts or 0
        elif frame.pts is None:
            last += step
        else:
            if frame.pts + offset < last - FEW * step:
                offset = last + step - frame.pts
            last = max(frame.pts + offset, last + 1)
        yield frame, last, offset


def _stream(path: str, container: Any) -> Any:
    """The pictures, and not the cover of a piece of music."""
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not moving:
        found = "only sound" if container.streams.audio else "no pictures"
        raise UserError(f"{path}: holds {found}, want a film")
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def _first(path: str, container: Any, stream: Any) -> Any:
    encrypted = stream.codec_context is None or stream.codec_context.codec_tag in ("encv", "drmi")
    if stream.codec_context is None:
        raise UserError(f"{path}: its pictures are of a kind that cannot be decoded")
    for packet in _packets(container, stream):
        encrypted = encrypted or packet.has_sidedata("encryption_info")
        if encrypted:
            raise UserError(f"{path}: is encrypted, want a film without copy protection")
        for frame in _tried(packet.decode):
            return frame
    for frame in _tried(stream.decode):
        return frame
    raise UserError(f"{path}: holds no frame that can be decoded, want at least one")


def _film(path: str, container: Any, stream: Any, frame: Any) -> Film:
    context, format = stream.codec_context, frame.format
    tags = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
    if tags[3] in HDR:
        raise UserError(
            f"{path}: is of high dynamic range, whose grays are others: want it converted to BT.709"
        )
    bits = 8 if format.has_palette else format.components[0].bits
    gray_only = format.name.startswith(("gray", "ya", "mono"))
    is_full = gray_only or format.has_palette or format.name.startswith("yuvj") or _is_rgb(format)
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
        round(frame.rotation / 90) % 4 if display else 0,
        _notices(path, container, stream, frame),
    )


def _rate(stream: Any) -> Fraction:
    """Frames a second, as far as they can be believed."""
    said = [as_fraction(r) for r in (stream.average_rate, stream.guessed_rate) if r]
    return next((rate for rate in said if 0 < rate <= MOST_RATE), USUAL_RATE)


def as_fraction(ratio: Any) -> Fraction:
    """PyAV from 19 on has ratios of its own, which do less."""
    return Fraction(ratio.numerator, ratio.denominator)


def _notices(path: str, container: Any, stream: Any, frame: Any) -> tuple[str, ...]:
    notices = []
    others = [s for s in container.streams.video if s.index != stream.index]
    if others:
        notices.append(f"{path}: of {len(others) + 1} streams of pictures the best is taken")
    if frame.interlaced_frame:
        notices.append(f"{path}: is interlaced, its frames become whole pictures of both fields")
    if len(frame.format.components) in (2, 4) and not frame.format.has_palette:
        notices.append(f"{path}: its transparency is not kept")
    return tuple(notices)


def _display(frame: Any) -> tuple[int, ...]:
    """The matrix of a frame that is to be turned or mirrored."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return ()
    matrix = tuple(int(x) for x in np.frombuffer(bytes(data), "<i4"))
    return () if matrix == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30) else matrix


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    stream.thread_type = "AUTO"
    for packet in _packets(container, stream):
        yield from _tried(packet.decode)
    yield from _tried(stream.decode)  # what the decoder still has of a file that was cut short


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets up to the end, or to where the file is broken."""
    packets = container.demux(stream)
    with contextlib.suppress(av.error.FFmpegError, OSError):
        yield from packets


def _tried(decode: Callable[[], list[Any]]) -> list[Any]:
    """Decoded frames; none of a damaged packet."""
    try:
        return decode()
    except (av.error.FFmpegError, ValueError):
        return []


def _luma(frame: Any, film: Film) -> np.ndarray:
    """Numbers of luma, [height, width] of the film's bits."""
    bits = film.coding.bits
    if _is_rgb(frame.format) or frame.format.has_palette:
        frame = frame.reformat(format="gbrp" if bits == 8 else f"gbrp{bits}le")
        green, blue, red = (_plane(frame, i, bits).astype(np.float32) for i in range(3))
        red_weight, blue_weight = planes.WEIGHTS[planes.BT709]
        luma = green + red_weight * (red - green) + blue_weight * (blue - green)
        numbers = np.rint(luma).astype(np.uint8 if bits == 8 else np.uint16)
    else:
        if not _PLANAR.fullmatch(frame.format.name):
            gray_only = frame.format.name.startswith(("gray", "mono", "ya"))
            kind = "gray" if gray_only else "yuv444p"
            frame = frame.reformat(format=kind if bits == 8 else f"{kind}{bits}le")
        numbers = _plane(frame, 0, bits)
    if numbers.shape != (film.height, film.width):
        rows, columns = (
            np.arange(want) * have // want
            for have, want in zip(numbers.shape, (film.height, film.width), strict=True)
        )
        numbers = numbers[rows][:, columns]
    return numbers


def _plane(frame: Any, index: int, bits: int) -> np.ndarray:
    plane = frame.planes[index]
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    lines = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return lines[: plane.height, : plane.width]


def _is_rgb(format: Any) -> bool:
    return format.name.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2"))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
