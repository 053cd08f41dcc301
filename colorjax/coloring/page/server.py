"""Puts the page together and serves it, to this machine alone unless told."""

import contextlib
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import layout
from colorjax.coloring.page.events import Events, board
from colorjax.coloring.page.files import HOURS
from colorjax.coloring.page.guard import LOOPBACK, Guard, KnownHosts, check_names, known_hosts
from colorjax.coloring.page.limits import (
    MAX_UPLOAD_BYTES,
    UPLOADED_AT_ONCE,
    check_cancelled,
    open_lanes,
)
from colorjax.coloring.page.view import View, open_studio, paint, write_examples
from colorjax.coloring.page.wiring import wire
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError

WAITING = 100  # visitors in the queue, more are told to come back
# Seconds between gradio's looks for work, and for news of work, of which the page has none.
IDLE = 0.05, 1.0

# In place of gradio's own words.
WORDS = gr.I18n(
    en={
        "upload_text.drop_file": "Drop or paste photos here",
        "upload_text.click_to_upload": "Choose some",
    }
)


def build_page(colorizer: Colorizer, folder: Path) -> gr.Blocks:
    """The page, opened with an example that is coloured already.

    Args:
      colorizer: what colours.
      folder: where its files go; see `private_folder`.
    """
    examples = write_examples(folder)
    decode = colorizer.decode
    view = View(examples[0], Settings(decode))
    studio = open_studio(colorizer.between(check_cancelled), folder)
    pictures, words = paint(studio, view)
    with gr.Blocks(
        title="colorjax", analytics_enabled=False, delete_cache=(600, HOURS * 3600)
    ) as blocks:
        gr.Markdown(layout.HEADER, elem_id="header")
        # The first column is the right one, and on a phone comes before the picture.
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=4, min_width=300):
                chooser = layout.chooser()
                dataset = layout.examples(examples)
                settings = layout.controls(colorizer)
                lending = layout.lending()
            with gr.Column(scale=7, min_width=320):
                slider = layout.slider(pictures)
                hinting = layout.hinting(board(studio, view))
                below = layout.below(words)
                samples = layout.samples(visible=decode is not None)
                gr.Markdown(layout.ABOUT, elem_id="about")
        blocks.load(None, None, None, js=layout.script(examples))
        states = gr.State(view), gr.State([]), gr.State(None), gr.State(None), gr.State({})
        page = layout.Page(
            *(*states, *chooser, slider, *hinting, *below, dataset, *settings, lending, *samples)
        )
        events = Events(page, studio, examples, open_lanes())
        wire(events)
        blocks.unload(events.leave)
    # Nobody goes around the queue.
    blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    # It looks for work a thousand times a second, and for news of it a hundred times.
    blocks._queue.sleep_when_free, blocks._queue.progress_update_sleep_when_free = IDLE
    return blocks


@contextlib.contextmanager
def running(
    colorizer: Colorizer,
    folder: Path,
    *,
    host: str = LOOPBACK[0],
    port: int = 7860,
    root_path: str = "",
    allow_hosts: Sequence[str] = (),
) -> Iterator[gr.Blocks]:
    """Runs the page while the block does.

    Args:
      colorizer: what colours.
      folder: where all files go; see `private_folder`.
      host: address to listen on; 0.0.0.0 lets other machines in.
      port: likewise.
      root_path: where a proxy has the page: a path that begins with /, or a whole address.
      allow_hosts: names under which a proxy has it.

    Raises:
      UserError: the port is taken, there is no such host, or a name or path is none.
    """
    check_names(root_path, allow_hosts)
    blocks = build_page(colorizer, folder)
    try:
        blocks.launch(
            server_name=f"[{host}]" if ":" in host and host[0] != "[" else host,
            server_port=port,
            root_path=root_path,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            show_error=False,
            footer_links=[],
            run_history=False,
            max_file_size=MAX_UPLOAD_BYTES,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            num_workers=None,
            # It would ask the page for itself, and take a slow answer for none.
            _frontend=False,
            theme=_theme(),
            i18n=WORDS,
            css=resources.files("colorjax.coloring.page").joinpath("demo.css").read_text(),
            app_kwargs={"middleware": _guards(blocks, folder, host, allow_hosts)},
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error}; want another --port or --host"
        ) from error
    try:
        yield blocks
    finally:
        blocks.close(verbose=False)


def _guards(
    blocks: gr.Blocks, folder: Path, host: str, allow_hosts: Sequence[str]
) -> list[Middleware]:
    names = [name.lower() for name in allow_hosts]
    return [
        # Else a page elsewhere whose name leads here could read this one.
        Middleware(KnownHosts, names=known_hosts(host, allow_hosts)),
        Middleware(
            Guard,
            folder=folder,
            uploads=blocks.upload_file_set,
            names=names,
            most_bytes=UPLOADED_AT_ONCE * MAX_UPLOAD_BYTES,
        ),
    ]


def _theme() -> gr.themes.Base:
    """Grays, so that no colour of the page vies with those of the photo; the system's own fonts."""
    return gr.themes.Base(
        primary_hue="stone",
        secondary_hue="stone",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size="lg",
    ).set(
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_600",
    )


def serve(
    colorizer: Colorizer,
    folder: Path,
    *,
    open_browser: bool = True,
    say: Callable[[str], None] = print,
    **options,
) -> None:
    """Serves the page until Ctrl-C.

    Args:
      colorizer, folder, **options: as `running`.
      open_browser: whether to show the page at once.
      say: is told where the page is.

    Raises:
      UserError: as `running`.
    """
    with contextlib.suppress(KeyboardInterrupt), running(colorizer, folder, **options) as page:
        address = str(page.local_url)
        say(f"the page is at {address} until Ctrl-C")
        if open_browser:
            webbrowser.open(address)
        threading.Event().wait()
