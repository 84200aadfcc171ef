"""Streams: what they add to the way of a word, how soon a callee hears nothing more of what was cleared, and what they cost.

Some calls go to called parties whose RTP is written and read here, and their streams to a server that is here, too: one
clock for both ends. Beside them go calls of the lab, whose streams are echoed, in a process of their own.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.amd import worker_cpu_s
from dialer.core.events import Answered, StreamOpened
from dialer.core.model import LegId
from dialer.ports import StreamOrder
from sip.g711 import decode, tone
from sip.pool import WorkerPool
from sip.sdp import parse_streams
from sip.wire import Request
from tests.support.far_end import FarEnd
from tests.support.pools import Events, order, pool_to, trunk_to
from tests.support.stream_server import Conversation, StreamServer

_WAITS = "34600000002"
_RATE, _FRAME_SECONDS = 8_000, 0.02
_FRAME_BYTES = round(_RATE * _FRAME_SECONDS) * 2
_RTP_HEADER = 12
_LOUD = 1_000
_MEASURED, _FIRST_MEASURED = 3, 1_000  # how many, and their first leg
_BETWEEN_WORDS_SECONDS = 0.2
_START = json.dumps({"call_id": "bench", "campaign_id": None, "attempt": 1, "parameters": {}})
_SAID = tone("PCMA", 1_000, amplitude=8_000)
_QUIET = bytes([0xD5]) * 160
_SPOKEN = array("h", decode(_SAID, "PCMA")).tobytes()


@dataclass(slots=True)
class Streams:
    """With so many streams beside the measured ones: ms, and CPU of a stream in ms for each second.

    `lost` words had not arrived when the next was said.
    """

    beside: int
    lost: int = 0
    to_server_ms: list[float] = field(default_factory=list)
    to_callee_ms: list[float] = field(default_factory=list)
    cleared_ms: list[float] = field(default_factory=list)
    worker_cpu_ms: float = 0.0
    process_cpu_ms: float = 0.0


def measure(beside: int, seconds: float) -> Streams:
    """Words both ways for so long, with so many other streams going on."""
    return asyncio.run(_measure(beside, seconds))


def is_loud(pcm: bytes) -> bool:
    return max(map(abs, array("h", pcm)), default=0) > _LOUD


class MeasuredCall:
    """One call whose ends are both here."""

    def __init__(self, far: FarEnd, invite: Request, talk: Conversation, found: Streams) -> None:
        self._far, self._invite, self._talk, self._found = far, invite, talk, found
        (audio,) = parse_streams(invite.body)
        self._port = audio.port
        self._say_next = False
        self._said_at: float | None = None
        self._sent_at: float | None = None
        self._last_loud_at = 0.0

    def hang_up(self) -> None:
        """The called party has heard enough."""
        self._far.hang_up(self._invite)

    async def speak(self) -> None:
        """The called party: a packet every 20 ms, some of them loud."""
        loop = asyncio.get_running_loop()
        at, sequence = loop.time(), 0
        while True:
            payload = _QUIET
            if self._say_next:
                self._say_next, self._said_at, payload = False, time.monotonic(), _SAID
            self._far.rtp.send(self._port, sequence, payload)
            sequence, at = sequence + 1, at + _FRAME_SECONDS
            await asyncio.sleep(max(0.0, at - loop.time()))

    async def listen(self) -> None:
        """The called party's ear."""
        while True:
            packet = await self._far.rtp.receive()
            if not is_loud(decode(packet[_RTP_HEADER:], "PCMA")):
                continue
            now = time.monotonic()
            if self._sent_at is not None:
                self._found.to_callee_ms.append((now - self._sent_at) * 1_000)
                self._sent_at = None
            self._last_loud_at = now

    async def serve(self) -> None:
        """The server's ear."""
        heard = 0
        while True:
            await self._talk.until(partial(self._has, heard + _FRAME_BYTES), 60)
            now = time.monotonic()
            loud = is_loud(bytes(self._talk.audio[heard:]))
            heard = len(self._talk.audio)
            if loud and self._said_at is not None:
                self._found.to_server_ms.append((now - self._said_at) * 1_000)
                self._said_at = None

    def _has(self, octets: int) -> bool:
        return len(self._talk.audio) >= octets

    async def words(self) -> None:
        """One word from each side, over and over."""
        while True:
            await asyncio.sleep(_BETWEEN_WORDS_SECONDS)
            self._found.lost += self._said_at is not None
            self._say_next = True
            await asyncio.sleep(_BETWEEN_WORDS_SECONDS)
            self._found.lost += self._sent_at is not None
            self._sent_at = time.monotonic()
            await self._talk.send(_SPOKEN)

    async def interruptions(self, count: int) -> None:
        """Five seconds of sound that are cleared after a while: how long the callee still hears them."""
        for _ in range(count):
            began_at = time.monotonic()
            await self._talk.send(_SPOKEN * 250)
            await asyncio.sleep(0.3)
            assert self._last_loud_at > began_at, "nothing was heard that could be cleared"
            cleared_at = time.monotonic()
            await self._talk.say("clear")
            await asyncio.sleep(0.3)
            self._found.cleared_ms.append(max(0.0, self._last_loud_at - cleared_at) * 1_000)


@contextmanager
def peers() -> Iterator[tuple[int, int]]:
    """The lab's port and the echoing server's."""
    command = [sys.executable, "-m", "benchmarks.stream_peer"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        lab, echo = process.stdout.readline().split()
        yield int(lab), int(echo)
    finally:
        process.stdin.close()
        process.wait(30)


async def _measure(beside: int, seconds: float) -> Streams:
    found = Streams(beside)
    with peers() as (lab, echo):
        async with AsyncExitStack() as parts:
            server = await parts.enter_async_context(StreamServer())
            ends = [await parts.enter_async_context(FarEnd()) for _ in range(_MEASURED)]
            trunks = [trunk_to(lab, "lab"), *(trunk_to(end.port, f"far{n}") for n, end in enumerate(ends))]
            most = beside + _MEASURED
            opened = pool_to(*trunks, max_concurrent_calls=most, private_streams=True)
            pool, events = await parts.enter_async_context(opened)
            await _others(pool, events, beside, f"ws://127.0.0.1:{echo}/")
            calls = [await _call(pool, server, end, n, found) for n, end in enumerate(ends)]
            ears = [
                asyncio.ensure_future(work) for call in calls for work in (call.speak(), call.listen(), call.serve())
            ]
            talking = [asyncio.ensure_future(call.words()) for call in calls]
            workers, processes = worker_cpu_s(), _cpu_s(pool)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            a_stream = 1_000 / (beside + _MEASURED) / (time.monotonic() - began)
            found.worker_cpu_ms = (worker_cpu_s() - workers) * a_stream
            found.process_cpu_ms = (_cpu_s(pool) - processes) * a_stream
            await _over(talking)
            await asyncio.gather(*(call.interruptions(max(3, round(seconds / 3))) for call in calls))
            for call in calls:
                call.hang_up()
            for leg in range(beside):
                pool.hang_up(LegId(leg))
            for leg in (*range(beside), *range(_FIRST_MEASURED, _FIRST_MEASURED + _MEASURED)):
                await events.over(LegId(leg), 60)
            await _over(ears)
    return found


async def _over(tasks: Sequence["asyncio.Future[None]"]) -> None:
    for task in tasks:
        task.cancel()
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, Exception):
            raise done


async def _others(pool: WorkerPool, events: Events, count: int, url: str) -> None:
    legs = [LegId(n) for n in range(count)]
    for leg in legs:
        pool.dial(leg, order(_WAITS, trunk="lab"))
        await asyncio.sleep(0.02)
    for leg in legs:
        await events.wait(Answered, leg, 60)
        pool.stream(leg, 1, StreamOrder(url, _RATE, _START))
    for leg in legs:
        await events.wait(StreamOpened, leg, 60)


async def _call(pool: WorkerPool, server: StreamServer, far: FarEnd, number: int, found: Streams) -> MeasuredCall:
    leg = LegId(_FIRST_MEASURED + number)
    pool.dial(leg, order(trunk=f"far{number}"))
    invite = await far.talking()
    pool.stream(leg, 1, StreamOrder(server.url, _RATE, _START))
    talk = await server.conversation(number)
    return MeasuredCall(far, invite, talk, found)


def _cpu_s(pool: WorkerPool) -> float:
    """Of the stream processes."""
    ticks = os.sysconf("SC_CLK_TCK")
    spent = 0
    for pid in pool._streams.pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent / ticks
