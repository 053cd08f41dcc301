"""Runs the service until a signal; it then finishes the requests in progress and exits."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from colorjax import stopping
from colorjax.coloring.page.guard import bracketed
from colorjax.errors import UserError

BACKLOG = 128  # connections that the kernel queues until they are accepted


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `stopping`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Opens a listening socket; raises UserError if the port is in use or the host is invalid."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; want another --port "
            "or --host"
        ) from error


def serve(app: FastAPI, listener: socket.socket, say: Callable[[str], None]) -> None:
    """Answers requests until a signal, and then those that are still in the queue.

    Args:
      app: from `app.build`.
      listener: from `listen`.
      say: prints a sentence: the address of the service, or that it is stopping.
    """
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    server = Server(config)

    def stop():
        server.should_exit = True
        say("stopping; finishing the requests in progress first")

    host, port = listener.getsockname()[:2]
    with stopping.deferred(stop):
        if not stopping.is_requested():
            say(f"the service is at http://{bracketed(host)}:{port} until Ctrl-C")
            server.run(sockets=[listener])
