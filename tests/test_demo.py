import io
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
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
import httpx
from gradio import route_utils
from pages import (
    ask,
    choose,
    colorizer,
    folder_of_files,
    free_port,
    picture,
    rgb_of,
    server,
    visit,
    write,
)

from colorjax import cli, extras
from colorjax.coloring.api import Colorizer
from colorjax.coloring.page import events
from colorjax.coloring.page import server as page_server
from colorjax.coloring.page import view as page_view
from colorjax.coloring.page.folder import private_folder
from colorjax.coloring.settings import ColorSettings
from colorjax.errors import UserError
from colorjax.pictures import mark, tint

__all__ = ["colorizer", "server"]  # fixtures
RARE = "Rare colours (rebalance)"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page").mkdir()
    return tmp_path / "page"


@pytest.fixture
def studio(colorizer, folder):
    return page_view.open_studio(colorizer, folder)


# --- from a view to pictures ---


def test_large_photos_are_shown_small_and_downloaded_in_full(studio, tmp_path):
    photo = picture(900, 2400)
    view = page_view.View(write(tmp_path / "a.png", photo), ColorSettings("argmax"))
    (before, after), _ = page_view.paint(studio, view)
    assert rgb_of(before).shape == rgb_of(after).shape == (600, 1600, 3)
    full = rgb_of(page_view.full_size(studio, view)[0])
    assert full.shape == photo.shape
    assert np.abs(gray_steps(full) - gray_steps(photo)).max() <= 1.0
    assert spread(rgb_of(before)) < 1.0 < 5.0 < spread(rgb_of(after))


def test_the_download_looks_like_the_page_and_keeps_alpha_and_metadata(studio, tmp_path):
    alpha = np.tile(np.linspace(0, 255, 90, dtype=np.uint8), (70, 1))
    exif = Image.Exif()
    exif[315] = "somebody"
    path = write(tmp_path / "old house.png", np.dstack([picture(), alpha]), exif=exif, dpi=(72, 72))
    view = page_view.View(path, ColorSettings("sample", 0.5, seed=3))
    target = Path(page_view.full_size(studio, view)[0])
    assert target.name == "old house_color.png"
    result = Image.open(target)
    assert result.getexif()[315] == "somebody" and round(result.info["dpi"][0]) == 72
    assert mark.is_marked(target)
    np.testing.assert_array_equal(np.asarray(result)[..., 3], alpha)
    (_, after), _ = page_view.paint(studio, view)
    flattened = page_view.on_white(np.asarray(result)[..., :3], alpha)
    assert np.abs(flattened.astype(int) - rgb_of(after)).mean() < 3.0


def test_samples_are_the_views_of_consecutive_seeds(studio, tmp_path):
    view = page_view.View(
        write(tmp_path / "a.png", picture()), ColorSettings("argmax", 0.8, seed=5)
    )
    found = page_view.draw_samples(studio, view, 3)
    assert [caption for _, caption in found] == ["Draw 5", "Draw 6", "Draw 7"]
    third = view._replace(settings=view.settings._replace(decode="sample", seed=7))
    (_, after), _ = page_view.paint(studio, third)
    np.testing.assert_array_equal(rgb_of(found[2][0]), rgb_of(after))
    assert np.abs(rgb_of(found[0][0]).astype(int) - rgb_of(after)).mean() > 0.5


def test_the_caption_describes_the_photo_and_escapes_its_name(studio, tmp_path):
    colours = np.full((40, 50, 3), (200, 90, 30), np.uint8)
    colours[:20] = (30, 90, 200)
    view = page_view.View(write(tmp_path / "<i>a.png", colours), ColorSettings())
    _, caption = page_view.paint(studio, view)
    assert "&lt;i&gt;a.png</b>" in caption and "50 &times; 40" in caption
    assert "This photo has colours of its own, which the network does not get to see." in caption
    whole = tmp_path / "b.jpg"
    write(whole, picture(200, 200), quality=95)
    whole.write_bytes(whole.read_bytes()[:9000])
    _, caption = page_view.paint(studio, page_view.View(str(whole), ColorSettings()))
    assert "This photo is cut short:" in caption and "own" not in caption


def test_a_sepia_photo_counts_as_one_without_colours(studio, tmp_path):
    toned = picture() * np.array([1.0, 0.8, 0.55])
    view = page_view.View(write(tmp_path / "a.png", toned.astype(np.uint8)), ColorSettings())
    assert "of its own" not in page_view.paint(studio, view)[1]
    assert not tint.has_colours(toned.astype(np.uint8))


def test_a_deleted_photo_has_to_be_chosen_again(studio):
    with pytest.raises(UserError, match="^a.jpg: was deleted after 6 hours: please choose it"):
        page_view.paint(studio, page_view.View("/nowhere/a.jpg", ColorSettings()))


def test_the_examples_are_the_bundled_photographs_in_gray(folder):
    examples = page_view.write_examples(folder)
    assert len(examples) == 12 and Path(examples[0]).stem == page_view.FIRST_EXAMPLE
    assert max(spread(rgb_of(path)) for path in examples) == 0.0


def test_a_regression_network_has_no_controls_for_decoding(tmp_path, folder):
    run = save_run(tmp_path, tiny_network(objective="regression"))
    blocks = page_server.build_page(Colorizer(run), folder)
    parts = {part.label: part.visible for part in blocks.blocks.values() if hasattr(part, "label")}
    assert not parts["Which colour is taken"] and not parts["Daring (temperature)"]
    assert parts["Strength"] and parts["Keep colours inside outlines"]
    assert RARE not in parts


def test_a_rebalanced_network_has_a_control_for_rebalancing(tmp_path, folder):
    colorizer = Colorizer(save_run(tmp_path, rebalanced_network(0.4)))
    studio = page_view.open_studio(colorizer, folder)
    blocks = page_server.build_page(colorizer, folder)
    parts = {part.label: part for part in blocks.blocks.values() if hasattr(part, "label")}
    assert parts[RARE].visible and parts[RARE].value == 0.4
    photo = page_view.write_examples(folder)[0]
    views = [page_view.View(photo, ColorSettings(rebalance=share)) for share in (1.0, 0.0)]
    rare, usual = (rgb_of(page_view.paint(studio, view)[0][1]) for view in views)
    assert np.abs(rare.astype(int) - usual).mean() > 1


# --- the server ---


def test_the_servers_files_are_private_and_deleted_at_its_end(colorizer, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/somewhere/else")
    with private_folder() as folder, page_server.running(colorizer, folder, port=free_port()):
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir())
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "/somewhere/else"


def test_a_port_that_is_in_use_is_a_one_sentence_error(colorizer, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: .*; want another --port") as raised:
            with page_server.running(colorizer, tmp_path, port=port):
                pass
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_ten_visitors_at_once_all_get_their_own_picture(server, tmp_path):
    url = server.local_url
    sizes = [(80 + i, 100) for i in range(10)]
    paths = [write(tmp_path / f"{i}.png", picture(*size, i)) for i, size in enumerate(sizes)]
    running, counts = set(), []
    with pytest.MonkeyPatch.context() as patch:
        paint = page_view.paint

        def counting(*args):
            running.add(threading.get_ident())
            counts.append(len(running))
            try:
                return paint(*args)
            finally:
                running.discard(threading.get_ident())

        patch.setattr(events, "paint", counting)
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda path: ask(url, path), paths))
    assert len(counts) == 10 and max(counts) == 1
    for i, (client, pictures, caption, message) in enumerate(answers):
        assert not message and f"{i}.png" in caption
        assert rgb_of(pictures[1]).shape == (*sizes[i], 3)
        full = rgb_of(client.predict(api_name="/download")[0])
        assert np.abs(gray_steps(full) - gray_steps(rgb_of(paths[i]))).max() <= 1.0


def test_bad_files_get_one_sentence_and_the_next_photo_is_coloured(server, tmp_path, capsys):
    url = server.local_url
    good = tmp_path / "good.png"
    write(good, picture())
    data, webp = good.read_bytes(), io.BytesIO()
    Image.fromarray(picture()).save(webp, "WEBP")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    cases = {
        "notes.jpg": (
            b"once upon a time",
            "is not a JPEG, PNG, WebP, TIFF, BMP, HEIF, AVIF, JPEG 2000, JPEG XL or GIF picture",
        ),
        "bomb.png": (bomb, "has more than the 150000000 pixels"),
        "cut.webp": (webp.getvalue()[:300], "is cut short"),
        "empty.jpg": (b"", "is empty"),
        "letter.pdf": (b"%PDF-1.7\n", "is not a JPEG, PNG"),
        "film.mp4": (b"\0\0\0\x18ftypmp42", "is not a JPEG, PNG"),
        "raw.cr2": (b"II*\0\x10\0\0\0CR\x02\0", "is a camera&#x27;s raw file"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        message = choose(visit(url), str(tmp_path / name))
        assert re.search(f'<p role="alert">{name}: .*({reason})', message), message
        assert "\n" not in message
    _, pictures, _, message = ask(url, str(good))
    assert pictures[1] and not message
    assert "Traceback" not in capsys.readouterr().err


def test_a_download_is_a_png_or_jpeg_and_reports_what_is_lost(server, tmp_path):
    alpha = np.full((70, 90), 99, np.uint8)
    client, *_ = ask(server.local_url, write(tmp_path / "a.png", np.dstack([picture(), alpha])))
    for kind, name, mode, notice in (
        ("PNG", "a_color.png", "RGBA", ""),
        ("JPEG", "a_color.jpg", "RGB", 'role="status">a_color.jpg: a JPEG has no transparency'),
    ):
        path, message = client.predict(kind, api_name="/download")
        with Image.open(path) as image:
            assert Path(path).name == name and (image.format, image.mode) == (kind, mode)
        assert (
            notice in message and "alert" not in message and str(folder_of_files()) not in message
        )


def test_a_photo_is_read_once_for_all_settings(studio, tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", picture(seed=5))
    read, paths = page_view.read, []
    monkeypatch.setattr(page_view, "read", lambda path: paths.append(path) or read(path))
    for seed in range(3):
        page_view.paint(studio, page_view.View(path, ColorSettings("sample", seed=seed)))
    assert paths == [path]
    write(Path(path), picture(50, 60))
    _, caption = page_view.paint(studio, page_view.View(path, ColorSettings()))
    assert "60 &times; 50" in caption


def test_old_uploads_and_results_are_deleted_but_not_the_page_itself(server, tmp_path):
    url, folder = server.local_url, folder_of_files()
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
    assert "unique.png: was deleted after 6 hours" in message


# --- the command ---


@pytest.mark.slow
def test_the_command_serves_until_it_is_stopped_and_leaves_no_files(tmp_path):
    run = save_run(tmp_path, tiny_network())
    (tmp_path / "tmp").mkdir()
    # Occupies the name of the folder that gradio would use, as another user might.
    (tmp_path / "tmp" / "gradio").touch()
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
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["gradio"]


def test_the_command_says_what_to_install_if_gradio_is_missing(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = click.testing.CliRunner().invoke(cli.main, ["demo"])
    assert result.exit_code == 2
    assert result.output == "Error: the page needs gradio: pip install 'colorjax[demo]'\n"
