"""Trunks over IPv6: whole calls with their audio, registrations, OPTIONS, and what a dead worker leaves behind."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from dialer.core.events import Answered, EndedBy, LegEnded, LegLost
from dialer.core.model import LegId
from sip.lab import Auth, Entry, Lab
from sip.options import probe
from sip.trunk import TrunkProfile
from tests.integration.test_sip_media import loud_seconds, write_tone
from tests.support.labs import AT_ONCE, FAST, WAITS, async_test
from tests.support.pools import order, pool_to, pool_until

ONE = LegId(1)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on its loopback")


def trunk_to(lab: Lab, transport: str = "udp", **profile: object) -> TrunkProfile:
    return TrunkProfile("far", f"sip:[::1]:{lab.port};transport={transport}", **profile)  # type: ignore[arg-type]


# 0.0.0.0: no address of one family keeps trunks of the other away.
@pytest.mark.parametrize(
    ("transport", "bind_host"), [("udp", "::1"), ("tcp", "::1"), ("udp", "0.0.0.0"), ("udp", "::")]
)
@async_test
async def test_a_call_goes_over_ipv6_with_its_audio(tmp_path: Path, transport: str, bind_host: str) -> None:
    write_tone(tmp_path / "tone.wav", 440, 0.5)
    async with (
        Lab(host="::1", pace=FAST, record=True) as lab,
        pool_to(trunk_to(lab, transport), media=tmp_path, bind_host=bind_host) as (pool, events),
    ):
        dialed = order(WAITS)
        pool.dial(ONE, dialed)
        await events.wait(Answered, ONE)
        pool.play(ONE, 1, "tone.wav")
        await events.until(lambda: "PlayEnded" in events.kinds(ONE))
        pool.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.US, 200)
        assert loud_seconds(lab.recordings[dialed.sip_call_id].pcm()) == pytest.approx(0.5, abs=0.1)
        (source,) = {entry.source.rpartition(":")[0] for entry in lab.log if entry.event == "invite"}
        assert source == "[::1]"


@async_test
async def test_a_trunk_registers_and_answers_options_over_ipv6() -> None:
    async with Lab(host="::1", pace=FAST, auth=Auth("dialer", "secret")) as lab:
        trunk = trunk_to(lab, register=True, username="dialer", password="secret")
        assert (await probe(trunk, "::1")).status == 200
        async with pool_to(trunk, bind_host="::1") as (pool, events):
            await pool_until(pool, lambda: pool.state().registered["far"])
            assert "@[::1]" in (lab.registrar.contact_of("dialer", time.monotonic()) or "")
            pool.dial(ONE, order(AT_ONCE))
            await events.wait(Answered, ONE)
            await events.over(ONE)
        assert lab.registrar.contact_of("dialer", time.monotonic()) is None


@async_test
async def test_a_dead_workers_call_is_ended_over_ipv6() -> None:
    ended = asyncio.Event()

    def note(entry: Entry) -> None:
        if entry.event == "ended":
            ended.set()

    async with (
        Lab(host="::1", pace=FAST, on_entry=note) as lab,
        pool_to(trunk_to(lab), bind_host="::1") as (pool, events),
    ):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        (worker,) = [worker for worker in pool._running.workers.values() if worker.legs]
        os.kill(worker.pid, signal.SIGKILL)
        assert isinstance(await events.over(ONE), LegLost)
        await asyncio.wait_for(ended.wait(), 5)
        assert any(entry.event == "bye_received" for entry in lab.log)
