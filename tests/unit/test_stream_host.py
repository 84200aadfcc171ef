"""How many stream processes there are, and when one counts as stuck."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from dialer.core.events import StreamEnd, StreamEnded, StreamOpened
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
    fault: OSError | None = None

    def __init__(self, _: str, receive: Callable[[bytes], None], gone: Callable[[str], None]) -> None:
        self._receive = receive
        self.unanswered = 0
        self.killed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stuck.append(self)

    async def start(self) -> None:
        if self.fault is not None:
            raise self.fault

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


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "Child", Stuck)
    stuck.clear()


def open_stream(streams: StreamHost, leg: int) -> socket.socket:
    """The other end of its line."""
    line, other = socket.socketpair()
    streams.open(OpenStream(LegId(leg), leg, "ws://127.0.0.1/", 8_000, "{}"), line)
    return other


@async_test
async def test_a_process_that_is_full_is_followed_by_the_next_as_far_as_there_may_be_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "STREAMS_A_PROCESS", 2)
    monkeypatch.setattr(host, "MAX_PROCESSES", 2)
    told: list[StreamOpened | StreamEnded] = []
    streams = StreamHost(SETUP, told.append)
    counts = []
    for leg in range(1, 7):
        with open_stream(streams, leg):
            counts.append(len(stuck))
    assert counts == [1, 1, 2, 2, 2, 2]
    for leg in (1, 2, 1):
        streams.leg_over(LegId(leg))
    assert told == [StreamEnded(LegId(leg), leg, StreamEnd.STOPPED, "hangup", leg_over=True) for leg in (1, 2)]
    assert [len(carrier.streams) for carrier in streams._carriers] == [1, 3]
    with open_stream(streams, 7):
        pass
    assert [len(carrier.streams) for carrier in streams._carriers] == [2, 3]
    await streams.stop()


@async_test
async def test_a_process_that_cannot_be_started_fails_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stuck, "fault", OSError(24, "Too many open files"))
    told: asyncio.Queue[StreamOpened | StreamEnded] = asyncio.Queue()
    streams = StreamHost(SETUP, told.put_nowait)
    with open_stream(streams, 1) as other:
        end = await told.get()
        reason = "the stream process ended: it cannot be started: [Errno 24] Too many open files"
        assert end == StreamEnded(LegId(1), 1, StreamEnd.LOST, reason)
        assert other.recv(1) == b""
    await streams.stop()


@pytest.mark.parametrize(("answers", "unanswered"), [(0, START_TICKS), (3, PINGS_MISSED)])
@async_test
async def test_it_is_killed_after_so_many_pings(answers: int, unanswered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(Stuck, "answers", answers)
    streams = StreamHost(SETUP, lambda _: None)
    with open_stream(streams, 1):
        async with asyncio.timeout(10):
            assert await stuck[-1].killed == unanswered
    await streams.stop()
