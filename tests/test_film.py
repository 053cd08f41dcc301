"""The frames of a film: scenes, motion, smoothing, and values of luma and chroma."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("cv2")
pytest.importorskip("av")

from films import panned, texture  # noqa: E402

from colorjax.coloring.network.borders import Box, whole  # noqa: E402
from colorjax.film import flow, planning, scenes, smoothing  # noqa: E402
from colorjax.film.files import planes  # noqa: E402
from colorjax.film.files.planes import FULL, LIMITED, Coding  # noqa: E402
from colorjax.film.files.reading import Film, Frame  # noqa: E402


def marked(frames):
    return list(scenes.marks(scenes.signature(frame) for frame in frames))


def scene_starts(frames):
    return [i for i, mark in enumerate(marked(frames)) if mark.begins]


def test_a_scene_begins_where_the_whole_picture_changes():
    first, second = panned(14, seed=1), panned(14, seed=2)
    assert scene_starts(first + second) == [0, 14]


def test_flashes_and_flicker_begin_no_scene_and_flashes_are_marked():
    rng = np.random.default_rng(0)
    frames = [
        np.clip(gray * rng.uniform(0.95, 1.05), 0, 255).astype(np.uint8) for gray in panned(30)
    ]
    frames[15], frames[16] = np.full_like(frames[0], 250), np.full_like(frames[0], 255)
    found = marked(frames)
    assert [i for i, mark in enumerate(found) if mark.begins] == [0]
    assert [i for i, mark in enumerate(found) if mark.flash] == [15, 16]


def test_scenes_have_a_minimum_length_and_every_frame_has_a_mark():
    frames = [texture(seed=i // 4) for i in range(40)]
    found = scene_starts(frames)
    assert len(marked(frames)) == 40
    assert all(b - a >= scenes.MIN_SCENE_FRAMES for a, b in zip(found, found[1:], strict=False))


def test_segments_end_with_scenes_or_after_a_maximum_length():
    assert planning.segments([0, 30, 60, 300], 310, 10) == [0, 30, 60, 110, 160, 210, 260, 300, 310]
    assert planning.segments([0, 5, 12], 20, 10) == [0, 20]
    assert planning.segments([0], 1, 25) == [0, 1]


def film(rate=25):
    return Film("a.mp4", 0, "h264", 96, 64, 1, None, (0,) * 4, None, rate, 0, 0, (), 0, ())


def test_black_bars_are_found_per_scene_despite_its_dark_frames():
    bright = np.pad(texture(44, 96, seed=3), ((10, 10), (0, 0)), constant_values=16)
    dark = bright // 4
    open_frame = texture(64, 96, seed=4)
    frames = [dark] * 6 + [bright] * 6 + [open_frame] * 12
    plan = planning.plan(film(), (Frame(i, gray) for i, gray in enumerate(frames)))
    assert [scene.start for scene in plan.scenes] == [0, 12]
    assert plan.scenes[0].box == Box(10, 54, 0, 96)
    assert plan.scenes[-1].box == whole(open_frame)
    assert plan.stamps == tuple(range(24))


def test_motion_is_not_trusted_between_pictures_of_different_things():
    before, now = texture(64, 96, seed=5)[:, 3:], texture(64, 96, seed=5)[:, :-3]
    before, now = (np.ascontiguousarray(x) for x in (before, now))
    found = flow.motion(now, before)
    inner = found.flow[8:-8, 8:-8]
    assert_allclose(np.median(inner, axis=(0, 1)), [-3, 0], atol=0.3)
    assert np.median(found.trust) > 0.8
    assert np.median(flow.motion(now, texture(64, 93, seed=6)).trust) < 0.1


def test_motion_is_trusted_despite_a_change_of_brightness():
    before = texture(64, 96)
    now = np.clip(before * 0.9 + 5, 0, 255).astype(np.uint8)
    assert np.median(flow.motion(now, before).trust) > 0.9


def test_smoothing_reduces_changes_of_chroma_to_less_than_a_third():
    rng = np.random.default_rng(0)
    grays = panned(24, 64, 96)
    chromas = [rng.normal(20, 5, (16, 24, 2)).astype(np.float32) for _ in grays]
    state, found = smoothing.first_state(grays[:8], chromas[:8]), []
    for gray, chroma in zip(grays[1:], chromas[1:], strict=True):
        state = smoothing.next_state(state, gray, chroma)
        found.append(smoothing.chroma_of(state, (16, 24)))
    change = np.abs(np.diff(found, axis=0)).mean()
    assert change < np.abs(np.diff(chromas, axis=0)).mean() / 3
    assert_allclose(np.mean(found), 20, atol=0.5)


def test_a_moving_square_leaves_no_ghost():
    height, width, side, step = 64, 96, 24, 6
    ground, square = texture(height, width, 7, 40, 110), texture(side, side, 8, 150, 230)
    state = None
    for i in range(8):
        left = 8 + step * i
        gray, chroma = ground.copy(), np.zeros((height, width, 2), np.float32)
        gray[20 : 20 + side, left : left + side] = square
        chroma[20 : 20 + side, left : left + side] = [60, -40]
        state = smoothing.next_state(state, gray, chroma)
    found = smoothing.chroma_of(state, (height, width))
    inside = found[24 : 16 + side, left + 4 : left + side - 4]
    behind = found[24 : 16 + side, left - 2 * step : left - 4]
    assert_allclose(inside.mean((0, 1)), [60, -40], atol=3)
    assert np.abs(behind).mean() < 4


def test_pixels_without_trusted_motion_take_the_chroma_of_their_own_frame():
    first = smoothing.next_state(None, texture(64, 96, 1), np.full((16, 24, 2), 50, np.float32))
    unlike = smoothing.next_state(
        first, 255 - texture(64, 96, 9), np.zeros((16, 24, 2), np.float32)
    )
    assert np.abs(smoothing.chroma_of(unlike, (16, 24))).mean() < 3


@pytest.mark.parametrize(
    "coding", [Coding(8, LIMITED, 6), Coding(8, FULL, 1), Coding(10, LIMITED, 9)]
)
def test_gray_keeps_its_luma_value_and_has_no_chroma(coding):
    table = planes.gray_table(coding)
    black, white = (int(x) for x in coding.black_and_white)
    rgb = np.repeat(table[None, black : white + 1, None], 3, axis=-1)
    values = planes.from_rgb(rgb, coding)
    assert_array_equal(planes.rounded(values, coding)[0, :, 0], np.arange(black, white + 1))
    assert_allclose(values[..., 1:], 1 << (coding.bits - 1), atol=1e-2)


@pytest.mark.parametrize(
    ("coding", "red"),
    [
        (Coding(8, LIMITED, 6), (81.5, 90.2, 240)),
        (Coding(8, LIMITED, 1), (62.6, 102.3, 240)),
        (Coding(8, FULL, 6), (76.2, 84.97, 255)),
        (Coding(10, LIMITED, 1), (250.2, 409.3, 960)),
    ],
)
def test_red_has_the_luma_and_chroma_of_its_standard(coding, red):
    rgb = np.array([[[255, 0, 0]]], np.uint8)
    assert_allclose(planes.from_rgb(rgb, coding)[0, 0], red, atol=0.6)


def test_subsampled_chroma_lies_on_every_other_pixel_and_between_rows():
    chroma = np.indices((5, 7), np.float32).transpose(1, 2, 0)
    found = planes.subsampled(chroma, (2, 2))
    assert found.shape == (3, 4, 2)
    assert_allclose(found[1, 1], [2.5, 2.0])
    assert planes.subsampled(chroma, (1, 2)).shape == (5, 4, 2)
