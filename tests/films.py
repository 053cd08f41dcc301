"""Writes and reads small films for tests."""

from fractions import Fraction

import av
import numpy as np

# Time bases.
NTSC = Fraction(1, 30000)
FRAMES = Fraction(1, 25)


def texture(height=48, width=64, seed=0, low=60, high=200):
    """A smooth gray picture, uint8 [height, width]."""
    import cv2

    cells = np.random.default_rng(seed).integers(low, high, (6, 8), dtype=np.uint8)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def panned(count, height=48, width=64, seed=0):
    """Frames of a camera that moves by one pixel per frame."""
    wide = texture(height, width + count, seed)
    return [np.ascontiguousarray(wide[:, i : i + width]) for i in range(count)]


def write(
    path,
    frames,
    *,
    codec="libx264",
    pixels="yuv420p",
    stamps=None,
    last=None,
    sound=None,
    sound_starts=0,
    layout="mono",
    subtitles=None,
    display=None,
    display_matrix=None,
    chapters=(),
    container_options=None,
    **context,
):
    """Writes gray frames, uint8 [height, width] each, as a film; returns the path.

    `last` is the duration of the last frame in seconds, for a codec that does not reorder frames.
    `sound_starts`, and the starts and ends in `chapters`, are in seconds.
    """
    height, width = frames[0].shape
    unit = {".avi": FRAMES, ".dv": FRAMES, ".vob": FRAMES, ".webm": Fraction(1, 1000)}.get(
        path.suffix, NTSC
    )
    gap = round(Fraction(1, 25) / unit)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = stream.time_base = unit
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if display:
            stream.set_display_rotation(display)
        if display_matrix:
            stream.set_display_matrix(display_matrix)
        audio = container.add_stream(sound, rate=48000, layout=layout) if sound else None
        text = container.add_mux_stream(subtitles) if subtitles else None
        if text:
            text.time_base = Fraction(1, 1000)
        container.set_chapters([_chapter(i, *span) for i, span in enumerate(chapters)])
        container.start_encoding()
        if text:
            packet = av.Packet(b"Good evening.")
            packet.pts = packet.dts = 0
            packet.duration, packet.time_base, packet.stream = 40, Fraction(1, 1000), text
            container.mux(packet)
        for i, gray in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(gray, "gray").reformat(format=pixels)
            frame.pts, frame.time_base = (stamps[i] if stamps else i * gap), unit
            encoded = stream.encode(frame)
            if last and i == len(frames) - 1:
                encoded[-1].duration = round(last / unit)
            container.mux(encoded)
        for packet in stream.encode(None):
            if len(frames) < 3:
                packet.dts = packet.pts  # x265 leaves it uninitialised
            container.mux(packet)
        if audio:
            container.mux(encoded_sound(audio, 48000 * len(frames) // 25, sound_starts))
    return path


def _chapter(number, *span):
    start, end = (round(1000 * when) for when in span)
    title = {"title": f"Chapter {number}"}
    return {
        "id": number,
        "start": start,
        "end": end,
        "time_base": Fraction(1, 1000),
        "metadata": title,
    }


def encoded_sound(stream, count, starts=0):
    wave = np.sin(np.arange(count) / 20).astype(np.float32)[None]
    packets = []
    for start in range(0, count, 1024):
        part = wave[:, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "mono")
        frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
        frame.pts = start + round(48000 * starts)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def packets(path, kind="audio"):
    """The bytes of a stream's packets."""
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def decoded(path):
    """The frames of a film."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def seconds(path, kind="video"):
    """The times in seconds at which frames are shown or packets of sound are played."""
    if kind == "video":
        return [frame.pts * frame.time_base for frame in decoded(path)]
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]


def lasts(path):
    """The duration of a film in seconds, by its header."""
    with av.open(str(path)) as container:
        return container.duration / av.time_base


def chapters(path):
    """The starts and ends of a film's chapters in seconds."""
    with av.open(str(path)) as container:
        return [
            tuple(chapter[key] * chapter["time_base"] for key in ("start", "end"))
            for chapter in container.chapters()
        ]


def plane(frame, index):
    """A plane of a frame, float64 [height, width], scaled to 8 bits."""
    part = frame.planes[index]
    bits = frame.format.components[0].bits
    kind = np.dtype("u1" if bits == 8 else "<u2")
    lines = np.frombuffer(part, kind).reshape(-1, part.line_size // kind.itemsize)
    return lines[: part.height, : part.width] / 2.0 ** (bits - 8)
