"""Calls that the far side changes while they last: held and taken up, offered anew, refreshed by session timers (RFC 4028)."""

import asyncio
import contextlib
import re

import pytest

from dialer.core.events import Answered, EndedBy, LegEnded
from dialer.core.model import LegId
from sip.wire import Request, Response
from sip.wire_requests import ack_for
from tests.support.caller import offer
from tests.support.faketime import hurry, needs_faketime
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)
HURRY = 20
# What a far end that knows better than to wait half an hour for a sign of life asks for: the least that RFC 4028 allows.
LEAST_SECONDS = 90


class Talk:
    """A call that is up, and what its far side makes of it."""

    def __init__(self, far: FarEnd, invite: Request) -> None:
        self.far, self.invite = far, invite

    async def offer(self, body: str, status: int = 200) -> Response:
        """Send a re-INVITE and acknowledge its answer."""
        invite = self.far.ask("INVITE", self.invite, body=body.encode())
        answer = await self.far.answered("INVITE")
        assert answer.status == status
        if status < 300:
            self.far.ask("ACK", self.invite)
        else:
            self.far.send(ack_for(invite, answer))
        return answer

    async def ask_for_offer(self) -> Response:
        """Send a re-INVITE without an offer, and an answer to ours in the ACK."""
        self.far.ask("INVITE", self.invite)
        answer = await self.far.answered("INVITE")
        self.far.ask("ACK", self.invite, body=offer(self.far.rtp.port).encode())
        return answer

    async def heard(self, packets: int = 10) -> None:
        """Hear so many packets that were sent from now on."""
        self.far.rtp.waiting()
        for _ in range(packets):
            await self.far.rtp.receive()

    async def falls_silent(self) -> None:
        """See packets stop: what was on its way comes, then nothing for as long as 25 of them take."""
        with contextlib.suppress(TimeoutError):
            while True:
                await self.far.rtp.receive(0.5)


def direction(answer: Response) -> str:
    found = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)\r?$", answer.body.decode(), re.MULTILINE)
    return found[1] if found else "sendrecv"


@pytest.mark.parametrize(
    ("held", "answered", "silent"),
    [
        ({"direction": "sendonly"}, "recvonly", True),
        ({"direction": "inactive"}, "inactive", True),
        ({"direction": "recvonly"}, "sendonly", False),
        ({"connection": "0.0.0.0"}, "sendrecv", True),  # as RFC 2543 had it
    ],
)
@async_test
async def test_a_call_can_be_held_and_taken_up_again(held: dict[str, str], answered: str, silent: bool) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        talk = Talk(far, await far.talking())
        await talk.heard()
        held_offer = offer(far.rtp.port, direction=held.get("direction", "sendrecv"))
        if "connection" in held:
            held_offer = held_offer.replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {held['connection']}")
        assert direction(await talk.offer(held_offer)) == answered
        await (talk.falls_silent() if silent else talk.heard())
        assert direction(await talk.offer(offer(far.rtp.port))) == "sendrecv"
        await talk.heard()
        far.hang_up(talk.invite)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.rtp is not None
        assert end.rtp["packets_sent"] >= 20


@async_test
async def test_the_far_side_may_ask_for_our_offer_and_move_its_audio() -> None:
    async with FarEnd() as far, FarEnd() as moved, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        talk = Talk(far, await far.talking())
        assert b"m=audio" in (await talk.ask_for_offer()).body
        await talk.heard()
        await talk.offer(offer(moved.rtp.port, codecs="0"))
        for _ in range(10):
            packet = await moved.rtp.receive()
        assert packet[1] & 0x7F == 0
        far.hang_up(talk.invite)
        await events.over(ONE)


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("m=image 9000 udptl t38\r\n", 488),  # a fax
        ("m=audio 9000 RTP/AVP 18\r\n", 500),  # the stack's word for 488 where no codec is ours
        ("nonsense", 415),
    ],
)
@async_test
async def test_an_offer_that_we_cannot_take_is_refused_and_the_call_goes_on(media: str, status: int) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        talk = Talk(far, await far.talking())
        head = offer(9).partition("m=audio")[0] if media.startswith("m=") else ""
        await talk.offer(head + media, status)
        await talk.heard()
        assert events.kinds(ONE)[-1] == "Answered"
        far.hang_up(talk.invite)
        await events.over(ONE)


@async_test
async def test_a_bye_against_an_offer_ends_the_call() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        far.ask("INVITE", invite, body=offer(far.rtp.port).encode())
        await far.ended_by_peer()
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.US


# Session timers


async def timed(far: FarEnd, refresher: str) -> Request:
    """Answer an INVITE with the shortest session that there is."""
    invite = await far.request("INVITE")
    assert "timer" in ", ".join(invite.values("Supported"))
    session = ("Session-Expires", f"{LEAST_SECONDS};refresher={refresher}"), ("Require", "timer")
    far.reply(invite, 200, *session, sdp=True)
    await far.request("ACK")
    return invite


async def ended_by_far(far: FarEnd, invite: Request, events: Events) -> None:
    far.hang_up(invite)
    end = await events.over(ONE)
    assert isinstance(end, LegEnded)
    assert end.by is EndedBy.FAR


@needs_faketime
@async_test
async def test_a_session_that_we_are_to_refresh_is_refreshed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, HURRY)
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await timed(far, "uac")
        for _ in range(3):
            again = await far.request("INVITE")
            assert again.call_id == invite.call_id
            assert (again.first("Session-Expires") or "").startswith(f"{LEAST_SECONDS};refresher=uac")
            far.reply(again, 200, ("Session-Expires", f"{LEAST_SECONDS};refresher=uac"), sdp=True)
            await far.request("ACK")
        await ended_by_far(far, invite, events)


@needs_faketime
@async_test
async def test_a_session_that_the_far_side_refreshes_goes_on_and_ends_when_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch, HURRY)
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await timed(far, "uas")
        began = asyncio.get_running_loop().time()
        lasts = LEAST_SECONDS / HURRY
        for _ in range(5):  # one and a quarter sessions in all
            with pytest.raises(TimeoutError):
                await far.receive(lasts / 4)
            session = ("Session-Expires", f"{LEAST_SECONDS};refresher=uac"), ("Supported", "timer")
            far.ask("UPDATE", invite, *session)
            assert (await far.answered("UPDATE")).status == 200
        assert asyncio.get_running_loop().time() - began > lasts
        assert events.kinds(ONE)[-1] == "Answered"
        await far.ended_by_peer()
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.reason) == (EndedBy.STACK, "No session refresh received.")


@async_test
async def test_a_far_side_that_wants_longer_sessions_gets_them() -> None:
    """RFC 4028 section 6: 422 with Min-SE."""
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        first = await far.request("INVITE")
        far.reply(first, 422, ("Min-SE", "7200"))
        again = await far.request("INVITE")
        assert (again.first("Session-Expires"), again.first("Min-Se")) == ("7200", "7200")
        assert (again.call_id, again.cseq[0]) == (first.call_id, first.cseq[0] + 1)
        far.reply(again, 200, sdp=True)
        await events.wait(Answered, ONE)
        assert events.kinds(ONE) == ["InviteSent", "Answered"]
        await ended_by_far(far, again, events)
