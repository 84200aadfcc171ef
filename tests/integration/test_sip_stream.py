"""The call's audio both ways over a WebSocket, judged by what the server heard and by what the far side recorded."""

import contextlib
import json
import math
import os
import signal
import time
from array import array
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dialer.core.events import Answered, StreamEnd, StreamEnded, StreamOpened
from dialer.core.model import LegId
from dialer.ports import StreamOrder
from sip.g711 import decode
from sip.lab import Lab
from sip.pool import WorkerPool
from tests.integration.test_sip_media import crossings, loud_seconds
from tests.support.far_end import FarEnd
from tests.support.labs import FAST, WAITS, async_test
from tests.support.pools import Events, order, pool_to, trunk_to
from tests.support.stream_server import StreamServer

ONE = LegId(1)
START = json.dumps({"call_id": "c-1", "campaign_id": None, "attempt": 1, "parameters": {"name": "Ana"}})
PRIVATE = {"private_streams": True}
RTP_HEADER = 12


def sine(hertz: int, seconds: float, rate: int) -> bytes:
    count = round(seconds * rate)
    return array("h", (round(6_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))).tobytes()


def samples(pcm: bytes) -> array:
    return array("h", pcm)


async def next_packet(far: FarEnd, *, loud: bool) -> float:
    """When the next packet came to the called party that is as loud as a tone, or silent."""
    while True:
        packet = await far.rtp.receive()
        now = time.monotonic()
        heard = array("h", decode(packet[RTP_HEADER:], "PCMA"))
        if (max(map(abs, heard)) > 1_000) is loud:
            return now


class World:
    def __init__(self, lab: Lab, pool: WorkerPool, events: Events, sip_call_id: str) -> None:
        self.lab, self.pool, self.events = lab, pool, events
        self._sip_call_id = sip_call_id

    def heard(self) -> bytes:
        """What the callee heard so far."""
        return self.lab.recordings[self._sip_call_id].pcm()

    async def ended(self) -> StreamEnded:
        return await self.events.wait(StreamEnded, ONE)

    async def hang_up(self) -> None:
        self.pool.hang_up(ONE)
        await self.events.over(ONE)


@contextlib.asynccontextmanager
async def answered(**options: Any) -> AsyncIterator[World]:
    """A call that was answered by somebody who talks (a tone of 400 Hz) until we hang up."""
    async with (
        Lab(pace=FAST, record=True) as lab,
        pool_to(trunk_to(lab.port), **{**PRIVATE, **options}) as (pool, events),
    ):
        dialed = order(WAITS)
        pool.dial(ONE, dialed)
        await events.wait(Answered, ONE)
        yield World(lab, pool, events, dialed.sip_call_id)


@pytest.mark.parametrize("rate", [8_000, 16_000])
@async_test
async def test_both_hear_each_other_whole_in_tune_and_as_loud_as_they_are(rate: int) -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 7, StreamOrder(server.url, rate, START))
        assert await world.events.wait(StreamOpened, ONE) == StreamOpened(ONE, 7)
        talk = await server.conversation()
        assert talk.told[0]["audio"]["sample_rate"] == rate
        await talk.send(sine(700, 1.0, rate))
        await talk.say("mark", name="end")
        assert (await talk.tells("mark"))["played"]
        await talk.until(lambda: len(talk.audio) > 2 * rate * 1.2)
        await talk.say("stop", outcome="done")
        assert await world.ended() == StreamEnded(ONE, 7, StreamEnd.SERVER, outcome="done")
        await world.hang_up()
        there = world.heard()
    assert loud_seconds(there) == pytest.approx(1.0, abs=0.05)
    assert crossings(there) == pytest.approx(700, rel=0.02)
    assert max(samples(there)) == pytest.approx(6_000, rel=0.1)
    # The called party sends a tone of 400 Hz, 3,000 high, in every packet.
    here = bytes(talk.audio)[rate // 5 * 2 : rate // 5 * 2 + 2 * rate]
    assert crossings(here) == pytest.approx(400, rel=0.02)
    assert max(samples(here)) == pytest.approx(3_000, rel=0.1)
    assert loud_seconds(here) == pytest.approx(rate / 8_000, abs=0.05)


@async_test
async def test_who_interrupts_is_heard_at_once() -> None:
    """What the callee hears after the server has cleared five seconds of it: the best of five is told, the rest is measured."""
    async with StreamServer() as server, FarEnd() as far, pool_to(trunk_to(far.port), **PRIVATE) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        talk = await server.conversation()
        took = []
        for _ in range(5):
            await talk.send(sine(700, 5.0, 8_000))
            await next_packet(far, loud=True)
            cleared_at = time.monotonic()
            await talk.say("clear")
            quiet_at = await next_packet(far, loud=False)
            took.append(quiet_at - cleared_at)
            # And it stays so.
            for _ in range(10):
                await next_packet(far, loud=False)
        far.hang_up(invite)
        await events.over(ONE)
    assert min(took) < 0.04


@async_test
async def test_a_callee_who_hangs_up_ends_the_stream_and_the_server_is_told() -> None:
    async with StreamServer() as server, FarEnd() as far, pool_to(trunk_to(far.port), **PRIVATE) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        talk = await server.conversation()
        far.hang_up(invite)
        await events.over(ONE)
        assert (await talk.tells("stop"))["reason"] == "hangup"
        assert (await events.wait(StreamEnded, ONE)).leg_over


@async_test
async def test_a_stream_process_that_sleeps_or_dies_costs_its_streams_alone() -> None:
    async with StreamServer() as server, answered() as world:
        pool = world.pool
        pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        await world.events.wait(StreamOpened, ONE)
        (process,) = pool._streams.pids
        os.kill(process, signal.SIGSTOP)
        # Calls begin and end meanwhile.
        other = order(WAITS)
        pool.dial(LegId(2), other)
        await world.events.wait(Answered, LegId(2))
        pool.hang_up(LegId(2))
        await world.events.over(LegId(2))
        os.kill(process, signal.SIGKILL)
        end = await world.ended()
        assert (end.by, end.reason) == (StreamEnd.LOST, "the stream process ended: killed by signal 9")
        # The next stream has a new process, and the leg lives.
        pool.stream(ONE, 2, StreamOrder(server.url, 8_000, START))
        await world.events.until(lambda: StreamOpened(ONE, 2) in world.events.all)
        pool.stop_stream(ONE, "max_seconds")
        await world.events.until(lambda: StreamEnded(ONE, 2, StreamEnd.STOPPED, "max_seconds") in world.events.all)
        await world.hang_up()


@async_test
async def test_a_call_that_has_no_place_for_a_stream_goes_on_without_one() -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 1, StreamOrder(server.url, 40, START))  # less than a sample a frame: the bridge refuses
        end = await world.ended()
        assert (end.by, end.reason[:33]) == (StreamEnd.FAILED, "there is no place in the bridge: ")
        world.pool.stream(ONE, 2, StreamOrder(server.url, 8_000, START))
        await world.events.until(lambda: StreamOpened(ONE, 2) in world.events.all)
        await world.hang_up()


@async_test
async def test_servers_are_told_when_the_main_process_is_gone() -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        talk = await server.conversation()
        world.pool._streams._carriers[0].child.close()
        assert await talk.tells("stop") == {"type": "stop", "reason": "shutdown"}
        assert (await world.ended()).reason == "the stream process ended: exit status 0"
        await world.hang_up()


@async_test
async def test_streams_that_begin_go_by_the_rules_as_they_are_then() -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        await server.conversation()
        world.pool.follow_streams(private_streams=False, stream_secret="s3cret")
        world.pool.stop_stream(ONE, "max_seconds")
        await world.events.until(lambda: StreamEnded(ONE, 1, StreamEnd.STOPPED, "max_seconds") in world.events.all)
        world.pool.stream(ONE, 2, StreamOrder(server.url, 8_000, START))
        await world.events.until(lambda: any(e.token == 2 for e in world.events.all if isinstance(e, StreamEnded)))
        refused = world.events.all[-1]
        assert isinstance(refused, StreamEnded)
        assert (refused.by, refused.reason[:24]) == (StreamEnd.FAILED, "must begin with wss://: ")
        world.pool.follow_streams(private_streams=True, stream_secret="s3cret")
        world.pool.stream(ONE, 3, StreamOrder(server.url, 8_000, START))
        await world.events.until(lambda: StreamOpened(ONE, 3) in world.events.all)
        assert ["X-Dialer-Signature" in request.headers for request in server.requests] == [False, True]
        await world.hang_up()


@pytest.mark.slow
@async_test
async def test_a_stream_process_that_answers_no_pings_is_killed() -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        await world.events.wait(StreamOpened, ONE)
        os.kill(world.pool._streams.pids[0], signal.SIGSTOP)
        assert (await world.ended()).by is StreamEnd.LOST
        await world.hang_up()


@async_test
async def test_a_worker_that_dies_ends_its_streams() -> None:
    async with StreamServer() as server, answered() as world:
        world.pool.stream(ONE, 1, StreamOrder(server.url, 8_000, START))
        talk = await server.conversation()
        os.kill(world.pool._carriers[ONE].pid, signal.SIGKILL)
        assert (await talk.tells("stop"))["reason"] == "hangup"
        await world.events.over(ONE)
