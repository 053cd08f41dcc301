"""What is asked of the service, and how it answers: `POST /colorize` and what is around it."""

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

from colorjax.coloring.page.guard import KnownHosts, is_foreign, known_hosts
from colorjax.coloring.page.limits import MAX_UPLOAD_BYTES, Lane, TimedOut, open_lane, run_in_time
from colorjax.errors import UserError, shown
from colorjax.pictures.image_io import MAX_PIXELS
from colorjax.serving import metrics, work
from colorjax.serving.options import Options
from colorjax.serving.page import page
from colorjax.serving.request_queue import Queue, QueueFull

SECONDS = 300.0  # after which the work on a picture is given up, its wait included
BODY_SECONDS = 60.0  # that a body may take to come
FORM_BYTES = 2**16  # that a form has besides the picture
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
SAYS = {
    400: "The picture cannot be read, or an option is wrong: one sentence.",
    403: "Asked by a page elsewhere.",
    408: "The picture took too long to come.",
    411: "The request does not say how long it is.",
    413: "Too many bytes or pixels.",
    500: "A defect of the service, which prints what it was.",
    503: "The line is full; Retry-After says when to come again.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The coloured picture.", "content": {x: {} for x in work.MEDIA.values()}},
    **{status: {"description": what} for status, what in SAYS.items()},
}


class Limits(NamedTuple):
    """What is taken.

    Attributes:
      queue: most pictures that wait or are worked on.
      bytes: most of a picture's file.
      pixels: most of a picture.
    """

    queue: int = 32
    bytes: int = MAX_UPLOAD_BYTES
    pixels: int = MAX_PIXELS


AS_ON_THE_PAGE = Limits()


class Service(NamedTuple):
    """What answers requests."""

    studio: work.Studio
    limits: Limits
    line: Queue
    lane: Lane
    threads: anyio.CapacityLimiter
    counted: metrics.Metrics
    names: Sequence[str]  # of hosts, beside the one that is asked, whose pages may ask

    async def colour(self, request: Request, options: Options) -> Response:
        """The picture of a request in colour; raises what `refusal` can tell."""
        if is_foreign(request.headers.get("origin"), request.headers.get("host", ""), self.names):
            raise HTTPException(403, "asked by a page elsewhere")
        length = _length_of(request, self.limits.bytes)
        _check_once(request)
        settings = options.settings()
        try:
            with self.line.place(length):
                data = await _body_of(request, self.limits.bytes)
                asked = work.Asked(data, options.format, options.quality, settings)
                found = await anyio.to_thread.run_sync(self._worked, asked, limiter=self.threads)
        except QueueFull as error:
            # Who is still sending would not read the answer.
            await _passed_over(request)
            sentence = f"{self.line.most} pictures wait already: please come again later"
            raise HTTPException(503, sentence, {"Retry-After": str(error.seconds)}) from error
        self.line.took(found[1])
        return _as_response(found[0])

    async def count_answer(self, request: Request, following: Callable) -> Response:
        """Has a request answered, and counts it if it is one to colour a picture."""
        begun = time.monotonic()

        def answered(status: int) -> None:
            if request.url.path == "/colorize":
                self.counted.answered(status, time.monotonic() - begun)

        try:
            response = await following(request)
        except Exception:
            answered(500)  # by `defect`, to which it goes on from here
            raise
        answered(response.status_code)
        return response

    def _worked(self, asked: work.Asked) -> tuple[work.Answer, float]:
        """The answer, and how long the work on it took."""

        def act():
            begun = time.monotonic()
            made = work.answer(self.studio, asked, self.limits.pixels)
            return made, time.monotonic() - begun

        return run_in_time(self.lane, work.NAME, act)


def build(
    studio: work.Studio,
    limits: Limits = AS_ON_THE_PAGE,
    *,
    host: str = "127.0.0.1",
    allow_hosts: Sequence[str] = (),
) -> FastAPI:
    """The service as an ASGI application.

    Args:
      studio: what colours.
      limits: what is taken.
      host: address that it is to listen on.
      allow_hosts: names under which a proxy has it.
    """
    line = Queue(limits.queue)
    # While a batch is coloured, one picture is read, and one written.
    lane = open_lane("work", studio.painter.batch_size + 2, SECONDS)
    service = Service(
        studio,
        limits,
        line,
        lane,
        anyio.CapacityLimiter(limits.queue),
        metrics.Metrics(lambda: line.length),
        [name.lower() for name in allow_hosts],
    )
    app = FastAPI(
        title="colorjax",
        version=version("colorjax"),
        summary="Turns black-and-white photographs into colour.",
        docs_url=None,
        redoc_url=None,
    )
    # Else a page elsewhere whose name leads here could ask.
    app.add_middleware(KnownHosts, names=known_hosts(host, allow_hosts))
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/colorize", response_class=Response, responses=RESPONSES, openapi_extra=BODY)
    async def colorize(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Colours a picture: its bytes as the body, or as the file of a form."""
        return await service.colour(request, options)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether pictures are taken."""
        return {"status": "ok", "queue": service.line.length, "most": service.line.most}

    @app.get("/metrics", response_class=Response)
    async def metrics_text() -> Response:
        """Counts, as Prometheus reads them."""
        return Response(service.counted.text(), media_type=metrics.MEDIA_TYPE)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return page(app.openapi())

    app.middleware("http")(service.count_answer)
    for kind in (UserError, RequestValidationError, HTTPException, ClientDisconnect, TimeoutError):
        app.add_exception_handler(kind, refusal)
    app.add_exception_handler(Exception, defect)


async def refusal(request: Request, error: Exception) -> Response:
    """What was wrong, in one sentence, with the status that programs look at."""
    headers = None
    if isinstance(error, HTTPException):
        status, sentence, headers = error.status_code, str(error.detail), error.headers
    elif isinstance(error, RequestValidationError):
        status, sentence = 400, _sentence_of(error)
    elif isinstance(error, TimedOut):
        status, sentence, headers = 503, str(error), {"Retry-After": "60"}
    elif isinstance(error, UserError):
        status, sentence = (413 if isinstance(error, work.TooLarge) else 400), str(error)
    elif isinstance(error, TimeoutError):
        status, sentence = 408, f"the picture took more than {BODY_SECONDS:g} seconds to come"
    else:
        status, sentence = 400, "the request broke off"  # which nobody reads
    return JSONResponse({"detail": sentence}, status, headers)


async def defect(request: Request, error: Exception) -> Response:
    """Says no more than that there is one: its traceback is for who runs the service."""
    sentence = "the service failed by a defect of its own, which it has printed where it runs"
    return JSONResponse({"detail": sentence}, 500)


def _sentence_of(error: RequestValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "extra_forbidden":
        return f"there is no option {shown(name)}, want some of {', '.join(Options.model_fields)}"
    return f"{name} is {shown(first.get('input'))}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _check_once(request: Request) -> None:
    """Raises UserError for an option that is given twice and may have only one value."""
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if count > 1 and name != "hint":
            raise UserError(f"{name} is given {count} times, want it once")


def _length_of(request: Request, most: int) -> int:
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise HTTPException(411, "the request does not say how long it is: want Content-Length")
    room = FORM_BYTES if _is_form(request) else 0
    if int(length) > most + room:
        raise HTTPException(413, f"the picture has {length} bytes, want at most {most}")
    return int(length)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _body_of(request: Request, most: int) -> bytes:
    """The bytes of the picture; raises UserError for a form without one, or with more."""
    async with asyncio.timeout(BODY_SECONDS):
        if not _is_form(request):
            data = await request.body()
        else:
            async with request.form(max_files=1, max_fields=64) as form:
                sent = form.multi_items()
                files = [one for _, one in sent if isinstance(one, UploadFile)]
                if len(files) != 1:
                    raise UserError(f"the form has {len(files)} files, want one")
                _check_no_fields([name for name, one in sent if one is not files[0]])
                data = await files[0].read()
    if not data:
        raise UserError("the request has no picture, want its bytes as the body")
    if len(data) > most:
        raise HTTPException(413, f"the picture has {len(data)} bytes, want at most {most}")
    return data


def _check_no_fields(names: Sequence[str]) -> None:
    """Raises UserError if a form has fields besides the photo, which would do nothing."""
    if names:
        told = shown(", ".join(dict.fromkeys(names)))[1:-1]
        raise UserError(
            f"the form has fields besides the photo ({told}): options belong in the address, as in "
            "?format=png"
        )


async def _passed_over(request: Request) -> None:
    """Takes a body and keeps nothing of it."""
    async with asyncio.timeout(BODY_SECONDS):
        async for _ in request.stream():
            pass


def _as_response(found: work.Answer) -> Response:
    headers = {}
    if found.notices:
        # Of a header, line breaks and letters beyond ASCII are no part.
        told = " ".join("; ".join(found.notices).split())
        headers["X-Colorjax-Notices"] = told.encode("ascii", "backslashreplace").decode()[:2000]
    return Response(found.data, HTTPStatus.OK, headers, found.media)
