"""The parts of the page, their order, and the visible text."""

import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page.files import HOURS
from colorjax.coloring.page.limits import MAX_PHOTOS, MAX_SAMPLES
from colorjax.coloring.page.view import FORMATS

DECODERS = [
    ("Most likely", "argmax"),
    ("Average", "mean"),
    ("In between", "annealed"),
    ("One draw", "sample"),
]
SAVE, DRAW, BUSY = "Download in full size", "Draw", "One moment ..."
HEADER = """
# colorjax
Colours for black-and-white photographs. Drag the line to compare before and after. Click on the
photo where you know a colour.
"""
ABOUT = f"""
### What to expect
**The colours are guesses.** A gray photo does not tell which colour a dress or a car had. The
network paints what was common in the photographs that it has learnt from: skies, grass and skin
often come out well, clothes and walls may have had any colour. It knows nothing of history. Where
you know better, click on the photo and say so.

**Nothing else is changed.** Every pixel keeps the brightness that it has in your photo: no detail
is added, and none is lost. The download has the size and the camera data of your photo; a PNG keeps
its transparency too, a JPEG is the smaller file.

**Your photo stays on the machine that runs this page**, where no other visitor can see it. It is
deleted after {HOURS} hours, or when the program ends.
"""
REFERENCE = """
<p>Do you have a colour photo of the same or a similar place or thing? Whatever looks alike in your
photo takes over its colours. Your own dots take precedence.</p>
"""
HINTING = """
<section id="hinting" aria-label="Your own colours">
<div class="line">
<p id="hint-words" role="status"></p>
<div class="tools">
<button type="button" data-do="add" title="Starts in the middle of the photo">Add a dot</button>
<button type="button" data-do="undo">Undo</button>
<button type="button" data-do="clear">Clear</button>
</div>
</div>
<div id="spot" hidden>
<span id="spot-words"></span>
<div id="swatches" role="group" aria-label="Likely colours"></div>
<label class="any">Any other <input id="any" type="color" value="#b08060"></label>
<button type="button" data-do="remove">Remove</button>
<button type="button" data-do="done">Done</button>
</div>
<div id="hint-list" role="group" aria-label="Your colours" hidden></div>
<label class="doubt-choice"><input id="doubt-shown" type="checkbox">
Show where the network guesses</label>
<p id="doubt-words" hidden>Where the photo is hatched, the network is unsure of the colour. The
stronger the hatching, the less sure it is, and the more a colour of your own helps.</p>
</section>
"""


class ReferencePanel(NamedTuple):
    """The parts for a reference: another photo whose colours the visitor's photo takes over."""

    upload: gr.File
    ready: gr.State  # a prepared reference, to be used next
    message: gr.HTML  # separate, because on a phone the page's message is far above
    row: gr.Row  # replaces `upload` while a reference is used
    picture: gr.Image
    name: gr.HTML
    remove: gr.Button


class Page(NamedTuple):
    """The parts of the page that events read or change."""

    view: gr.State
    photos: gr.State  # the visitor's queue
    chosen: gr.State  # path of a photo that was read, and is to be shown next
    pick: gr.State  # the sample that was clicked last, if any
    saved_hints: gr.State  # the visitor's hints, by path of the photo
    upload: gr.File
    message: gr.HTML
    queue: gr.Gallery
    slider: gr.ImageSlider
    photo_data: gr.HTML  # input of the script: data of the photo
    likely: gr.HTML  # input of the script: likely colours for a spot
    hints_sent: gr.Textbox  # output of the script
    spot_sent: gr.Textbox  # output of the script
    caption: gr.HTML
    format: gr.Radio
    download: gr.Button
    file: gr.DownloadButton
    examples: gr.Dataset
    controls: tuple  # in the order of `ColorSettings`
    reset: gr.Button
    reference_panel: ReferencePanel
    sample_count: gr.Slider
    draw: gr.Button
    gallery: gr.Gallery
    first_seed: gr.State  # of the gallery's first sample


def script(examples: list[str]) -> str:
    """Returns the page's scripts; the first one labels the examples for screen readers."""
    names = json.dumps([Path(path).stem.replace("_", " ") for path in examples])
    folder = resources.files("colorjax.coloring.page")
    page, hints = (folder.joinpath(name).read_text() for name in ("page.js", "hints.js"))
    return f"() => {{ ({page})({names}); ({hints})(); }}"


def slider(pictures: tuple[str, str]) -> gr.ImageSlider:
    return gr.ImageSlider(
        pictures,
        label="Before and after",
        show_label=False,
        interactive=False,
        max_height=560,
        buttons=["fullscreen"],
        elem_id="result",
    )


def below(words: str) -> tuple[gr.HTML, gr.Radio, gr.Button, gr.DownloadButton]:
    with gr.Row(elem_id="below"):
        caption = gr.HTML(words, padding=False, elem_id="caption")
        kind = gr.Radio(
            list(FORMATS),
            value="PNG",
            label="Format of the download",
            show_label=False,
            container=False,
            min_width=130,
            elem_id="format",
        )
        download = gr.Button(SAVE, variant="primary", elem_id="download")
    return caption, kind, download, gr.DownloadButton(visible=False)


def hinting(photo_data: str) -> tuple[gr.HTML, gr.HTML, gr.Textbox, gr.Textbox]:
    """Adds the controls for hints, and the hidden parts through which their script communicates."""
    gr.HTML(HINTING, elem_id="hinting-frame", padding=False)
    photo = gr.HTML(photo_data, elem_id="board", elem_classes="wire", padding=False)
    likely = gr.HTML("", elem_id="likely", elem_classes="wire", padding=False)
    hints = gr.Textbox("[]", visible="hidden", elem_id="hints-sent")
    spot = gr.Textbox("", visible="hidden", elem_id="spot-sent")
    return photo, likely, hints, spot


def chooser() -> tuple[gr.File, gr.HTML, gr.Gallery]:
    # Any file may be uploaded, because the page itself reports files that are not photos.
    upload = gr.File(
        file_count="multiple", file_types=None, label="Your photos", height=130, elem_id="upload"
    )
    message = gr.HTML(padding=False, elem_id="message", elem_classes="message")
    queue = _clickable_gallery("queue", f"Your photos, at most {MAX_PHOTOS}", columns=5)
    return upload, message, queue


def _clickable_gallery(elem_id: str, label: str, columns: int) -> gr.Gallery:
    """Adds a gallery of pictures to click; it is hidden while it is empty."""
    return gr.Gallery(
        visible=False,
        columns=columns,
        height="auto",
        allow_preview=False,
        label=label,
        show_label=False,
        buttons=[],
        interactive=False,
        elem_id=elem_id,
        elem_classes="pictures",
    )


def examples(paths: list[str]) -> gr.Dataset:
    return gr.Dataset(
        components=[gr.Image(visible=False)],
        samples=[[path] for path in paths],
        type="index",
        label="Or one of these",
        samples_per_page=len(paths),
        elem_id="examples",
    )


def controls(colorizer: Colorizer) -> tuple[tuple, gr.Button]:
    """Adds the controls, in the order of `ColorSettings`, and a button that resets them.

    Controls that have no effect with this network are hidden.
    """
    has_decoder = colorizer.decode is not None
    with gr.Accordion("How it is coloured", open=False, elem_id="settings"):
        decoder = gr.Radio(
            DECODERS,
            value=colorizer.decode,
            label="Which colour is taken",
            visible=has_decoder,
            elem_id="decoder",
            info="Where the network is unsure. Most likely is vivid but may be patchy; Average is "
            "calm but pale; One draw picks a colour at random, by its probability.",
        )
        rebalance = _rebalance(colorizer.rebalance)
        saturation = _saturation()
        temperature = _temperature(colorizer.temperature or 1.0, visible=has_decoder)
        seed = gr.Number(
            0,
            minimum=0,
            maximum=2**31 - 1,
            precision=0,
            label="Number of the draw (seed)",
            visible=has_decoder,
            info="The same number always gives the same colours. More draws count up from it.",
        )
        edges = gr.Checkbox(
            True,
            label="Keep colours inside outlines",
            info="Colours end at the edges in the photo.",
        )
        reset = gr.Button("Reset", size="sm", elem_id="reset")
    return (decoder, temperature, rebalance, saturation, seed, edges), reset


def reference_panel() -> ReferencePanel:
    with gr.Accordion("Colours from another photo", open=False, elem_id="lending"):
        gr.HTML(REFERENCE, elem_id="lending-words", padding=False)
        upload = gr.File(
            file_count="single",
            file_types=None,
            show_label=False,
            height=72,
            elem_id="reference-upload",
        )
        message = gr.HTML(padding=False, elem_id="reference-message", elem_classes="message")
        with gr.Row(visible=False, elem_id="reference") as row:
            picture = gr.Image(
                show_label=False,
                container=False,
                interactive=False,
                buttons=[],
                min_width=0,
                elem_id="reference-picture",
            )
            name = gr.HTML(padding=False, elem_id="reference-name")
            remove = gr.Button("✕", size="sm", min_width=0, elem_id="reference-remove")
    return ReferencePanel(upload, gr.State(None), message, row, picture, name, remove)


def _rebalance(rebalance: float | None) -> gr.components.Component:
    if rebalance is None:
        return gr.Number(None, visible=False)
    return gr.Slider(
        0.0,
        1.0,
        rebalance,
        step=0.05,
        label="Rare colours (rebalance)",
        buttons=[],
        elem_id="rare",
        info="0 keeps to common colours; 1 is more vivid, and wrong more often.",
    )


def samples(visible: bool) -> tuple[gr.Slider, gr.Button, gr.Gallery, gr.State]:
    with gr.Column(visible=visible, elem_id="samples"):
        gr.Markdown(
            "### Other draws\n"
            "Each picture is one random draw from the network's guesses, patch by patch, so one "
            "thing may get several colours. Click a draw to see it above."
        )
        with gr.Row(elem_id="drawing"):
            count = gr.Slider(
                2, MAX_SAMPLES, 4, step=1, label="How many", buttons=[], elem_id="count"
            )
            draw = gr.Button(DRAW, elem_id="draw")
        gallery = _clickable_gallery("gallery", "Draws", columns=4)
    return count, draw, gallery, gr.State(0)


def _saturation() -> gr.Slider:
    return gr.Slider(
        0.0,
        2.0,
        1.0,
        step=0.05,
        label="Strength",
        buttons=[],
        info="0 is gray, 1 is what the network predicts.",
    )


def _temperature(temperature: float, visible: bool) -> gr.Slider:
    return gr.Slider(
        0.05,
        1.5,
        temperature,
        step=0.01,
        label="Daring (temperature)",
        visible=visible,
        buttons=[],
        info="For In between and for draws: low keeps to likely colours, high tries others.",
    )
