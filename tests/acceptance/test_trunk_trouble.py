"""A server whose trunks fall ill in ways that the lab's numbers do not tell: what its calls, GET /trunk and the wire show."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from dialer.core.model import Disposition
from sip.lab import Entry
from sip.lab.behaviours import BEHAVIOURS, Behaviour, Plan
from sip.wire import Request
from tests.acceptance.test_failover import trunks_of
from tests.acceptance.test_on_the_wire import at, serving
from tests.support.dialer_process import Client, eventually
from tests.support.far_end import FarEnd
from tests.support.lab_thread import LabThread
from tests.support.labs import async_test

CPS = 20
LATE = 0.5  # a busy machine notes what happens later than it happened
LOST_ITS_ROUTES = Behaviour(
    "", "404 to everything", (Plan(alert=None, alert_seconds=0, status=404),), (Disposition.INVALID_NUMBER,)
)
AT_ONCE = Behaviour(
    "", "answers, hangs up at once", (Plan(alert=None, alert_seconds=0, talk_seconds=0),), (Disposition.ANSWERED,)
)
FULL = next(row for row in BEHAVIOURS if row.ending == "503")


def test_a_trunk_that_answers_404_to_everything_marks_no_number_and_is_taken_for_ill(tmp_path: Path) -> None:
    numbers = [f"+346000{n:02d}01" for n in range(12)]
    with LabThread(pace=0.1, behaviours=(LOST_ITS_ROUTES,)) as lost, LabThread(pace=0.1) as spare:
        trunks = {"main": lost.trunk, "spare": spare.trunk}
        with serving(tmp_path, trunks, pacing={"stagger_seconds": 0.1}) as (_, client):
            campaign = client.post(client.playbook(trunks=["main", "spare"]), numbers)
            done = client.finished(campaign)
            assert done["dispositions"] == {"answered": 12}
            assert {call["attempts"][0]["trunk"] for call in client.calls(campaign).values()} == {"spare"}
            shown = trunks_of(client)
            assert (shown["main"]["state"] != "up", shown["spare"]["state"]) == (True, "up")
            assert "404" in shown["main"]["last_failure"]["reason"]
            assert client.http.get("/readyz").status_code == 200
        assert len(lost.invites()) <= 8, "five open the breaker, and one at a time tries it"


def test_a_trunk_that_says_it_is_overloaded_is_given_half_its_cps(tmp_path: Path) -> None:
    numbers = [f"+34600{n:04d}{'503' if n % 4 == 3 else '001'}" for n in range(60)]
    with LabThread(pace=0.1, behaviours=(AT_ONCE, FULL)) as busy, LabThread(pace=0.1, behaviours=(AT_ONCE,)) as spare:
        trunks = {"main": {**busy.trunk, "calls_per_second": CPS}, "spare": spare.trunk}
        with serving(tmp_path, trunks, pacing={"stagger_seconds": 0}) as (_, client):
            campaign = client.post(client.playbook(trunks=["main", "spare"]), numbers)
            slowed = eventually(
                lambda: (s := trunks_of(client)["main"])["calls_per_second_now"] < CPS and s, 20, "slowed"
            )
            before = len(busy.invites())
            assert slowed["calls_per_second_now"] <= CPS / 2 + 1
            assert slowed["state"] == "up"
            assert client.finished(campaign, 60)["dispositions"] == {"answered": 60}
        times = [entry.monotonic_at for entry in busy.invites()[before:]]
        # It gains 2 % of 20 each second; and some come late on a busy machine, and so together.
        assert 4 < sum(at < times[0] + 2 for at in times) <= 2 * (CPS / 2 + 1) + 4


def test_a_trunk_has_its_own_meaning_of_statuses(tmp_path: Path) -> None:
    told = {
        "odd": {"+34600000480": "no_answer", "+34600000403": "declined", "+34600000486": "busy"},
        "plain": {"+34600001480": "unreachable", "+34600001486": "busy"},
    }
    with LabThread(pace=0.1) as lab:
        odd = {**lab.trunk, "dispositions.480": "no_answer", "dispositions.403": "declined"}
        with serving(tmp_path, {"odd": odd, "plain": lab.trunk}) as (_, client):
            for trunk, dispositions in told.items():
                campaign = client.post(client.playbook(trunks=[trunk]), list(dispositions))
                client.finished(campaign)
                calls = client.calls(campaign)
                assert {number: call["disposition"] for number, call in calls.items()} == dispositions


@async_test
async def test_one_missed_keepalive_is_nothing_two_take_the_trunk_down_and_two_answers_bring_it_back(
    tmp_path: Path,
) -> None:
    """Each OPTIONS is a request with a Call-ID of its own, sent again until its answer."""
    missed = {2, 4, 5}
    asked: list[str] = []
    seen: list[tuple[str, int]] = []  # the trunk's state and /readyz, when an OPTIONS came

    async def serve(far: FarEnd, client: Client) -> None:
        while True:
            request = await far.receive(60)
            if not isinstance(request, Request):
                continue
            if request.method == "INVITE":
                far.reply(request, 486)
            elif request.method == "OPTIONS":
                if request.call_id not in asked:
                    asked.append(request.call_id)
                    state = (await asyncio.to_thread(trunks_of, client))["main"]["state"]
                    ready = await asyncio.to_thread(client.http.get, "/readyz")
                    seen.append((state, ready.status_code))
                if asked.index(request.call_id) + 1 not in missed:
                    far.reply(request, 200)

    def meanwhile(client: Client) -> None:
        eventually(lambda: len(seen) >= 6, 60, "the trunk is down, and probed")
        # What is accepted then waits, and leaves when it is up.
        campaign = client.post(client.playbook(trunks=["main"]), ["+34600000001"])
        assert client.finished(campaign, 60)["dispositions"] == {"busy": 1}

    async with FarEnd() as far:
        trunk = {"uri": f"sip:127.0.0.1:{far.port}", "options_interval_seconds": 1}
        with contextlib.ExitStack() as stack:
            _, client = await asyncio.to_thread(stack.enter_context, serving(tmp_path, {"main": trunk}))
            serving_it = asyncio.create_task(serve(far, client))
            await asyncio.to_thread(meanwhile, client)
            serving_it.cancel()
            await asyncio.to_thread(stack.close)
    assert seen[:7] == [("up", 200)] * 5 + [("probing", 503)] * 2


def test_an_attempt_tells_what_the_far_side_saw_and_its_call_id_names_call_and_try(tmp_path: Path) -> None:
    """Busy and then answered (11); rings out (10); refused and then answered (13); answers, hangs up (01)."""
    numbers = {ending: f"+3460000{ending}" for ending in ("0011", "0010", "0013", "0001")}
    with LabThread(pace=0.2) as lab, serving(tmp_path, {"pbx": lab.trunk}) as (_, client):
        steps = [{"do": "wait", "seconds": 20}]
        book = client.playbook(ring_timeout_seconds=1.5, steps=steps)
        campaign = client.post(book, list(numbers.values()), recall=[0.05])
        client.finished(campaign, 60)
        calls = client.calls(campaign)
        names: dict[str, list[str]] = {}
        for ending, number in numbers.items():
            call = calls[number]
            wire = {
                entry.call_id: {e.event: e for e in lab.lab.log if e.call_id == entry.call_id}
                for entry in lab.invites(number)
            }
            names[ending] = [call_id.replace(call["id"], "call") for call_id in wire]
            for attempt in call["attempts"]:
                told_as_it_was(attempt, wire[attempt["sip_call_id"]])
    assert names == {
        "0011": ["call-1", "call-2"],
        "0010": ["call-1", "call-2"],
        "0013": ["call-1", "call-1.2"],
        "0001": ["call-1"],
    }


def told_as_it_was(attempt: dict[str, Any], wire: dict[str, Entry]) -> None:
    """One attempt, as the API shows it, beside what the lab logged of its last INVITE."""
    ended, rtp = wire["ended"], attempt["rtp"]
    assert attempt["sip_status"] == ended.status
    assert attempt["q850_cause"] == {486: 17}.get(attempt["sip_status"])
    assert attempt["ended_by"] == ("us" if ended.reason in {"cancelled", "caller_hung_up"} else "far")
    times = {"dialed_at": "invite", "ringing_at": "ringing", "answered_at": "ack", "ended_at": "ended"}
    if ended.status != 200:
        del times["answered_at"]  # the ACK was to the refusal
        assert attempt["answered_at"] is None
    if attempt["sip_call_id"].endswith(".2"):
        del times["dialed_at"]  # the first INVITE's, which the trunk refused
        del attempt["pdd_ms"]
    for field, event in times.items():
        assert (attempt[field] is None) == (event not in wire), (field, attempt)
        if attempt[field] is not None:
            assert at(attempt[field]) == pytest.approx(wire[event].at, abs=LATE)
    first = next((wire[event].at for event in ("ringing", "ack") if event in wire and ended.status != 486), None)
    assert (attempt.get("pdd_ms") is None) == (first is None or "dialed_at" not in times)
    if attempt.get("pdd_ms") is not None:
        assert attempt["pdd_ms"] / 1000 == pytest.approx(first - wire["invite"].at, abs=LATE)
    if attempt["ringing_at"]:
        rang = wire["answered"].at if attempt["answered_at"] else ended.at
        assert attempt["ring_seconds"] == pytest.approx(rang - wire["ringing"].at, abs=LATE)
    if attempt["answered_at"]:
        assert attempt["talk_seconds"] == pytest.approx(ended.at - wire["ack"].at, abs=LATE)
        assert ended.rtp is not None
        assert rtp["packets_received"] == pytest.approx(ended.rtp.sent, abs=10)
        assert rtp["packets_sent"] == pytest.approx(ended.rtp.received, abs=10)
