"""The page of a small network in Chromium, at the width of a desktop and of a phone."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

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
# The addresses of what the slider shows.
SHOWN = "[...document.querySelectorAll('#result img')].map(i => i.src).join(' ')"


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


@pytest.fixture(scope="module")
def browser():
    """Chromium, started once for the tests of a file."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install 'colorjax[browser]'"
    )
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def tab(request, browser, server):
    """The page at the width of a desktop or a phone; it may ask no host but its own."""
    asked, wrong = [], []
    with browser.new_context(
        viewport={"width": request.param, "height": 844}, has_touch=request.param < 720
    ) as context:
        tab = context.new_page()
        tab.set_default_timeout(90_000)  # programs are compiled meanwhile
        tab.on("request", lambda one: asked.append(one.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(server.local_url)
        tab.wait_for_selector("#result img")
        yield tab
    inside = (server.local_url, "data:", "blob:")
    assert len(asked) > 10 and [url for url in asked if not url.startswith(inside)] == []
    assert wrong == []


# Of tests that are not about the width of the page.
at_any_width = pytest.mark.parametrize(
    "tab",
    [1280, pytest.param(390, marks=pytest.mark.slow)],
    ids=["desktop", "phone"],
    indirect=True,
)


def upload(tab, path) -> None:
    tab.set_input_files("#upload input[type=file]", path)


def wait_for(tab, name: str) -> None:
    """Waits until a photo is shown."""
    tab.wait_for_function(
        "name => document.querySelector('#caption').innerText.includes(name)", arg=name
    )


def wait_for_other(tab, seen: set[str]) -> None:
    """Waits until the slider shows what it has not shown yet, and adds that."""
    tab.wait_for_function("seen => !seen.includes(" + SHOWN + ")", arg=list(seen))
    seen.add(shown(tab))


def overflow(tab) -> int:
    """Pixels by which the page is wider than the window."""
    return tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def shown(tab) -> str:
    return tab.evaluate(SHOWN)
