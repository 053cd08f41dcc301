"""Builds the page and serves it, by default to this machine only."""

import contextlib
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import layout
from colorjax.coloring.page.events import Events, photo_data
from colorjax.coloring.page.files import HOURS
from colorjax.coloring.page.guard import (
    LOOPBACK,
    Guard,
    KnownHosts,
    bracketed,
    check_proxy_options,
    known_hosts,
)
from colorjax.coloring.page.limits import (
    MAX_UPLOAD_BYTES,
    MAX_UPLOADS_AT_ONCE,
    check_cancelled,
    open_lanes,
)
from colorjax.coloring.page.view import View, open_studio, paint, write_examples
from colorjax.coloring.page.wiring import wire
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError

MAX_QUEUED = 100  # events in gradio's queue; further ones are rejected
# Seconds between two polls by gradio for queued events, and for progress updates. The page has no
# progress updates.
POLL_SECONDS = 0.05, 1.0

# Replaces gradio's own texts.
TRANSLATIONS = gr.I18n(
    en={
        "upload_text.drop_file": "Drop or paste photos here",
        "upload_text.click_to_upload": "Choose some",
    }
)
# Arguments of gradio's `launch` that switch off what this page does not use.
_LAUNCH_OPTIONS: dict[str, Any] = {
    "prevent_thread_lock": True,
    "quiet": True,
    "share": False,
    "inbrowser": False,
    "show_error": False,
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "ssr_mode": False,
    "pwa": False,
    "num_workers": None,
    # Otherwise gradio requests its own page, and fails if the answer is slow.
    "_frontend": False,
}


def build_page(colorizer: Colorizer, folder: Path) -> gr.Blocks:
    """Builds the page, which initially shows a coloured example.

    Args:
      colorizer: colours the photos.
      folder: for the page's files; see `private_folder`.
    """
    examples = write_examples(folder)
    decode = colorizer.decode
    view = View(examples[0], ColorSettings(decode))
    studio = open_studio(colorizer.between(check_cancelled), folder)
    pictures, words = paint(studio, view)
    with gr.Blocks(
        title="colorjax", analytics_enabled=False, delete_cache=(600, HOURS * 3600)
    ) as blocks:
        gr.Markdown(layout.HEADER, elem_id="header")
        # The first column is shown on the right; on a phone, it comes before the picture.
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=4, min_width=300):
                chooser = layout.chooser()
                dataset = layout.examples(examples)
                settings = layout.controls(colorizer)
                reference = layout.reference_panel()
            with gr.Column(scale=7, min_width=320):
                slider = layout.slider(pictures)
                hinting = layout.hinting(photo_data(studio, view))
                below = layout.below(words)
                samples = layout.samples(visible=decode is not None)
                gr.Markdown(layout.ABOUT, elem_id="about")
        blocks.load(None, None, None, js=layout.script(examples))
        states = gr.State(view), gr.State([]), gr.State(None), gr.State(None), gr.State({})
        page = layout.Page(
            *(*states, *chooser, slider, *hinting, *below, dataset, *settings, reference, *samples)
        )
        events = Events(page, studio, examples, open_lanes())
        wire(events)
        blocks.unload(events.leave)
    # `api_open=False`: no direct calls that bypass the queue.
    blocks.queue(max_size=MAX_QUEUED, default_concurrency_limit=1, api_open=False)
    # By default, it polls a thousand times a second for events and a hundred times for progress.
    blocks._queue.sleep_when_free, blocks._queue.progress_update_sleep_when_free = POLL_SECONDS
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
    """Serves the page while the `with` block runs.

    Args:
      colorizer: colours the photos.
      folder: for all files; see `private_folder`.
      host: address to listen on; 0.0.0.0 accepts connections from other machines.
      port: to listen on.
      root_path: where a reverse proxy serves the page: a path that begins with /, or a URL.
      allow_hosts: host names under which a reverse proxy serves the page.

    Raises:
      UserError: the port is in use, the host does not exist, or `root_path` or a host name is
        malformed.
    """
    check_proxy_options(root_path, allow_hosts)
    blocks = build_page(colorizer, folder)
    try:
        blocks.launch(
            server_name=bracketed(host),
            server_port=port,
            root_path=root_path,
            max_file_size=MAX_UPLOAD_BYTES,
            theme=_theme(),
            i18n=TRANSLATIONS,
            css=resources.files("colorjax.coloring.page").joinpath("demo.css").read_text(),
            app_kwargs={"middleware": _middleware(blocks, folder, host, allow_hosts)},
            **_LAUNCH_OPTIONS,
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error}; want another --port or --host"
        ) from error
    try:
        yield blocks
    finally:
        blocks.close(verbose=False)


def _middleware(
    blocks: gr.Blocks, folder: Path, host: str, allow_hosts: Sequence[str]
) -> list[Middleware]:
    origins = [name.lower() for name in allow_hosts]
    return [
        # Against DNS rebinding: a page of another site whose host name resolves to this machine.
        Middleware(KnownHosts, hosts=known_hosts(host, allow_hosts)),
        Middleware(
            Guard,
            folder=folder,
            uploads=blocks.upload_file_set,
            origins=origins,
            max_bytes=MAX_UPLOADS_AT_ONCE * MAX_UPLOAD_BYTES,
        ),
    ]


def _theme() -> gr.themes.Base:
    """Returns a theme in grays, which do not compete with the photo, and in system fonts."""
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
      say: prints a sentence: the address of the page.

    Raises:
      UserError: as `running`.
    """
    with contextlib.suppress(KeyboardInterrupt), running(colorizer, folder, **options) as page:
        address = str(page.local_url)
        say(f"the page is at {address} until Ctrl-C")
        if open_browser:
            webbrowser.open(address)
        threading.Event().wait()
