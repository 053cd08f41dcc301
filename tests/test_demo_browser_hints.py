"""Colours given by clicking on the photo, in a browser at two widths."""

import json

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

from browser import at_any_width, browser, overflow, shown, tab, upload, wait_for, wait_for_other
from pages import colorizer, picture, rgb_of, server, write

__all__ = ["browser", "colorizer", "server", "tab"]  # fixtures
RED = "#c02020"


def place(tab, x, y) -> tuple[float, float]:
    """Scrolls to the photo; returns window coordinates of a point in fractions of its sides."""
    tab.locator("#result").scroll_into_view_if_needed()
    box = tab.locator("#result .dots").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def click(tab, x, y) -> None:
    """Clicks or taps on the photo, and waits for the likely colours of that spot."""
    if tab.viewport_size["width"] < 720:
        tab.touchscreen.tap(*place(tab, x, y))
    else:
        tab.mouse.click(*place(tab, x, y))
    tab.wait_for_selector("#swatches[aria-busy=false] button")


def choose(tab, colour) -> None:
    tab.fill("#any", colour)
    tab.dispatch_event("#any", "change")


def hints(tab) -> list:
    """Returns the hints that the script sent last."""
    return json.loads(tab.input_value("#hints-sent textarea"))


def dots(tab) -> int:
    return tab.locator("#result .dot").count()


@pytest.fixture
def house(tab, tmp_path):
    """Uploads and shows a photo of 420 x 300 pixels, which is uniform in its lower right."""
    photo = picture(300, 420)
    photo[150:, 200:] = 128
    upload(tab, write(tmp_path / "house.png", photo))
    wait_for(tab, "house.png")
    tab.wait_for_function("document.querySelector('.dots')?.getBoundingClientRect().width > 100")
    return photo


def test_a_click_offers_colours_and_a_chosen_one_is_applied(tab, house):
    seen = {shown(tab)}
    assert not tab.is_visible("#spot") and tab.is_disabled("#hinting [data-do=clear]")
    click(tab, 0.75, 0.75)
    assert dots(tab) == 1 and hints(tab) == [] and overflow(tab) <= 0
    offered = tab.locator("#swatches button")
    assert 2 < offered.count() <= 8 and "%" in offered.first.inner_text()
    offered.nth(1).click()
    wait_for_other(tab, seen)
    colour = offered.nth(1).get_attribute("title").partition(",")[0]
    ((one),) = hints(tab)
    assert abs(one["x"] - 315) <= 2 and abs(one["y"] - 225) <= 2 and one["colour"] == colour
    assert offered.nth(1).get_attribute("aria-pressed") == "true"
    # The download, too, has the colour at this pixel.
    with tab.expect_download() as download:
        tab.click("#download")
    result = rgb_of(download.value.path())[one["y"], one["x"]].astype(int)
    assert np.abs(result - list(bytes.fromhex(colour[1:]))).max() <= 4


@at_any_width
def test_a_custom_colour_can_be_moved_undone_removed_and_cleared(tab, house):
    seen = {shown(tab)}
    click(tab, 0.75, 0.75)
    choose(tab, RED)
    wait_for_other(tab, seen)
    click(tab, 0.25, 0.25)
    assert dots(tab) == 2 and len(hints(tab)) == 1
    choose(tab, "#2040c0")
    wait_for_other(tab, seen)
    assert [one["colour"] for one in hints(tab)] == [RED, "#2040c0"]
    assert tab.locator("#hint-list button").count() == 2
    x, y = place(tab, 0.75, 0.75)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(*place(tab, 0.6, 0.9), steps=4)
    tab.mouse.up()
    wait_for_other(tab, seen)
    assert abs(hints(tab)[0]["x"] - 252) <= 2 and abs(hints(tab)[0]["y"] - 270) <= 2
    tab.click("#hinting [data-do=undo]")
    assert abs(hints(tab)[0]["x"] - 315) <= 2
    tab.click("#hint-list button >> nth=1")
    tab.click("#hinting [data-do=remove]")
    assert [one["colour"] for one in hints(tab)] == [RED] and dots(tab) == 1
    tab.click("#hinting [data-do=clear]")
    assert hints(tab) == [] and dots(tab) == 0
    tab.click("#hinting [data-do=undo]")
    assert [one["colour"] for one in hints(tab)] == [RED] and overflow(tab) <= 0


def test_colours_can_be_chosen_in_full_screen(tab, house):
    seen = {shown(tab)}
    tab.click("#result [aria-label=Fullscreen]")
    tab.wait_for_selector("#result.fullscreen")
    tab.wait_for_function("document.querySelector('.dots').getBoundingClientRect().left < 300")
    click(tab, 0.75, 0.25)
    # This click would fail if another element covered the button.
    tab.click("#swatches button >> nth=1")
    wait_for_other(tab, seen)
    box, height = tab.locator("#spot").bounding_box(), tab.viewport_size["height"]
    assert box["x"] == 0 and abs(box["y"] + box["height"] - height) < 2 and len(hints(tab)) == 1


@at_any_width
def test_a_spot_without_a_colour_is_discarded(tab, house):
    click(tab, 0.75, 0.75)
    click(tab, 0.25, 0.75)
    assert dots(tab) == 1
    tab.click("#hinting [data-do=done]")
    assert dots(tab) == 0 and not tab.is_visible("#spot") and hints(tab) == []


@at_any_width
def test_dragging_the_line_of_the_slider_adds_no_colour(tab, house):
    before = tab.eval_on_selector("#result img.fixed", "image => image.style.clipPath")
    tab.mouse.move(*place(tab, 0.5, 0.3))
    tab.mouse.down()
    tab.mouse.move(*place(tab, 0.2, 0.3), steps=5)
    tab.mouse.up()
    assert tab.eval_on_selector("#result img.fixed", "image => image.style.clipPath") != before
    assert dots(tab) == 0


@at_any_width
def test_colours_belong_to_their_photo_and_return_with_it(tab, house, tmp_path):
    seen = {shown(tab)}
    click(tab, 0.75, 0.75)
    choose(tab, RED)
    wait_for_other(tab, seen)
    tab.click("#examples button >> nth=2")
    wait_for(tab, "cat.jpg")
    tab.wait_for_selector("#result .dot", state="detached")
    tab.click("#queue button >> nth=0")
    wait_for(tab, "house.png")
    tab.wait_for_selector("#result .dot")
    assert tab.locator("#hint-list button").count() == 1
    assert tab.is_enabled("#hinting [data-do=clear]")


@at_any_width
def test_a_colour_can_be_given_with_the_keyboard_alone(tab, house):
    tab.locator("#hinting [data-do=add]").press("Enter")
    tab.wait_for_selector("#swatches[aria-busy=false] button")
    tab.locator("#swatches button").first.press("Enter")
    assert hints(tab)[0]["x"] == 210
    tab.locator("#result .dot").press("ArrowRight")
    assert hints(tab)[0]["x"] == 215
    tab.locator("#result .dot").press("Delete")
    assert hints(tab) == [] and dots(tab) == 0


@at_any_width
def test_the_uncertainty_mask_can_be_shown_over_the_photo(tab, house):
    mask = tab.locator("#result .doubt")
    assert not mask.is_visible() and not tab.is_visible("#doubt-words")
    tab.check("#doubt-shown")
    assert mask.is_visible() and "hatched" in tab.inner_text("#doubt-words")
    first = mask.evaluate("mask => mask.style.maskImage")
    assert first.startswith('url("data:image/png') and overflow(tab) <= 0
    box, photo = mask.bounding_box(), tab.locator("#result img").first.bounding_box()
    assert all(abs(box[side] - photo[side]) < 2 for side in ("x", "y", "width", "height"))
    # The mask changes with the photo.
    tab.click("#examples button >> nth=2")
    wait_for(tab, "cat.jpg")
    tab.wait_for_function(
        "first => document.querySelector('.doubt').style.maskImage !== first", arg=first
    )
    assert mask.is_visible()
