"""Calls to a real Asterisk that change while they last: refreshed by session timers, held, offered anew, moved off the PBX.

Asterisk 22 makes the caller the refresher of each session and takes the caller's interval where it is not below its own
`timers_min_se`. A far side that refreshes, and one that wants the shortest interval: tests/integration/test_sip_sessions.py.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dialer.core.events import Answered, EndedBy, LegEnded
from dialer.core.model import LegId
from sip.trunk import TrunkProfile
from tests.integration.test_sip_sessions import Talk
from tests.support.asterisk import PEER, Asterisk, register_phone
from tests.support.caller import offer
from tests.support.dialer_process import Client, Dialer, eventually
from tests.support.faketime import hurry, needs_faketime
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to

pytestmark = [
    pytest.mark.asterisk,
    pytest.mark.skipif(not PEER, reason="$ASTERISK_PEER names no Asterisk peer script"),
    pytest.mark.timeout(300),
]

ONE = LegId(1)
HURRY = 80
SESSION_SECONDS = 1_800  # what the stack asks for; it is to be refreshed after half of that
LONG_CALL_SECONDS = 60

ENDPOINT = """
[{name}](base)
auth={name}
aors={name}
{settings}
[{name}]
type=auth
auth_type=userpass
username={name}
password=secret
[{name}]
type=aor
max_contacts=1
remove_existing=yes
minimum_expiration=5
"""
ENDPOINTS = {
    "plain": "",
    "patient": "timers_min_se=7200\ntimers_sess_expires=7200",
    "holding": "moh_passthrough=yes",
    "direct": "direct_media=yes",
    "phone": "direct_media=yes",
}
# The PBX offers anew after a second, other codecs too, and plays its tone on. Its record of each call names the dialog.
DIALPLAN = """
exten => _300X,1,Set(CDR(userfield)=${CHANNEL(pjsip,call-id)})
 same => n,Answer()
 same => n,Playtones(440)
 same => n,Wait(1)
 same => n,GotoIf($["${EXTEN}"="3000"]?over)
 same => n,ExecIf($["${EXTEN}"="3002"]?Set(PJSIP_MEDIA_OFFER(audio)=!all,g722))
 same => n,Set(PJSIP_SEND_SESSION_REFRESH()=${IF($["${EXTEN}"="3003"]?update:invite)})
 same => n,Wait(2)
 same => n(over),Hangup(16)
exten => 3010,1,Dial(PJSIP/phone,20)
"""


@pytest.fixture(scope="module")
def pbx(asterisk: Asterisk) -> Asterisk:
    """The Asterisk, with the endpoints and called parties of this file, and with a memory of what it says and hears."""
    endpoints = "".join(ENDPOINT.format(name=name, settings=settings) for name, settings in ENDPOINTS.items())
    asterisk.extend(endpoints, DIALPLAN)
    asterisk.do("cli", "pjsip set history on")
    eventually(lambda: "phone" in asterisk.do("cli", "pjsip show endpoint phone"), 20, "the endpoints are there")
    return asterisk


def profile(pbx: Asterisk, name: str) -> dict[str, Any]:
    return {"uri": f"sip:127.0.0.1:{pbx.port}", "username": name, "password": "secret", "from_user": name}


@pytest.fixture(scope="module")
def client(pbx: Asterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    trunks = {name: profile(pbx, name) for name in ENDPOINTS if name != "phone"}
    dialer = Dialer(tmp_path_factory.mktemp("dialer"), trunks, phone={"internal_pattern": "^[0-9]{4}$"})
    dialer.run("db", "migrate")
    try:
        client = dialer.start().account()
        yield client
        client.close()
    finally:
        dialer.stop()


def posted(client: Client, numbers: list[str], trunk: str) -> str:
    """Calls that the far side is to end."""
    book = client.playbook(trunks=[trunk], steps=[{"do": "wait", "seconds": 100}], max_call_seconds=110)
    return client.post(book, numbers)


def attempts(client: Client, campaign: str, seconds: float = 60) -> dict[str, dict[str, Any]]:
    """The only attempt of each call, by number, once all are finished."""
    client.finished(campaign, seconds)
    return {number: call["attempts"][0] for number, call in client.calls(campaign).items()}


@pytest.fixture(scope="module")
def long_call(client: Client) -> str:
    """A campaign whose call lasts: posted first, looked at last."""
    return posted(client, [f"11{LONG_CALL_SECONDS}"], "plain")


# Session timers


@needs_faketime
@async_test
async def test_a_session_that_we_refresh_outlives_its_interval(
    monkeypatch: pytest.MonkeyPatch, pbx: Asterisk, long_call: str
) -> None:
    assert long_call
    hurry(monkeypatch, HURRY)
    dialed = order("1880", trunk="plain")  # silent for longer than this takes
    async with pool_to(TrunkProfile("plain", **profile(pbx, "plain"))) as (pool, events):
        pool.dial(ONE, dialed)
        await events.wait(Answered, ONE)

        def refreshes() -> list[str]:
            lines = pbx.messages(dialed.sip_call_id)
            return [line for line in lines if line.startswith(("< INVITE sip:127", "< UPDATE"))]

        await asyncio.to_thread(eventually, lambda: len(refreshes()) >= 3, 3 * SESSION_SECONDS / HURRY, "3 refreshes")
        assert events.kinds(ONE) == ["InviteSent", "Answered"]
        pool.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.US, 200)


@async_test
async def test_a_pbx_that_wants_longer_sessions_gets_them(pbx: Asterisk) -> None:
    dialed = order("1801", trunk="patient")
    async with pool_to(TrunkProfile("patient", **profile(pbx, "patient"))) as (pool, events):
        pool.dial(ONE, dialed)
        assert isinstance(await events.over(ONE), LegEnded)
    assert events.kinds(ONE) == ["InviteSent", "Answered", "LegEnded"]
    lines = pbx.messages(dialed.sip_call_id)
    assert sum(line.startswith("> SIP/2.0 422") for line in lines) == 1, lines


@async_test
async def test_a_trunk_that_is_known_by_its_address_needs_no_password(pbx: Asterisk) -> None:
    async with pool_to(trunk_to(pbx.port), bind_host="127.0.0.2") as (pool, events):
        pool.dial(ONE, order("1801"))
        end = await events.over(ONE)
    assert isinstance(end, LegEnded)
    assert events.kinds(ONE) == ["InviteSent", "Answered", "LegEnded"]


# Held, offered anew, moved


async def moves(pbx: Asterisk, user: str) -> None:
    """See audio of ours come to the PBX."""
    before = pbx.packets_from(user)
    await asyncio.to_thread(eventually, lambda: pbx.packets_from(user) > before + 10, 10, "our audio comes")


async def stands_still(pbx: Asterisk, user: str) -> None:
    """See it stop: as many packets as half a second before, which is the time of 25."""

    def looks() -> bool:
        before = pbx.packets_from(user)
        time.sleep(0.5)
        return before == pbx.packets_from(user)

    await asyncio.to_thread(eventually, looks, 10, "our audio stops")


async def connected(phone: FarEnd, pbx: Asterisk, client: Client, trunk: str) -> tuple[Talk, str]:
    """A call over this trunk to a phone that has registered with the PBX, and its campaign."""
    await register_phone(phone, "phone", "secret", pbx.port)
    campaign = await asyncio.to_thread(posted, client, ["3010"], trunk)
    return Talk(phone, await phone.talking()), campaign


async def hung_up(talk: Talk, client: Client, campaign: str) -> dict[str, Any]:
    """End it from the phone: what became of the attempt."""
    talk.far.hang_up(talk.invite)
    assert (await talk.far.answered("BYE")).status == 200
    return (await asyncio.to_thread(attempts, client, campaign))["3010"]


@async_test
async def test_a_call_that_the_pbx_holds_falls_silent_and_goes_on_when_it_is_taken_up(
    pbx: Asterisk, client: Client
) -> None:
    async with FarEnd() as phone:
        talk, campaign = await connected(phone, pbx, client, "holding")
        for _ in range(2):
            await moves(pbx, "holding")
            await talk.offer(offer(phone.rtp.port, direction="sendonly"))
            await stands_still(pbx, "holding")
            await talk.offer(offer(phone.rtp.port))
        await moves(pbx, "holding")
        attempt = await hung_up(talk, client, campaign)
    assert (attempt["disposition"], attempt["ended_by"], attempt["sip_status"]) == ("answered", "far", 200)
    lines = pbx.messages(attempt["sip_call_id"])
    assert sum(line.startswith("> INVITE") for line in lines) == 4, lines


@async_test
async def test_a_pbx_that_steps_out_of_the_audio_has_us_speak_to_the_phone_itself(
    pbx: Asterisk, client: Client
) -> None:
    async with FarEnd() as phone:
        talk, campaign = await connected(phone, pbx, client, "direct")
        moved = await phone.request("INVITE")
        phone.reply(moved, 200, sdp=True)
        await phone.request("ACK")
        await stands_still(pbx, "direct")
        await talk.heard(50)
        attempt = await hung_up(talk, client, campaign)
    assert (attempt["disposition"], attempt["ended_by"]) == ("answered", "far")


def test_what_the_pbx_offers_anew_is_taken_and_its_records_name_our_dialogs(pbx: Asterisk, client: Client) -> None:
    numbers = ["3000", "3001", "3002", "3003"]
    before = len(pbx.cdrs())
    found = attempts(client, posted(client, numbers, "plain"))
    records = eventually(lambda: [r for r in pbx.cdrs()[before:] if r["dst"] in numbers][3:], 20, "a record of each")
    records = {record["userfield"]: record for record in pbx.cdrs()[before:]}
    for number, attempt in found.items():
        lines, record = pbx.messages(attempt["sip_call_id"]), records[attempt["sip_call_id"]]
        assert (attempt["disposition"], attempt["ended_by"]) == ("answered", "far")
        assert (record["dst"], record["disposition"]) == (number, "ANSWERED")
        assert abs(attempt["talk_seconds"] - float(record["billsec"])) < 1.5
        offers = [line for line in lines if line.startswith(("> INVITE", "> UPDATE"))]
        assert len(offers) == (number != "3000"), lines
        # Its tone came after the offer too: 50 packets before it, and 100 then.
        assert attempt["rtp"]["packets_received"] > (25 if number == "3000" else 75), attempt


def test_a_call_of_a_minute_is_a_minute_in_both_records(pbx: Asterisk, client: Client, long_call: str) -> None:
    (attempt,) = attempts(client, long_call, LONG_CALL_SECONDS + 30).values()
    assert (attempt["disposition"], attempt["ended_by"]) == ("answered", "far")
    (record,) = eventually(lambda: [r for r in pbx.cdrs() if r["dst"] == f"11{LONG_CALL_SECONDS}"], 20, "its record")
    assert attempt["talk_seconds"] > LONG_CALL_SECONDS - 0.5
    assert abs(attempt["talk_seconds"] - float(record["billsec"])) < 1.5
    # A packet each 20 ms, which the PBX echoes; on a busy machine it leaves some out.
    assert attempt["rtp"]["packets_sent"] == pytest.approx(50 * attempt["talk_seconds"], rel=0.05)
    assert attempt["rtp"]["packets_received"] > 25 * LONG_CALL_SECONDS
