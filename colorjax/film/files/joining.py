"""Muxes segments and the film's other streams into the result, without re-encoding (PyAV)."""

import dataclasses
import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av

from colorjax.errors import UserError
from colorjax.film.files import encoding, reading
from colorjax.film.files.encoding import Choice
from colorjax.film.files.formats import CONTAINERS, FALLBACK
from colorjax.film.files.reading import Film

_KINDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attachment"}
_EQUAL_TIMES = (".mkv", ".webm")  # whose packets may have the decoding time of the one before
AVI_PAUSE = 60_000  # units of time without a frame above which the AVI muxer fails
_MP4 = (".mp4", ".m4v", ".mov")
# Metadata that describes the source file itself and would be wrong in the result.
_OWN_METADATA = ("encoder", "major_brand", "minor_version", "compatible_brands")


class OtherStreams(NamedTuple):
    """The streams of a film other than video.

    Attributes:
      copied: indices of the streams that are copied.
      notices: sentences about the streams that are lost.
    """

    copied: tuple[int, ...]
    notices: tuple[str, ...]


def find_other_streams(film: Film, choice: Choice, folder: Path) -> OtherStreams:
    """Finds the other streams that the target can hold, by trial with a file in `folder`.

    Raises:
      UserError: the target cannot hold the sound.
    """
    copied, notices = [], []
    with reading.open_film(film.path) as source:
        for stream in source.streams:
            if stream.type == "video" or _holds_chapters(stream):
                continue
            kind = _KINDS.get(stream.type, "data")
            name = stream.codec_context.name if stream.codec_context else stream.type
            if stream.type == "attachment" and choice.suffix == ".mkv":
                copied.append(stream.index)
            elif stream.type in ("audio", "subtitle") and _can_hold(
                choice.suffix, film, stream, folder
            ):
                copied.append(stream.index)
            elif stream.type == "audio":
                raise UserError(
                    f"{film.path}: its sound ({name}) cannot be in a {choice.suffix} file, want "
                    + _remedy(film, stream, folder)
                )
            else:
                notices.append(
                    f"{film.path}: its {kind} ({name}) cannot be in a {choice.suffix} file"
                )
        if choice.suffix == ".avi" and source.chapters():
            notices.append(f"{film.path}: its chapters cannot be in a .avi file")
    return OtherStreams(tuple(copied), tuple(notices))


def _holds_chapters(stream: Any) -> bool:
    """Whether a stream is the track of MP4 and MOV that holds the titles of the chapters.

    libav reads it into the chapters, which are copied, and then discards its packets.
    """
    return stream.type == "data" and stream.discard == av.stream.Discard.all


def check_rotation(film: Film, choice: Choice) -> None:
    """Raises UserError if the film has a rotation that the target cannot hold."""
    if film.display and choice.suffix == ".avi":
        raise UserError(
            f"{film.path}: is to be shown rotated, which a .avi file cannot hold, want another, "
            f"such as {FALLBACK}"
        )


def check_pauses(film: Film, choice: Choice, stamps: Sequence[int], folder: Path) -> None:
    """Checks that the target can hold a film's pauses, by trial with a file in `folder`.

    Args:
      film: the source.
      choice: how it is encoded.
      stamps: the time stamps of all frames, increasing.
      folder: an existing folder.

    Raises:
      UserError: a frame is shown for so long that the target cannot hold it.
    """
    if choice.suffix != ".avi":
        return
    with reading.open_film(film.path) as source:
        first = round(_start(source) / film.time_base)  # where the sound starts, if before
    gaps = (after - before for before, after in pairwise([first, *stamps[1:]]))
    pause, longest = max(gaps, default=0) * film.time_base, AVI_PAUSE * _unit(film, choice, folder)
    if pause > longest:
        raise UserError(
            f"{film.path}: has a frame that is shown for {float(pause):,.0f} seconds, and a .avi "
            f"file can hold at most {float(longest):,.0f}, want another, such as {FALLBACK}"
        )


def _unit(film: Film, choice: Choice, folder: Path) -> Fraction:
    """Returns the unit of the time stamps of the result's video, in seconds."""
    path = folder / f"unit{choice.suffix}"
    try:
        with av.open(reading.as_file(path), "w", format=CONTAINERS[choice.suffix]) as container:
            stream = container.add_mux_stream(
                choice.codec, width=encoding.even(film.width), height=encoding.even(film.height)
            )
            stream.time_base = film.time_base
            container.start_encoding()
            return reading.as_fraction(stream.time_base)
    finally:
        path.unlink(missing_ok=True)


def _remedy(film: Film, sound: Any, folder: Path) -> str:
    """Says what a user can do whose target cannot hold the sound."""
    if _can_hold(FALLBACK, film, sound, folder):
        return f"another, such as {FALLBACK}"
    return "a film whose sound was converted before, for example to FLAC"


def join(
    target: Path,
    film: Film,
    choice: Choice,
    segments: Sequence[Path],
    copied: Sequence[int],
    stamps: Sequence[int],
    offsets: Sequence[int] = (0,),
    last: int = 0,
) -> None:
    """Writes the result, with video from the segments and everything else from the film.

    Args:
      target: path of the result; its suffix does not matter.
      film: the source.
      choice: how the segments are encoded.
      segments: paths of the segments.
      copied: indices of the other streams to copy.
      stamps: the time stamps of all frames, increasing.
      offsets: `Plan.offsets`.
      last: `Plan.last`.
    """
    with (
        reading.open_film(film.path) as source,
        av.open(reading.as_file(segments[0])) as first,
        av.open(reading.as_file(target), "w", format=CONTAINERS[choice.suffix]) as result,
    ):
        video = _add_video(result, first.streams.video[0], film, choice)
        copies = {index: _add_copy(result, source.streams[index]) for index in copied}
        start = _start(source)
        _copy_metadata(result, source, start)
        result.start_encoding()  # writes the header, which determines the result's time units
        timed = [i for i in copied if source.streams[i].type != "attachment"]
        packets = _by_time(
            _video_packets(segments, film, video, stamps, last, choice.suffix),
            _copied_packets(source, film, timed, copies, offsets, hidden=choice.suffix in _MP4),
        )
        for packet in _increasing(packets, start, 0 if choice.suffix in _EQUAL_TIMES else 1):
            result.mux(packet)


def _add_video(result: Any, first: Any, film: Film, choice: Choice) -> Any:
    stream = result.add_stream_from_template(first, opaque=True)
    stream.time_base = film.time_base
    context = stream.codec_context
    context.framerate = film.rate.limit_denominator(65535)
    context.sample_aspect_ratio = film.aspect
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = (
        encoding.tags(film, choice)
    )
    if choice.codec == "hevc" and choice.suffix != ".mkv":
        context.codec_tag = "hvc1"  # the only tag that Apple's players accept
    if film.display:
        stream.set_display_matrix(film.display)
    return stream


def _add_copy(result: Any, stream: Any) -> Any:
    if stream.type == "attachment":
        name = stream.metadata.get("filename", "attachment")
        return result.add_attachment(name, stream.mimetype or "", bytes(stream.data))
    copy = result.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy


def _start(source: Any) -> Fraction:
    """Returns the time in seconds that becomes 0 in the result.

    TS, VOB and recorded broadcasts start at any time, and would begin with a pause. Times before 0
    mark what is decoded but not played, and stay.
    """
    return max(Fraction(0), Fraction(source.start_time or 0, av.time_base))


def _copy_metadata(result: Any, source: Any, start: Fraction) -> None:
    """Copies titles, and chapters with times from `start` on."""
    metadata = {k: v for k, v in source.metadata.items() if k.lower() not in _OWN_METADATA}
    result.metadata.update(metadata)
    if chapters := source.chapters():
        result.set_chapters([_moved(chapter, start) for chapter in chapters])


def _moved(chapter: Any, start: Fraction) -> Any:
    late = round(start / reading.as_fraction(chapter["time_base"]))
    return {**chapter, **{key: max(0, chapter[key] - late) for key in ("start", "end")}}


def _video_packets(
    segments: Sequence[Path], film: Film, video: Any, stamps: Sequence[int], last: int, suffix: str
) -> Iterator[Any]:
    """Yields the packets of all segments, with the film's time stamps.

    Encoders reorder frames within a segment. The decoding time of packet n is the time stamp of
    frame n - delay, where delay is the most places by which any packet comes after its frame's
    place in display order.
    """
    frame_step = max(1, round(1 / (film.rate * film.time_base)))
    orders = [_order(path) for path in segments]
    delay = max(index - rank for order in orders for index, rank in enumerate(order))
    durations = [after - before for before, after in pairwise(stamps)]
    durations.append(last or (durations[-1] if durations else frame_step))
    first = 0
    for path, order in zip(segments, orders, strict=True):
        with av.open(reading.as_file(path)) as segment:
            packets = (p for p in segment.demux(segment.streams.video[0]) if p.size)
            for index, (packet, rank) in enumerate(zip(packets, order, strict=True), first):
                number = first + rank
                packet.pts = stamps[number]
                packet.duration = durations[number]
                early = index - delay
                packet.dts = stamps[early] if early >= 0 else stamps[0] + early * durations[0]
                packet.time_base = film.time_base
                packet.stream = video
                if index == len(stamps) - 1 and suffix in _MP4:
                    # There a packet lasts until the next one is decoded, and this one to the end.
                    end = stamps[-1] + durations[-1] - delay * durations[0]
                    packet.duration = max(1, end - packet.dts)
                yield packet
        first += len(order)


def _order(path: Path) -> list[int]:
    """Returns, for each packet of a segment, its frame's index in display order."""
    with av.open(reading.as_file(path)) as segment:
        packets = segment.demux(segment.streams.video[0])
        stamps = [p.pts for p in packets if p.pts is not None]  # the flush packet has no pts
    ranks = {pts: rank for rank, pts in enumerate(sorted(stamps))}
    return [ranks[pts] for pts in stamps]


@dataclasses.dataclass
class _Clock:
    """The position in a stream of the film.

    Attributes:
      last: the source's time stamp of the last packet.
      end: the end of that packet in the result.
      piece: how many times the source's time stamps have started again.
      offset: offset added to the source's time stamps in this piece.
    """

    last: int | None = None
    end: int = 0
    piece: int = 0
    offset: int = 0


def _copied_packets(
    source: Any,
    film: Film,
    copied: Sequence[int],
    copies: dict[int, Any],
    offsets: Sequence[int],
    *,
    hidden: bool,
) -> Iterator[Any]:
    """Yields the packets of the other streams, up to where the file is damaged.

    Where the film's time stamps start again, the packets are shifted like those of the video.
    `hidden` tells whether the result can hold packets that are not played.
    """
    if not copied:
        return
    # Subtitles are so sparse that only the video packets beside them show which piece they are in.
    demuxed = [film.stream, *copied] if len(offsets) > 1 else copied
    clocks = {index: _Clock() for index in [film.stream, *demuxed]}
    packets = _undamaged(source.demux([source.streams[i] for i in demuxed]))
    for packet in packets if hidden else _without_hidden(packets):
        if not packet.size or packet.dts is None:
            continue
        index = packet.stream.index
        _move(packet, clocks[index], clocks[film.stream], film, offsets)
        if index in copies:
            packet.stream = copies[index]
            yield packet


def _without_hidden(packets: Iterable[Any]) -> Iterator[Any]:
    """Drops the packets that a trimmed film hides, since other containers would play them.

    The last one of sound before the beginning stays: decoders need it for the next one.
    """
    waiting: dict[int, Any] = {}
    begun: set[int] = set()
    for packet in packets:
        index = packet.stream.index
        if packet.is_discard:
            waiting[index] = packet
            continue
        if index not in begun and index in waiting and packet.stream.type == "audio":
            yield waiting[index]
        begun.add(index)
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


def _move(packet: Any, clock: _Clock, video: _Clock, film: Film, offsets: Sequence[int]) -> None:
    """Shifts a packet's time stamps by the offset of its piece, and advances its clock."""
    is_text, unit = packet.stream.type == "subtitle", reading.as_fraction(packet.time_base)
    jitter = reading.JITTER_FRAMES / (film.rate * unit)
    begins = not is_text and clock.last is not None and packet.dts < clock.last - jitter
    piece = video.piece if is_text else clock.piece
    if begins:
        # Sound may start again a little before or after the video does.
        piece = min(max(clock.piece, video.piece - 1), video.piece) + 1
    if begins or piece != clock.piece:
        offset = round(offsets[min(piece, len(offsets) - 1)] * film.time_base / unit)
        clock.piece, clock.offset = piece, max(offset, clock.end - packet.dts)
    clock.last = packet.dts
    packet.dts += clock.offset
    if packet.pts is not None:
        packet.pts += clock.offset
    clock.end = packet.dts + (0 if is_text else max(1, packet.duration or 0))


def _by_time(*streams: Iterable[Any]) -> Iterator[Any]:
    """Merges packets by decoding time, so that the muxer need not buffer any stream."""
    return heapq.merge(*streams, key=lambda packet: float(packet.dts * packet.time_base))


def _increasing(packets: Iterable[Any], start: Fraction, step: int) -> Iterator[Any]:
    """Converts packets to the result's times and units, in which decoding times must increase.

    Times may go back by a little where films were joined, or be equal after rounding. Such packets
    are delayed, because the muxer refuses them.

    Args:
      packets: packets of streams of the result, in units of their own.
      start: the time in seconds that becomes 0.
      step: the least difference between the decoding times of a stream's packets.
    """
    lasts: dict[int, int] = {}
    for packet in packets:
        index, unit = packet.stream.index, reading.as_fraction(packet.stream.time_base)
        own = reading.as_fraction(packet.time_base)
        share, moved = own / unit, round(start / own)  # in whole units: durations stay the same
        early = round((packet.dts - moved) * share)
        late = max(early, lasts[index] + step) if index in lasts else early
        if packet.pts is not None:
            packet.pts = max(late, round((packet.pts - moved) * share) + late - early)
        packet.duration = round((packet.duration or 0) * share)
        if not packet.duration and index in lasts and packet.stream.type == "audio":
            packet.duration = late - lasts[index]  # without one, MP4 ends before the last packet
        packet.dts = lasts[index] = late
        packet.time_base = packet.stream.time_base
        yield packet


def _can_hold(suffix: str, film: Film, stream: Any, folder: Path) -> bool:
    """Whether a container can hold a stream."""
    path = folder / f"holds{suffix}"
    try:
        with av.open(reading.as_file(path), "w", format=CONTAINERS[suffix]) as container:
            copy = container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
            # Some muxers refuse sound only with its first packet. Subtitles are so sparse that
            # finding theirs could mean reading the whole film.
            if stream.type == "audio" and (packet := _first_packet(film, stream.index)):
                packet.stream, packet.pts, packet.dts = copy, 0, 0
                container.mux(packet)
        return True
    except (ValueError, av.error.FFmpegError):
        return False
    finally:
        if path.exists():
            os.unlink(path)


def _first_packet(film: Film, index: int) -> Any:
    """Returns the first packet of a stream that has content and a time; None without one."""
    with reading.open_film(film.path) as source:
        packets = _undamaged(source.demux(source.streams[index]))
        return next((p for p in packets if p.size and p.dts is not None), None)
