"""SIGTERM: dialing stops, ringing calls end, answered ones may finish; then exit 0, and the next start loses nothing."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.far_end import FarEnd
from tests.support.lab_thread import LabThread
from tests.support.labs import async_test


@pytest.fixture
def lab() -> Iterator[LabThread]:
    with LabThread(pace=0.1) as lab:
        yield lab


def server(folder: Path, uri_of: dict[str, Any], drain_seconds: float) -> Dialer:
    pacing = {"stagger_seconds": 0.05, "drain_seconds": drain_seconds}
    dialer = Dialer(folder, {"pbx": uri_of}, pacing=pacing)
    dialer.run("db", "migrate")
    return dialer


def talk(seconds: float) -> list[dict[str, Any]]:
    return [{"do": "wait", "seconds": seconds}, {"do": "hangup"}]


@pytest.fixture
def client(tmp_path: Path, lab: LabThread) -> Iterator[Client]:
    dialer = server(tmp_path, lab.trunk, 20)
    try:
        client = dialer.start().account()
        yield client
        client.close()
    finally:
        dialer.stop()


def test_ringing_calls_end_answered_ones_finish_and_a_restart_goes_on(client: Client, lab: LabThread) -> None:
    dialer = client.dialer
    playbook = client.playbook(steps=talk(2.0), ring_timeout_seconds=6)
    rings = [f"+346001{n:03d}10" for n in range(3)]
    talks = [f"+346002{n:03d}02" for n in range(3)]
    waits = [f"+346003{n:03d}02" for n in range(30)]
    campaign = client.post(playbook, rings + talks + waits, recall=[0.02])
    lab.wait_for("answered", 3)
    dialer.terminate()
    told = time.time()

    eventually(lambda: status_of(dialer, "/readyz") in {503, None}, 5, "/readyz answers 503, or nobody does")
    eventually(lambda: status_of(dialer, "/healthz") is None, 10, "the API is closed")
    assert dialer.wait(30) == 0
    last = max(entry.at for entry in lab.invites())
    assert last <= told + 0.5, "an INVITE left long after the signal"
    cancelled = {entry.number for entry in lab.seen("cancel")}
    assert set(rings) <= cancelled
    ends = {entry.call_id: entry.at for entry in lab.seen("ended")}
    answered = {entry.call_id: entry for entry in lab.seen("answered")}
    assert len(ends) == len(lab.invites())
    for call_id, entry in answered.items():
        assert ends[call_id] - entry.at >= 1.9, f"{entry.number} was not let finish"

    dialer.start()
    seen = client.finished(campaign, 60)
    assert seen["dispositions"]["answered"] == 33
    calls = client.calls(campaign)
    for number in talks + waits:
        assert calls[number]["disposition"] == "answered", calls[number]
    first_attempts = [calls[number]["attempts"][0]["disposition"] for number in rings]
    assert first_attempts == ["interrupted"] * 3
    assert len({entry.call_id for entry in lab.invites()}) == len(lab.invites())
    attempts = {a["sip_call_id"] for call in calls.values() for a in call["attempts"]}
    assert {entry.call_id.partition("@")[0] for entry in lab.invites()} <= attempts


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_answered_calls_at_once(client: Client, lab: LabThread, again: signal.Signals) -> None:
    dialer = client.dialer
    campaign = client.post(client.playbook(steps=talk(100), max_call_seconds=120), ["+34600400002"])
    lab.wait_for("answered", 1)
    dialer.terminate()
    eventually(lambda: status_of(dialer, "/healthz") is None, 10, "the API is closed")
    assert not dialer.ended()
    assert lab.seen("ended") == []
    dialer.signal(again)
    told = time.time()
    assert dialer.wait(10) == 0
    assert [entry.reason for entry in lab.seen("ended")] == ["caller_hung_up"]
    assert lab.seen("ended")[0].at < told + 5
    dialer.start()
    assert client.finished(campaign)["dispositions"] == {"answered": 1}
    assert len(lab.invites()) == 1


def test_answered_calls_are_ended_when_the_time_is_over(tmp_path: Path, lab: LabThread) -> None:
    dialer = server(tmp_path, lab.trunk, 60)
    try:
        client = dialer.start().account()
        client.post(client.playbook(steps=talk(100), max_call_seconds=120), ["+34600400002"])
        lab.wait_for("answered", 1)
        # It is the time that is configured when the signal comes.
        dialer.configure(pacing={"drain_seconds": 1})
        dialer.reload()
        dialer.terminate()
        told = time.time()
        assert dialer.wait(15) == 0
        assert [entry.reason for entry in lab.seen("ended")] == ["caller_hung_up"]
        assert 0.9 <= lab.seen("ended")[0].at - told < 5
        client.close()
    finally:
        dialer.stop()


def test_a_client_that_stalls_in_its_request_keeps_no_call_going_out(client: Client, lab: LabThread) -> None:
    client.post(client.playbook(), [f"+346005{n:03d}02" for n in range(200)])
    lab.wait_for("invite", 3)

    def body() -> Iterator[bytes]:
        yield b"{"
        client.dialer.terminate()
        time.sleep(2)
        yield b"}"

    told = time.time()
    with contextlib.suppress(httpx.TransportError):
        assert client.http.post("/campaign", content=body()).status_code in {400, 503}
    assert client.dialer.wait(20) == 0
    # Two seconds of the client's dawdling are forty calls at this pace.
    assert max(entry.at for entry in lab.invites()) <= told + 1.0


@async_test
async def test_an_answer_that_crosses_the_cancel_of_a_drain_is_acknowledged_and_ended(tmp_path: Path) -> None:
    async with FarEnd() as far:
        trunk = {"uri": f"sip:127.0.0.1:{far.port}", "max_concurrent_calls": 4, "calls_per_second": 10}
        dialer = await asyncio.to_thread(server, tmp_path, trunk, 20)
        try:
            await asyncio.to_thread(dialer.start)
            client = await asyncio.to_thread(dialer.account)
            playbook = await asyncio.to_thread(lambda: client.playbook(ring_timeout_seconds=30))
            await asyncio.to_thread(client.post, playbook, ["+34600600002"])
            invite = await far.ringing()
            dialer.terminate()
            cancel = await far.request("CANCEL")
            far.reply(invite, 200, sdp=True)
            far.reply(cancel, 200)
            await far.request("ACK")
            far.reply(await far.request("BYE"), 200)
            assert await asyncio.to_thread(dialer.wait, 20) == 0
            client.close()
        finally:
            await asyncio.to_thread(dialer.stop)


def status_of(dialer: Dialer, path: str) -> int | None:
    """What a GET is answered with; None where nobody listens."""
    try:
        return httpx.get(f"{dialer.url}{path}", timeout=2).status_code
    except httpx.TransportError:
        return None
