"""Restricts gradio's server to the requests that the page itself makes."""

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
# The paths of gradio that the page needs. Some of the others fetch from other hosts or run
# programs.
PATHS = {
    "",
    "/",
    *("/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *(
        API + name
        for name in "app_id cancel info queue/data queue/join queue/status reset "
        "run/predict startup-events theme.css upload upload_progress".split()
    ),
}
PREFIXES = (
    "/assets/",
    "/static/",
    "/svelte/",
    *(API + x for x in ("call/", "file=/", "heartbeat/")),
)
CONTENT_SECURITY_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; object-src 'none'"
)
# A call contains only settings and names of files, which are short.
MAX_CALL_BYTES = 2**20


class KnownHosts:
    """ASGI middleware that rejects requests whose Host header is not an allowed name.

    It replaces Starlette's TrustedHostMiddleware, which in many versions cuts the header at its
    first colon and so cannot handle IPv6 addresses.
    """

    def __init__(self, app: Callable, hosts: Collection[str]):
        """Wraps an application; `hosts` come from `known_hosts`."""
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        app = self.app
        if scope["type"] in ("http", "websocket"):
            host = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "").lower())
            if "*" not in self.hosts and host not in self.hosts:
                app = PlainTextResponse("unknown host", 400)
        await app(scope, receive, send)


def length_of(headers: Headers) -> int | None:
    """Returns the length of a request's body, None if its headers do not tell it."""
    length = headers.get("content-length", "")
    # A body in chunks may be longer than the Content-Length beside it (RFC 9112, 6.3).
    return int(length) if length.isdecimal() and "transfer-encoding" not in headers else None


class Guard:
    """ASGI middleware that answers forbidden requests itself, so that gradio never sees them."""

    def __init__(
        self,
        app: Callable,
        folder: Path,
        uploads: Collection[str],
        origins: Collection[str],
        max_bytes: int,
    ):
        """Wraps an application.

        Args:
          app: the application to guard.
          folder: where uploads are stored.
          uploads: paths of all uploaded files; gradio adds to it.
          origins: host names whose pages may send requests, besides the request's own host.
          max_bytes: size limit of one upload request.
        """
        self.app, self.folder, self.uploads = app, folder, uploads
        self.origins, self.max_bytes = origins, max_bytes
        self.uploading = 0
        # For each upload's path: the sessions that own it, and how many uploads of it no session
        # has claimed yet.
        self.owners: defaultdict[str, set[str]] = defaultdict(set)
        self.unclaimed: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_SECURITY_POLICY.encode())
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        headers, path = Headers(scope=scope), _path_of(scope)
        app = self.app
        if not is_page_path(path) or self._is_upload(path):
            app = PlainTextResponse("not part of this page", 403)
        elif is_cross_origin(headers.get("origin"), headers.get("host", ""), self.origins):
            app = PlainTextResponse("requests from pages of other sites are not allowed", 403)
        elif scope["method"] == "POST":
            app = self._upload if path == UPLOAD else self._call
        await app(scope, receive, send_with_policy)

    async def _upload(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        length = length_of(Headers(scope=scope))
        if length is None or length > self.max_bytes:
            text = f"an upload needs a Content-Length header of at most {self.max_bytes} bytes"
            await PlainTextResponse(text, 413)(scope, receive, send)
            return
        self.uploading += 1
        answer = b""

        async def send_and_record(message):
            nonlocal answer
            if message["type"] == "http.response.body":
                answer += message.get("body", b"")
            # Before the visitor receives the path and claims the upload by naming it.
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.unclaimed.update(_uploaded_paths(answer))
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except ClientDisconnect:
            pass  # There is no client left to answer.
        finally:
            self.uploading -= 1
            if not self.uploading:
                remove_leftovers(self.folder)

    async def _call(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        body = await _read_body(receive, MAX_CALL_BYTES)
        if body is None:
            refusal = PlainTextResponse(f"more than {MAX_CALL_BYTES} bytes", 413)
        elif not self._names_only_own_uploads(body):
            refusal = PlainTextResponse("names a file that you have not uploaded here", 403)
        else:
            await self.app(scope, _replay(body, receive), send)
            return
        await refusal(scope, receive, send)

    def _is_upload(self, path: str) -> bool:
        """Whether a path serves an upload. Uploads are served to nobody, not even their owner."""
        file = path.removeprefix(FILE)
        return file != path and os.path.realpath(file) in self.uploads

    def _names_only_own_uploads(self, body: bytes) -> bool:
        """Whether a body is empty, or JSON that names no files but the session's own uploads.

        Gradio itself would accept other visitors' uploads, and would fetch URLs.
        """
        if not body:
            return True
        try:
            call = json.loads(body)
        except (ValueError, RecursionError):
            return False
        if isinstance(call, dict):
            # event_data describes what was clicked; gradio reads no files from it.
            call = {key: value for key, value in call.items() if key != "event_data"}
        paths = _paths_in(call)
        if not all(isinstance(path, str) and path in self.uploads for path in paths):
            return False
        session = call.get("session_hash") if isinstance(call, dict) else None
        return all([self._claim(path, session) for path in dict.fromkeys(paths)])

    def _claim(self, path: str, session: Any) -> bool:
        """Makes a session an owner of an upload if it may be one; returns whether it is one.

        An upload belongs to the session that names it first, which the page does immediately after
        the upload. If several visitors upload the same file, all uploads have the same path, and as
        many sessions may claim it.
        """
        if isinstance(session, str) and session in self.owners[path]:
            return True
        if not self.unclaimed[path]:
            return False
        self.unclaimed[path] -= 1
        if isinstance(session, str):
            self.owners[path].add(session)
        return True


def _path_of(scope: dict[str, Any]) -> str:
    """Returns the requested path without the prefix under which a proxy serves the page."""
    path, root = scope["path"], urlsplit(scope.get("root_path", "")).path.rstrip("/")
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


def is_page_path(path: str) -> bool:
    """Whether the page itself requests this path."""
    return path in PATHS or path.removesuffix("/") in PATHS or path.startswith(PREFIXES)


def is_cross_origin(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a request comes from a page of another host that is not in `allowed`.

    Clients other than browsers send no Origin header, and are never cross-origin.
    """
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        return parts.netloc.lower() != host.lower() and parts.hostname not in allowed
    except ValueError:
        return True


def check_proxy_options(root_path: str, allow_hosts: Sequence[str]) -> None:
    """Raises UserError for a malformed root path or host name of a reverse proxy."""
    if root_path and not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^\s?#]*)?", root_path):
        raise UserError(
            f"--root-path is {root_path!r}; want a path such as /photos or a URL such as "
            "https://example.org/photos"
        )
    for name in allow_hosts:
        if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
            raise UserError(
                f"--allow-host is {name!r}; want a host name such as photos.example.org"
            )


def known_hosts(host: str, allow_hosts: Sequence[str]) -> list[str]:
    """Returns the names that a Host header may have for a server that listens on `host`.

    A server that listens on a public address without `allow_hosts` can be reached under names that
    it cannot know, so it accepts all: ["*"].
    """
    if not allow_hosts and not _is_loopback(host):
        return ["*"]
    return [bracketed(name.lower()) for name in (*LOOPBACK, host, *allow_hosts)]


def bracketed(host: str) -> str:
    """Returns a host as in a URL: an IPv6 address in brackets, a name unchanged."""
    name = host.strip("[]")
    return f"[{name}]" if ":" in name else name


def _is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK


def _paths_in(value: Any) -> list[Any]:
    """Returns the paths of all files in a JSON value."""
    found, remaining = [], [value]
    while remaining:
        one = remaining.pop()
        if isinstance(one, dict):
            found += [one["path"]] if "path" in one else []
            remaining += one.values()
        elif isinstance(one, list):
            remaining += one
    return found


def _uploaded_paths(answer: bytes) -> list[str]:
    """Returns the paths in gradio's answer to an upload; empty if gradio rejected the upload."""
    try:
        paths = json.loads(answer)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


async def _read_body(receive: Callable, max_bytes: int) -> bytes | None:
    """Returns the body of a request, or None if it is longer than `max_bytes`."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Callable) -> Callable:
    """Returns a `receive` that yields a body read earlier, and then what follows it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again():
        return messages.pop() if messages else await receive()

    return receive_again
