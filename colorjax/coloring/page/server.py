"""Puts the page together and serves it, to this machine alone unless told."""

import contextlib
import os
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import layout
from colorjax.coloring.page.events import Events, wire
from colorjax.coloring.page.view import HOURS, View, paint, write_examples
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError

MAX_UPLOAD_BYTES = 200 * 2**20
WAITING = 100  # visitors in the queue, more are told to come back
LOOPBACK = ("127.0.0.1", "localhost")

# Of what gradio serves beside the page: what fetches from other machines, or runs programs.
REFUSED = (
    "file=http",
    "proxy=",
    "process_recording",
    "vibe",
    "undo-vibe",
    "deep_link",
    "run-history",
)
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; object-src 'none'"
)
# In place of gradio's own words.
WORDS = gr.I18n(
    en={"upload_text.drop_file": "Drop a photo here", "upload_text.click_to_upload": "Choose one"}
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
    pictures, words = paint(colorizer, folder, view)
    with gr.Blocks(
        title="colorjax", analytics_enabled=False, delete_cache=(600, HOURS * 3600)
    ) as blocks:
        gr.Markdown(layout.HEADER, elem_id="header")
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=7, min_width=320):
                result = layout.result(pictures, words)
                samples = layout.samples(visible=decode is not None)
                gr.Markdown(layout.ABOUT, elem_id="about")
            with gr.Column(scale=4, min_width=300):
                chooser = layout.chooser(examples)
                controls = layout.controls(colorizer)
        blocks.load(None, None, None, js=layout.naming(examples))
        page = layout.Page(gr.State(view), *result, *chooser, controls, *samples)
        wire(Events(page, colorizer, folder, examples))
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)


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
                server_name=host,
                server_port=port,
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
                theme=_theme(),
                i18n=WORDS,
                css=resources.files("colorjax.coloring.page").joinpath("demo.css").read_text(),
                app_kwargs={
                    "middleware": [
                        # Else a page elsewhere whose name leads here could read this one.
                        Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
                        Middleware(Guard),
                    ]
                },
            )
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
