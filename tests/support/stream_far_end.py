"""A called party over TCP or TLS that does what the test says, with its connections too."""

import asyncio
import contextlib
import ssl
from typing import Self

from sip.grammar import Uri
from sip.wire import Message, Request, framed, parse
from tests.support.caller import RtpEnd
from tests.support.far_end import WAIT_SECONDS, FarEnd


class StreamFarEnd(FarEnd):
    """`connections` are those that were made to it, the newest last; an answer goes where the call's last request came from."""

    def __init__(self, security: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._security = security
        self.transport = "TLS" if security else "TCP"
        self.connections: list[asyncio.StreamWriter] = []
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._came: asyncio.Queue[tuple[Message, asyncio.StreamWriter]] = asyncio.Queue()
        self._reading: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        self.contact = ("Contact", f"<sip:far@127.0.0.1:{self.port};transport={self.transport.lower()}>")
        self.rtp = RtpEnd()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_listening()
        self.rtp.close()

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self._security)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Close everything, as a process that ends does."""
        self._server.close()
        for writer in self.connections:
            writer.transport.abort()  # over TLS a close would wait for the other side's
        await asyncio.gather(*self._reading, return_exceptions=True)
        self.connections.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        task = asyncio.create_task(self._read(reader, writer))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                buffer += piece
                for message in framed(buffer):
                    self._came.put_nowait((parse(message), writer))
        writer.close()

    async def call_back(self, invite: Request) -> None:
        """Connect to where the caller says that it is reached; what is sent in that call goes there."""
        place = Uri.parse(invite.values("Contact")[0].strip("<>"))
        reader, writer = await asyncio.open_connection(place.host, place.port)
        await self._connected(reader, writer)
        self._writers[invite.call_id] = writer

    async def receive(self, seconds: float = WAIT_SECONDS) -> Message:
        message, writer = await asyncio.wait_for(self._came.get(), seconds)
        self._writers[message.call_id] = writer
        self.seen.append(message)
        return message

    def send(self, message: Message) -> None:
        self.send_bytes(message.call_id, message.encode())

    def send_bytes(self, call_id: str, data: bytes) -> None:
        self._writers[call_id].write(data)
