"""Fixtures that open the page of a small network in Chromium, at desktop and phone width."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# The path in Debian's package.
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
# JavaScript for the addresses of the images that the slider shows.
SHOWN = "[...document.querySelectorAll('#result img')].map(i => i.src).join(' ')"


def chromium() -> str:
    """Returns the path of Chromium; skips the test if it is missing.

    In CI, or if `COLORJAX_TEST_BROWSER` is set, it is installed first where apt-get allows that.
    """
    may_install = os.environ.get("CI") or os.environ.get("COLORJAX_TEST_BROWSER")
    if may_install and os.geteuid() == 0 and shutil.which("apt-get"):
        # Only one of the test processes installs it.
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
    """Starts Chromium once for all tests of a file."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install 'colorjax[browser]'"
    )
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def tab(request, browser, server):
    """Opens the page; afterwards checks that it had no errors and contacted no other host."""
    requested, page_errors = [], []
    with browser.new_context(
        viewport={"width": request.param, "height": 844}, has_touch=request.param < 720
    ) as context:
        tab = context.new_page()
        tab.set_default_timeout(90_000)  # the server may have to compile programs first
        tab.on("request", lambda sent: requested.append(sent.url))
        tab.on("pageerror", lambda error: page_errors.append(str(error)))
        tab.goto(server.local_url)
        tab.wait_for_selector("#result img")
        yield tab
    allowed = (server.local_url, "data:", "blob:")
    assert len(requested) > 10 and [url for url in requested if not url.startswith(allowed)] == []
    assert page_errors == []


# For tests that do not depend on the width of the page.
at_any_width = pytest.mark.parametrize(
    "tab",
    [1280, pytest.param(390, marks=pytest.mark.slow)],
    ids=["desktop", "phone"],
    indirect=True,
)


def upload(tab, path) -> None:
    tab.set_input_files("#upload input[type=file]", path)


def wait_for(tab, name: str) -> None:
    """Waits until the page shows the photo `name`."""
    tab.wait_for_function(
        "name => document.querySelector('#caption').innerText.includes(name)", arg=name
    )


def wait_for_other(tab, seen: set[str]) -> None:
    """Waits until the slider shows images that are not in `seen`, and adds them to it."""
    tab.wait_for_function("seen => !seen.includes(" + SHOWN + ")", arg=list(seen))
    seen.add(shown(tab))


def overflow(tab) -> int:
    """Pixels by which the page is wider than the window."""
    return tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def shown(tab) -> str:
    """Returns the addresses of the images that the slider shows."""
    return tab.evaluate(SHOWN)
