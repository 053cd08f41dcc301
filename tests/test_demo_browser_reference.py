"""References on the page, in a browser at two widths."""

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

from browser import at_any_width, browser, overflow, shown, tab, upload, wait_for, wait_for_other
from pages import MOST_BYTES, colorizer, picture, rgb_of, server, write
from pictures import gray_steps
from PIL import Image

__all__ = ["browser", "colorizer", "server", "tab"]  # fixtures
INPUT = "#reference-upload input[type=file]"


def test_a_photo_takes_the_colours_of_a_reference_until_it_is_removed(tab, tmp_path):
    coarse = np.random.default_rng(0).integers(30, 226, (4, 6, 3), np.uint8)
    colours = np.asarray(Image.fromarray(coarse).resize((360, 240), Image.Resampling.NEAREST))
    gray = np.repeat(np.round(gray_steps(colours))[..., None], 3, axis=-1).astype(np.uint8)
    upload(tab, write(tmp_path / "house.png", gray))
    wait_for(tab, "house.png")
    shown_before = {shown(tab)}
    assert not tab.locator(INPUT).count() or not tab.is_visible("#reference-upload")
    tab.click("#lending > button")
    tab.wait_for_selector(
        "#reference-upload:has-text('Drop a colour photo here'):has-text('choose one')"
    )
    assert "takes over its colours" in tab.inner_text("#lending-words")
    # The error is shown in the reference panel, and the photo does not change.
    tab.set_input_files(INPUT, write(tmp_path / "gray.png", picture()))
    tab.wait_for_selector("#reference-message [role=alert]:has-text('gray.png: is gray')")
    assert shown(tab) in shown_before and overflow(tab) <= 0
    tab.set_input_files(INPUT, write(tmp_path / "summer.png", colours))
    wait_for_other(tab, shown_before)
    tab.wait_for_selector("#reference img[alt='summer.png']")
    tab.wait_for_selector("#reference-message [role=alert]", state="detached")
    assert not tab.is_visible("#reference-upload") and overflow(tab) <= 0
    assert "Colours from summer.png" in tab.inner_text("#caption")
    # On a phone, the page scrolls back to the photo.
    tab.wait_for_function(
        "(() => { const { top, bottom } = document.querySelector('#result')"
        ".getBoundingClientRect(); return top > -2 && bottom < innerHeight + 2 })()"
    )
    with tab.expect_download() as download:
        tab.click("#download")
    found = rgb_of(download.value.path()).astype(float)
    assert np.abs(found - colours).mean() < np.abs(gray.astype(float) - colours).mean() / 2
    remove_button, thumbnail = (
        tab.locator(part).bounding_box() for part in ("#reference-remove", "#reference img")
    )
    assert thumbnail["width"] <= 100 and remove_button["width"] < 50
    assert thumbnail["x"] + thumbnail["width"] < remove_button["x"]
    # The reference stays for the next photo, until it is removed.
    tab.click("#examples button >> nth=2")
    wait_for(tab, "cat.jpg")
    assert "Colours from summer.png" in tab.inner_text("#caption")
    tab.get_by_label("Take no colours from this photo").click()
    tab.wait_for_selector("#reference-upload")
    tab.wait_for_selector("#reference", state="hidden")
    assert "summer.png" not in tab.inner_text("#caption") and overflow(tab) <= 0


@at_any_width
def test_a_too_large_reference_is_reported_and_another_may_follow_at_once(tab, tmp_path):
    tab.click("#lending > button")
    (tmp_path / "large.png").write_bytes(bytes(MOST_BYTES + 1))
    tab.set_input_files(INPUT, tmp_path / "large.png")
    tab.wait_for_selector('text=/exceed the maximum allowed size of .* Mb: "large.png"/')
    assert not tab.is_visible("#reference-upload .error")
    colours = np.full((60, 80, 3), (200, 90, 30), np.uint8)
    tab.set_input_files(INPUT, write(tmp_path / "small.png", colours))
    tab.wait_for_selector("#reference img[alt='small.png']")
