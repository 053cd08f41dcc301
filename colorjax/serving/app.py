"""The HTTP endpoints: `POST /colorize`, `/health`, `/metrics`, and the documentation page."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import anyio
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from colorjax.coloring.page.guard import KnownHosts, is_cross_origin, known_hosts, length_of
from colorjax.coloring.page.limits import MAX_UPLOAD_BYTES, Lane, TimedOut, open_lane, run_in_time
from colorjax.errors import UserError, quoted
from colorjax.pictures.image_io import MAX_PIXELS
from colorjax.serving import metrics, work
from colorjax.serving.options import Options
from colorjax.serving.page import page
from colorjax.serving.request_queue import Queue, QueueFull

TIMEOUT = 300.0  # seconds for processing a picture, including its wait for others
BODY_TIMEOUT = 60.0  # seconds for receiving a body
FORM_BYTES = 2**16  # allowance for the parts of a form besides the picture
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"photo": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
ERRORS = {
    400: "The picture cannot be read, or an option is wrong.",
    403: "The request comes from a page of another site.",
    408: "Receiving the picture took too long.",
    411: "The Content-Length header is missing.",
    413: "The picture has too many bytes or pixels.",
    500: "Internal error; the service prints the traceback.",
    503: "The queue is full, or the work took too long; Retry-After says when to try again.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The coloured picture.", "content": {x: {} for x in work.MEDIA.values()}},
    **{status: {"description": what} for status, what in ERRORS.items()},
}


class Limits(NamedTuple):
    """What the service accepts at most.

    Attributes:
      queue: number of requests that wait or are processed.
      bytes: size of a picture's file.
      pixels: number of pixels of a picture.
    """

    queue: int = 32
    bytes: int = MAX_UPLOAD_BYTES
    pixels: int = MAX_PIXELS


DEFAULT_LIMITS = Limits()


class Service(NamedTuple):
    """The state of the service, and the handlers of its requests.

    Attributes:
      batcher: colours pictures in batches.
      limits: what is accepted.
      queue: the bounded request queue.
      lane: limits how many pictures are processed at a time, and for how long.
      threads: one for each request in the queue.
      counters: the metrics.
      origins: host names whose pages may send requests, besides the request's own host.
    """

    batcher: work.Batcher
    limits: Limits
    queue: Queue
    lane: Lane
    threads: anyio.CapacityLimiter
    counters: metrics.Metrics
    origins: Sequence[str]

    async def colour(self, request: Request, options: Options) -> Response:
        """Colours the picture of a request; raises exceptions that `error_response` handles."""
        host = request.headers.get("host", "")
        if is_cross_origin(request.headers.get("origin"), host, self.origins):
            raise HTTPException(403, "requests from pages of other sites are not allowed")
        length = _length_of(request, self.limits.bytes)
        _check_not_repeated(request)
        settings = options.settings()
        try:
            with self.queue.reserve(length):
                data = await _read_body(request, self.limits.bytes)
                task = work.Task(data, options.format, options.quality, settings)
                result, seconds = await anyio.to_thread.run_sync(
                    self._process, task, limiter=self.threads
                )
        except QueueFull as error:
            # Many clients read no response before they have sent the whole body.
            await _discard_body(request)
            sentence = "the queue is full: please try again later"
            headers = {"Retry-After": str(error.retry_after)}
            raise HTTPException(503, sentence, headers) from error
        self.queue.record(seconds)
        return _response_of(result)

    async def record_request(self, request: Request, call_next: Callable) -> Response:
        """Middleware that records requests to colour a picture in the metrics."""
        start = time.monotonic()

        def count(status: int) -> None:
            if request.url.path == "/colorize":
                self.counters.record(status, time.monotonic() - start)

        try:
            response = await call_next(request)
        except Exception:
            count(500)  # the exception goes on to `internal_error`, which answers with 500
            raise
        count(response.status_code)
        return response

    def _process(self, task: work.Task) -> tuple[work.Result, float]:
        """Returns the result, and the seconds of processing without the wait for a slot."""

        def process():
            start = time.monotonic()
            result = work.process(self.batcher, task, self.limits.pixels)
            return result, time.monotonic() - start

        return run_in_time(self.lane, work.NAME, process)


def build(
    batcher: work.Batcher,
    limits: Limits = DEFAULT_LIMITS,
    *,
    host: str = "127.0.0.1",
    allow_hosts: Sequence[str] = (),
) -> FastAPI:
    """Builds the service as an ASGI application.

    Args:
      batcher: colours pictures.
      limits: what is accepted.
      host: address that the server will listen on.
      allow_hosts: host names under which a reverse proxy serves it.
    """
    queue = Queue(limits.queue)
    # Two more than a batch: one picture is decoded and one encoded while a batch is coloured.
    lane = open_lane("work", batcher.painter.batch_size + 2, TIMEOUT)
    service = Service(
        batcher,
        limits,
        queue,
        lane,
        anyio.CapacityLimiter(limits.queue),
        metrics.Metrics(lambda: queue.length),
        [name.lower() for name in allow_hosts],
    )
    app = FastAPI(
        title="colorjax",
        version=version("colorjax"),
        summary="Turns black-and-white photographs into colour.",
        docs_url=None,
        redoc_url=None,
    )
    # Against DNS rebinding: a page of another site whose host name resolves to this machine.
    app.add_middleware(KnownHosts, hosts=known_hosts(host, allow_hosts))
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/colorize", response_class=Response, responses=RESPONSES, openapi_extra=BODY)
    async def colorize(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Colours a picture, sent as the body or as the file of a form."""
        return await service.colour(request, options)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Says that the service is ready, with the length and capacity of its queue."""
        return {"status": "ok", "queue": service.queue.length, "most": service.queue.capacity}

    @app.get("/metrics", response_class=Response)
    async def metrics_text() -> Response:
        """Metrics in the Prometheus text format."""
        return Response(service.counters.text(), media_type=metrics.MEDIA_TYPE)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return page(app.openapi())

    app.middleware("http")(service.record_request)
    for kind in (UserError, RequestValidationError, HTTPException, ClientDisconnect, TimeoutError):
        app.add_exception_handler(kind, error_response)
    app.add_exception_handler(Exception, internal_error)


async def error_response(request: Request, error: Exception) -> Response:
    """Returns the HTTP status of an error, and a JSON object with one sentence."""
    headers = None
    if isinstance(error, HTTPException):
        status, sentence, headers = error.status_code, str(error.detail), error.headers
    elif isinstance(error, RequestValidationError):
        status, sentence = 400, _describe(error)
    elif isinstance(error, TimedOut):
        status, sentence, headers = 503, str(error), {"Retry-After": "60"}
    elif isinstance(error, UserError):
        status, sentence = (413 if isinstance(error, work.TooLarge) else 400), str(error)
    elif isinstance(error, TimeoutError):
        status, sentence = 408, f"the picture took more than {BODY_TIMEOUT:g} seconds to arrive"
    else:
        status, sentence = 400, "the client disconnected"  # and reads no response
    return JSONResponse({"detail": sentence}, status, headers)


async def internal_error(request: Request, error: Exception) -> Response:
    """Hides the details of a bug from the client; the traceback is printed by the server."""
    sentence = "internal error: the service has printed a traceback where it runs"
    return JSONResponse({"detail": sentence}, 500)


def _describe(error: RequestValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "extra_forbidden":
        return f"there is no option {quoted(name)}, want some of {', '.join(Options.model_fields)}"
    return f"{name} is {quoted(first.get('input'))}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _check_not_repeated(request: Request) -> None:
    """Raises UserError for an option that is repeated but may have only one value."""
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if count > 1 and name != "hint":
            raise UserError(f"{name} is given {count} times, want it once")


def _length_of(request: Request, max_bytes: int) -> int:
    """Returns the Content-Length; raises HTTPException if it is missing or too large."""
    length = length_of(request.headers)
    if length is None:
        raise HTTPException(411, "the request has no length, want a Content-Length header")
    allowance = FORM_BYTES if _is_form(request) else 0
    if length > max_bytes + allowance:
        raise HTTPException(413, f"the picture has {length} bytes, want at most {max_bytes}")
    return length


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Returns the bytes of the picture; raises UserError unless a form has exactly one file."""
    async with asyncio.timeout(BODY_TIMEOUT):
        if not _is_form(request):
            data = await request.body()
        else:
            async with request.form(max_files=1, max_fields=64) as form:
                items = form.multi_items()
                files = [one for _, one in items if isinstance(one, UploadFile)]
                if len(files) != 1:
                    raise UserError(f"the form has {len(files)} files, want one")
                _check_no_fields([name for name, one in items if one is not files[0]])
                data = await files[0].read()
    if not data:
        raise UserError("the request has no picture, want its bytes as the body")
    if len(data) > max_bytes:
        raise HTTPException(413, f"the picture has {len(data)} bytes, want at most {max_bytes}")
    return data


def _check_no_fields(names: Sequence[str]) -> None:
    """Raises UserError if a form has fields besides the photo, which would be ignored."""
    if names:
        fields = quoted(", ".join(dict.fromkeys(names)))[1:-1]
        raise UserError(
            f"the form has fields besides the photo ({fields}): options belong in the address, as "
            "in ?format=png"
        )


async def _discard_body(request: Request) -> None:
    """Receives a body without storing it."""
    async with asyncio.timeout(BODY_TIMEOUT):
        async for _ in request.stream():
            pass


def _response_of(result: work.Result) -> Response:
    headers = {}
    if result.notices:
        # A header may contain neither line breaks nor characters beyond ASCII.
        text = " ".join("; ".join(result.notices).split())
        headers["X-Colorjax-Notices"] = text.encode("ascii", "backslashreplace").decode()[:2000]
    return Response(result.data, HTTPStatus.OK, headers, result.media)
