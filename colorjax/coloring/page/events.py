"""What happens on the page, and what it reads and changes."""

import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page.layout import BUSY, DRAW, SAVE, Page
from colorjax.coloring.page.view import View, draw_samples, full_size, paint
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError

# Of events that wait for nothing.
ASIDE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# On a phone the photo is far above the pictures that are chosen from.
SHOW_RESULT = """() => {
  document.querySelector("#result").scrollIntoView({behavior: "smooth", block: "nearest"});
}"""
# Of the file that is ready, and the message, which is empty unless it is not.
DOWNLOAD = """(file, message) => {
  if (message) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


class Events(NamedTuple):
    """What happens when; each method takes values of parts, and returns those that change."""

    page: Page
    colorizer: Colorizer
    folder: Path
    examples: list[str]

    def show(self, path: str | None, *controls) -> dict:
        if path is None:
            return {}
        page, view = self.page, View(path, settings_of(*controls))
        pictures, words = paint(self.colorizer, self.folder, view)
        return {page.view: view, page.slider: pictures, page.caption: words}

    def choose(self, path: str | None, *controls) -> dict:
        # What was drawn is of another photo.
        return {**self.show(path, *controls), self.page.gallery: gr.Gallery([], visible=False)}

    def take_example(self, index: int, *controls) -> dict:
        return {**self.choose(self.examples[index], *controls), self.page.upload: None}

    def change(self, view: View, *controls) -> dict:
        return self.show(view.path, *controls)

    def draw(self, view: View, count: float, *controls) -> dict:
        view = View(view.path, settings_of(*controls))
        found = draw_samples(self.colorizer, self.folder, view, int(count))
        return {
            self.page.gallery: gr.Gallery(found, visible=True, selected_index=None),
            self.page.drawn: view.settings.seed,
        }

    def take_draw(self, event: gr.SelectData, view: View, drawn: int, *controls) -> dict:
        _, temperature, rare, saturation, _, edges = controls
        decode, seed = "sample", drawn + event.index
        decoder, _, _, _, number, _ = self.page.controls
        return {
            **self.show(view.path, decode, temperature, rare, saturation, seed, edges),
            decoder: decode,
            number: seed,
        }

    def prepare(self, view: View) -> dict:
        return {self.page.file: full_size(self.colorizer, self.folder, view)}


def wire(events: Events) -> None:
    """Says which part of the page has which event, and what that reads and changes."""
    page, controls = events.page, [*events.page.controls]
    decoder, _, _, _, seed, _ = controls
    shown = [page.view, page.slider, page.caption, page.message]
    on = functools.partial(_on, page.message)
    on(
        page.upload.upload,
        events.choose,
        [page.upload, *controls],
        [*shown, page.gallery],
        show_progress_on=page.slider,
        api_name="colorize",
        api_visibility="public",
    )
    on(
        page.examples.click,
        events.take_example,
        [page.examples, *controls],
        [*shown, page.gallery, page.upload],
        show_progress_on=page.slider,
    )
    any_control = functools.partial(gr.on, [part.input for part in controls])
    on(
        any_control,
        events.change,
        [page.view, *controls],
        shown,
        show_progress_on=page.slider,
        show_progress="minimal",
        trigger_mode="always_last",
    )
    on(
        page.gallery.select,
        events.take_draw,
        [page.view, page.drawn, *controls],
        [*shown, decoder, seed],
        show_progress_on=page.slider,
    )
    gr.on([page.examples.click, page.gallery.select], None, js=SHOW_RESULT)
    on(
        _busy(page.draw),
        events.draw,
        [page.view, page.count, *controls],
        [page.gallery, page.drawn, page.message],
        show_progress="hidden",
    ).then(lambda: gr.Button(DRAW, interactive=True), None, page.draw, **ASIDE)
    ready = on(
        _busy(page.download),
        events.prepare,
        page.view,
        [page.file, page.message],
        show_progress="hidden",
        api_name="download",
        api_visibility="public",
    )
    ready.then(lambda: gr.Button(SAVE, interactive=True), None, page.download, **ASIDE)
    ready.then(None, [page.file, page.message], None, js=DOWNLOAD)


def _busy(button: gr.Button) -> Callable:
    """Has a button say that it was clicked; what follows is to make it a button again."""
    return button.click(lambda: gr.Button(BUSY, interactive=False), None, button, **ASIDE).then


def _on(message: gr.HTML, listen: Callable, act: Callable[..., dict], inputs, outputs, **more):
    """Has an event run `act`, one at a time of all visitors; what is wrong is told in the page."""

    @functools.wraps(act)
    def told(*args):
        try:
            return {message: "", **act(*args)}
        except UserError as error:
            return {message: f'<p role="alert">{html.escape(str(error))}</p>'}

    settings = {"api_visibility": "private"} | more
    return listen(told, inputs, outputs, concurrency_limit=1, concurrency_id="network", **settings)


def settings_of(
    decode: str | None,
    temperature: float,
    rebalance: float | None,
    saturation: float,
    seed: float | None,
    edges: bool,
) -> Settings:
    """What the controls say."""
    return Settings(
        decode,
        temperature,
        rebalance,
        saturation,
        int(seed or 0),
        "guided" if edges else "bilinear",
    )
