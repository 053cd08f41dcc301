"""Film files: what results preserve, how films resume, and the messages about bad files."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from networks import save_run, tiny_network
from numpy.testing import assert_allclose

pytest.importorskip("cv2")
av = pytest.importorskip("av")

import films  # noqa: E402
from films import panned, texture  # noqa: E402

import colorjax  # noqa: E402
from colorjax import cli, extras  # noqa: E402
from colorjax.coloring import colorize  # noqa: E402
from colorjax.coloring.network.borders import whole  # noqa: E402
from colorjax.coloring.settings import ColorSettings  # noqa: E402
from colorjax.commands import film as command  # noqa: E402
from colorjax.errors import UserError  # noqa: E402
from colorjax.film import parts, pipeline, planning  # noqa: E402
from colorjax.film.colour import View, network_input  # noqa: E402
from colorjax.film.files import encoding, joining, reading  # noqa: E402


@pytest.fixture(scope="module")
def painter():
    return colorize.open_painter(tiny_network())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_run(tmp_path_factory.mktemp("model"), tiny_network()))


def run(painter, source, target, **options):
    return pipeline.run(painter, str(source), str(target), pipeline.FilmOptions(**options))


def invoke(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def stream(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name


def test_a_film_keeps_luma_time_stamps_sound_rotation_and_pixel_shape(painter, tmp_path):
    stamps = [0, 1001, 2500, 3003, 7000, 7001, 9009, 12012]
    source = films.write(
        tmp_path / "old.mp4",
        panned(8),
        stamps=stamps,
        sound="aac",
        display=90,
        sample_aspect_ratio=Fraction(4, 3),
        colorspace=1,
        color_range=2,
    )
    notices = run(painter, source, tmp_path / "new.mp4")
    assert notices == ()
    before, after = films.decoded(source), films.decoded(tmp_path / "new.mp4")
    assert films.seconds(tmp_path / "new.mp4") == films.seconds(source)
    assert films.packets(tmp_path / "new.mp4") == films.packets(source) != []
    assert [frame.rotation for frame in after] == [90] * 8
    assert {(f.colorspace, f.color_range) for f in after} == {(1, 2)}
    with av.open(str(tmp_path / "new.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    for old, new in zip(before, after, strict=True):
        assert np.abs(films.plane(new, 0) - films.plane(old, 0)).mean() < 3
    assert np.abs(films.plane(after[0], 1) - 128).mean() > 2
    assert sorted(os.listdir(tmp_path)) == ["new.mp4", "old.mp4"]


@pytest.mark.parametrize(
    ("codec", "pixels", "name", "wanted", "result"),
    [
        ("libx264", "yuv420p10le", "deep.mp4", "h264", "yuv420p10le"),
        ("libx265", "yuv420p10le", "deep.mkv", "hevc", "yuv420p10le"),
        ("prores_ks", "yuv422p10le", "deep.mov", "prores", "yuv422p10le"),
        ("ffv1", "yuv422p10le", "deep.mkv", "hevc", "yuv420p10le"),
    ],
)
def test_ten_bits_are_kept(painter, tmp_path, codec, pixels, name, wanted, result):
    ramp = np.tile(np.linspace(60, 70, 64), (48, 1)).astype(np.uint8)
    source = films.write(tmp_path / name, [ramp] * 2, codec=codec, pixels=pixels)
    run(painter, source, tmp_path / f"new_{name}", settings=ColorSettings(saturation=0.0))
    assert stream(tmp_path / f"new_{name}") == wanted
    old, new = films.decoded(source)[0], films.decoded(tmp_path / f"new_{name}")[0]
    assert new.format.name == result
    assert_allclose(films.plane(new, 0), films.plane(old, 0), atol=0.8)


@pytest.fixture(params=[1, 254])
def filled_heap(request):
    """Fills new memory with a byte's complement, so that a read of unset memory shows."""
    fill, perturb = getattr(ctypes.CDLL(None), "mallopt", None), -6  # M_PERTURB of glibc
    if fill is None:
        pytest.skip("only glibc can fill new memory")
    fill(perturb, request.param)
    yield
    fill(perturb, 0)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("codec", encoding.CODECS)
def test_the_shortest_segments_keep_their_time_stamps(filled_heap, tmp_path, codec, count):
    film = reading.probe(films.write(tmp_path / "old.mkv", panned(count), codec="ffv1"))
    choice = encoding.choose(film, ".mkv", codec, None)
    stamps = [frame.pts for frame in films.decoded(film.path)]
    frames = ((pts, np.full((48, 64, 3), 90, np.uint8)) for pts in stamps)
    segment = tmp_path / f"0.{choice.encoder.segment_format}"
    encoding.write(segment, film, choice, frames)
    times = [stamp * film.time_base for stamp in stamps]
    first = films.seconds(segment)[0]
    assert [time - first for time in films.seconds(segment)] == [time - times[0] for time in times]


@pytest.mark.parametrize(("matrix", "tags"), [(1, (1, 1)), (6, (6, 6)), (9, (9, 14))])
def test_missing_primaries_and_transfer_follow_from_the_matrix(tmp_path, matrix, tags):
    film = reading.probe(films.write(tmp_path / "old.mp4", panned(2), colorspace=matrix))
    choice = encoding.choose(film, ".mp4", None, None)
    assert encoding.tags(film, choice)[1:] == (matrix, *tags)


def matrix(degrees, mirrored=False):
    """A display matrix for a turn to the right, after a mirroring from left to right if wanted."""
    cosine, sine = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    across = -1 if mirrored else 1
    return tuple(n << 16 for n in (across * cosine, across * sine, 0, -sine, cosine, 0)) + (
        0,
        0,
        1 << 30,
    )


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 3), (180, 2), (270, 1)])
def test_turned_and_mirrored_films_are_coloured_upright(tmp_path, degrees, turns, mirrored):
    source = films.write(tmp_path / "a.mp4", panned(1), display_matrix=matrix(degrees, mirrored))
    assert reading.probe(source).turns == turns
    if not mirrored:  # libav's rotation, counterclockwise, ignores mirroring
        assert turns == films.decoded(source)[0].rotation // 90 % 4


@pytest.mark.parametrize("pixels", ["gray", "gray10le"])
def test_the_luma_of_a_monochrome_film_of_limited_range_is_kept(tmp_path, pixels):
    picture = np.full((48, 64), 16, np.uint8)
    source = films.write(
        tmp_path / "a.mkv", [picture] * 3, codec="libx265", pixels=pixels, color_range=1
    )
    film = reading.probe(source)
    assert film.coding.range == 1
    assert np.ptp([frame.gray for frame in reading.frames(film)]) == 0
    assert next(reading.frames(film)).gray.max() == 0  # 16 is black


@pytest.mark.parametrize("order", [("yuv420p10le", "yuv420p"), ("yuv420p", "yuv420p10le")])
def test_joined_films_of_different_bit_depths_have_the_same_grays(tmp_path, order):
    pieces = [
        films.write(tmp_path / f"{i}.ts", [texture()] * 3, pixels=pixels)
        for i, pixels in enumerate(order)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    grays = [frame.gray.astype(float) for frame in reading.frames(reading.probe(joined))]
    assert len(grays) == 6
    assert np.abs(grays[-1] - grays[0]).mean() < 0.02 * grays[0].mean()


def test_the_codec_is_one_that_accepts_the_size_and_rate_of_the_film(tmp_path):
    narrow = reading.probe(
        films.write(tmp_path / "a.mkv", [texture(48, 48)], codec="ffv1", pixels="yuv422p10le")
    )
    assert encoding.choose(narrow, ".mkv", None, None).codec == "h264"
    assert encoding.choose(narrow, ".webm", None, None).codec == "av1"
    with pytest.raises(UserError, match="has 48 x 48 pixels .*, want at least 64 x 16 for hevc"):
        encoding.choose(narrow, ".mkv", "hevc", None)
    fast = narrow._replace(rate=Fraction(300))
    assert encoding.choose(fast, ".webm", None, None).codec == "vp9"
    with pytest.raises(UserError, match="300 frames per second, want .* at most 240 frames"):
        encoding.choose(fast, ".webm", "av1", None)


def test_an_rgb_film_becomes_a_luma_film_of_limited_range(painter, tmp_path):
    source = films.write(tmp_path / "old.mkv", [texture()] * 2, codec="ffv1", pixels="bgr0")
    run(painter, source, tmp_path / "new.mp4", settings=ColorSettings(saturation=0.0), crf=5)
    (first, *_) = films.decoded(tmp_path / "new.mp4")
    assert first.color_range == 1
    assert_allclose(films.plane(first, 0), 16 + texture() * (219 / 255), atol=3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "h264"), ("a.mov", "h264"), ("a.webm", "vp9"), ("a.avi", "h264")]
)
def test_every_container_keeps_the_films_time_stamps(painter, tmp_path, name, codec):
    encoder = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    source = films.write(tmp_path / name, panned(4), codec=encoder)
    run(painter, source, tmp_path / f"new_{name}")
    assert stream(tmp_path / f"new_{name}").endswith(codec)
    after = films.seconds(tmp_path / f"new_{name}")
    # The demuxer of AVI reports H.264 one frame late.
    late = after[0] if name == "a.avi" else 0
    assert [when - late for when in after] == films.seconds(source)


@pytest.mark.parametrize("into", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_last_frame_is_shown_as_long_as_before(painter, tmp_path, into, count):
    source = films.write(tmp_path / "old.mkv", panned(count), codec="ffv1", last=10)
    new = tmp_path / f"new{into}"
    assert run(painter, source, new) == ()
    assert_allclose(films.lasts(new), (count - 1) / 25 + 10, atol=0.002)
    film = reading.probe(str(new))
    plan = planning.plan(film, reading.frames(film))
    assert_allclose(float(plan.last * film.time_base), 10, atol=0.002)


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(planning, "MIN_SECONDS", 0.12)
    monkeypatch.setattr(planning, "MAX_SECONDS", 0.24)


def stop_at(wanted):
    def progress(what, done, total):
        if (what, done) == ("coloured", wanted):
            raise KeyboardInterrupt

    return progress


def test_a_stopped_film_resumes_to_the_same_result(painter, tmp_path, short_segments):
    source = films.write(tmp_path / "old.mp4", panned(20))
    run(painter, source, tmp_path / "whole.mp4")
    target, options = str(tmp_path / "new.mp4"), pipeline.FilmOptions()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(painter, str(source), target, options, progress=stop_at(15))
    folder = parts.folder_of(target)
    assert sorted(p.name for p in folder.glob("*.nut")) == ["000000.nut", "000001.nut"]
    assert not os.path.exists(target) and not list(folder.glob(".*.part"))
    steps = []
    pipeline.run(painter, str(source), target, options, progress=lambda *now: steps.append(now))
    assert steps[0] == ("coloured", 12, 20) and steps[-1] == ("coloured", 20, 20)
    assert films.packets(target, "video") == films.packets(tmp_path / "whole.mp4", "video")
    assert films.seconds(target) == films.seconds(source) and not folder.exists()


def test_parts_with_other_settings_are_not_resumed(painter, tmp_path, short_segments):
    source = films.write(tmp_path / "old.mp4", panned(14))
    target = str(tmp_path / "new.mp4")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(painter, str(source), target, pipeline.FilmOptions(), progress=stop_at(9))
    notices = run(painter, source, target, settings=ColorSettings(saturation=0.5), crf=20)
    assert notices == (
        f"{target}.parts: was begun with another crf and saturation, and starts again",
    )
    assert len(films.decoded(target)) == 14


def test_bars_of_a_scene_stay_gray(painter, tmp_path):
    frames = [np.pad(g, ((8, 8), (0, 0)), constant_values=0) for g in panned(3, 48, 64)]
    source = films.write(tmp_path / "old.mkv", frames, codec="ffv1")
    run(painter, source, tmp_path / "new.mkv", codec="h264", crf=1)
    (first, *_) = films.decoded(tmp_path / "new.mkv")
    bars = films.plane(first, 1)[[0, 1, -2, -1]]
    assert np.abs(bars - 128).max() <= 2 < np.abs(films.plane(first, 1)[8:-8] - 128).mean()


def test_odd_sides_become_even_with_a_notice(painter, tmp_path):
    source = films.write(tmp_path / "old.mkv", panned(2, 49, 65), codec="ffv1")
    (notice,) = run(painter, source, tmp_path / "new.mkv")
    (first, *_) = films.decoded(tmp_path / "new.mkv")
    assert (first.width, first.height) == (66, 50) and "65 x 49 pixels" in notice


def test_subtitles_are_copied_or_reported_as_lost(painter, tmp_path):
    source = films.write(tmp_path / "old.mkv", panned(2), subtitles="subrip")
    assert run(painter, source, tmp_path / "new.mkv") == ()
    assert films.packets(tmp_path / "new.mkv", "subtitles") == [b"Good evening."]
    (notice,) = run(painter, source, tmp_path / "new.mp4")
    assert notice == f"{source}: its subtitles (srt) cannot be in a .mp4 file"


@pytest.mark.parametrize("into", [".mp4", ".mov", ".mkv", ".webm"])
def test_chapters_of_an_mp4_are_kept_without_a_notice(painter, tmp_path, into):
    spans = [(0, 0.04), (0.04, 0.08)]
    source = films.write(tmp_path / "old.mp4", panned(2), chapters=spans)
    assert run(painter, source, tmp_path / f"new{into}") == ()
    assert_allclose(np.float64(films.chapters(tmp_path / f"new{into}")), spans)


def test_chapters_that_avi_cannot_hold_are_reported_as_lost(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(2), chapters=[(0, 0.08)])
    (notice,) = run(painter, source, tmp_path / "new.avi")
    assert notice == f"{source}: its chapters cannot be in a .avi file"


def test_sound_that_the_container_cannot_hold_is_refused_at_once(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(2), sound="aac")
    with pytest.raises(UserError, match=r"its sound \(aac\) cannot be in a .webm file"):
        run(painter, source, tmp_path / "new.webm")
    assert os.listdir(tmp_path) == ["old.mp4"]


def refuse_work(*_):
    raise AssertionError("the work began")


def test_sound_that_the_container_refuses_with_its_first_packet_is_refused_at_once(
    painter, tmp_path, monkeypatch
):
    monkeypatch.setattr(planning, "plan", refuse_work)
    make = {"codec": "mpeg4", "sound": "pcm_s16le", "layout": "stereo"}
    source = films.write(tmp_path / "old.avi", panned(2), **make)
    with pytest.raises(UserError, match=r"sound \(pcm_s16le\) .* want another, such as .mkv"):
        run(painter, source, tmp_path / "new.mp4")
    assert os.listdir(tmp_path) == ["old.avi"]


def test_a_rotation_that_avi_cannot_hold_is_refused_at_once(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1), display=90)
    with pytest.raises(UserError, match="rotated, which a .avi file cannot hold, want another"):
        run(painter, source, tmp_path / "new.avi")
    assert os.listdir(tmp_path) == ["old.mp4"]


def test_sound_that_no_container_can_hold_is_to_be_converted(painter, tmp_path):
    source = films.write(tmp_path / "old.vob", panned(2), codec="mpeg2video", sound="pcm_dvd")
    with pytest.raises(UserError, match=r"cannot be in a .mkv file, want a film whose sound was"):
        run(painter, source, tmp_path / "new.mkv")


def test_a_truncated_film_is_coloured_to_its_end_with_a_notice(painter, tmp_path):
    whole = films.write(tmp_path / "whole.mkv", panned(40), codec="mpeg4")
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    (notice,) = run(painter, tmp_path / "cut.mkv", tmp_path / "new.mkv")
    count = len(films.decoded(tmp_path / "new.mkv"))
    assert 5 < count < 35 and f"is cut short or damaged: only {count} frames" in notice


def joined(path, piece):
    """Writes a film that holds the bytes of another one twice."""
    path.write_bytes(piece.read_bytes() * 2)
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "sound", "into"),
    [(".vob", "mpeg2video", "ac3", ".mkv"), (".ts", "libx264", "aac", ".mp4")],
)
def test_a_film_whose_time_stamps_restart_stays_in_sync_with_its_sound(
    painter, tmp_path, suffix, codec, sound, into
):
    piece = films.write(tmp_path / f"piece{suffix}", panned(30, 64, 96), codec=codec, sound=sound)
    source = joined(tmp_path / f"old{suffix}", piece)
    assert run(painter, source, tmp_path / f"new{into}") == ()
    shown, heard = (films.seconds(tmp_path / f"new{into}", k) for k in ("video", "audio"))
    copied = zip(films.packets(source), films.packets(tmp_path / f"new{into}"), strict=True)
    # In a TS, each AAC packet has a header that other containers do not have.
    assert len(shown) == 60 and all(old.endswith(new) for old, new in copied)
    assert_allclose(np.diff(np.float64(shown)), 0.04, atol=0.002)
    first, lasts = films.seconds(piece, "audio"), np.float64(np.diff(np.float64(heard)))
    assert 0.015 < lasts.min() and lasts.max() < 0.1
    # The second piece's sound starts with its video, or when the first piece's sound ends.
    late = float(heard[len(heard) - len(first)] - heard[0] - (shown[len(shown) // 2] - shown[0]))
    assert -0.05 < late < 0.1


@pytest.mark.parametrize("into", [".mkv", ".mp4", ".avi"])
def test_sound_that_steps_back_a_little_is_kept_whole(painter, tmp_path, into):
    one = films.write(tmp_path / "1.ts", panned(6), sound="mp2")
    two = films.write(
        tmp_path / "2.ts",
        panned(4),
        stamps=range(7200, 12000, 1200),
        sound="mp2",
        sound_starts=0.19,
    )
    source = tmp_path / "old.ts"
    source.write_bytes(one.read_bytes() + two.read_bytes())
    assert min(np.diff(np.float64(films.seconds(source, "audio")))) < -0.03
    assert run(painter, source, tmp_path / f"new{into}") == ()
    assert films.packets(tmp_path / f"new{into}") == films.packets(source)


def test_the_last_packet_of_sound_without_durations_is_played(painter, tmp_path):
    source = films.write(tmp_path / "old.mkv", panned(5), sound="alac")
    assert run(painter, source, tmp_path / "new.mp4") == ()
    assert films.packets(tmp_path / "new.mp4") == films.packets(source) != []


def trimmed(path):
    """Writes 10 frames and their sound, of which an edit list hides the first 6 frames."""
    stamps = range(-6 * 1200, 4 * 1200, 1200)
    return films.write(path, panned(10), stamps=stamps, sound="aac", sound_starts=-0.24)


@pytest.mark.parametrize(("into", "longest"), [(".mkv", 0.22), (".mp4", 0.19)])
def test_the_hidden_sound_of_a_trimmed_film_stays_hidden(painter, tmp_path, into, longest):
    source = trimmed(tmp_path / "old.mp4")
    run(painter, source, tmp_path / f"new{into}")
    assert len(films.decoded(tmp_path / f"new{into}")) == len(films.decoded(source)) == 4
    assert 0.16 <= films.lasts(tmp_path / f"new{into}") < longest


def test_a_trimmed_film_is_not_reported_as_cut_short(painter, tmp_path):
    assert run(painter, trimmed(tmp_path / "old.mp4"), tmp_path / "new.mp4") == ()


@pytest.mark.parametrize(
    ("stamps", "seconds", "sentence"),
    [
        (range(0, 60), 4, "60 frames, 2.4 seconds of 4.0,"),  # trimmed, then cut short
        (range(0, 200, 4), 8, "50 frames of 200"),  # frames are missing, but no seconds
        (range(0, 100), 4, ""),  # trimmed
    ],
)
def test_a_shortfall_is_one_of_seconds_only_in_trimmed_films(stamps, seconds, sentence):
    film = SimpleNamespace(
        expected=200, seconds=Fraction(seconds), rate=Fraction(25), time_base=Fraction(1, 25)
    )
    plan = planning.Plan(tuple(stamps), (), (), ())
    assert pipeline._shortfall(film, plan) == sentence


@pytest.mark.parametrize(("step", "wanted"), [(1, [0, 40, 41, 42, 80]), (0, [0, 40, 40, 40, 80])])
def test_packets_that_go_back_are_delayed_in_the_results_unit(step, wanted):
    made = SimpleNamespace(index=0, type="video", time_base=Fraction(1, 1000))
    packets = [
        SimpleNamespace(dts=dts, pts=dts + 20, duration=20, time_base=Fraction(1, 500), stream=made)
        for dts in (1000, 1020, 1015, 1020, 1040)
    ]
    found = list(joining._increasing(packets, Fraction(2), step))
    assert [packet.dts for packet in found] == wanted
    assert [packet.pts - packet.dts for packet in found] == [40] * 5
    assert {packet.duration for packet in found} == {40}


@pytest.mark.parametrize("into", [".mkv", ".mp4"])
def test_a_film_that_starts_late_starts_at_0_with_sound_and_chapters(painter, tmp_path, into):
    late, wanted = range(900_000, 906_000, 1200), [(0, 0.15), (0.15, 0.23)]
    source = films.write(
        tmp_path / "old.mkv",
        panned(5),
        stamps=late,
        sound="aac",
        sound_starts=30.03,
        chapters=[(29, 30.15), (30.15, 30.23)],
    )
    run(painter, source, tmp_path / f"new{into}")
    shown, heard = (films.seconds(tmp_path / f"new{into}", kind) for kind in ("video", "audio"))
    offset = films.seconds(source)[0] - films.seconds(source, "audio")[0]
    assert 0 <= min(shown[0], heard[0]) < 0.002
    assert abs(shown[0] - heard[0] - offset) < 0.002
    assert_allclose(np.diff(np.float64(shown)), 0.04, atol=0.002)
    assert_allclose(np.float64(films.chapters(tmp_path / f"new{into}")), wanted, atol=0.02)


def test_a_pause_that_avi_cannot_hold_is_refused_before_the_colouring(painter, tmp_path):
    stamps = [0, 1200, 70 * 30000, 70 * 30000 + 1200]
    source = films.write(tmp_path / "old.mkv", panned(4), stamps=stamps)
    with pytest.raises(UserError, match=r"shown for 70 seconds, .* at most 60, want another"):
        pipeline.run(
            painter,
            str(source),
            str(tmp_path / "new.avi"),
            pipeline.FilmOptions(),
            progress=lambda what, *_: refuse_work() if what == "coloured" else None,
        )
    assert os.listdir(tmp_path) == ["old.mkv"]


def test_subtitles_and_sound_follow_a_restart_of_the_video():
    film = SimpleNamespace(rate=Fraction(25), time_base=Fraction(1, 100))
    pictures, sound, text = (joining._Clock() for _ in range(3))

    def moved(kind, clock, dts, duration=0):
        packet = SimpleNamespace(dts=dts, pts=dts, duration=duration, time_base=Fraction(1, 1000))
        packet.stream = SimpleNamespace(type=kind)
        joining._move(packet, clock, pictures, film, (0, 200))
        return packet.pts

    assert [moved("video", pictures, dts) for dts in (0, 1960)] == [0, 1960]
    assert [moved("audio", sound, dts, 20) for dts in (0, 1940, 10)] == [0, 1940, 2010]
    assert moved("subtitle", text, 500) == 500
    moved("video", pictures, 0)
    assert moved("audio", sound, 30, 20) == 2030 and moved("subtitle", text, 900) == 2900


def test_small_backward_steps_of_time_stamps_are_no_restart():
    frames = [SimpleNamespace(pts=pts) for pts in (0, 40, 30, None, 160, 5, 45)]
    found = [(pts, offset) for _, pts, offset in reading._monotonic(frames, 40)]
    assert found[:5] == [(0, 0), (40, 0), (41, 0), (81, 0), (160, 0)]
    assert found[5:] == [(161, 0), (162, 0)]
    far = [SimpleNamespace(pts=pts) for pts in (0, 400, 5, 45)]
    found = [(pts, offset) for _, pts, offset in reading._monotonic(far, 40)]
    assert found == [(0, 0), (400, 0), (440, 435), (480, 435)]


def palette_film(path, gray):
    """Writes a film of one frame, whose grays are indices of a palette."""
    height, width = gray.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("zmbv", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        frame = av.VideoFrame(width, height, "pal8")
        lines = np.zeros((height, frame.planes[0].line_size), np.uint8)
        lines[:, :width] = gray
        palette = np.stack([np.arange(256)] * 3 + [np.full(256, 255)], axis=-1)
        frame.planes[0].update(lines.tobytes())
        frame.planes[1].update(palette.astype(np.uint8).tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_palette_films_are_read_with_the_grays_of_the_palette(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    (frame,) = reading.frames(reading.probe(str(palette_film(tmp_path / "old.avi", ramp))))
    assert_allclose(frame.gray, ramp, atol=1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_complete_film_of_variable_rate_is_not_reported_as_cut_short(painter, tmp_path, name):
    stamps = np.cumsum([0] + [1200 if i % 3 else 5000 for i in range(29)]).tolist()
    source = films.write(tmp_path / name, panned(30), stamps=stamps)
    assert run(painter, source, tmp_path / "new.mkv") == ()


def test_an_implausible_frame_rate_is_ignored(tmp_path):
    source = films.write(tmp_path / "a.dv", panned(3, 576, 720), codec="dvvideo")
    assert reading.probe(str(source)).rate == 25


def sound_alone(path):
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48000, layout="mono")
        container.mux(films.encoded_sound(audio, 4800))
    return path


def no_frames(path):
    films.write(path, panned(2), codec="mpeg4", container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    return path


def encrypted(path):
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "1" * 32}
    return films.write(path, panned(2), container_options={**key, "encryption_kid": "2" * 32})


def nonsense(path):
    path.write_bytes(b"no film at all" * 99)
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (nonsense, "cannot be read as a film"),
        (sound_alone, "holds only sound, want a film"),
        (no_frames, "holds no frame that can be decoded, want at least one"),
        (encrypted, "is encrypted, want a film without copy protection"),
        (lambda path: path, "there is no such file"),
    ],
)
def test_a_bad_film_is_reported_in_one_line_and_leaves_no_files(painter, tmp_path, make, sentence):
    source = make(tmp_path / "bad.mp4")
    with pytest.raises(UserError, match=sentence) as raised:
        run(painter, source, tmp_path / "new.mp4")
    assert str(raised.value).startswith(str(source)) and "\n" not in str(raised.value)
    assert set(os.listdir(tmp_path)) <= {"bad.mp4"}


def test_a_target_that_is_no_film_is_refused(tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    with pytest.raises(UserError, match="films are written as .mp4, .* not '.gif'"):
        colorjax.colorize_film(source, tmp_path / "new.gif")


def test_the_python_function_does_what_the_command_does(model, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(2))
    done = invoke(source, "--model", model, "--saturation", 0.5)
    assert done.exit_code == 0, done.output
    assert "1 film coloured in" in done.stderr and "old_color.mp4" in done.stderr
    notices = colorjax.colorize_film(source, tmp_path / "b.mp4", model=model, saturation=0.5)
    assert notices == ()
    assert films.packets(tmp_path / "b.mp4", "video") == films.packets(
        tmp_path / "old_color.mp4", "video"
    )


def test_the_command_keeps_existing_results_and_counts_failures(model, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    (tmp_path / "old_color.mp4").write_bytes(b"mine")
    nonsense(tmp_path / "bad.mkv")
    done = invoke(source, tmp_path / "bad.mkv", "--model", model)
    assert done.exit_code == 1 and "0 films coloured" in done.stderr and "2 failed" in done.stderr
    assert "--overwrite replaces it" in done.stderr and "cannot be read as a film" in done.stderr
    assert (tmp_path / "old_color.mp4").read_bytes() == b"mine"
    done = invoke(source, "--skip-existing", "--model", model)
    assert done.exit_code == 0 and "1 skipped, as the results exist" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.mp4", "--grid"], "Films have no --grid"),
        (["a.mp4", "--quality", "80"], "Films have no --quality"),
        (["a.jpg", "--crf", "20"], "--crf is for films, but no film is to be coloured"),
        (["a.mp4", "b.mp4", "-o", "c.mp4"], "2 films cannot all be written to 'c.mp4'"),
        (["a.mp4", "--reference", "b.jpg"], "Films have no --reference"),
        (["a.jpg", "-o", "c.mp4"], "'c.mp4' is the name of a film, but no film is to be coloured"),
        (["a.jpg", "b.mp4", "-o", "c.mp4"], "A film and 'a.jpg' cannot both be written to 'c.mp4'"),
        (["a.mp4", "-o", "-"], "Films are written to files"),
        (["a.mp4", "-o", "c.jpg"], "'c.jpg' is not the name of a film"),
    ],
)
def test_options_that_films_do_not_have_are_refused(arguments, sentence):
    done = invoke(*arguments)
    assert done.exit_code == 2 and sentence in done.output


def test_missing_video_libraries_are_reported_with_the_install_command(
    model, tmp_path, monkeypatch
):
    source = films.write(tmp_path / "old.mp4", panned(1))
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    done = invoke(source, "--model", model)
    assert done.exit_code == 1 and "pip install 'colorjax[video]'" in done.stderr


def test_a_films_plan_is_read_as_it_was_written(tmp_path):
    box = planning.Box(1, 5, 0, 9)
    plan = planning.Plan((0, 5, 7), (1,), (planning.Scene(0, box),), (0, 3), (0, 9), 4)
    parts.begin(tmp_path / "a.parts", {"crf": 3})
    parts.write_plan(tmp_path / "a.parts", plan)
    assert parts.read_plan(tmp_path / "a.parts") == plan
    assert json.loads((tmp_path / "a.parts" / "begun.json").read_text())["crf"] == 3
    assert parts.begin(tmp_path / "a.parts", {"crf": 3}) == ""
    assert parts.read_plan(tmp_path / "a.parts") == plan


def test_the_network_input_is_upright_and_has_the_display_aspect_ratio():
    upright = texture(120, 80)
    wanted = network_input(upright, View(whole(upright)), 64)
    assert wanted.shape[0] > wanted.shape[1]
    # Stored rotated, with half as many columns of pixels that are twice as wide.
    stored = np.rot90(upright, -1)[:, ::2]
    found = network_input(stored, View(whole(stored), 2.0, 1), 64)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).mean() < 5


def test_a_folder_that_holds_no_parts_is_left_alone(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    (tmp_path / "new.mp4.parts").mkdir()
    (tmp_path / "new.mp4.parts" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a folder of a film's parts"):
        run(painter, source, tmp_path / "new.mp4")
    assert (tmp_path / "new.mp4.parts" / "mine.txt").read_text() == "mine"


def test_a_second_process_for_a_film_is_refused_and_does_no_harm(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    with parts.locked(parts.folder_of(tmp_path / "new.mp4")) as folder:
        parts.begin(folder, {})
        with pytest.raises(UserError, match="another process is colouring this film"):
            run(painter, source, tmp_path / "new.mp4")
        assert (folder / parts.BEGUN).exists()
    run(painter, source, tmp_path / "new.mp4")
    assert sorted(os.listdir(tmp_path)) == ["new.mp4", "old.mp4"]


def a_folder(path):
    path.mkdir()


def below_a_file(path):
    path.parent.write_bytes(b"mine")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(a_folder, "is a folder, want the name of a film"), (below_a_file, "cannot be written")],
)
def test_an_impossible_target_is_refused_before_the_work(painter, tmp_path, make, sentence):
    source = films.write(tmp_path / "old.mp4", panned(1))
    target = tmp_path / "out" / "new.mp4"
    if make is a_folder:
        target.parent.mkdir()
    make(target)
    with pytest.raises(UserError, match=sentence):
        run(painter, source, target)
    assert not parts.folder_of(target).exists()


def test_a_film_never_replaces_itself_and_must_be_a_file(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    before = source.read_bytes()
    with pytest.raises(UserError, match="would replace itself"):
        run(painter, source, tmp_path / "." / "old.mp4")
    assert source.read_bytes() == before
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="is not a file"):
        run(painter, tmp_path / "pipe.mp4", tmp_path / "new.mp4")


def test_a_name_that_looks_like_a_url_is_a_file_name(painter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    films.write(tmp_path / "http:a.mp4", panned(1))
    run(painter, "http:a.mp4", "take: 1.mp4")
    assert sorted(os.listdir()) == ["http:a.mp4", "take: 1.mp4"]


@pytest.mark.parametrize("crf", [64, -1, 1.5, "a"])
def test_crf_has_the_same_range_in_python_as_in_the_command(tmp_path, crf):
    with pytest.raises(UserError, match="want a whole number from 0 to 63"):
        colorjax.colorize_film(tmp_path / "a.mp4", tmp_path / "b.mp4", crf=crf)


def test_a_crf_above_the_codecs_maximum_is_refused_before_the_work(painter, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    with pytest.raises(UserError, match="crf is 60, want at most 51 for hevc"):
        run(painter, source, tmp_path / "new.mp4", codec="hevc", crf=60)
    assert os.listdir(tmp_path) == ["old.mp4"]


def test_patterns_match_films_and_photos(tmp_path):
    for name in ("a.mp4", "b.jpg", "c.MOV"):
        (tmp_path / name).touch()
    named = [str(tmp_path / "*"), str(tmp_path / "?.jpg"), "*.nothing", "-"]
    found, others = command.split_films([*named, str(tmp_path / "a.mp4")])
    assert found == [str(tmp_path / "a.mp4"), str(tmp_path / "c.MOV")]
    assert others == (str(tmp_path / "b.jpg"), *named[1:])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.mp4", "there is no such file"),
        ("*.mkv", "nothing matches"),
        ("https://example.org/a.mp4", "is a URL, want a file"),
        ("link.mp4", "is a link to nothing"),
        ("pipe.mp4", "is a pipe or a device"),
    ],
)
def test_an_unusable_film_name_is_reported_without_loading_a_network(
    tmp_path, monkeypatch, name, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.mp4").symlink_to("none.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    done = invoke(name)
    assert done.exit_code == 1 and f"{name}: {sentence}" in done.stderr


def test_a_result_never_replaces_another_film_of_the_call(tmp_path):
    one, two = (films.write(tmp_path / name, panned(1)) for name in ("a.mp4", "a_color.mp4"))
    options = {"output": None, "suffix": "_color", "overwrite": True}
    jobs = command.jobs_of([str(one), str(two)], options)
    sources = {os.path.realpath(job.source) for job in jobs}
    with pytest.raises(UserError, match="a.mp4: would replace the film .*a_color.mp4, want anot"):
        command.check_job(jobs[0], sources, options)
    command.check_job(jobs[1], sources, options)


def test_films_that_are_named_in_different_ways_have_different_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"output": None, "suffix": "_color"}
    one, two = command.jobs_of(["a.ts", str(tmp_path / "A.mkv")], options)
    assert os.path.abspath(one.target) != two.target


def test_a_missing_model_is_a_usage_error(tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(1))
    done = invoke(source, "--model", tmp_path / "none")
    assert done.exit_code == 2 and "there is no such model" in done.stderr


@pytest.mark.slow
def test_a_film_stopped_by_a_signal_keeps_its_finished_parts(model, tmp_path):
    source = films.write(tmp_path / "old.mp4", panned(200), codec="mpeg4")
    command = [sys.executable, "-m", "colorjax", str(source), "--model", model]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = parts.folder_of(tmp_path / "old_color.mp4")
    while not list(folder.glob("*.nut")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143 and "Traceback" not in stderr
    assert f"{folder} keeps the finished parts of the film" in stderr
    assert sorted(os.listdir(tmp_path)) == ["old.mp4", "old_color.mp4.parts"]
    assert list(folder.glob("*.nut"))
