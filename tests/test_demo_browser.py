"""The page in a browser, at the width of a desktop and of a phone."""

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

from browser import at_any_width, browser, overflow, shown, tab, upload, wait_for, wait_for_other
from pages import CONTROLS, colorizer, picture, rgb_of, server, visit, wait_until, write
from pictures import gray_steps, spread

from colorjax.coloring.page import events

__all__ = ["browser", "colorizer", "server", "tab"]  # fixtures
NO_PICTURE = "is not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000, JPEG XL or GIF picture"
SLIDER = "#result [data-testid=slider]"


def test_a_photo_is_coloured_compared_and_downloaded(tab, tmp_path):
    photo = picture(300, 421)
    upload(tab, write(tmp_path / "house.png", photo))
    wait_for(tab, "house.png")
    assert "421 × 300" in tab.inner_text("#caption") and overflow(tab) <= 0

    def styles():
        return tab.eval_on_selector_all("#result img", "all => all.map(i => i.style.cssText)")

    tab.wait_for_function("[...document.querySelectorAll('#result img')].every(i => i.complete)")
    before, box = styles(), tab.locator("#result").bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] / 2, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 5, y, steps=5)
    tab.mouse.up()
    assert styles() != before
    with tab.expect_download() as download:
        tab.click("#download")
    tab.wait_for_selector("#download:enabled:has-text('Download')")
    assert download.value.suggested_filename == "house_color.png"
    full = rgb_of(download.value.path())
    assert full.shape == photo.shape and spread(full) > 5.0
    assert np.abs(gray_steps(full) - gray_steps(photo)).max() <= 1.0


@at_any_width
def test_settings_and_draws_change_what_is_shown_until_they_are_reset(tab):
    tab.click("#examples button >> nth=2")
    wait_for(tab, "cat.jpg")
    earlier = {shown(tab)}
    assert not tab.get_by_label("Average").is_visible()
    tab.click("#settings > button")
    tab.get_by_label("Average").check()
    wait_for_other(tab, earlier)
    tab.click("#draw")
    tab.wait_for_selector("#gallery img")
    tab.wait_for_selector("#draw:enabled:has-text('Draw')")
    assert tab.locator("#gallery img").count() == 4 and overflow(tab) <= 0
    tab.wait_for_selector("#gallery img[alt='Draw 2']")
    tab.click("#gallery button >> nth=2")
    wait_for_other(tab, earlier)
    assert tab.get_by_label("One draw").is_checked()
    tab.wait_for_function("document.querySelector('#result').getBoundingClientRect().top > -2")
    assert tab.get_by_label("Number of the draw").input_value() == "2"
    # A picked sample applies to this photo only; settings made by hand stay for the next one.
    tab.click("#examples button >> nth=1")
    wait_for(tab, "astronaut.jpg")
    assert tab.get_by_label("Average").is_checked()
    assert tab.get_by_label("Number of the draw").input_value() == "0"
    earlier.add(shown(tab))
    tab.click("#reset")
    wait_for_other(tab, earlier)
    assert tab.get_by_label("Most likely").is_checked()


@at_any_width
def test_several_photos_form_a_queue_and_more_may_be_added(tab, tmp_path):
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7")
    first = [write(tmp_path / f"{name}.png", picture(seed=ord(name))) for name in "ab"]
    upload(tab, [first[0], tmp_path / "letter.pdf", first[1]])
    wait_for(tab, "a.png")
    tab.wait_for_selector("#message [role=alert]")
    sentence = f"letter.pdf: {NO_PICTURE}"
    assert tab.inner_text("#message").strip() == sentence
    tab.wait_for_selector("#queue img[alt='b.png']")
    tab.click("#queue button >> nth=1")
    wait_for(tab, "b.png")
    # The drop zone is still there, and takes pasted files.
    tab.wait_for_selector("#upload [aria-dropeffect]")
    pasted = Path(write(tmp_path / "c.png", picture(seed=7))).read_bytes()
    tab.evaluate(
        """bytes => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([new Uint8Array(bytes)], "c.png", {type: "image/png"}));
          document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
        }""",
        list(pasted),
    )
    wait_for(tab, "c.png")
    tab.wait_for_selector("#queue img >> nth=2")
    assert tab.locator("#queue img").count() == 3 and overflow(tab) <= 0


@at_any_width
def test_the_slider_moves_by_keys_and_the_pictures_have_alt_texts(tab):
    tab.wait_for_selector(f"{SLIDER}[role=slider]")
    # Keyboard focus shows an outline; mouse focus does not.
    tab.locator("#download").focus()
    tab.keyboard.press("Tab")
    tab.focus(SLIDER)

    def clip_path():
        return tab.eval_on_selector("#result img.fixed", "image => image.style.clipPath")

    assert "solid" in tab.eval_on_selector(SLIDER, "line => getComputedStyle(line).outlineStyle")
    for key, value in (("Home", 0), ("ArrowRight", 5), ("ArrowUp", 10), ("End", 100)):
        before = clip_path()
        tab.keyboard.press(key)
        tab.wait_for_selector(f"{SLIDER}[aria-valuenow='{value}']")
        assert clip_path() != before
    alts = tab.eval_on_selector_all("#result img", "all => all.map(image => image.alt)")
    assert alts == ["mountain_lake.jpg, before", "mountain_lake.jpg, coloured"]
    assert tab.get_by_label("sand dune").count() >= 1


def test_on_a_phone_choosing_a_photo_comes_first(tab):
    upload_at, result_at = (tab.locator(part).bounding_box() for part in ("#upload", "#result"))
    if tab.viewport_size["width"] < 720:
        assert upload_at["y"] + upload_at["height"] <= result_at["y"]
    else:
        assert result_at["x"] + result_at["width"] <= upload_at["x"]


@at_any_width
def test_a_jpeg_may_be_downloaded(tab):
    tab.get_by_label("JPEG").check()
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "mountain_lake_color.jpg"


@at_any_width
def test_waiting_visitors_see_how_many_are_before_them(tab, monkeypatch):
    paint, go_on = events.paint, threading.Event()
    monkeypatch.setattr(events, "paint", lambda *args: go_on.wait(30) and paint(*args))
    other = visit(tab.url).submit(*CONTROLS, api_name="/change")
    try:
        wait_until(lambda: not other.status().code.name == "STARTING")
        tab.click("#examples button >> nth=3")
        tab.wait_for_function(
            "document.querySelector('#result').innerText.includes('1 before you')"
        )
    finally:
        go_on.set()
    wait_for(tab, "coffee.jpg")


@at_any_width
def test_a_file_that_is_no_photo_is_reported_and_the_page_goes_on(tab, tmp_path):
    (tmp_path / "notes.jpg").write_text("once upon a time")
    before = shown(tab)
    upload(tab, tmp_path / "notes.jpg")
    tab.wait_for_selector("#message [role=alert]")
    sentence = f"notes.jpg: {NO_PICTURE}"
    assert tab.inner_text("#message").strip() == sentence
    assert shown(tab) == before and overflow(tab) <= 0
    # No event is pending, and no message covers the photo.
    tab.wait_for_function("!document.querySelector('#result .generating, #result .pending')")
    assert "Error" not in tab.inner_text("#result")
    tab.click("#examples button >> nth=1")
    tab.wait_for_selector("#message [role=alert]", state="detached")
