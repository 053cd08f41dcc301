"""Which part of the page has which event, and what that reads and changes."""

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from colorjax.coloring.page.events import Events, in_lane
from colorjax.coloring.page.layout import BUSY, DRAW, SAVE

# Of events that wait for nothing.
ASIDE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# On a phone the photo is far above the pictures that are chosen from.
SHOW_RESULT = """() => {
  document.querySelector("#result").scrollIntoView({block: "nearest"});
}"""
# Where what was asked for has gone wrong, the message that says so stays in sight.
SHOW_IF_WELL = f"""(message) => {{
  if (!message.includes('role="alert"')) ({SHOW_RESULT})();
}}"""
# Of the file that is ready, and the message, which is an alert if it is not.
DOWNLOAD = """(file, message) => {
  if (message.includes('role="alert"')) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


def wire(events: Events) -> None:
    """Adds all events to the page; to be called where its parts were made."""
    _choosing(events)
    _settings(events)
    _lending(events)
    _hinting(events)
    _drawing(events)
    _download(events)


def _shown(events: Events) -> list:
    page = events.page
    return [page.view, page.slider, page.caption, page.message]


def _choosing(events: Events) -> None:
    """Another photo: an upload, which is read first, an example, or one of the queue."""
    page, lanes = events.page, events.lanes
    decoder, *_, seed, _ = page.controls
    shown = [*_shown(events), page.board, page.gallery, page.chosen, page.pick, decoder, seed]
    inputs = [page.view, page.pick, page.given, *page.controls]
    on = functools.partial(
        in_lane, lanes.network, page.message, outputs=shown, show_progress_on=page.slider
    )
    taken = in_lane(
        lanes.reading,
        page.message,
        page.upload.upload,
        events.take,
        inputs=[page.upload, page.photos],
        outputs=[page.photos, page.queue, page.upload, page.chosen, page.message],
        show_progress_on=page.upload,
        # Else gradio judges files by their names, and leaves empty ones behind.
        preprocess=False,
        api_name="choose",
        api_visibility="public",
    )
    # What is wrong with some of the photos is still to be read.
    on(
        taken.then,
        events.show_other,
        inputs=[page.chosen, *inputs],
        keeps_message=True,
        api_name="colorize",
        api_visibility="public",
    )
    queued = in_lane(
        lanes.reading,
        page.message,
        page.queue.select,
        events.take_queued,
        inputs=page.photos,
        outputs=[page.chosen, page.message],
        show_progress_on=page.slider,
    )
    on(queued.success, events.show_other, inputs=[page.chosen, *inputs], keeps_message=True)
    on(page.examples.click, events.take_example, inputs=[page.examples, *inputs])
    gr.on([page.examples.click, page.queue.select], None, js=SHOW_RESULT)


def _hinting(events: Events) -> None:
    """What the page's script asks for: a photo coloured by hints, and colours of a spot."""
    page, network = events.page, events.lanes.network
    on = functools.partial(
        in_lane, network, page.message, trigger_mode="always_last", api_visibility="public"
    )
    on(
        page.hints_sent.change,
        events.hint,
        inputs=[page.hints_sent, page.view, page.given, *page.controls],
        outputs=[*_shown(events), page.given],
        show_progress_on=page.slider,
        show_progress="minimal",
        api_name="hint",
    )
    rare = page.controls[2]
    answered = on(
        page.spot_sent.change,
        events.ask,
        inputs=[page.spot_sent, page.view, rare],
        outputs=[page.likely, page.message],
        show_progress="hidden",
        api_name="likely",
    )
    in_lane(
        events.lanes.ahead,
        page.message,
        answered.success,
        events.make_ready,
        inputs=[page.view, *page.controls],
        outputs=page.message,
        show_progress="hidden",
        keeps_message=True,
    )


def _settings(events: Events) -> None:
    page, network = events.page, events.lanes.network
    in_lane(
        network,
        page.message,
        functools.partial(gr.on, [part.input for part in page.controls]),
        events.change,
        inputs=[page.view, *page.controls],
        outputs=_shown(events),
        show_progress_on=page.slider,
        show_progress="minimal",
        trigger_mode="always_last",
        api_name="change",
        api_visibility="public",
    )
    in_lane(
        network,
        page.message,
        page.reset.click,
        events.reset,
        inputs=page.view,
        outputs=[*_shown(events), page.pick, *page.controls],
        show_progress_on=page.slider,
        show_progress="minimal",
    )


def _lending(events: Events) -> None:
    """A reference, which is looked at first, and its removal."""
    page, lanes, lending = events.page, events.lanes, events.page.lending
    shown = [*_shown(events), lending.upload, lending.shown, lending.message]
    taken = in_lane(
        lanes.reading,
        lending.message,
        lending.upload.upload,
        events.take_reference,
        inputs=lending.upload,
        outputs=[lending.upload, lending.offered, lending.message],
        show_progress_on=lending.upload,
        # As of photos.
        preprocess=False,
        api_name="choose_reference",
        api_visibility="public",
    )
    on = functools.partial(
        in_lane,
        lanes.network,
        lending.message,
        show_progress_on=page.slider,
        show_progress="minimal",
    )
    borrowed = on(
        taken.then,
        events.borrow,
        inputs=[page.view, lending.offered, *page.controls],
        outputs=[*shown, lending.offered, lending.picture, lending.name],
        keeps_message=True,
        api_name="borrow",
        api_visibility="public",
    )
    borrowed.then(None, lending.message, None, js=SHOW_IF_WELL)
    on(
        lending.remove.click,
        events.give_back,
        inputs=[page.view, *page.controls],
        outputs=shown,
        api_name="give_back",
        api_visibility="public",
    )


def _drawing(events: Events) -> None:
    page, network = events.page, events.lanes.network
    decoder, *_, seed, _ = page.controls
    in_lane(
        network,
        page.message,
        _busy(page.draw),
        events.draw,
        inputs=[page.view, page.how_many, *page.controls],
        outputs=[page.gallery, page.drawn, page.message],
        show_progress="hidden",
    ).then(lambda: gr.Button(DRAW, interactive=True), None, page.draw, **ASIDE)
    in_lane(
        network,
        page.message,
        page.gallery.select,
        events.take_draw,
        inputs=[page.view, page.drawn, page.pick, *page.controls],
        outputs=[*_shown(events), page.pick, decoder, seed],
        show_progress_on=page.slider,
    )
    page.gallery.select(None, js=SHOW_RESULT)


def _download(events: Events) -> None:
    page = events.page
    ready = in_lane(
        events.lanes.download,
        page.message,
        _busy(page.download),
        events.prepare,
        inputs=[page.view, page.format],
        outputs=[page.file, page.message],
        show_progress="hidden",
        api_name="download",
        api_visibility="public",
    )
    ready.then(lambda: gr.Button(SAVE, interactive=True), None, page.download, **ASIDE)
    ready.then(None, [page.file, page.message], None, js=DOWNLOAD)


def _busy(button: gr.Button) -> Callable:
    """Has a button say that it was clicked; what follows is to make it a button again."""
    return button.click(lambda: gr.Button(BUSY, interactive=False), None, button, **ASIDE).then
