"""A film's result from its segments and all that is not pictures, nothing encoded again (PyAV)."""

import dataclasses
import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av

from colorjax.errors import UserError
from colorjax.film.files import encoding, reading
from colorjax.film.files.encoding import Choice
from colorjax.film.files.formats import CONTAINERS
from colorjax.film.files.reading import Film

_KINDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attachment"}
# Said by the file that is written, and not true of another.
_OWN_METADATA = ("encoder", "major_brand", "minor_version", "compatible_brands")


class Others(NamedTuple):
    """What there is in a film besides its pictures.

    Attributes:
      kept: numbers of the streams that are copied.
      notices: sentences about those that are lost.
    """

    kept: tuple[int, ...]
    notices: tuple[str, ...]


def others(film: Film, choice: Choice, folder: Path) -> Others:
    """Which other streams a file can hold, found out by trying, in a file in a folder.

    Raises:
      UserError: it cannot hold the sound.
    """
    kept, notices = [], []
    with reading.opened(film.path) as source:
        for stream in source.streams:
            if stream.type == "video":
                continue
            kind = _KINDS.get(stream.type, "data")
            name = stream.codec_context.name if stream.codec_context else stream.type
            if stream.type == "attachment" and choice.suffix == ".mkv":
                kept.append(stream.index)
            elif stream.type in ("audio", "subtitle") and _holds(choice.suffix, stream, folder):
                kept.append(stream.index)
            elif stream.type == "audio":
                raise UserError(
                    f"{film.path}: its sound ({name}) cannot be in a {choice.suffix} file, want "
                    "another, such as .mkv"
                )
            else:
                notices.append(
                    f"{film.path}: its {kind} ({name}) cannot be in a {choice.suffix} file"
                )
    return Others(tuple(kept), tuple(notices))


def join(
    target: Path,
    film: Film,
    choice: Choice,
    segments: Sequence[Path],
    kept: Sequence[int],
    stamps: Sequence[int],
    offsets: Sequence[int] = (0,),
) -> None:
    """Writes a film, whose pictures come from segments and all else from the film itself.

    Args:
      target: where to; its suffix is not looked at.
      kept: numbers of the streams that are copied.
      stamps: the time stamps of all frames, rising.
      offsets: what was added to the film's own, each time that they begin.
    """
    with (
        reading.opened(film.path) as source,
        av.open(reading.as_file(segments[0])) as first,
        av.open(reading.as_file(target), "w", format=CONTAINERS[choice.suffix]) as result,
    ):
        pictures = _pictures(result, first.streams.video[0], film, choice)
        copies = {index: _copied(result, source.streams[index]) for index in kept}
        _describe(result, source)
        moving = [i for i in kept if source.streams[i].type != "attachment"]
        for packet in _by_time(
            _frames(segments, film, pictures, stamps),
            _copies(source, film, moving, copies, offsets),
        ):
            result.mux(packet)


def _pictures(result: Any, first: Any, film: Film, choice: Choice) -> Any:
    stream = result.add_stream_from_template(first, opaque=True)
    stream.time_base = film.time_base
    context = stream.codec_context
    context.framerate = film.rate.limit_denominator(65535)
    context.sample_aspect_ratio = film.aspect
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = (
        encoding.tags(film, choice)
    )
    if choice.codec == "hevc" and choice.suffix != ".mkv":
        context.codec_tag = "hvc1"  # players of Apple know no other
    if film.display:
        stream.set_display_matrix(film.display)
    return stream


def _copied(result: Any, stream: Any) -> Any:
    if stream.type == "attachment":
        name = stream.metadata.get("filename", "attachment")
        return result.add_attachment(name, stream.mimetype or "", bytes(stream.data))
    copy = result.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy


def _describe(result: Any, source: Any) -> None:
    """Titles and chapters."""
    told = {k: v for k, v in source.metadata.items() if k.lower() not in _OWN_METADATA}
    result.metadata.update(told)
    if chapters := source.chapters():
        result.set_chapters(chapters)


def _frames(
    segments: Sequence[Path], film: Film, pictures: Any, stamps: Sequence[int]
) -> Iterator[Any]:
    """Packets of all segments, with the film's own time stamps.

    Encoders put frames out of order, each segment for itself. The n-th packet is to be decoded when
    the n-th frame is shown, earlier by as many frames as the most that a packet comes too late.
    """
    usual = max(1, round(1 / (film.rate * film.time_base)))
    orders = [_order(path) for path in segments]
    delay = max(place - rank for order in orders for place, rank in enumerate(order))
    spans = [after - before for before, after in pairwise(stamps)] or [usual]
    first = 0
    for path, order in zip(segments, orders, strict=True):
        with av.open(reading.as_file(path)) as segment:
            packets = (p for p in segment.demux(segment.streams.video[0]) if p.size)
            for place, (packet, rank) in enumerate(zip(packets, order, strict=True), first):
                number = first + rank
                packet.pts, packet.duration = stamps[number], spans[min(number, len(spans) - 1)]
                early = place - delay
                packet.dts = stamps[early] if early >= 0 else stamps[0] + early * spans[0]
                packet.time_base = film.time_base
                packet.stream = pictures
                yield packet
        first += len(order)


def _order(path: Path) -> list[int]:
    """Of each packet of a segment, the number of its frame among those of the segment."""
    with av.open(reading.as_file(path)) as segment:
        packets = segment.demux(segment.streams.video[0])
        stamps = [p.pts for p in packets if p.pts is not None]  # the last has none, and no data
    ranks = {pts: rank for rank, pts in enumerate(sorted(stamps))}
    return [ranks[pts] for pts in stamps]


@dataclasses.dataclass
class _Clock:
    """How far a stream of the film has got.

    Attributes:
      last: the film's own time stamp of the last packet.
      end: of that packet, in the result.
      piece: how often the film's time stamps have begun anew.
      offset: what is added to them since.
    """

    last: int | None = None
    end: int = 0
    piece: int = 0
    offset: int = 0


def _copies(
    source: Any, film: Film, kept: Sequence[int], copies: dict[int, Any], offsets: Sequence[int]
) -> Iterator[Any]:
    """The packets of other streams, up to where the file is broken.

    Where the film's time stamps begin anew, they are moved as those of the pictures are.
    """
    if not kept:
        return
    # Texts are so few that only the pictures beside them tell where they belong.
    watched = [film.stream, *kept] if len(offsets) > 1 else kept
    clocks = {index: _Clock() for index in [film.stream, *watched]}
    for packet in _undamaged(source.demux([source.streams[i] for i in watched])):
        if not packet.size or packet.dts is None:
            continue
        index = packet.stream.index
        _move(packet, clocks[index], clocks[film.stream], film, offsets)
        if index in copies:
            packet.stream = copies[index]
            yield packet


def _undamaged(packets: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):
            return
        if packet is None:
            return
        yield packet


def _move(packet: Any, clock: _Clock, pictures: _Clock, film: Film, offsets: Sequence[int]) -> None:
    """Moves a packet's time stamps to where its piece of the film is; its clock goes on."""
    is_text, unit = packet.stream.type == "subtitle", reading.as_fraction(packet.time_base)
    few = reading.FEW / (film.rate * unit)
    begins = not is_text and clock.last is not None and packet.dts < clock.last - few
    piece = pictures.piece if is_text else clock.piece
    if begins:
        # Sound may begin anew a little before the pictures do, or after.
        piece = min(max(clock.piece, pictures.piece - 1), pictures.piece) + 1
    if begins or piece != clock.piece:
        offset = round(offsets[min(piece, len(offsets) - 1)] * film.time_base / unit)
        clock.piece, clock.offset = piece, max(offset, clock.end - packet.dts)
    clock.last = packet.dts
    packet.dts += clock.offset
    if packet.pts is not None:
        packet.pts += clock.offset
    clock.end = packet.dts + (0 if is_text else max(1, packet.duration or 0))


def _by_time(*streams: Iterable[Any]) -> Iterator[Any]:
    """Packets of several streams as they are wanted, so that none waits in memory for another."""
    return heapq.merge(*streams, key=lambda packet: float(packet.dts * packet.time_base))


def _holds(suffix: str, stream: Any, folder: Path) -> bool:
    """Whether a kind of file can hold a stream."""
    path = folder / f"holds{suffix}"
    try:
        with av.open(reading.as_file(path), "w", format=CONTAINERS[suffix]) as container:
            container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
        return True
    except (ValueError, av.error.FFmpegError):
        return False
    finally:
        if path.exists():
            os.unlink(path)
