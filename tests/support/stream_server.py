"""A stream's server that does what the test says: it keeps what it hears, and sends what it is told to send."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WAIT_SECONDS = 10.0


class Conversation:
    """One connection: `audio` is what the callee said, `told` are the control messages, in order."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.audio = bytearray()
        self.told: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    async def listen(self) -> None:
        """Until the connection is closed."""
        try:
            async for message in self.connection:
                if isinstance(message, bytes):
                    self.audio += message
                else:
                    self.told.append(json.loads(message))
                self._news.set()
        except ConnectionClosed:
            pass
        self._news.set()

    async def until(self, true: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def tells(self, kind: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """The first control message of that type."""
        found: list[dict[str, Any]] = []

        def here() -> bool:
            found[:] = [message for message in self.told if message["type"] == kind]
            return bool(found)

        try:
            await self.until(here, seconds)
        except TimeoutError:
            raise AssertionError(f"no {kind}: {self.told}") from None
        return found[0]

    async def send(self, audio: bytes) -> None:
        await self.connection.send(audio)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))


class StreamServer:
    """Serves on a free port of this machine; `behave`, if given, is run for each conversation beside listening.

    `certificate` is a PEM file with the key in it: with TLS, then.
    """

    def __init__(
        self,
        behave: Callable[[Conversation], Awaitable[None]] | None = None,
        *,
        status: int = 101,
        certificate: Path | None = None,
    ) -> None:
        self._behave, self._status = behave, status
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.requests: list[Request] = []
        self.conversations: list[Conversation] = []
        self._news = asyncio.Event()
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._process, compression=None, ssl=self._tls
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        scheme = "ws" if self._tls is None else "wss"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/assistant?key=1"

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self._status == 101:
            return None
        response = connection.respond(HTTPStatus(self._status), "no")
        response.headers["Location"] = self.url.replace("assistant", "elsewhere")
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        conversation = Conversation(connection)
        self.conversations.append(conversation)
        self._news.set()
        listening = asyncio.ensure_future(conversation.listen())
        if self._behave is not None:
            await self._behave(conversation)
        await listening

    async def conversation(self, number: int = 0) -> Conversation:
        """The first one, or a later, once somebody has connected and it was told `start`."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.conversations) <= number:
                self._news.clear()
                await self._news.wait()
        found = self.conversations[number]
        await found.tells("start")
        return found
