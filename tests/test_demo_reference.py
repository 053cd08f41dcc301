"""Visitors' references: their effect on a photo on the page, and their owners."""

import html
import io

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

import gradio_client
import httpx
from pages import CONTROLS, ask, colorizer, picture, rgb_of, server, studio, visit, write
from pictures import gray_steps, spread
from PIL import Image

from colorjax.coloring.hints import Hint
from colorjax.coloring.page import references
from colorjax.coloring.page import view as page_view
from colorjax.coloring.page.references import Reference
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError

__all__ = ["colorizer", "server", "studio"]  # fixtures
RED = "#a04030"


def patches(seed=0, shape=(64, 96)) -> np.ndarray:
    """Rectangles of many colours: uint8 [*shape, 3]."""
    coarse = np.random.default_rng(seed).integers(30, 226, (4, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.NEAREST))


def grayed(rgb) -> np.ndarray:
    return np.repeat(np.round(gray_steps(rgb))[..., None], 3, axis=-1).astype(np.uint8)


@pytest.fixture
def files(tmp_path):
    """A photo in gray, and the same in colour."""
    colours = patches()
    return write(tmp_path / "a.png", grayed(colours)), write(tmp_path / "b.png", colours)


def mean_difference(one, other) -> float:
    return np.abs(np.asarray(one, float) - other).mean()


# --- from a view with a reference to pictures ---


def test_page_and_download_use_a_reference_and_hints_take_precedence(colorizer, studio, files):
    photo, other = files
    settings = ColorSettings("argmax", hints=(Hint(75, 40, RED),))
    view = page_view.View(photo, settings, "me", Reference(other, "me"))
    full = rgb_of(page_view.full_size(studio, view)[0])
    want = colorizer.colorize(
        photo, decode="argmax", hints=settings.hints, reference=Image.open(other)
    )
    np.testing.assert_array_equal(full, want)
    (_, after), caption = page_view.paint(studio, view)
    assert mean_difference(rgb_of(after), full) < 3.0
    assert "Colours from <b>b.png</b>" in caption
    red, _, blue = full[40, 75].astype(int)
    assert red - blue > 40
    # Without the reference, picture and caption differ.
    (_, alone), caption = page_view.paint(studio, view._replace(reference=None))
    assert mean_difference(rgb_of(alone), rgb_of(after)) > 5.0 and "Colours from" not in caption


def test_samples_have_the_colours_of_the_reference_too(studio, files):
    photo, other = files
    view = page_view.View(photo, ColorSettings("argmax"), "me", Reference(other, "me"))
    ((with_it, _),) = page_view.draw_samples(studio, view, 1)
    ((alone, _),) = page_view.draw_samples(studio, view._replace(reference=None), 1)
    assert (
        mean_difference(rgb_of(with_it), patches())
        < mean_difference(rgb_of(alone), patches()) - 5.0
    )


def test_a_reference_is_prepared_once_for_all_photos_and_settings(
    studio, files, tmp_path, monkeypatch
):
    read, paths = references.read, []
    monkeypatch.setattr(references, "read", lambda path: paths.append(path) or read(path))
    for photo in (files[0], write(tmp_path / "c.png", picture())):
        for saturation in (0.5, 1.0):
            settings = ColorSettings("argmax", saturation=saturation)
            view = page_view.View(photo, settings, "me", Reference(files[1], "me"))
            page_view.paint(studio, view)
    assert paths == [files[1]]
    # Another file of the same name is another reference.
    write(tmp_path / "b.png", patches(5, (60, 80)))
    page_view.paint(studio, view)
    assert len(paths) == 2 and studio.references.owners() == ["me"]
    studio.drop("me")
    assert studio.references.owners() == studio.previews.owners() == []


def test_a_cached_reference_has_its_size_and_a_thumbnail(studio, tmp_path):
    other = write(tmp_path / "b.png", patches(0, (400, 600)))
    found = page_view.load_reference(studio, Reference(other, "me"))
    assert studio.references.nbytes == found.nbytes >= found.prepared.levels[0].nbytes > 0
    assert (
        max(rgb_of(found.thumbnail).shape) == references.THUMBNAIL_SIDE
        and spread(rgb_of(found.thumbnail)) > 5
    )


def test_a_deleted_reference_has_to_be_chosen_again(studio, files):
    view = page_view.View(files[0], ColorSettings(), "me", Reference("/nowhere/b.png", "me"))
    with pytest.raises(UserError, match="^b.png: was deleted after 6 hours: please choose it"):
        page_view.paint(studio, view)


# --- the server ---


def use_reference(client, path) -> str:
    """Colours the photo by a reference, as the page does; returns the error message."""
    _, message = client.predict(gradio_client.handle_file(path), api_name="/choose_reference")
    answer = client.predict(*CONTROLS, api_name="/borrow")
    assert bool(message) != isinstance(answer[0], tuple | list)
    return message


def test_a_visitors_reference_stays_until_it_is_removed(server, files, tmp_path):
    client, pictures, _, _ = ask(server.local_url, files[0])
    alone = mean_difference(rgb_of(pictures[1]), patches())
    assert use_reference(client, files[1]) == ""

    def distance(answer):
        return mean_difference(rgb_of(answer[0][1]), patches())

    # It stays when settings, hints or the photo change, and in the download.
    assert distance(client.predict(*CONTROLS, api_name="/change")) < alone - 5.0
    assert distance(client.predict("[]", *CONTROLS, api_name="/hint")) < alone - 5.0
    assert mean_difference(rgb_of(client.predict(api_name="/download")[0]), patches()) < alone - 5.0
    again = write(tmp_path / "again.png", grayed(patches()))
    client.predict([gradio_client.handle_file(again)], api_name="/choose")
    shown = client.predict(*CONTROLS, api_name="/colorize")
    assert distance(shown) < alone - 5.0 and "again.png" in shown[1] and "b.png" in shown[1]
    _, pictures, _, _ = ask(server.local_url, files[0])
    # Another visitor has no reference.
    assert mean_difference(rgb_of(pictures[1]), patches()) == pytest.approx(alone)
    removed = client.predict(*CONTROLS, api_name="/give_back")
    assert distance(removed) == pytest.approx(alone, abs=0.1) and "b.png" not in removed[1]


def test_an_invalid_reference_is_one_sentence_and_the_previous_one_stays(server, files, tmp_path):
    client, *_ = ask(server.local_url, files[0])
    use_reference(client, files[1])
    before = rgb_of(client.predict(*CONTROLS, api_name="/change")[0][1])
    (tmp_path / "notes.jpg").write_text("once upon a time")
    huge = io.BytesIO()
    Image.new("1", (15_000, 10_001)).save(huge, "PNG")
    (tmp_path / "huge.png").write_bytes(huge.getvalue())
    write(tmp_path / "gray.png", picture())
    write(tmp_path / "thin.png", np.full((1, 51, 3), (200, 90, 30), np.uint8))
    for name, reason in (
        ("gray.png", "is gray, or nearly so"),
        ("notes.jpg", "is not a JPEG, PNG"),
        ("huge.png", "more than the 150000000 that are read"),
        ("thin.png", "one side 51 times as long as the other"),
    ):
        message = html.unescape(use_reference(client, str(tmp_path / name)))
        assert message.startswith(f'<p role="alert">{name}: ') and reason in message, message
        assert message.count("<p") == 1 and "\n" not in message
    after = rgb_of(client.predict(*CONTROLS, api_name="/change")[0][1])
    np.testing.assert_array_equal(after, before)


def test_another_visitors_upload_cannot_be_a_reference(server, files):
    url = server.local_url
    with open(files[1], "rb") as file:
        answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("b.png", file)})
    call = {"data": [{"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}]}
    for session, status in (("me", 200), ("another", 403), ("me", 200)):
        named = {**call, "session_hash": session}
        asked = httpx.post(f"{url}gradio_api/call/choose_reference", json=named)
        assert asked.status_code == status


def test_events_with_nothing_to_show_are_no_errors(server):
    # Nothing was uploaded before, so these events have nothing to show.
    client = visit(server.local_url)
    client.predict(*CONTROLS, api_name="/borrow")
    client.predict(*CONTROLS, api_name="/colorize")
