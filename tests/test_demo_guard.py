"""What visitors of the page, and pages of other sites, are not allowed to do."""

import io
import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'colorjax[demo]'")

import httpx
from pages import (
    CONTROLS,
    MOST_BYTES,
    ask,
    choose,
    colorizer,
    folder_of_files,
    free_port,
    picture,
    server,
    visit,
    wait_until,
    write,
)

from colorjax.coloring.page import events, guard, layout, limits
from colorjax.coloring.page import server as page_server
from colorjax.errors import UserError

__all__ = ["colorizer", "server"]  # fixtures


@pytest.fixture
def other_server():
    """Another server on this machine: its address, and the requests that it received."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a picture, perhaps")

        do_HEAD = do_POST = do_GET

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}/a.png", requests
        other.shutdown()
        thread.join()


def temporary_files() -> list[str]:
    return [path.name for path in folder_of_files().glob("tmp*")]


@pytest.mark.parametrize("prefix", ["gradio_api/file=", "gradio_api/file/", "file="])
def test_no_file_of_the_machine_is_served(server, prefix, tmp_path):
    url, folder = server.local_url, str(folder_of_files())
    (tmp_path / "secret.jpg").write_bytes(b"nobody is to read this")
    inside = Path(folder, "secret")
    inside.exists() or inside.symlink_to("/etc/passwd")
    relative = os.path.relpath("/etc/passwd")
    for path in (
        "/etc/passwd",
        relative,
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
    for path in (
        "process_recording",
        "vibe-edit/",
        "undo-vibe-edit",
        "component_server",
        "run/colorize",
        "api/colorize",
    ):
        assert httpx.post(f"{url}gradio_api/{path}").status_code == 403
    assert "default-src 'self'" in httpx.get(url).headers["content-security-policy"]


def test_requests_under_another_host_name_are_refused(server):
    url = server.local_url
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(url).status_code == 200


def test_uploads_have_a_limit(server):
    url = server.local_url
    for size, want in ((MOST_BYTES - 1, 200), (MOST_BYTES + 1, 413)):
        files = {"files": ("a.jpg", io.BytesIO(bytes(size)))}
        assert httpx.post(f"{url}gradio_api/upload", files=files).status_code == want


def test_a_call_that_names_a_url_is_refused_and_nothing_is_fetched(server, other_server):
    url, (address, requests) = server.local_url, other_server
    files = [
        {"path": address},
        {"path": address, "meta": {"_type": "gradio.FileData"}},
        {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}},
    ]
    before = sorted(folder_of_files().rglob("*"))
    for file in files:
        for data in ([[file]], [file], [[[{"x": [file]}]]]):
            for name in ("call/choose", "call/colorize", "queue/join", "call/download"):
                call = {"data": data, "session_hash": "a", "fn_index": 0}
                answer = httpx.post(f"{url}gradio_api/{name}", json=call)
                assert answer.status_code == 403, name
    assert requests == [] and sorted(folder_of_files().rglob("*")) == before


def test_only_uploads_are_accepted_as_photos(server, tmp_path):
    url = server.local_url
    files = {"files": ("a.png", Path(write(tmp_path / "a.png", picture())).read_bytes())}
    (uploaded,) = httpx.post(f"{url}gradio_api/upload", files=files).json()
    example = next(folder_of_files().glob("*.jpg"))
    outside = str(tmp_path / "a.png")
    traversed = f"{Path(uploaded).parent}/../{Path(uploaded).parent.name}/a.png"
    for path, want in (
        (uploaded, 200),
        (outside, 403),
        (str(example), 403),
        (traversed, 403),
        (None, 403),
        ([uploaded], 403),
    ):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = httpx.post(f"{url}gradio_api/call/choose", json={"data": [[file]]})
        assert answer.status_code == want, path


def upload(url, name, content) -> str:
    (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": (name, content)}).json()
    return path


def status_of_call(url, path, session) -> int:
    """Returns the status of a call that names a file, as the page does after an upload."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = {"data": [[file]], "session_hash": session}
    return httpx.post(f"{url}gradio_api/call/choose", json=call).status_code


def test_an_upload_belongs_to_the_session_that_named_it_first(server, tmp_path):
    url = server.local_url
    content = Path(write(tmp_path / "a.png", picture(seed=3))).read_bytes()
    path = upload(url, "mine.png", content)
    assert status_of_call(url, path, "me") == status_of_call(url, path, "me") == 200
    assert status_of_call(url, path, "another") == status_of_call(url, path, None) == 403
    # A session that uploads the same file becomes an owner of it, too, under the same path.
    assert upload(url, "mine.png", content) == path
    assert status_of_call(url, path, "another") == 200
    assert status_of_call(url, path, "third") == 403
    assert status_of_call(url, path, "me") == 200


def test_an_upload_is_served_to_nobody(server, tmp_path):
    url = server.local_url
    path = Path(upload(url, "a.png", Path(write(tmp_path / "a.png", picture())).read_bytes()))
    traversed = f"{path.parent}/../{path.parent.name}/a.png"
    for url_path in (str(path), traversed, str(path).replace("a.png", "%61.png")):
        for prefix in ("file=", "file/"):
            answer = httpx.get(f"{url}gradio_api/{prefix}{url_path}")
            assert answer.status_code in (403, 404) and b"PNG" not in answer.content, url_path


def test_calls_that_are_no_json_or_too_long_are_refused(server):
    url = f"{server.local_url}gradio_api/call/choose"
    assert httpx.post(url, content=b"path=x").status_code == 403
    assert httpx.post(url, content=b"[" * 100_000).status_code == 403
    long = json.dumps({"data": ["x" * guard.MAX_CALL_BYTES]})
    assert httpx.post(url, content=long).status_code == 413


@pytest.mark.parametrize(
    "origin, status",
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost:1", 403),
        ("http://[", 403),
        ("http://{host}", 200),
    ],
)
def test_pages_of_other_sites_cannot_send_requests(server, origin, status):
    url = server.local_url
    origin = {"Origin": origin.format(host=url.removeprefix("http://").rstrip("/"))}
    assert httpx.get(f"{url}config", headers=origin).status_code == status
    files = {"files": ("a.jpg", b"a")}
    assert httpx.post(f"{url}gradio_api/upload", files=files, headers=origin).status_code == status


def test_uploads_in_one_request_have_a_limit_too(server):
    url = f"{server.local_url}gradio_api/upload"
    limit = page_server.MAX_UPLOADS_AT_ONCE * MOST_BYTES
    files = [("files", (f"{i}.jpg", io.BytesIO(bytes(limit // 6)))) for i in range(7)]
    assert httpx.post(url, files=files).status_code == 413
    chunks = (b"x" for _ in range(3))
    assert httpx.post(url, content=chunks).status_code == 413
    both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    assert httpx.post(url, content=iter([b"12345"]), headers=both).status_code == 413


def test_an_aborted_upload_leaves_no_files(server, capsys):
    host, port = "127.0.0.1", server.server_port
    with socket.create_connection((host, port)) as visitor:
        part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        visitor.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 900000\r\n\r\n"
            + part
            + bytes(300_000)
        )
        wait_until(temporary_files)
    wait_until(lambda: not temporary_files())
    assert "Traceback" not in capsys.readouterr().err


def test_a_photo_leaves_no_empty_files(server, tmp_path):
    ask(server.local_url, write(tmp_path / "a.png", picture()))
    assert [
        path for path in folder_of_files().rglob("*") if path.is_file() and not path.stat().st_size
    ] == []


# --- behind a proxy ---


def test_behind_a_proxy_the_page_answers_to_the_allowed_host_name(colorizer, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with page_server.running(
        colorizer, tmp_path, port=free_port(), root_path="/photos", allow_hosts=["Photos.example"]
    ) as page:
        url = page.local_url
        headers = {"Host": "photos.example", "Origin": "https://photos.example"}
        config = httpx.get(f"{url}config", headers=headers).json()
        assert config["root"] == "http://photos.example/photos"
        assert httpx.get(f"{url}photos/config", headers=headers).status_code == 200
        assert httpx.post(f"{url}photos/gradio_api/vibe-edit/").status_code == 403
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
        # As behind a proxy that does not forward its own host name.
        for origin, status in (("https://photos.example", 200), ("https://evil.example", 403)):
            assert httpx.get(url, headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    "root_path, names, words",
    [
        ("photos", [], "--root-path is 'photos'; want a path such as /photos"),
        ("", ["https://a.example"], "--allow-host is 'https://a.example'; want a host name"),
        ("", ["a.example", "*"], "--allow-host is '[*]'"),
    ],
)
def test_malformed_proxy_options_are_refused(root_path, names, words):
    with pytest.raises(UserError, match=words):
        guard.check_proxy_options(root_path, names)


# --- one visitor, and the others ---


def test_a_photo_of_extreme_proportions_is_refused(server, tmp_path):
    thin = write(tmp_path / "thin.png", np.zeros((1, 51, 3), np.uint8))
    message = choose(visit(server.local_url), thin)
    assert "thin.png: has 51 x 1 pixels, one side 51 times as long as the other" in message
    limits.check_aspect_ratio(2, 100, "just so")


def test_a_download_does_not_delay_the_photos_of_others(server, tmp_path, monkeypatch):
    url, go_on = server.local_url, threading.Event()
    path = write(tmp_path / "a.png", picture())
    client, *_ = ask(url, path)
    full_size = events.full_size

    def slow(*args):
        assert go_on.wait(30)
        return full_size(*args)

    monkeypatch.setattr(events, "full_size", slow)
    download = client.submit(api_name="/download")
    _, pictures, _, message = ask(url, path)
    assert pictures[1] and not message and not download.done()
    go_on.set()
    assert download.result()[0].endswith("a_color.png")


def test_a_job_that_takes_too_long_is_cancelled_and_reported(server, tmp_path, monkeypatch):
    lane = limits.open_lane("test", 1, 0.2)
    go_on = threading.Event()
    try:
        for name in ("a.png", "b.png"):
            words = f"^{name}: took more than 0.2 seconds and was given up"
            with pytest.raises(UserError, match=words):
                limits.run_in_time(lane, name, go_on.wait)
            # The thread cannot be ended from outside, but its slot is free for the next job.
            assert limits.run_in_time(lane, "c.png", lambda: 1) == 1
        # Threads of cancelled jobs do not pile up: now this one keeps its slot.
        with pytest.raises(UserError, match="^c.png: took more than"):
            limits.run_in_time(lane, "c.png", go_on.wait)
        with pytest.raises(UserError, match="^d.png: others' photos have taken more than 0.2 sec"):
            limits.run_in_time(lane, "d.png", lambda: 1)
    finally:
        go_on.set()
    wait_until(lambda: lane.slots._value == 1 and lane.cancelled._value == limits.MAX_CANCELLED)
    assert not lane.jobs and limits.run_in_time(lane, "e.png", lambda: 1) == 1


def test_a_cancelled_job_ends_at_its_next_step():
    lane, steps = limits.open_lane("test", 1, 0.1), []

    def work():
        while True:
            limits.check_cancelled()
            steps.append(1)
            time.sleep(0.01)

    with pytest.raises(UserError, match="given up"):
        limits.run_in_time(lane, "a.png", work)
    wait_until(lambda: not lane.jobs)
    assert steps and lane.slots._value == 1 and lane.cancelled._value == limits.MAX_CANCELLED


def test_a_cancelled_colouring_ends_between_two_tiles(colorizer):
    lane, tiles = limits.open_lane("test", 1, 60), []

    def check():
        limits.check_cancelled()
        tiles.append(1)
        if len(tiles) == 5:
            (job,) = lane.jobs
            job.cancel(UserError("enough"))

    photo = picture(600, 2600)  # 12 tiles
    with pytest.raises(UserError, match="enough"):
        limits.run_in_time(lane, "a.png", lambda: colorizer.between(check).colorize_arrays([photo]))
    wait_until(lambda: not lane.jobs)
    assert len(tiles) == 5


def test_leaving_the_page_cancels_its_jobs():
    lanes, go_on = limits.open_lanes(), threading.Event()
    messages = []

    def visit():
        try:
            limits.run_in_time(lanes.network, "a.png", lambda: go_on.wait(30), owner="me")
        except UserError as error:
            messages.append(str(error))

    thread = threading.Thread(target=visit)
    thread.start()
    wait_until(lambda: lanes.network.jobs)
    lanes.leave("another")
    assert lanes.network.slots._value == 0
    lanes.leave("me")
    thread.join(10)
    assert messages == ["the page was left"]
    assert limits.run_in_time(lanes.network, "b.png", lambda: 1) == 1
    go_on.set()


def test_errors_within_the_time_limit_are_raised_unchanged():
    lane = limits.open_lane("test", 1, 5)

    def fail(error):
        raise error

    for error in (UserError("a.png: is no photo"), TimeoutError("of a disk"), KeyError("a")):
        with pytest.raises(type(error)) as raised:
            limits.run_in_time(lane, "a.png", lambda error=error: fail(error))
        assert raised.value is error


def test_photos_beyond_the_limit_of_the_queue_are_reported(server, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "MAX_PHOTOS", 2)
    paths = [write(tmp_path / f"{i}.png", picture(seed=i)) for i in range(3)]
    client = visit(server.local_url)
    message = choose(client, *paths)
    assert "2.png: was left out, with all photos after it" in message
    assert "0.png" in client.predict(*CONTROLS, api_name="/colorize")[1]
