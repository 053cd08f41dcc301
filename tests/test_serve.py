"""The service: its results equal those of the command, and every error is one sentence."""

import io
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'colorjax[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install 'colorjax[serve]'")
pytest.importorskip("httpx", reason="httpx is missing: it comes with gradio, colorjax[demo]")
pytest.importorskip("python_multipart", reason="as for fastapi")
pytest.importorskip("prometheus_client", reason="as for fastapi")

import httpx
from click.testing import CliRunner
from fastapi.testclient import TestClient
from networks import save_run, tiny_network
from pictures import encode
from PIL import Image

from colorjax import cli, extras
from colorjax.coloring import colorize
from colorjax.coloring.page import guard
from colorjax.coloring.settings import ColorSettings
from colorjax.serving import app, request_queue, server, work

HOST = "http://127.0.0.1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), tiny_network())


@pytest.fixture(scope="module")
def batcher():
    return work.Batcher(colorize.open_painter(tiny_network()))


@pytest.fixture
def client(batcher):
    with TestClient(app.build(batcher), base_url=HOST) as client:
        yield client


def photo(height=48, width=60, seed=0):
    rng = np.random.default_rng(seed)
    cells = Image.fromarray(rng.integers(20, 236, (4, 5), dtype=np.uint8))
    return cells.resize((width, height), Image.Resampling.BICUBIC)


def sentence(response):
    """Returns the one sentence of an error response, which reveals nothing of the program."""
    (message,) = response.json().values()
    assert "\n" not in message and "Traceback" not in message
    return message


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def free_port():
    with server.listen("127.0.0.1", 0) as opened:
        return opened.getsockname()[1]


def photos():
    exif = Image.Exif()
    exif[0x010E] = "a street"
    sixteen = Image.fromarray(np.asarray(photo()).astype(np.uint16) * 257)
    return {
        "gray.jpg": encode(photo(), "JPEG", exif=exif),
        "sixteen.png": encode(sixteen),
        "gray.webp": encode(photo(), "WEBP", lossless=True),
        "gray.tif": encode(photo(), "TIFF"),
    }


@pytest.mark.parametrize(
    ("name", "options", "flags"),
    [
        ("gray.jpg", {}, ""),
        ("gray.jpg", {"quality": 60, "saturation": 1.5}, "--quality 60 --saturation 1.5"),
        ("gray.jpg", {"format": "png"}, "--format png"),
        ("gray.jpg", {"hint": "30,20=#d04020"}, "--hint 30,20=#d04020"),
        ("sixteen.png", {"decode": "sample", "seed": 3}, "--decode sample --seed 3"),
        ("gray.webp", {"edges": "bilinear"}, "--edges bilinear"),
        (
            "gray.tif",
            {"decode": "annealed", "temperature": 0.5},
            "--decode annealed --temperature .5",
        ),
    ],
)
def test_an_answer_equals_the_file_that_the_command_writes(
    client, run, tmp_path, name, options, flags
):
    data = photos()[name]
    (tmp_path / name).write_bytes(data)
    arguments = [str(tmp_path / name), "--model", str(run), *flags.split()]
    assert CliRunner().invoke(cli.main, arguments).exit_code == 0
    (written,) = tmp_path.glob("*_color.*")
    answer = client.post("/colorize", content=data, params=options)
    assert answer.status_code == 200, answer.text
    assert answer.content == written.read_bytes()
    assert answer.headers["content-type"] == work.MEDIA[written.suffix[1:]]


def test_a_form_gets_the_same_answer_as_the_bytes_alone(client):
    data = photos()["gray.jpg"]
    alone = client.post("/colorize", content=data)
    form = client.post("/colorize", files={"photo": ("old.jpg", data)})
    assert form.status_code == alone.status_code == 200 and form.content == alone.content


def test_a_form_with_options_is_400_and_the_error_says_where_they_belong(client):
    photo = {"photo": ("old.jpg", photos()["gray.jpg"])}
    answer = client.post("/colorize", files=photo, data={"format": "png", "saturation": "0"})
    assert answer.status_code == 400
    assert sentence(answer) == (
        "the form has fields besides the photo (format, saturation): options belong in the "
        "address, as in ?format=png"
    )
    # A field with the name of the photo's, one with a long name, and many fields.
    for fields in ({"photo": "png"}, {"x\n" * 500: "1"}, {f"x{i}": "1" for i in range(20)}):
        answer = client.post("/colorize", files=photo, data=fields)
        assert answer.status_code == 400 and "fields besides the photo" in sentence(answer)
        assert len(answer.content) < 500


def test_hints_may_be_given_as_json(client):
    data = photos()["gray.jpg"]
    hints = '[{"x": 30, "y": 20, "colour": "#d04020"}]'
    answers = [
        client.post("/colorize", content=data, params=one)
        for one in ({}, {"hints": hints}, {"hint": "30,20=#d04020"})
    ]
    assert answers[1].content == answers[2].content != answers[0].content


def test_what_a_format_cannot_store_is_reported_in_a_header(client):
    rgba = photo().convert("RGBA")
    rgba.putalpha(100)
    answer = client.post("/colorize", content=encode(rgba), params={"format": "jpg"})
    assert answer.status_code == 200
    assert "a JPEG has no transparency" in answer.headers["x-colorjax-notices"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "quality is '0': "),
        ({"qualty": 5}, "there is no option 'qualty', want some of format, quality"),
        ({"saturation": "nan"}, "saturation is 'nan': "),
        ({"format": "bmp"}, "format is 'bmp': "),
        ({"format": "x" * 5000}, "input should be"),
        ({"x" * 5000: 1}, "there is no option 'xxx"),
        ({"seed": ["1", "2"]}, "seed is given 2 times, want it once"),
        ({"hint": f"{'9' * 5000},1=#ffffff"}, "want X,Y=#RRGGBB"),
        ({"saturation": 1e37}, "want at most 1,000,000"),
        ({"hint": "here"}, "hint 'here': want X,Y=#RRGGBB"),
        ({"hints": "{"}, "hints: is not valid JSON"),
        ({"hints": "{}"}, "hints: holds dict, want a list"),
        ({"hint": "500,1=#ffffff"}, "is outside the picture of 60 x 48 pixels"),
        ({"rebalance": 0.5}, "the model's training was not rebalanced"),
    ],
)
def test_a_wrong_option_is_400_and_one_sentence(client, options, message):
    answer = client.post("/colorize", content=photos()["gray.jpg"], params=options)
    assert answer.status_code == 400 and message in sentence(answer)
    assert len(answer.content) < 500  # the response does not repeat what was sent


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no picture"),
        (b"nothing of the kind", "picture: "),
        (photos()["gray.jpg"][:400], "picture: is cut short"),
    ],
)
def test_data_that_is_no_picture_is_400_and_one_sentence(client, data, message):
    answer = client.post("/colorize", content=data)
    assert answer.status_code == 400 and message in sentence(answer)


def test_data_that_is_too_large_is_413_before_it_is_read(batcher):
    limits = app.Limits(bytes=1000, pixels=48 * 60 - 1)
    with TestClient(app.build(batcher, limits), base_url=HOST) as client:
        long = client.post("/colorize", content=bytes(1001))
        form = client.post("/colorize", files={"photo": bytes(1001)})
        wide = client.post("/colorize", content=encode(Image.new("1", (60, 48))))
        without_length = client.post("/colorize", content=iter([b"some"]))
        both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
        in_chunks = client.post("/colorize", content=bytes(2000), headers=both)
    assert [one.status_code for one in (long, form, wide)] == [413] * 3
    assert [one.status_code for one in (without_length, in_chunks)] == [411] * 2
    assert "1001 bytes, want at most 1000" in sentence(long)
    assert "60 x 48 pixels, want at most 2879" in sentence(wide)


def test_a_large_jpeg_xl_is_refused_without_being_decoded(batcher, monkeypatch):
    pytest.importorskip("pillow_jxl")
    data = encode(Image.new("L", (60, 48)), "JXL")
    monkeypatch.setattr(work.Image, "open", None)
    with pytest.raises(work.TooLarge, match="60 x 48 pixels, want at most 2879"):
        work.process(batcher, work.Task(data), 2879)


def test_pages_of_other_sites_and_unknown_hosts_are_rejected(client):
    data = photos()["gray.jpg"]
    foreign = client.post("/colorize", content=data, headers={"Origin": "http://evil.example"})
    named = client.post("/colorize", content=data, headers={"Host": "evil.example"})
    own = client.post("/colorize", content=data, headers={"Origin": HOST})
    assert (foreign.status_code, named.status_code, own.status_code) == (403, 400, 200)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost"])
def test_a_server_on_loopback_accepts_loopback_host_names_only(batcher, host):
    with TestClient(app.build(batcher, host=host), base_url=HOST) as client:

        def status(asked):
            return client.get("/health", headers={"Host": asked}).status_code

        for known in ("[::1]", "[::1]:8000", "127.0.0.1:8000", "localhost", "LOCALHOST:1"):
            assert status(known) == 200, known
        for other in ("evil.example", "[::2]:8000", "::1", "[::1", "[::1].evil.example", "", ":1"):
            assert status(other) == 400, other


def test_a_public_server_accepts_every_host_name_or_those_that_are_allowed():
    assert guard.known_hosts("0.0.0.0", []) == guard.known_hosts("::", []) == ["*"]
    assert guard.known_hosts("192.0.2.1", []) == guard.known_hosts("2001:db8::1", []) == ["*"]
    names = guard.known_hosts("2001:db8::1", ["Photos.example"])
    assert {"[2001:db8::1]", "photos.example", "[::1]", "localhost"} <= set(names)
    assert "*" not in names


def test_an_internal_error_is_counted_and_hides_its_message(batcher, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("secret")

    monkeypatch.setattr(work, "process", broken)
    with TestClient(app.build(batcher), HOST, raise_server_exceptions=False) as client:
        answer = client.post("/colorize", content=photos()["gray.jpg"])
        text = client.get("/metrics").text
        assert client.get("/health").json()["queue"] == 0
    assert answer.status_code == 500 and "internal error" in sentence(answer)
    assert "secret" not in answer.text
    assert 'colorjax_failures_total{status="500"} 1.0' in text
    assert "colorjax_requests_total 1.0" in text


def test_a_full_queue_rejects_requests_with_a_retry_time(batcher):
    data, answers = photos()["gray.jpg"], []
    built = app.build(batcher, app.Limits(queue=2))
    with TestClient(built, base_url=HOST) as client:

        def ask():
            answers.append(client.post("/colorize", content=data))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        with batcher._network_lock:  # nothing is coloured meanwhile
            for thread in threads:
                thread.start()
            wait_for(lambda: client.get("/health").json()["queue"] == 2)
            third = client.post("/colorize", content=data)
        for thread in threads:
            thread.join()
        text = client.get("/metrics").text
    assert third.status_code == 503 and 1 <= int(third.headers["retry-after"]) <= 120
    assert "please try again later" in sentence(third)
    assert [one.status_code for one in answers] == [200, 200]
    assert "colorjax_requests_total 3.0" in text and "colorjax_queue_length 0.0" in text
    assert 'colorjax_failures_total{status="503"} 1.0' in text
    assert "colorjax_seconds_count 2.0" in text


def test_waiting_photos_with_the_same_settings_are_coloured_together(monkeypatch):
    batcher = work.Batcher(colorize.open_painter(tiny_network(), batch_size=4))
    batches, results = [], {}
    original = colorize.colorize

    def recording(painter, photos, settings):
        batches.append((len(photos), settings[0].saturation))
        return original(painter, photos, settings)

    monkeypatch.setattr(work, "colorize", recording)
    grays = [np.repeat(np.asarray(photo(seed=i))[..., None], 3, axis=-1) for i in range(4)]

    def ask(i):
        results[i] = batcher.run(grays[i], ColorSettings(saturation=2.0 if i == 3 else 1.0))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    with batcher._network_lock:
        for i, thread in enumerate(threads):
            thread.start()
            wait_for(lambda i=i: len(batcher._pending) == i + 1)
    for thread in threads:
        thread.join()
    assert sorted(batches) == [(1, 2.0), (3, 1.0)]
    for i in range(4):
        alone = batcher.run(grays[i], ColorSettings(saturation=2.0 if i == 3 else 1.0))
        assert np.abs(results[i].astype(int) - alone).max() <= 1


def test_a_queue_has_a_limit_in_bytes():
    queue = request_queue.Queue(5)
    with queue.reserve(request_queue.MAX_BYTES - 10):
        with pytest.raises(request_queue.QueueFull):
            with queue.reserve(11):
                pass
        with queue.reserve(10):
            assert queue.length == 2
    assert (queue.length, queue.bytes) == (0, 0)


def test_the_documentation_page_names_every_option_and_loads_nothing(client):
    page = client.get("/docs").text
    options = client.get("/openapi.json").json()["paths"]["/colorize"]["post"]["parameters"]
    assert len(options) == 10 and all(f"<td>{one['name']}</td>" in page for one in options)
    assert "//" not in page.replace("'http://HOST/", "")


def test_a_missing_extra_is_one_sentence_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(extras.MODULES, "serve", ("uvicorn", "no_such_module"))
    result = CliRunner().invoke(cli.main, ["serve", "--port", str(free_port())])
    assert result.exit_code == 2
    assert "the service needs no_such_module: pip install 'colorjax[serve]'" in result.stderr


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_an_empty_host_is_refused_instead_of_meaning_all_addresses(command):
    result = CliRunner().invoke(cli.main, [command, "--host", ""])
    assert result.exit_code == 2 and "'--host': is empty, want an address" in result.stderr


@pytest.mark.slow
def test_a_signal_ends_the_service_after_the_requests_in_progress(run):
    port = free_port()
    start = [sys.executable, "-m", "colorjax", "serve", "--model", str(run), "--port", str(port)]
    service = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while "the service is at" not in line:
            line = service.stderr.readline()
            assert line, "the service ended before it was ready"
        answers = []
        data = encode(photo(1500, 2000), "PNG")

        def ask():
            answers.append(httpx.post(f"{HOST}:{port}/colorize", content=data, timeout=120))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        address = f"{HOST}:{port}/health"
        wait_for(lambda: httpx.get(address, timeout=60).json()["queue"] == 3)
        service.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert service.wait(60) == 128 + signal.SIGTERM
    finally:
        service.kill()
        service.wait()
    assert [one.status_code for one in answers] == [200, 200, 200]
    for answer in answers:
        assert Image.open(io.BytesIO(answer.content)).size == (2000, 1500)
