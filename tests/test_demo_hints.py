"""Visitors' hints, the cache of their photos, and the data for the page's script."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from networks import save_run, tiny_network

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

from pages import CONTROLS, ask, colorizer, picture, rgb_of, server, studio, visit, write
from PIL import Image

from colorjax.coloring.api import Colorizer
from colorjax.coloring.hints import Hint
from colorjax.coloring.page import events
from colorjax.coloring.page import server as page_server
from colorjax.coloring.page import view as page_view
from colorjax.coloring.page.cache import VisitorCache
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError

__all__ = ["colorizer", "server", "studio"]  # fixtures
RED = "#a04030"


def value_in(part: str):
    """Returns the value that the script reads from an HTML part."""
    return json.loads(html.unescape(re.search("value='([^']*)'", part).group(1)))


def redness(rgb, x, y) -> int:
    red, _, blue = np.asarray(rgb)[y, x].astype(int)
    return red - blue


# --- pictures of a view with hints ---


def test_a_hint_colours_its_pixel_on_the_page_and_in_the_download(
    colorizer, studio, tmp_path, monkeypatch
):
    monkeypatch.setattr(page_view, "PREVIEW_SIDE", 90)
    photo = picture(140, 180)
    photo[80:, 100:] = 128
    view = page_view.View(
        write(tmp_path / "a.png", photo), ColorSettings("argmax", hints=(Hint(151, 121, RED),))
    )
    (_, after), _ = page_view.paint(studio, view)
    assert rgb_of(after).shape == (70, 90, 3)
    assert redness(rgb_of(after), 75, 60) > 60
    full = rgb_of(page_view.full_size(studio, view)[0])
    assert redness(full, 151, 121) > 60
    # Exactly as from Python.
    (want,) = colorizer.colorize_arrays([photo], decode="argmax", hints=[(151, 121, RED)])
    np.testing.assert_array_equal(full, want)


def test_samples_follow_the_hints(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(page_view, "SAMPLE_SIDE", 45)
    photo = picture()
    photo[40:, 50:] = 128
    settings = ColorSettings("argmax", hints=(Hint(75, 60, RED),))
    view = page_view.View(write(tmp_path / "a.png", photo), settings)
    found = page_view.draw_samples(studio, view, 2)
    assert all(redness(rgb_of(file), 37, 30) > 60 for file, _ in found)


def test_likely_colours_take_pixel_coordinates_of_the_full_photo(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(page_view, "PREVIEW_SIDE", 90)
    view = page_view.View(write(tmp_path / "a.png", picture(140, 180)), ColorSettings())
    found = page_view.likely(studio, view, 179, 139, None)
    small = page_view.load_preview(studio, view.path).small.rgb
    assert found == studio.colorizer.likely(small, 89, 69) and len(found) > 2
    with pytest.raises(UserError, match="outside the picture"):
        page_view.likely(studio, view, 180, 139, None)


def test_the_error_for_a_hint_outside_the_photo_gives_the_photos_size(studio, tmp_path):
    path = write(tmp_path / "a.png", picture())
    view = page_view.View(path, ColorSettings(hints=(Hint(90, 3, RED),)))
    with pytest.raises(UserError, match="outside the picture of 90 x 70 pixels"):
        page_view.paint(studio, view)


def test_a_regression_network_has_no_likely_colours_or_uncertainty_mask(tmp_path):
    colorizer = Colorizer(save_run(tmp_path, tiny_network(objective="regression")))
    studio = page_view.open_studio(colorizer, tmp_path)
    view = page_view.View(write(tmp_path / "a.png", picture()), ColorSettings())
    assert page_view.likely(studio, view, 1, 1, None) == ()
    assert page_view.uncertainty_mask(studio, view) is None


def test_the_uncertainty_mask_is_more_opaque_where_the_network_is_less_sure(studio, tmp_path):
    rgb = picture(90, 130)
    view = page_view.View(write(tmp_path / "a.png", rgb), ColorSettings())
    address = page_view.uncertainty_mask(studio, view)
    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert image.mode == "LA" and max(image.size) == page_view.MASK_SIDE
    alpha = np.asarray(image.getchannel("A"), float)
    sure = np.asarray(studio.colorizer.confidence(rgb).resize(image.size, Image.BOX)) / 255
    least, most = page_view.UNCERTAINTY_RANGE
    want = np.clip((1 - sure - least) / (most - least), 0, 1)
    np.testing.assert_allclose(alpha / 255, want, atol=0.02)


# --- the cache ---


class Item:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def test_the_cache_limits_items_per_owner_and_total_bytes():
    cache = VisitorCache(max_per_owner=2, max_bytes=100)
    made = []

    def get(owner, key, size=10):
        return cache.get(owner, key, lambda: made.append(key) or Item(size))

    first = get("me", 1)
    assert get("me", 1) is first and made == [1]
    get("me", 2), get("you", 3)
    get("me", 1)  # now the most recently used
    get("me", 4)
    assert cache.owners() == ["you", "me", "me"] and get("me", 1) is first
    first.nbytes = 85  # as when the network's results are added to it
    get("me", 1)
    assert cache.owners() == ["me", "me"] and cache.nbytes <= 100
    get("you", 5, 200)  # larger than the limit, and then the only item
    assert cache.owners() == ["you"]
    cache.drop("me")
    cache.drop("you")
    assert cache.owners() == [] and cache.nbytes == 0


def test_the_network_runs_once_per_photo_for_all_settings_and_hints(studio, tmp_path, monkeypatch):
    runs = []
    view = page_view.View(write(tmp_path / "a.png", picture()), ColorSettings("argmax"), "me")
    prepared = page_view.load_preview(studio, view.path, "me").prepared
    painter = prepared._painter
    counting = painter._replace(score=lambda *args: runs.append(1) or painter.score(*args))
    monkeypatch.setattr(prepared, "_painter", counting)
    for settings in (ColorSettings("argmax"), ColorSettings("mean", saturation=0.5)):
        page_view.paint(studio, view._replace(settings=settings))
    page_view.paint(studio, view._replace(settings=ColorSettings(hints=(Hint(5, 5, RED),))))
    assert page_view.likely(studio, view, 3, 3, None) and page_view.uncertainty_mask(studio, view)
    assert len(runs) == 1


# --- the server ---


def test_the_server_applies_a_visitors_hints_and_returns_swatches(server, tmp_path):
    photo = picture(seed=4)
    photo[40:, 50:] = 128
    client, *_ = ask(server.local_url, write(tmp_path / "a.png", photo))
    answer = value_in(client.predict('{"x": 75, "y": 60, "asked": 7}', None, api_name="/likely")[0])
    assert (answer["x"], answer["asked"]) == (75, 7) and answer["swatches"][0]["colour"][0] == "#"
    hints = json.dumps([{"x": 75, "y": 60, "colour": RED}])
    pictures, _, message, *_ = client.predict(hints, *CONTROLS, api_name="/hint")
    assert redness(rgb_of(pictures[1]), 75, 60) > 60
    # The hint stays when a setting changes, and in the download.
    pictures, *_ = client.predict(*CONTROLS[:3], 0.9, *CONTROLS[4:], api_name="/change")
    assert redness(rgb_of(pictures[1]), 75, 60) > 50
    assert redness(rgb_of(client.predict(api_name="/download")[0]), 75, 60) > 50


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[", "is not valid JSON"),
        ('{"x": 1}', "hints: holds dict, want a list of hints"),
        ('[{"x": 1, "y": 2, "colour": "red"}]', "hint 1 has the colour"),
        ('[{"x": 1000, "y": 2, "colour": "#102030"}]', "outside the picture of 455 x 256"),
        (
            json.dumps([[0, 0, RED]] * 201),
            "the photo has 201 colours of your own, want at most 200",
        ),
    ],
)
def test_invalid_hints_give_an_error_of_one_sentence(server, text, expected):
    *_, message = visit(server.local_url).predict(text, *CONTROLS, api_name="/hint")
    assert expected in html.unescape(str(message)) and 'role="alert"' in message


@pytest.mark.parametrize(
    "text", ["7", '{"x": 1, "y": 0.5}', '{"x": true, "y": 1}', '{"x": -1, "y": 1}']
)
def test_an_invalid_spot_gives_an_error_of_one_sentence(server, text):
    *_, message = visit(server.local_url).predict(text, None, api_name="/likely")
    assert 'role="alert"' in message


def test_the_photo_of_a_visitor_who_leaves_is_dropped(colorizer, tmp_path):
    blocks = page_server.build_page(colorizer, tmp_path)
    leave = next(fn.fn for fn in blocks.fns.values() if fn.name == "leave")
    studio = leave.__self__.studio
    path = write(tmp_path / "mine.png", picture())

    class Visitor:
        session_hash = "me"

    page_view.load_preview(studio, path, "me")
    assert studio.previews.owners() == ["", "me"]
    leave(Visitor())
    assert studio.previews.owners() == [""]


def test_an_idle_page_polls_slowly(server):
    assert server._queue.sleep_when_free >= 0.05
    assert server._queue.progress_update_sleep_when_free >= 0.5


def test_data_for_the_script_cannot_close_its_element():
    assert value_in(events.data_element({"a": "'><b>"})) == {"a": "'><b>"}
    assert "<b>" not in events.data_element("'><b>")
