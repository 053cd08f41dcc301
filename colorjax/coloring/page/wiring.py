"""Connects the parts of the page to the event handlers, with their inputs and outputs."""

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from colorjax.coloring.page.events import Events, in_lane
from colorjax.coloring.page.layout import BUSY, DRAW, SAVE

# For events that run at once, outside the queue.
UNQUEUED: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# On a phone, the photo is far above the thumbnails that a visitor clicks.
SCROLL_TO_RESULT = """() => {
  document.querySelector("#result").scrollIntoView({block: "nearest"});
}"""
# An error message must stay in view.
SCROLL_UNLESS_ERROR = f"""(message) => {{
  if (!message.includes('role="alert"')) ({SCROLL_TO_RESULT})();
}}"""
# Downloads the file unless the message reports an error.
DOWNLOAD = """(file, message) => {
  if (message.includes('role="alert"')) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


def wire(events: Events) -> None:
    """Registers all events; call it inside the `gr.Blocks` that contains the page's parts."""
    _wire_photos(events)
    _wire_settings(events)
    _wire_reference(events)
    _wire_hints(events)
    _wire_samples(events)
    _wire_download(events)


def _photo_outputs(events: Events) -> list:
    page = events.page
    return [page.view, page.slider, page.caption, page.message]


def _wire_photos(events: Events) -> None:
    """Wires what shows another photo: an upload (read first), an example, or the queue."""
    page, lanes = events.page, events.lanes
    decoder, *_, seed, _ = page.controls
    shown = [
        *_photo_outputs(events),
        page.photo_data,
        page.gallery,
        page.chosen,
        page.pick,
        decoder,
        seed,
    ]
    inputs = [page.view, page.pick, page.saved_hints, *page.controls]
    on = functools.partial(
        in_lane, lanes.network, page.message, outputs=shown, show_progress_on=page.slider
    )
    added = in_lane(
        lanes.reading,
        page.message,
        page.upload.upload,
        events.add_photos,
        inputs=[page.upload, page.photos],
        outputs=[page.photos, page.queue, page.upload, page.chosen, page.message],
        show_progress_on=page.upload,
        # Otherwise gradio rejects files by their names, and leaves empty files behind.
        preprocess=False,
        api_name="choose",
        api_visibility="public",
    )
    # `keeps_message`, because the upload's message may report problems with some photos.
    on(
        added.then,
        events.show_photo,
        inputs=[page.chosen, *inputs],
        keeps_message=True,
        api_name="colorize",
        api_visibility="public",
    )
    queued = in_lane(
        lanes.reading,
        page.message,
        page.queue.select,
        events.choose_queued,
        inputs=page.photos,
        outputs=[page.chosen, page.message],
        show_progress_on=page.slider,
    )
    on(queued.success, events.show_photo, inputs=[page.chosen, *inputs], keeps_message=True)
    on(page.examples.click, events.show_example, inputs=[page.examples, *inputs])
    gr.on([page.examples.click, page.queue.select], None, js=SCROLL_TO_RESULT)


def _wire_hints(events: Events) -> None:
    """Wires what the page's script requests: colouring by hints, and colours for a spot."""
    page, network = events.page, events.lanes.network
    on = functools.partial(
        in_lane, network, page.message, trigger_mode="always_last", api_visibility="public"
    )
    on(
        page.hints_sent.change,
        events.hint,
        inputs=[page.hints_sent, page.view, page.saved_hints, *page.controls],
        outputs=[*_photo_outputs(events), page.saved_hints],
        show_progress_on=page.slider,
        show_progress="minimal",
        api_name="hint",
    )
    rare = page.controls[2]
    answered = on(
        page.spot_sent.change,
        events.suggest,
        inputs=[page.spot_sent, page.view, rare],
        outputs=[page.likely, page.message],
        show_progress="hidden",
        api_name="likely",
    )
    in_lane(
        events.lanes.ahead,
        page.message,
        answered.success,
        events.precompile,
        inputs=[page.view, *page.controls],
        outputs=page.message,
        show_progress="hidden",
        keeps_message=True,
    )


def _wire_settings(events: Events) -> None:
    page, network = events.page, events.lanes.network
    in_lane(
        network,
        page.message,
        functools.partial(gr.on, [part.input for part in page.controls]),
        events.change,
        inputs=[page.view, *page.controls],
        outputs=_photo_outputs(events),
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
        outputs=[*_photo_outputs(events), page.pick, *page.controls],
        show_progress_on=page.slider,
        show_progress="minimal",
    )


def _wire_reference(events: Events) -> None:
    """Wires the upload of a reference (prepared first), its use, and its removal."""
    page, lanes, panel = events.page, events.lanes, events.page.reference_panel
    shown = [*_photo_outputs(events), panel.upload, panel.row, panel.message]
    prepared = in_lane(
        lanes.reading,
        panel.message,
        panel.upload.upload,
        events.read_reference,
        inputs=panel.upload,
        outputs=[panel.upload, panel.ready, panel.message],
        show_progress_on=panel.upload,
        # As for photos.
        preprocess=False,
        api_name="choose_reference",
        api_visibility="public",
    )
    on = functools.partial(
        in_lane, lanes.network, panel.message, show_progress_on=page.slider, show_progress="minimal"
    )
    used = on(
        prepared.then,
        events.use_reference,
        inputs=[page.view, panel.ready, *page.controls],
        outputs=[*shown, panel.ready, panel.picture, panel.name],
        keeps_message=True,
        api_name="borrow",
        api_visibility="public",
    )
    used.then(None, panel.message, None, js=SCROLL_UNLESS_ERROR)
    on(
        panel.remove.click,
        events.remove_reference,
        inputs=[page.view, *page.controls],
        outputs=shown,
        api_name="give_back",
        api_visibility="public",
    )


def _wire_samples(events: Events) -> None:
    page, network = events.page, events.lanes.network
    decoder, *_, seed, _ = page.controls
    in_lane(
        network,
        page.message,
        _busy(page.draw),
        events.draw,
        inputs=[page.view, page.sample_count, *page.controls],
        outputs=[page.gallery, page.first_seed, page.message],
        show_progress="hidden",
    ).then(lambda: gr.Button(DRAW, interactive=True), None, page.draw, **UNQUEUED)
    in_lane(
        network,
        page.message,
        page.gallery.select,
        events.pick_sample,
        inputs=[page.view, page.first_seed, page.pick, *page.controls],
        outputs=[*_photo_outputs(events), page.pick, decoder, seed],
        show_progress_on=page.slider,
    )
    page.gallery.select(None, js=SCROLL_TO_RESULT)


def _wire_download(events: Events) -> None:
    page = events.page
    ready = in_lane(
        events.lanes.download,
        page.message,
        _busy(page.download),
        events.prepare_download,
        inputs=[page.view, page.format],
        outputs=[page.file, page.message],
        show_progress="hidden",
        api_name="download",
        api_visibility="public",
    )
    ready.then(lambda: gr.Button(SAVE, interactive=True), None, page.download, **UNQUEUED)
    ready.then(None, [page.file, page.message], None, js=DOWNLOAD)


def _busy(button: gr.Button) -> Callable:
    """Disables a clicked button and shows BUSY on it; a later event must restore the button."""
    return button.click(lambda: gr.Button(BUSY, interactive=False), None, button, **UNQUEUED).then
