import fcntl
import io
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from networks import rebalanced_network, save_run, tiny_network
from pictures import gray_steps, spread
from PIL import Image

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

import click.testing
import gradio_client
import httpx
from gradio import route_utils

from colorjax import cli
from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import events, layout
from colorjax.coloring.page import server as page_server
from colorjax.coloring.page import view as page_view
from colorjax.coloring.settings import Settings
from colorjax.errors import UserError

# Where Debian puts it.
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MOST_BYTES = 2_000_000
RARE = "Rare colours (rebalance)"
# The addresses of what the slider shows.
SHOWN = "[...document.querySelectorAll('#result img')].map(i => i.src).join(' ')"


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    return Colorizer(save_run(tmp_path_factory.mktemp("run"), tiny_network()))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page").mkdir()
    return tmp_path / "page"


def free_port() -> int:
    with socket.socket() as a_socket:
        a_socket.bind(("127.0.0.1", 0))
        return a_socket.getsockname()[1]


@pytest.fixture(scope="module")
def server(colorizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_server, "MAX_UPLOAD_BYTES", MOST_BYTES)
        with page_server.running(colorizer, port=free_port()) as page:
            yield page


def picture(height=70, width=90, seed=0) -> np.ndarray:
    """Gray, smooth, with some grain: uint8 [height, width, 3]."""
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


# --- from a view to pictures ---


def test_large_photos_are_shown_small_and_downloaded_in_full(colorizer, folder, tmp_path):
    photo = picture(900, 2400)
    view = page_view.View(write(tmp_path / "a.png", photo), Settings("argmax"))
    (before, after), _ = page_view.paint(colorizer, folder, view)
    assert rgb_of(before).shape == rgb_of(after).shape == (600, 1600, 3)
    full = rgb_of(page_view.full_size(colorizer, folder, view))
    assert full.shape == photo.shape
    assert np.abs(gray_steps(full) - gray_steps(photo)).max() <= 1.0
    assert spread(rgb_of(before)) < 1.0 < 5.0 < spread(rgb_of(after))


def test_the_download_is_what_the_page_shows_and_keeps_name_alpha_and_metadata(
    colorizer, folder, tmp_path
):
    alpha = np.tile(np.linspace(0, 255, 90, dtype=np.uint8), (70, 1))
    exif = Image.Exif()
    exif[315] = "somebody"
    path = write(tmp_path / "old house.png", np.dstack([picture(), alpha]), exif=exif, dpi=(72, 72))
    view = page_view.View(path, Settings("sample", 0.5, seed=3))
    target = Path(page_view.full_size(colorizer, folder, view))
    assert target.name == "old house_color.png"
    result = Image.open(target)
    assert result.getexif()[315] == "somebody" and round(result.info["dpi"][0]) == 72
    np.testing.assert_array_equal(np.asarray(result)[..., 3], alpha)
    (_, after), _ = page_view.paint(colorizer, folder, view)
    seen = page_view.on_white(np.asarray(result)[..., :3], alpha)
    assert np.abs(seen.astype(int) - rgb_of(after)).mean() < 3.0


def test_samples_are_the_views_of_the_next_seeds(colorizer, folder, tmp_path):
    view = page_view.View(write(tmp_path / "a.png", picture()), Settings("argmax", 0.8, seed=5))
    found = page_view.draw_samples(colorizer, folder, view, 3)
    assert [words for _, words in found] == ["Draw 5", "Draw 6", "Draw 7"]
    third = view._replace(settings=view.settings._replace(decode="sample", seed=7))
    (_, after), _ = page_view.paint(colorizer, folder, third)
    np.testing.assert_array_equal(rgb_of(found[2][0]), rgb_of(after))
    assert np.abs(rgb_of(found[0][0]).astype(int) - rgb_of(after)).mean() > 0.5


def test_what_is_to_be_known_about_a_photo_is_said_and_its_name_is_no_markup(
    colorizer, folder, tmp_path
):
    colours = np.full((40, 50, 3), (200, 90, 30), np.uint8)
    view = page_view.View(write(tmp_path / "<i>a.png", colours), Settings())
    _, words = page_view.paint(colorizer, folder, view)
    assert "&lt;i&gt;a.png</b>" in words and "50 &times; 40" in words
    assert "This photo has colours of its own, which the network does not get to see." in words
    whole = tmp_path / "b.jpg"
    write(whole, picture(200, 200), quality=95)
    whole.write_bytes(whole.read_bytes()[:9000])
    _, words = page_view.paint(colorizer, folder, page_view.View(str(whole), Settings()))
    assert "This photo is cut short:" in words and "own" not in words


def test_a_photo_that_was_cleaned_up_is_asked_for_again(colorizer, folder):
    with pytest.raises(UserError, match="^a.jpg: is deleted by now, 6 hours on: please choose it"):
        page_view.paint(colorizer, folder, page_view.View("/nowhere/a.jpg", Settings()))


def test_the_examples_are_the_bundled_photographs_in_gray(folder):
    examples = page_view.write_examples(folder)
    assert len(examples) == 12 and Path(examples[0]).stem == page_view.FIRST_EXAMPLE
    assert max(spread(rgb_of(path)) for path in examples) == 0.0


def test_a_network_with_nothing_to_decode_has_no_controls_for_it(tmp_path, folder):
    run = save_run(tmp_path, tiny_network(objective="regression"))
    blocks = page_server.build_page(Colorizer(run), folder)
    parts = {part.label: part.visible for part in blocks.blocks.values() if hasattr(part, "label")}
    assert not parts["Which colour is taken"] and not parts["Daring (temperature)"]
    assert parts["Strength"] and parts["Keep colours inside outlines"]
    assert RARE not in parts


def test_a_network_of_rebalanced_training_has_a_control_for_it(tmp_path, folder):
    colorizer = Colorizer(save_run(tmp_path, rebalanced_network(0.4)))
    blocks = page_server.build_page(colorizer, folder)
    parts = {part.label: part for part in blocks.blocks.values() if hasattr(part, "label")}
    assert parts[RARE].visible and parts[RARE].value == 0.4
    photo = page_view.write_examples(folder)[0]
    views = [page_view.View(photo, Settings(rebalance=share)) for share in (1.0, 0.0)]
    rare, usual = (rgb_of(page_view.paint(colorizer, folder, view)[0][1]) for view in views)
    assert np.abs(rare.astype(int) - usual).mean() > 1


# --- the server ---


def test_its_files_are_private_and_go_with_it(colorizer, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/somewhere/else")
    with page_server.running(colorizer, port=free_port()):
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir())
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "/somewhere/else"


def test_a_port_that_is_taken_is_told_in_one_sentence(colorizer):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: .*; want another --port") as raised:
            with page_server.running(colorizer, port=port):
                pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("prefix", ["gradio_api/file=", "gradio_api/file/", "file="])
def test_no_file_of_the_machine_is_served(server, prefix, tmp_path):
    url, folder = server.local_url, os.environ["GRADIO_TEMP_DIR"]
    (tmp_path / "secret.jpg").write_bytes(b"nobody is to read this")
    inside = Path(folder, "secret")
    inside.exists() or inside.symlink_to("/etc/passwd")
    here = os.path.relpath("/etc/passwd")
    for path in (
        "/etc/passwd",
        here,
        "setup.cfg",
        str(Path("setup.cfg").resolve()),
        folder,
        str(tmp_path / "secret.jpg"),
        f"{folder}/../../etc/passwd",
        "file:///etc/passwd",
        "/proc/self/environ",
        str(inside),
        layout.__file__,
    ):
        answer = httpx.get(f"{url}{prefix}{path}")
        assert answer.status_code in (403, 404), path
        assert b"root:" not in answer.content and b"nobody" not in answer.content


def test_nothing_is_fetched_from_other_machines_and_no_other_program_is_run(server):
    url = server.local_url
    for path in (
        "file=http://127.0.0.1:1/a",
        "file=HTTPS://a.example/",
        "proxy=https://a.hf.space/",
    ):
        assert httpx.get(f"{url}gradio_api/{path}").status_code == 403
    for path in ("process_recording", "vibe-edit/", "undo-vibe-edit"):
        assert httpx.post(f"{url}gradio_api/{path}").status_code == 403
    assert "default-src 'self'" in httpx.get(url).headers["content-security-policy"]


def test_a_page_under_another_name_is_not_answered(server):
    url = server.local_url
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(url).status_code == 200


def test_uploads_have_a_limit(server):
    url = server.local_url
    for size, want in ((MOST_BYTES - 1, 200), (MOST_BYTES + 1, 413)):
        files = {"files": ("a.jpg", io.BytesIO(bytes(size)))}
        assert httpx.post(f"{url}gradio_api/upload", files=files).status_code == want


def ask(url: str, path: str, decode="argmax"):
    """Uploads a photo as the page does: before, after, what is said of it, and what is wrong."""
    client = gradio_client.Client(url, verbose=False)
    pictures, words, message, _ = client.predict(
        gradio_client.handle_file(path), decode, 0.4, None, 1.0, 0, True, api_name="/colorize"
    )
    return client, pictures, words, message


def test_ten_visitors_at_once_all_get_their_own_picture(server, tmp_path):
    url = server.local_url
    sizes = [(80 + i, 100) for i in range(10)]
    paths = [write(tmp_path / f"{i}.png", picture(*size, i)) for i, size in enumerate(sizes)]
    running, most = set(), []
    with pytest.MonkeyPatch.context() as patch:
        paint = page_view.paint

        def watched(*args):
            running.add(threading.get_ident())
            most.append(len(running))
            try:
                return paint(*args)
            finally:
                running.discard(threading.get_ident())

        patch.setattr(events, "paint", watched)
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda path: ask(url, path), paths))
    assert len(most) == 10 and max(most) == 1
    for i, (client, pictures, words, message) in enumerate(answers):
        assert not message and f"{i}.png" in words
        assert rgb_of(pictures[1]).shape == (*sizes[i], 3)
        full = rgb_of(client.predict(api_name="/download")[0])
        assert np.abs(gray_steps(full) - gray_steps(rgb_of(paths[i]))).max() <= 1.0


def test_bad_files_are_one_sentence_and_the_next_photo_is_coloured(server, tmp_path):
    url = server.local_url
    good = tmp_path / "good.png"
    write(good, picture())
    data, webp = good.read_bytes(), io.BytesIO()
    Image.fromarray(picture()).save(webp, "WEBP")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    cases = {
        "notes.jpg": (b"once upon a time", "is no JPEG, PNG, WebP, TIFF, BMP or GIF picture"),
        "bomb.png": (bomb, "has more than the 150000000 pixels"),
        "cut.webp": (webp.getvalue()[:300], "is cut short"),
        "empty.jpg": (b"", "is empty"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        _, _, _, message = ask(url, str(tmp_path / name))
        assert re.search(f'<p role="alert">{name}: .*({reason})', message), message
        assert "\n" not in message
    _, pictures, _, message = ask(url, str(good))
    assert pictures[1] and not message


def test_old_uploads_and_results_are_deleted_and_the_page_itself_is_not(server, tmp_path):
    url, folder = server.local_url, Path(os.environ["GRADIO_TEMP_DIR"])
    unique = write(tmp_path / "unique.png", picture(33, 44))
    client, pictures, _, _ = ask(url, unique)
    assert server.delete_cache == (600, 6 * 3600)
    assert list(folder.rglob("unique.png"))
    route_utils.delete_files_created_by_app(server, age=None)
    assert not list(folder.rglob("unique.png"))
    shown = re.findall(r'gradio_api/file=[^"\\]+', httpx.get(f"{url}config").text)
    assert len(shown) >= 14
    assert {httpx.get(f"{url}{path}").status_code for path in shown} == {200}
    *_, message = client.predict(api_name="/download")
    assert "unique.png: is deleted by now" in message


# --- the command ---


def test_the_command_serves_until_it_is_ended_and_leaves_nothing(tmp_path):
    run = save_run(tmp_path, tiny_network())
    (tmp_path / "tmp").mkdir()
    command = [
        sys.executable,
        "-m",
        "colorjax",
        "demo",
        "--no-open",
        "--model",
        str(run),
        "--port",
        str(port := free_port()),
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr.readline, "")
        assert any(f"the page is at http://127.0.0.1:{port}/" in line for line in lines)
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert len(list((tmp_path / "tmp").glob("colorjax-*"))) == 1
        process.send_signal(signal.SIGTERM)
        left = process.stderr.read()
    assert process.returncode == 0 and "Traceback" not in left
    assert not list((tmp_path / "tmp").glob("colorjax-*"))


def test_the_command_says_what_to_install_where_gradio_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "colorjax.coloring.page.server")
    monkeypatch.delattr("colorjax.coloring.page.server")
    result = click.testing.CliRunner().invoke(cli.main, ["demo"])
    assert result.exit_code == 2
    assert result.output == "Error: the page needs gradio: pip install 'colorjax[demo]'\n"


# --- the page in a browser ---


def chromium() -> str:
    """The browser; brought from Debian where the tests are to have one, and skipped elsewhere."""
    wanted = os.environ.get("CI") or os.environ.get("COLORJAX_TEST_BROWSER")
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        # Of the processes that tests run in, one brings it.
        with open(Path(tempfile.gettempdir(), "colorjax-chromium.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(CHROMIUM):
                apt = ["apt-get", "--quiet", "--yes"]
                subprocess.run([*apt, "update"], check=True)
                subprocess.run([*apt, "install", "--no-install-recommends", "chromium"], check=True)
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    return CHROMIUM


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def tab(request, server, tmp_path):
    """The page at the width of a desktop or a phone; it may ask no host but its own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install 'colorjax[browser]'"
    )
    asked, wrong = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium(),
            args=FLAGS,
            viewport={"width": request.param, "height": 844},
        )
        tab = browser.new_page()
        tab.on("request", lambda one: asked.append(one.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(server.local_url)
        tab.wait_for_selector("#result img")
        yield tab
        browser.close()
    inside = (server.local_url, "data:", "blob:")
    assert len(asked) > 10 and [url for url in asked if not url.startswith(inside)] == []
    assert wrong == []


def upload(tab, path) -> None:
    tab.set_input_files("#upload input[type=file]", path)


def overflow(tab) -> int:
    """Pixels by which the page is wider than the window."""
    return tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def shown(tab) -> str:
    return tab.evaluate(SHOWN)


def test_a_photo_is_coloured_compared_and_downloaded(tab, tmp_path):
    photo = picture(300, 421)
    upload(tab, write(tmp_path / "house.png", photo))
    tab.wait_for_function("document.querySelector('#caption').innerText.includes('house.png')")
    assert "421 × 300" in tab.inner_text("#caption") and overflow(tab) <= 0

    def cut():
        return tab.eval_on_selector_all("#result img", "all => all.map(i => i.style.cssText)")

    tab.wait_for_function("[...document.querySelectorAll('#result img')].every(i => i.complete)")
    before, box = cut(), tab.locator("#result").bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] / 2, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 5, y, steps=5)
    tab.mouse.up()
    assert cut() != before
    with tab.expect_download() as download:
        tab.click("#download")
    tab.wait_for_selector("#download:enabled:has-text('Download')")
    assert download.value.suggested_filename == "house_color.png"
    full = rgb_of(download.value.path())
    assert full.shape == photo.shape and spread(full) > 5.0
    assert np.abs(gray_steps(full) - gray_steps(photo)).max() <= 1.0


def test_settings_and_draws_change_what_is_shown(tab):
    tab.click("#examples button >> nth=2")
    tab.wait_for_function("document.querySelector('#caption').innerText.includes('cat.jpg')")
    seen = {shown(tab)}
    tab.get_by_label("Average").check()
    tab.wait_for_function("seen => !seen.includes(" + SHOWN + ")", arg=list(seen))
    seen.add(shown(tab))
    tab.click("#draw")
    tab.wait_for_selector("#gallery img")
    tab.wait_for_selector("#draw:enabled:has-text('Draw')")
    assert tab.locator("#gallery img").count() == 4 and overflow(tab) <= 0
    tab.click("#gallery button >> nth=2")
    tab.wait_for_function("seen => !seen.includes(" + SHOWN + ")", arg=list(seen))
    assert tab.get_by_label("One draw").is_checked()
    tab.wait_for_function("document.querySelector('#result').getBoundingClientRect().top >= 0")
    assert tab.get_by_label("Number of the draw").input_value() == "2"


def test_a_file_that_is_no_photo_is_told_and_the_page_goes_on(tab, tmp_path):
    (tmp_path / "notes.jpg").write_text("once upon a time")
    before = shown(tab)
    upload(tab, tmp_path / "notes.jpg")
    tab.wait_for_selector("#message [role=alert]")
    sentence = "notes.jpg: is no JPEG, PNG, WebP, TIFF, BMP or GIF picture"
    assert tab.inner_text("#message").strip() == sentence
    assert shown(tab) == before and overflow(tab) <= 0
    tab.click("#examples button >> nth=1")
    tab.wait_for_selector("#message [role=alert]", state="detached")
    assert tab.get_by_label("sand dune").count() == 1
