"""A reverse proxy before a server that is away for a while: it passes bytes on, or answers 502 itself."""

import asyncio
import contextlib
import threading
from typing import Self

_AWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\naway"


class FlakyProxy:
    """Listens on loopback in a thread of its own; `url` is where. `refused` counts the requests that were answered 502."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._away = False
        self._passing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self.refused = 0

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.leave()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def leave(self) -> None:
        """The server is away: what is open ends, and what comes is answered 502."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(10)

    def come_back(self) -> None:
        self._away = False

    async def _leave(self) -> None:
        self._away = True
        passing = list(self._passing)
        for one in passing:
            one.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.ensure_future(self._pass_on(reader, writer))
        self._passing.add(passing)
        with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await passing
        self._passing.discard(passing)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if self._away:
            self.refused += 1
            writer.write(_AWAY)
            await writer.drain()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        to_server.write(head)
        try:
            await asyncio.gather(_pump(reader, to_server), _pump(from_server, writer))
        finally:
            to_server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(65_536):
        writer.write(some)
        await writer.drain()
    writer.close()
