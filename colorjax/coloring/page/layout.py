"""What stands where on the page, and its words."""

import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page.files import HOURS
from colorjax.coloring.page.limits import MOST_PHOTOS, MOST_SAMPLES
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
LENDING = """
<p>Have you a colour photo of the same place or thing, or of its like? What looks alike in yours
takes over its colours; your own dots go first.</p>
"""
HINTING = """
<section id="hinting" aria-label="Your own colours">
<div class="line">
<p id="hint-words" role="status"></p>
<div class="tools">
<button type="button" data-do="add" title="In the middle, to be moved">Add a dot</button>
<button type="button" data-do="undo">Undo</button>
<button type="button" data-do="clear">Clear</button>
</div>
</div>
<div id="spot" hidden>
<span id="spot-words"></span>
<div id="swatches" role="group" aria-label="What the network thinks likely"></div>
<label class="any">Any other <input id="any" type="color" value="#b08060"></label>
<button type="button" data-do="remove">Remove</button>
<button type="button" data-do="done">Done</button>
</div>
<div id="hint-list" role="group" aria-label="Your colours" hidden></div>
<label class="doubt-choice"><input id="doubt-shown" type="checkbox">
Show where the network guesses</label>
<p id="doubt-words" hidden>Where the photo is hatched, the network does not know the colour: the
stronger, the more it guesses, and the more a colour of yours helps.</p>
</section>
"""


class Lending(NamedTuple):
    """Where a visitor gives another photo, whose colours his take over."""

    upload: gr.File
    offered: gr.State  # what was looked at, and is to be used next
    message: gr.HTML  # on a phone, that of the page is far above
    shown: gr.Row  # in place of `upload` while one is used
    picture: gr.Image
    name: gr.HTML
    remove: gr.Button


class Page(NamedTuple):
    """The parts of the page that events read or change."""

    view: gr.State
    photos: gr.State  # of the visitor's queue
    chosen: gr.State  # the path of a photo that was read, and is to be coloured
    pick: gr.State  # the draw that was clicked last, if any
    given: gr.State  # hints of the visitor's photos, by their paths
    upload: gr.File
    message: gr.HTML
    queue: gr.Gallery
    slider: gr.ImageSlider
    board: gr.HTML  # what the script is told of a photo
    likely: gr.HTML  # and of a spot of it
    hints_sent: gr.Textbox  # what it asks for
    spot_sent: gr.Textbox
    caption: gr.HTML
    format: gr.Radio
    download: gr.Button
    file: gr.DownloadButton
    examples: gr.Dataset
    controls: tuple  # in the order of `Settings`
    reset: gr.Button
    lending: Lending
    how_many: gr.Slider
    draw: gr.Button
    gallery: gr.Gallery
    drawn: gr.State  # the seed of the first picture of the gallery


def script(examples: list[str]) -> str:
    """The scripts of the page; the first names the examples to those who cannot see them."""
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


def hinting(told: str) -> tuple[gr.HTML, gr.HTML, gr.Textbox, gr.Textbox]:
    """Where a visitor gives colours: the script does what is seen, and the parts are its wires."""
    gr.HTML(HINTING, elem_id="hinting-frame", padding=False)
    board = gr.HTML(told, elem_id="board", elem_classes="wire", padding=False)
    likely = gr.HTML("", elem_id="likely", elem_classes="wire", padding=False)
    hints = gr.Textbox("[]", visible="hidden", elem_id="hints-sent")
    spot = gr.Textbox("", visible="hidden", elem_id="spot-sent")
    return board, likely, hints, spot


def chooser() -> tuple[gr.File, gr.HTML, gr.Gallery]:
    # Of any kind, as what is no photo is told in a sentence of ours.
    upload = gr.File(
        file_count="multiple", file_types=None, label="Your photos", height=130, elem_id="upload"
    )
    message = gr.HTML(padding=False, elem_id="message", elem_classes="message")
    queue = _pictures("queue", f"Your photos, at most {MOST_PHOTOS}", columns=5)
    return upload, message, queue


def _pictures(elem_id: str, label: str, columns: int) -> gr.Gallery:
    """Pictures to click on; unseen until there are some."""
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
    """Controls in the order of `Settings`, and a button that undoes what was done to them.

    A network that has nothing to decode has fewer.
    """
    choice = colorizer.decode is not None
    with gr.Accordion("How it is coloured", open=False, elem_id="settings"):
        decoder = gr.Radio(
            DECODERS,
            value=colorizer.decode,
            label="Which colour is taken",
            visible=choice,
            elem_id="decoder",
            info="Where the network wavers. Most likely is vivid, and may be patchy; Average is "
            "calm and pale; One draw takes any, by its chance.",
        )
        rare = _rare_colours(colorizer.rebalance)
        saturation = _strength()
        daring = _daring(colorizer.temperature or 1.0, visible=choice)
        seed = gr.Number(
            0,
            minimum=0,
            maximum=2**31 - 1,
            precision=0,
            label="Number of the draw (seed)",
            visible=choice,
            info="The same number always gives the same colours. Several draws begin with it.",
        )
        edges = gr.Checkbox(
            True,
            label="Keep colours inside outlines",
            info="Lets colour end where the photo has an edge.",
        )
        reset = gr.Button("Reset", size="sm", elem_id="reset")
    return (decoder, daring, rare, saturation, seed, edges), reset


def lending() -> Lending:
    with gr.Accordion("Colours from another photo", open=False, elem_id="lending"):
        gr.HTML(LENDING, elem_id="lending-words", padding=False)
        upload = gr.File(
            file_count="single",
            file_types=None,
            show_label=False,
            height=72,
            elem_id="reference-upload",
        )
        message = gr.HTML(padding=False, elem_id="reference-message", elem_classes="message")
        with gr.Row(visible=False, elem_id="reference") as shown:
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
    return Lending(upload, gr.State(None), message, shown, picture, name, remove)


def _rare_colours(rebalance: float | None) -> gr.components.Component:
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
        info="0 keeps to what is usual, 1 is vivid and errs more often.",
    )


def samples(visible: bool) -> tuple[gr.Slider, gr.Button, gr.Gallery, gr.State]:
    with gr.Column(visible=visible, elem_id="samples"):
        gr.Markdown(
            "### Other draws\n"
            "Each picture is one draw from the network's guesses, patch by patch: one thing may "
            "come out in several colours. Click a draw to see it above."
        )
        with gr.Row(elem_id="drawing"):
            count = gr.Slider(
                2, MOST_SAMPLES, 4, step=1, label="How many", buttons=[], elem_id="count"
            )
            draw = gr.Button(DRAW, elem_id="draw")
        gallery = _pictures("gallery", "Draws", columns=4)
    return count, draw, gallery, gr.State(0)


def _strength() -> gr.Slider:
    return gr.Slider(
        0.0,
        2.0,
        1.0,
        step=0.05,
        label="Strength",
        buttons=[],
        info="0 is gray, 1 as the network has it.",
    )


def _daring(temperature: float, visible: bool) -> gr.Slider:
    return gr.Slider(
        0.05,
        1.5,
        temperature,
        step=0.01,
        label="Daring (temperature)",
        visible=visible,
        buttons=[],
        info="Of In between and of draws: low keeps to likely colours, high tries others.",
    )
