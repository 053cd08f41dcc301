"""Keeps gradio to the page, whose visitors may ask for what the page asks for, and no more."""

import ipaddress
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from colorjax.coloring.page.folder import remove_leftovers
from colorjax.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

API = "/gradio_api/"
UPLOAD, FILE = API + "upload", API + "file="
# Of what gradio serves: the page, its parts, and what it asks for. The rest fetches from other
# machines, or runs programs.
PAGES = {
    "",
    "/",
    *("/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *(
        API + name
        for name in "app_id cancel info queue/data queue/join queue/status reset "
        "run/predict startup-events theme.css upload upload_progress".split()
    ),
}
FOLDERS = (
    "/assets/",
    "/static/",
    "/svelte/",
    *(API + x for x in ("call/", "file=/", "heartbeat/")),
)
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; object-src 'none'"
)
# Settings and names of files are short.
MOST_BYTES_OF_A_CALL = 2**20


class KnownHosts:
    """ASGI middleware; refuses what asks for a host that is not known here.

    Many a Starlette cuts the header at its first colon, of which an IPv6 address has several.
    """

    def __init__(self, app: Callable, names: Collection[str]):
        """Wraps an application; `names` are from `known_hosts`."""
        self.app, self.names = app, names

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        app = self.app
        if scope["type"] in ("http", "websocket"):
            asked = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "").lower())
            if "*" not in self.names and asked not in self.names:
                app = PlainTextResponse("asked for another host", 400)
        await app(scope, receive, send)


class Guard:
    """ASGI middleware; what it refuses never comes to gradio."""

    def __init__(
        self,
        app: Callable,
        folder: Path,
        uploads: Collection[str],
        names: Collection[str],
        most_bytes: int,
    ):
        """Wraps an application.

        Args:
          app: what is guarded.
          folder: where uploads go.
          uploads: paths of the files that visitors have uploaded; grows.
          names: host names, beside the one that is asked, whose pages may ask.
          most_bytes: of one request that uploads.
        """
        self.app, self.folder, self.uploads = app, folder, uploads
        self.names, self.most_bytes = names, most_bytes
        self.uploading = 0
        # Of each upload: who has named it, and how often it was uploaded and not named since.
        self.named: defaultdict[str, set[str]] = defaultdict(set)
        self.unnamed: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        headers, path = Headers(scope=scope), _path_of(scope)
        app = self.app
        if not is_of_the_page(path) or self._is_an_upload(path):
            app = PlainTextResponse("not part of this page", 403)
        elif is_foreign(headers.get("origin"), headers.get("host", ""), self.names):
            app = PlainTextResponse("asked by a page elsewhere", 403)
        elif scope["method"] == "POST":
            app = self._upload if path == UPLOAD else self._call
        await app(scope, receive, send_with_policy)

    async def _upload(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal() or int(length) > self.most_bytes:
            text = f"an upload says how long it is, and has at most {self.most_bytes} bytes"
            await PlainTextResponse(text, 413)(scope, receive, send)
            return
        self.uploading += 1
        answer = b""

        async def send_and_see(message):
            nonlocal answer
            if message["type"] == "http.response.body":
                answer += message.get("body", b"")
            # Before the visitor hears of it, who names it next.
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.unnamed.update(_uploaded(answer))
            await send(message)

        try:
            await self.app(scope, receive, send_and_see)
        except ClientDisconnect:
            pass  # Nobody is left to be told.
        finally:
            self.uploading -= 1
            if not self.uploading:
                remove_leftovers(self.folder)

    async def _call(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        body = await _whole(receive, MOST_BYTES_OF_A_CALL)
        if body is None:
            refusal = PlainTextResponse(f"more than {MOST_BYTES_OF_A_CALL} bytes", 413)
        elif not self._names_own_uploads_alone(body):
            refusal = PlainTextResponse("names a file that was not uploaded here by you", 403)
        else:
            await self.app(scope, _again(body, receive), send)
            return
        await refusal(scope, receive, send)

    def _is_an_upload(self, path: str) -> bool:
        """Uploads are for the program alone: nobody is served another's, nor his own."""
        file = path.removeprefix(FILE)
        return file != path and os.path.realpath(file) in self.uploads

    def _names_own_uploads_alone(self, body: bytes) -> bool:
        """Whether JSON, or nothing, has no file in it but the session's uploads.

        Gradio would take those of others, and fetch addresses.
        """
        if not body:
            return True
        try:
            call = json.loads(body)
        except (ValueError, RecursionError):
            return False
        if isinstance(call, dict):
            # Of what was clicked on; no file is taken from there.
            call = {key: value for key, value in call.items() if key != "event_data"}
        paths = _paths_in(call)
        if not all(isinstance(path, str) and path in self.uploads for path in paths):
            return False
        session = call.get("session_hash") if isinstance(call, dict) else None
        return all([self._claims(path, session) for path in dict.fromkeys(paths)])

    def _claims(self, path: str, session: Any) -> bool:
        """Whether an upload is a session's: whose it is, who names it first after it has come.

        The page does so at once. What several visitors have uploaded has one path, and as many
        sessions may name it.
        """
        if isinstance(session, str) and session in self.named[path]:
            return True
        if not self.unnamed[path]:
            return False
        self.unnamed[path] -= 1
        if isinstance(session, str):
            self.named[path].add(session)
        return True


def _path_of(scope: dict[str, Any]) -> str:
    """The path that is asked for, without the one under which a proxy has the page."""
    path, root = scope["path"], urlsplit(scope.get("root_path", "")).path.rstrip("/")
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


def is_of_the_page(path: str) -> bool:
    """Whether a path is one that the page asks for."""
    return path in PAGES or path.removesuffix("/") in PAGES or path.startswith(FOLDERS)


def is_foreign(origin: str | None, host: str, names: Collection[str]) -> bool:
    """Whether a request comes from a page elsewhere; what is no browser names no origin."""
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        return parts.netloc.lower() != host.lower() and parts.hostname not in names
    except ValueError:
        return True


def check_names(root_path: str, allow_hosts: Sequence[str]) -> None:
    """Raises UserError for a path or host names that no proxy could have the page under."""
    if root_path and not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^\s?#]*)?", root_path):
        raise UserError(
            f"--root-path is {root_path!r}; want a path as /photos, or an address as "
            "https://example.org/photos"
        )
    for name in allow_hosts:
        if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
            raise UserError(
                f"--allow-host is {name!r}; want the name of a host, as photos.example.org"
            )


def known_hosts(host: str, allow_hosts: Sequence[str]) -> list[str]:
    """Under which names, as requests spell them, a server that listens on `host` may be asked.

    Who listens to all without naming a host is reached under names that are not known here.
    """
    if not allow_hosts and not _is_of_this_machine(host):
        return ["*"]
    names = (name.lower().strip("[]") for name in (*LOOPBACK, host, *allow_hosts))
    return [f"[{name}]" if ":" in name else name for name in names]


def _is_of_this_machine(host: str) -> bool:
    """Whether nobody but this machine reaches who listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK


def _paths_in(value: Any) -> list[Any]:
    """The paths of all files in a JSON value."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found += [one["path"]] if "path" in one else []
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found


def _uploaded(answer: bytes) -> list[str]:
    """The paths that gradio has answered an upload with; none where it has refused it."""
    try:
        found = json.loads(answer)
    except ValueError:
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []


async def _whole(receive: Callable, most: int) -> bytes | None:
    """The body of a request; None if it is longer than that."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Callable) -> Callable:
    """Gives a body that was taken already, and then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def once_more():
        return messages.pop() if messages else await receive()

    return once_more
