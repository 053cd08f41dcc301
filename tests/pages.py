"""The page of a small network, its server, and helpers that act as its visitors."""

import os
import socket
import time
from pathlib import Path

import gradio_client
import numpy as np
import pytest
from networks import save_run, tiny_network
from PIL import Image

from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import server as page_server
from colorjax.coloring.page import view as page_view
from colorjax.coloring.page.folder import private_folder

MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    return Colorizer(save_run(tmp_path_factory.mktemp("run"), tiny_network()))


@pytest.fixture
def studio(colorizer, tmp_path):
    (tmp_path / "page").mkdir()
    return page_view.open_studio(colorizer, tmp_path / "page")


@pytest.fixture(scope="module")
def server(colorizer):
    with pytest.MonkeyPatch.context() as patch, private_folder() as folder:
        patch.setattr(page_server, "MAX_UPLOAD_BYTES", MOST_BYTES)
        with page_server.running(colorizer, folder, port=free_port()) as page:
            yield page


def free_port() -> int:
    with socket.socket() as a_socket:
        a_socket.bind(("127.0.0.1", 0))
        return a_socket.getsockname()[1]


def folder_of_files() -> Path:
    """Returns the folder of the running page's files."""
    return Path(os.environ["GRADIO_TEMP_DIR"])


def picture(height=70, width=90, seed=0) -> np.ndarray:
    """Returns a smooth gray picture with some grain: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(20, 236, (4, 5), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(cells).resize((width, height), Image.BICUBIC), int)
    grainy = np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)
    return np.repeat(grainy[..., None], 3, -1)


def write(path: Path, rgb_u8: np.ndarray, **options) -> str:
    Image.fromarray(rgb_u8).save(path, **options)
    return str(path)


def rgb_of(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


CONTROLS = ("argmax", 0.4, None, 1.0, 0, True)


def visit(url: str) -> gradio_client.Client:
    return gradio_client.Client(url, verbose=False)


def choose(client: gradio_client.Client, *paths: str) -> str:
    """Uploads photos as the page does; returns the error message."""
    files = [gradio_client.handle_file(path) for path in paths]
    return client.predict(files, api_name="/choose")[-1]


def ask(url: str, path: str):
    """Colours a photo for a new visitor: client, pictures before and after, caption, error."""
    client = visit(url)
    message = choose(client, path)
    pictures, caption, later, *_ = client.predict(*CONTROLS, api_name="/colorize")
    # The page returns text only if the message changes.
    return client, pictures, caption, later if isinstance(later, str) else message


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()
