"""The page of `colorjax demo`: a photo in, before and after, other possibilities, a download.

A visitor's photo and settings are one value, `View`. Every event of the page makes a view from what
was chosen, and pictures from the view; previews are small, and only the download is of full size.
Whatever is wrong with a photo is a sentence in the page.

Nothing is asked of any other machine, by the page or for it, and no file is served but those of the
page: uploads and results live in a private folder that goes with the program.
"""

import contextlib
import functools
import html
import json
import os
import signal
import tempfile
import threading
import uuid
import webbrowser
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from PIL import Image
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from colorjax.coloring.api import Colorizer
from colorjax.coloring.settings import Settings
from colorjax.data.sources import mean_chroma
from colorjax.errors import UserError
from colorjax.pictures import image_io, photo, writing
from colorjax.pictures.photo import Photo

PREVIEW, SAMPLE = 1600, 640  # most pixels of a side of what the page shows
MOST_SAMPLES = 8
MAX_UPLOAD_BYTES = 200 * 2**20
HOURS = 6  # that a file is kept
WAITING = 100  # visitors in the queue, more are told to come back
LOOPBACK = ("127.0.0.1", "localhost")
FIRST_EXAMPLE = "mountain_lake"

# Of what gradio serves beside the page: what fetches from other machines, or runs programs.
REFUSED = ("file=http", "proxy=", "process_recording", "vibe", "undo-vibe", "deep_link",
           "run-history")  # fmt: skip
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; object-src 'none'"
)

DECODERS = [
    ("Most likely", "argmax"),
    ("Average", "mean"),
    ("In between", "annealed"),
    ("One draw", "sample"),
]
SAVE, DRAW, BUSY = "Download in full size (PNG)", "Draw", "One moment ..."
# Of events that wait for nothing.
ASIDE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
HEADER = """
# colorjax
Colours for black-and-white photographs. Drag the line to compare before and after.
"""
ABOUT = f"""
### What to expect
**The colours are guesses.** A gray photo does not tell which colour a dress or a car had. The
network paints what was common in the photographs that it has learnt from: skies, grass and skin
often come out well, clothes and walls may have had any colour. It knows nothing of history.

**Nothing else is changed.** Every pixel keeps the brightness that it has in your photo: no detail
is added, and none is lost. The download has the size, the transparency and the camera data of your
photo.

**Your photo stays on the machine that runs this page.** It is deleted after {HOURS} hours, or when
the program ends.
"""
# In place of gradio's own words.
WORDS = gr.I18n(en={
    "upload_text.drop_file": "Drop a photo here",
    "upload_text.click_to_upload": "Choose one",
})  # fmt: skip
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


class View(NamedTuple):
    """What the page shows: a photo, and how it is coloured."""

    path: str
    settings: Settings

    @property
    def name(self) -> str:
        return Path(self.path).name


class Page(NamedTuple):
    """The parts of the page that events read or change."""

    view: gr.State
    slider: gr.ImageSlider
    caption: gr.HTML
    download: gr.Button
    file: gr.DownloadButton
    upload: gr.File
    message: gr.HTML
    examples: gr.Dataset
    controls: tuple  # in the order of `Settings`
    count: gr.Slider
    draw: gr.Button
    gallery: gr.Gallery
    drawn: gr.State  # the seed of the first picture of the gallery


# --- from a view to pictures ---


def paint(colorizer: Colorizer, folder: Path, view: View) -> tuple[tuple[str, str], str]:
    """The files of before and after, at the size of the page, and what is said below them.

    Raises:
      UserError: the photo cannot be read, or a setting is wrong.
    """
    full = read(view)
    small = shrunk(full, PREVIEW)
    (after,) = colorizer.colorize_arrays([small.rgb], **view.settings._asdict())
    return (
        save(folder, on_white(small.rgb, small.alpha)),
        save(folder, on_white(after, small.alpha)),
    ), caption(view, full)


def draw_samples(
    colorizer: Colorizer, folder: Path, view: View, count: int
) -> list[tuple[str, str]]:
    """Files and captions of several colourings, of the seeds from that of the view on.

    Raises:
      UserError: as `paint`.
    """
    small = shrunk(read(view), SAMPLE)
    settings = view.settings._asdict()
    settings.pop("decode")
    found = colorizer.samples(small.rgb, count, **settings)
    return [
        (save(folder, on_white(np.asarray(one), small.alpha)), f"Draw {view.settings.seed + i}")
        for i, one in enumerate(found)
    ]


def full_size(colorizer: Colorizer, folder: Path, view: View) -> str:
    """The file of a view at the size of the photo, with its transparency and metadata: a PNG.

    Raises:
      UserError: as `paint`.
    """
    full = read(view)
    (rgb,) = colorizer.colorize_arrays([full.rgb], **view.settings._asdict())
    # A folder of its own, as the browser is to see the name.
    target = folder / uuid.uuid4().hex / f"{Path(view.name).stem}_color.png"
    target.parent.mkdir()
    writing.write_photo(target, rgb, full)
    return str(target)


def read(view: View) -> Photo:
    """The photo of a view, as much of it as there is."""
    if not os.path.exists(view.path):
        raise UserError(f"{view.name}: is deleted by now, {HOURS} hours on: please choose it again")
    return photo.read_photo(view.path, name=view.name, allow_truncated=True)


def shrunk(full: Photo, side: int) -> Photo:
    """A photo of at most `side` pixels a side."""
    height, width, _ = full.rgb.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgb, alpha = (
        None if x is None else np.asarray(Image.fromarray(x).resize(size, reducing_gap=2.0))
        for x in (full.rgb, full.alpha)
    )
    return full._replace(rgb=rgb, alpha=alpha)


def on_white(rgb_u8: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """What is seen of a picture on a white page: uint8 [h, w, 3]."""
    if alpha is None:
        return rgb_u8
    return np.asarray(image_io.on_white(Image.fromarray(photo.with_alpha(rgb_u8, alpha))))


def save(folder: Path, rgb_u8: np.ndarray) -> str:
    """Writes a picture under a name that nobody can guess."""
    path = folder / f"{uuid.uuid4().hex}.jpg"
    image_io.write(path, rgb_u8)
    return str(path)


def caption(view: View, full: Photo) -> str:
    """HTML: the name and size of a photo, and what is to be known about how it was read."""
    height, width, _ = full.rgb.shape
    notes = [notice.removeprefix(f"{view.name}: ") for notice in full.notices]
    if has_colour(full.rgb):
        notes.append("has colours of its own, which the network does not get to see")
    lines = [f"<b>{html.escape(view.name)}</b> &ensp; {width} &times; {height}"]
    lines += [f"This photo {html.escape(note)}." for note in notes]
    return "".join(f"<p>{line}</p>" for line in lines)


def has_colour(rgb_u8: np.ndarray) -> bool:
    """Whether a picture is clearly no gray one; a few thousand pixels tell."""
    step = max(1, int((rgb_u8.shape[0] * rgb_u8.shape[1] / 10_000) ** 0.5))
    return mean_chroma(rgb_u8[::step, ::step]) > 8.0


def write_examples(folder: Path) -> list[str]:
    """Writes the bundled photographs in gray; the first is the one that the page opens with."""
    paths = []
    for source in resources.files("colorjax.data").joinpath("sample").iterdir():
        if source.name.endswith(".jpg"):
            gray = Image.fromarray(image_io.read_rgb(source.read_bytes())).convert("L")
            image_io.write(folder / source.name, np.asarray(gray.convert("RGB")))
            paths.append(str(folder / source.name))
    return sorted(paths, key=lambda path: (Path(path).stem != FIRST_EXAMPLE, path))


# --- the page ---


def build_page(colorizer: Colorizer, folder: Path) -> gr.Blocks:
    """The page, opened with an example that is coloured already.

    Args:
      colorizer: what colours.
      folder: where its files go; see `private_folder`.
    """
    examples = write_examples(folder)
    decode = colorizer.decode
    view = View(examples[0], Settings(decode))
    pictures, words = paint(colorizer, folder, view)
    with gr.Blocks(
        title="colorjax", analytics_enabled=False, delete_cache=(600, HOURS * 3600)
    ) as blocks:
        gr.Markdown(HEADER, elem_id="header")
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=7, min_width=320):
                result = _result(pictures, words)
                samples = _samples(visible=decode is not None)
                gr.Markdown(ABOUT, elem_id="about")
            with gr.Column(scale=4, min_width=300):
                chooser = _chooser(examples)
                controls = _controls(colorizer)
        blocks.load(None, None, None, js=_naming(examples))
        page = Page(gr.State(view), *result, *chooser, controls, *samples)
        _wire(Events(page, colorizer, folder, examples))
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)


def _naming(examples: list[str]) -> str:
    """A script that names the examples to those who cannot see them."""
    names = json.dumps([Path(path).stem.replace("_", " ") for path in examples])
    return (
        f"() => {{ const names = {names};"
        ' document.querySelectorAll("#examples button").forEach((b, i) => b.ariaLabel = names[i]);'
        " }"
    )


def _result(pictures: tuple[str, str], words: str) -> tuple:
    slider = gr.ImageSlider(
        pictures, label="Before and after", show_label=False, interactive=False, max_height=640,
        buttons=["fullscreen"], elem_id="result",
    )  # fmt: skip
    with gr.Row(elem_id="below"):
        words = gr.HTML(words, padding=False, elem_id="caption")
        download = gr.Button(SAVE, variant="primary", elem_id="download")
    return slider, words, download, gr.DownloadButton(visible=False)


def _chooser(examples: list[str]) -> tuple:
    upload = gr.File(
        file_types=["image"], label="Your photo", height=130, elem_id="upload",
    )  # fmt: skip
    message = gr.HTML(padding=False, elem_id="message")
    dataset = gr.Dataset(
        components=[gr.Image(visible=False)], samples=[[path] for path in examples], type="index",
        label="Or one of these", samples_per_page=len(examples), elem_id="examples",
    )  # fmt: skip
    return upload, message, dataset


def _controls(colorizer: Colorizer) -> tuple:
    """Controls in the order of `Settings`; a network that has nothing to decode has fewer."""
    choice = colorizer.decode is not None
    with gr.Accordion("How it is coloured", open=True, elem_id="settings"):
        decoder = gr.Radio(
            DECODERS, value=colorizer.decode, label="Which colour is taken", visible=choice,
            elem_id="decoder",
            info="Where several are possible. Most likely is vivid, and may be patchy; Average is "
            "calm and pale; One draw takes any, by its chance.",
        )  # fmt: skip
        rare = _rare_colours(colorizer.rebalance)
        saturation = gr.Slider(
            0.0, 2.0, 1.0, step=0.05, label="Strength", buttons=[],
            info="0 is gray, 1 as the network has it.",
        )  # fmt: skip
        daring = gr.Slider(
            0.05, 1.5, colorizer.temperature or 1.0, step=0.01, label="Daring (temperature)",
            visible=choice, buttons=[],
            info="Of In between and of draws: low keeps to likely colours, high tries others.",
        )  # fmt: skip
        seed = gr.Number(
            0, minimum=0, maximum=2**31 - 1, precision=0, label="Number of the draw (seed)",
            visible=choice,
            info="The same number always gives the same colours. Several draws begin with it.",
        )  # fmt: skip
        edges = gr.Checkbox(
            True, label="Keep colours inside outlines",
            info="Lets colour end where the photo has an edge.",
        )  # fmt: skip
    return decoder, daring, rare, saturation, seed, edges


def _rare_colours(rebalance: float | None) -> gr.components.Component:
    if rebalance is None:
        return gr.Number(None, visible=False)
    return gr.Slider(
        0.0, 1.0, rebalance, step=0.05, label="Rare colours (rebalance)", buttons=[],
        elem_id="rare", info="0 keeps to what is usual, 1 is vivid and errs more often.",
    )


def _samples(visible: bool) -> tuple:
    with gr.Column(visible=visible, elem_id="samples"):
        gr.Markdown(
            "### It may also have been like this\n"
            "Each picture is one draw from what the network thinks possible. "
            "Click one to see it above."
        )
        with gr.Row(elem_id="drawing"):
            count = gr.Slider(
                2, MOST_SAMPLES, 4, step=1, label="How many", buttons=[], elem_id="count"
            )
            draw = gr.Button(DRAW, elem_id="draw")
        gallery = gr.Gallery(
            visible=False, columns=4, height="auto", allow_preview=False, show_label=False,
            buttons=[], interactive=False, elem_id="gallery",
        )  # fmt: skip
    return count, draw, gallery, gr.State(0)


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


def _wire(events: Events) -> None:
    """Says which part of the page has which event, and what that reads and changes."""
    page, controls = events.page, [*events.page.controls]
    decoder, _, _, _, seed, _ = controls
    shown = [page.view, page.slider, page.caption, page.message]
    on = functools.partial(_on, page.message)
    on(page.upload.upload, events.choose, [page.upload, *controls], [*shown, page.gallery],
       show_progress_on=page.slider, api_name="colorize", api_visibility="public")  # fmt: skip
    on(page.examples.click, events.take_example, [page.examples, *controls],
       [*shown, page.gallery, page.upload], show_progress_on=page.slider)  # fmt: skip
    any_control = functools.partial(gr.on, [part.input for part in controls])
    on(any_control, events.change, [page.view, *controls], shown, show_progress_on=page.slider,
       show_progress="minimal", trigger_mode="always_last")  # fmt: skip
    on(page.gallery.select, events.take_draw, [page.view, page.drawn, *controls],
       [*shown, decoder, seed], show_progress_on=page.slider)  # fmt: skip
    gr.on([page.examples.click, page.gallery.select], None, js=SHOW_RESULT)
    on(_busy(page.draw), events.draw, [page.view, page.count, *controls],
       [page.gallery, page.drawn, page.message], show_progress="hidden",
    ).then(lambda: gr.Button(DRAW, interactive=True), None, page.draw, **ASIDE)  # fmt: skip
    ready = on(_busy(page.download), events.prepare, page.view, [page.file, page.message],
               show_progress="hidden", api_name="download", api_visibility="public")  # fmt: skip
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
    return listen(
        told, inputs, outputs, concurrency_limit=1, concurrency_id="network", **settings
    )


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
        decode, temperature, rebalance, saturation, int(seed or 0),
        "guided" if edges else "bilinear",
    )  # fmt: skip


# --- the server ---


class Guard:
    """Keeps gradio to the page: it refuses what is none of it, and the page asks no other host."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        app = self.app
        if scope["type"] == "http" and _is_refused(scope["path"]):
            app = PlainTextResponse("not part of this page", 403)
        await app(scope, receive, send_with_policy)


def _is_refused(path: str) -> bool:
    return path.lower().removeprefix("/gradio_api/").startswith(REFUSED)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, for all that gradio writes; gone in the end."""
    with tempfile.TemporaryDirectory(prefix="colorjax-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        ours = {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        before = {variable: os.environ.get(variable) for variable in ours}
        os.environ.update(ours)
        try:
            yield folder
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value


@contextlib.contextmanager
def running(
    colorizer: Colorizer, *, host: str = LOOPBACK[0], port: int = 7860
) -> Iterator[gr.Blocks]:
    """Runs the page while the block does.

    Raises:
      UserError: the port is taken, or there is no such host.
    """
    hosts = [*LOOPBACK] if host in LOOPBACK else ["*"]
    with private_folder() as folder:
        blocks = build_page(colorizer, folder)
        try:
            blocks.launch(
                server_name=host, server_port=port, prevent_thread_lock=True, quiet=True,
                share=False, inbrowser=False, show_error=False, footer_links=[], run_history=False,
                max_file_size=MAX_UPLOAD_BYTES, enable_monitoring=False, mcp_server=False,
                ssr_mode=False, pwa=False, num_workers=None, theme=_theme(), i18n=WORDS,
                css=resources.files("colorjax.coloring.page").joinpath("demo.css").read_text(),
                app_kwargs={"middleware": [
                    # Else a page elsewhere whose name leads to this machine could read this one.
                    Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
                    Middleware(Guard),
                ]},
            )  # fmt: skip
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}, port {port}: {error}; want another --port or --host"
            ) from error
        try:
            yield blocks
        finally:
            blocks.close(verbose=False)


def _theme() -> gr.themes.Base:
    """Grays, so that no colour of the page vies with those of the photo; the system's own fonts."""
    return gr.themes.Base(
        primary_hue="stone", secondary_hue="stone", neutral_hue="stone",
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"],
        radius_size="lg",
    ).set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_600",
    )  # fmt: skip


def serve(
    colorizer: Colorizer,
    *,
    host: str = LOOPBACK[0],
    port: int = 7860,
    open_browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
      colorizer: what colours.
      host: address to listen on; 0.0.0.0 lets other machines in.
      port: likewise.
      open_browser: whether to show the page at once.
      say: is told where the page is.

    Raises:
      UserError: as `running`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), running(colorizer, host=host, port=port) as page:
        say(f"the page is at {page.local_url} until Ctrl-C")
        if open_browser:
            webbrowser.open(page.local_url)
        threading.Event().wait()
