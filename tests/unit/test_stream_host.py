"""When a stream process counts as stuck: one that starts has longer than one that has spoken."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from dialer.core.model import LegId
from dialer.log_lines import LogStyle
from sip.messages import Ping, Pong
from sip.stream import host
from sip.stream.host import StreamHost
from sip.stream.messages import OpenStream, Setup, decode, encode
from sip.supervisor import PINGS_MISSED, START_TICKS
from tests.support.labs import async_test

SETUP = Setup(allow_private=True, secret="", log=LogStyle())


class Stuck:
    """A process that answers the first so many pings, and no more."""

    pid = 1
    answers = 0

    def __init__(self, _: str, receive: Callable[[bytes], None], gone: Callable[[str], None]) -> None:
        self._receive = receive
        self.unanswered = 0
        self.killed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stuck.append(self)

    async def start(self) -> None:
        pass

    def send(self, packet: bytes, line: socket.socket | None = None) -> None:
        message = decode(packet)
        if line is not None:
            line.close()
        if isinstance(message, Ping) and message.number <= self.answers:
            self._receive(encode(Pong(message.number, 0, 0, 0)))
        elif isinstance(message, Ping):
            self.unanswered += 1

    def kill(self) -> None:
        if not self.killed.done():
            self.killed.set_result(self.unanswered)

    def close(self) -> None:
        pass

    async def reaped(self) -> None:
        pass


stuck: list[Stuck] = []


@pytest.mark.parametrize(("answers", "unanswered"), [(0, START_TICKS), (3, PINGS_MISSED)])
@async_test
async def test_it_is_killed_after_so_many_pings(answers: int, unanswered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "Child", Stuck)
    monkeypatch.setattr(host, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(Stuck, "answers", answers)
    streams = StreamHost(SETUP, lambda _: None)
    line, other = socket.socketpair()
    with other:
        streams.open(OpenStream(LegId(1), 1, "ws://127.0.0.1/", 8_000, "{}"), line)
        async with asyncio.timeout(10):
            assert await stuck[-1].killed == unanswered
    await streams.stop()
