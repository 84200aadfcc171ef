"""A program that is asked what calls are to do next: it writes its questions down, and answers as the test says."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_" + "QUJD" * 12


@dataclass(frozen=True)
class Asked:
    """One question. `connection` counts the program's connections from 1."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def verified(self, secret: str = SECRET) -> dict[str, Any]:
        """What is asked, if it is signed; else raises."""
        found: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return found


def http(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def steps(*given: dict[str, Any]) -> bytes:
    return http(body=json.dumps({"steps": given}).encode())


class Program:
    """`answer` is given each question, and gives the bytes of the answer; None: the connection is cut instead.

    Answers wait until `may_answer` is set.
    """

    def __init__(self, answer: Callable[[Asked], bytes | None]) -> None:
        self._answer = answer
        self.asked: list[Asked] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.connections = 0
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        number = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (reply := await self._one(reader, number)) is not None:
                writer.write(reply)
                await writer.drain()
        self.open -= 1
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, number: int) -> bytes | None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        asked = Asked(first.split()[1], headers, body, number)
        self.asked.append(asked)
        await self.may_answer.wait()
        return self._answer(asked)
