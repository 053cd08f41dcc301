"""Runs the service until it is told to stop; then what is under way is finished, and no more."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from colorjax import stopping
from colorjax.errors import UserError

WAITING = 128  # connections that the system holds until they are taken


class Server(uvicorn.Server):
    """uvicorn's, whose signals are heard by `stopping`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections; raises UserError if the port is taken or the host none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=WAITING)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; want another --port "
            "or --host"
        ) from error


def serve(app: FastAPI, opened: socket.socket, say: Callable[[str], None]) -> None:
    """Answers requests until a signal; those that have a place in the line are answered still.

    Args:
      app: from `app.build`.
      opened: from `listening`.
      say: is told where the service is, and that it is about to end.
    """
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    server = Server(config)

    def told():
        server.should_exit = True
        say("stopping; what is under way is finished first")

    host, port = opened.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    with stopping.held(told):
        if not stopping.is_requested():
            say(f"the service is at http://{host}:{port} until Ctrl-C")
            server.run(sockets=[opened])
