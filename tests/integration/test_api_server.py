"""The HTTP server on a real socket: what only shows on the wire."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from api import server
from api.app import create_app
from api.server import HttpServer, serve_http
from tests.support.fake_backend import CAMPAIGN, MAX_BODY_BYTES, MINE, TOKEN, Fakes

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def fakes() -> Fakes:
    fakes = Fakes()
    fakes.campaigns = {MINE: {CAMPAIGN: {"id": CAMPAIGN, "status": "running"}}}
    return fakes


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[HttpServer]:
    running = await serve_http(app, "127.0.0.1", 0)
    try:
        yield running
    finally:
        await running.stop(1)


def on_wire(fakes: Fakes, story: Callable[[HttpServer], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with serving(create_app(fakes.backend())) as running:
            await asyncio.wait_for(story(running), 20)

    asyncio.run(run())


async def exchange(running: HttpServer, sent: bytes) -> tuple[int, dict[str, str], Any]:
    """Send the bytes, read until the server closes, and take the last answer apart."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def test_serves_on_the_port_that_the_system_chose(fakes: Fakes) -> None:
    async def story(running: HttpServer) -> None:
        async with httpx.AsyncClient(base_url=running.url, headers=BEARER) as client:
            for _ in range(3):
                answer = await client.get(f"/campaign/{CAMPAIGN}")
                assert answer.json()["id"] == CAMPAIGN
            assert "server" not in answer.headers
            assert (await client.head("/healthz")).content == b""

    on_wire(fakes, story)


def test_leaves_the_signal_handlers_of_its_host_alone(fakes: Fakes) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def story(_: HttpServer) -> None:
        assert signal.getsignal(signal.SIGTERM) == before[0]

    on_wire(fakes, story)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_port_that_is_taken_is_told_at_once(fakes: Fakes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            asyncio.run(serve_http(create_app(fakes.backend()), "127.0.0.1", taken.getsockname()[1]))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"nonsense\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_in_the_form_of_all_errors(fakes: Fakes, sent: bytes) -> None:
    async def story(running: HttpServer) -> None:
        status, headers, body = await exchange(running, sent)
        assert status == 400
        assert headers["content-type"] == "application/json"
        assert set(body) == {"error"}

    on_wire(fakes, story)


@pytest.mark.parametrize("method", [b"FOO", b"get", b"X-Y"])
def test_a_method_that_nobody_knows_is_told_as_such(fakes: Fakes, method: bytes) -> None:
    async def story(running: HttpServer) -> None:
        status, headers, body = await exchange(running, method + b" /campaign HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, headers["content-type"], headers["connection"]) == (501, "application/json", "close")
        assert set(body) == {"error"}

    on_wire(fakes, story)


def test_a_url_that_is_too_long_is_told_as_such(fakes: Fakes) -> None:
    async def story(running: HttpServer) -> None:
        # With its end in the same piece as its beginning, or nearly: the limit of heads is looked at after each.
        sent = b"GET /campaign?" + b"x" * 65_600 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        status, _, body = await exchange(running, sent)
        assert status in {414, 431}
        assert set(body) == {"error"}

    on_wire(fakes, story)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_a_head_above_64_kib_is_refused(fakes: Fakes, start: bytes) -> None:
    async def story(running: HttpServer) -> None:
        filling = b"a: b\r\n" if start.endswith(b"1.1\r\n") else b"x"
        head = start + filling * (65_536 // len(filling))
        status, headers, body = await exchange(running, head[:65_537])
        assert (status, headers["connection"]) == (431, "close")
        assert set(body) == {"error"}

    on_wire(fakes, story)


def test_a_client_that_sends_on_reads_why_it_was_refused(fakes: Fakes) -> None:
    async def story(running: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
        await writer.drain()
        answer = await reader.readuntil(b"}")
        assert b" 431 " in answer
        # Neither the rest nor what follows it finds a closed door at once.
        writer.write(b"x" * 200_000 + b"\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    on_wire(fakes, story)


def test_a_head_that_does_not_come_ends_the_connection(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.05)

    async def story(running: HttpServer) -> None:
        status, _, body = await exchange(running, b"GET /healthz HTTP/1.1\r\nX: ")
        assert status == 408
        assert set(body) == {"error"}
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        # The first answer is whole; then the next head of the same connection trickles.
        assert b"alive" in await reader.readuntil(b"}")
        writer.write(b"GET /he")
        assert b" 408 " in await reader.read()
        writer.close()

    on_wire(fakes, story)


def test_a_client_that_waits_for_100_is_not_made_to_send_a_body_that_is_refused(fakes: Fakes) -> None:
    async def story(running: HttpServer) -> None:
        head = "POST /campaign HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n"
        head += f"Content-Length: {MAX_BODY_BYTES + 1}\r\n"
        status, headers, _ = await exchange(running, head.encode() + b"\r\n")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        head += f"Authorization: Bearer {TOKEN}\r\n"
        status, _, body = await exchange(running, head.encode() + b"\r\n")
        assert status == 413
        assert set(body) == {"error"}

    on_wire(fakes, story)


def test_a_refused_body_leaves_the_connection_usable(fakes: Fakes) -> None:
    async def story(running: HttpServer) -> None:
        async with httpx.AsyncClient(base_url=running.url, headers=BEARER) as client:
            assert (await client.post("/campaign", content=b"x" * (MAX_BODY_BYTES + 1))).status_code == 413
            assert (await client.post("/campaign", content=b"{}")).status_code == 202

    on_wire(fakes, story)


def test_the_rest_of_a_refused_body_is_not_waited_for_without_end(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.05)

    async def story(running: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"POST /campaign HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        assert b" 401 " in await reader.readuntil(b"}")
        writer.write(b"a little more")
        assert await reader.read() == b""
        writer.close()

    on_wire(fakes, story)


def test_chunks_above_the_limit_are_refused_without_being_kept(fakes: Fakes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65_536 + 2):
            yield b"x" * 65_536

    async def story(running: HttpServer) -> None:
        async with httpx.AsyncClient(base_url=running.url, headers=BEARER) as client:
            answer = await client.post("/campaign", content=chunks())
            assert answer.status_code == 413
        assert fakes.submitted == []

    on_wire(fakes, story)


def test_stopping_lets_a_running_request_end(fakes: Fakes) -> None:
    async def run() -> None:
        begun, release = asyncio.Event(), asyncio.Event()
        fakes.hold = (begun, release)
        running = await serve_http(create_app(fakes.backend()), "127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=running.url, headers=BEARER) as client:
            request = asyncio.create_task(client.post("/campaign", content=b"{}"))
            await begun.wait()
            stopping = asyncio.create_task(running.stop(10))
            release.set()
            assert (await request).status_code == 202
            await stopping
            with pytest.raises(httpx.ConnectError):
                await client.get("/healthz")
        await running.stop()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_stopping_cuts_off_a_request_that_does_not_end(fakes: Fakes) -> None:
    async def run() -> None:
        begun = asyncio.Event()
        fakes.hold = (begun, asyncio.Event())
        running = await serve_http(create_app(fakes.backend()), "127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=running.url, headers=BEARER) as client:
            request = asyncio.create_task(client.post("/campaign", content=b"{}"))
            await begun.wait()
            await running.stop(0.05)
            answer = await request
            assert answer.status_code == 503
            assert answer.json() == {"error": "The server is stopping"}
        assert fakes.submitted == []

    asyncio.run(asyncio.wait_for(run(), 20))
