"""The HTTP server inside the engine's event loop: uvicorn without its signal handlers, with limits on what may pile up."""

import asyncio
import contextlib
import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from httptools import HttpParserInvalidMethodError
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A request's line and headers together; llhttp itself has no limit.
_MAX_HEAD_BYTES = 64 << 10
# How long a client may take for them (or for the rest of a body that was refused), and how long an idle connection is kept.
_HEAD_SECONDS = 20.0
_KEEP_ALIVE_SECONDS = 75
# A connection that is closed while more comes in is reset, and the client may never read why it was refused.
_LINGER_SECONDS = 1.0
_BACKLOG = 512
# The parser knows a list of methods; what names another is a request all the same (RFC 9110, 9.1), and all else is none.
_REQUEST_LINE = re.compile(rb"[!#-'*+.^-z|~0-9A-Z-]+ \S+ HTTP/1\.[01]\r?\n")
# What the parser takes of a request target.
_MAX_URL_BYTES = 65_535


class _Http(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with a limit and a deadline for request heads, and its own refusals in the contract's form."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _boundary_passed = False
    _piece = b""
    _refused = False
    url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._start_timer()
        self._boundary_passed = False
        self._piece = data
        super().data_received(data)
        self._piece = b""
        if self._refused or self.transport.is_closing():
            return
        # A piece in which a head or a message ends is counted for neither side of it.
        if self._in_head and not self._boundary_passed:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse("431 Request Header Fields Too Large", "The request's headers are too large")
        elif not self._in_head and self.cycle.response_complete:
            # The rest of a body that was refused: it is read and dropped, so that the client gets to see the answer.
            self._start_timer()

    def on_headers_complete(self) -> None:
        self._pass_boundary(in_head=False)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._pass_boundary(in_head=True)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        # Called while the parser's refusal is handled.
        if isinstance(sys.exception(), HttpParserInvalidMethodError) and _REQUEST_LINE.match(self._piece):
            self._refuse("501 Not Implemented", "The request's method is not known here")
        elif len(self.url) > _MAX_URL_BYTES:
            self._refuse("414 URI Too Long", "The request's URL is too long")
        else:
            self._refuse("400 Bad Request", msg)

    def _refuse(self, status: str, error: str) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        body = json.dumps({"error": error}).encode()
        self.transport.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n".encode()
            + body
        )
        self._stop_timer()
        self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _pass_boundary(self, *, in_head: bool) -> None:
        self._in_head = in_head
        self._head_bytes = 0
        self._boundary_passed = True
        self._stop_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse("408 Request Timeout", "The request did not arrive in time")
        else:
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server as a guest of somebody else's loop: signals belong to the host."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class HttpServer:
    """A server that accepts connections. `port` is the one that was bound, also where 0 was asked for."""

    def __init__(self, server: _Server, task: asyncio.Task[None], host: str, port: int) -> None:
        self._server = server
        self._task = task
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Where the API is, without a slash at its end."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Accept no more, let running requests end for so long, then cut them off. Stopping twice is allowed."""
        # uvicorn takes whole seconds in its types only.
        self._server.config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        self._server.should_exit = True
        await asyncio.wait([self._task])

    async def wait_closed(self) -> None:
        """Until the server has ended; raises what ended it, if that was not `stop`."""
        await asyncio.shield(self._task)


async def serve_http(app: ASGIApp, host: str, port: int) -> HttpServer:
    """Serve the application on this loop, and return once connections are accepted. Port 0 takes a free one.

    Raises OSError where the address cannot be bound. No signal handler is set.
    """
    listener = await _bind(host, port)
    options: dict[str, Any] = {"http": _Http, "ws": "none", "lifespan": "off", "loop": "none"}
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        **options,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED)
    if not up.done():
        up.cancel()
        listener.close()
        await task  # raises why it did not come up
        raise OSError("the HTTP server ended while it was starting")
    return HttpServer(server, task, host, listener.getsockname()[1])


async def _bind(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
