"""Messages of traced calls, as workers report them: whole dialogs, retransmissions too, of nobody else, without secrets."""

import asyncio

from dialer.core.events import Answered
from dialer.core.model import LegId
from dialer.ports import DialOrder, WireMessage
from sip.taps import Tap
from sip.wire import Request
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import pool_to, pool_until, trunk_to

ONE, TWO, THREE = LegId(1), LegId(2), LegId(3)


def order(sip_call_id: str) -> DialOrder:
    return DialOrder("far", "+34600000001", "+34910000000", sip_call_id)


def told(messages: list[WireMessage]) -> list[tuple[str, str]]:
    """Each message as its direction and its method or status."""
    return [
        (">" if one.sent else "<", one.text.split(" ")[1 if one.text.startswith("SIP/2.0") else 0]) for one in messages
    ]


async def taken(tap: Tap, until: tuple[str, str]) -> list[WireMessage]:
    found: list[WireMessage] = []
    while not found or told(found)[-1] != until:
        found.append(await asyncio.wait_for(tap.messages.get(), 15))
    return found


@async_test
async def test_a_traced_call_is_told_message_by_message_and_no_other_is() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), workers=1) as (pool, events):
        with pool.taps.tap("traced") as tap:
            pool.dial(ONE, order("other-1"))
            far.reply(await far.request("INVITE"), 486)
            await events.over(ONE)
            pool.dial(TWO, order("traced-1"))
            await far.talking()
            await events.wait(Answered, TWO)
            pool.hang_up(TWO)
            far.reply(await far.request("BYE"), 200)
            await events.over(TWO)
            messages = await taken(tap, ("<", "200"))
            while told(messages)[-2:] != [(">", "BYE"), ("<", "200")]:
                messages += await taken(tap, ("<", "200"))
        assert {one.sip_call_id for one in messages} == {"traced-1"}
        seen = told(messages)
        assert seen[0] == (">", "INVITE")
        assert [one for one in seen if one[1] in {"INVITE", "ACK", "BYE"}] == [
            (">", "INVITE"),
            (">", "ACK"),
            (">", "BYE"),
        ]
        assert ("<", "180") in seen
        assert messages[0].peer == f"127.0.0.1:{far.port}"
        assert messages[0].transport == "UDP"
        assert "m=audio" in messages[0].text
        assert [one.at for one in messages] == sorted(one.at for one in messages)
        # Nobody looks any more: the next is not told, and the stack is silent again.
        pool.dial(THREE, order("traced-2"))
        far.reply(await far.request("INVITE"), 486)
        await events.over(THREE)
        assert tap.messages.empty()


@async_test
async def test_a_worker_that_begins_while_a_call_is_traced_traces_it_too() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), workers=1) as (pool, events):
        with pool.taps.tap("") as tap:
            [worker] = pool._running.workers.values()
            worker.kill()
            await pool_until(pool, lambda: worker.dead and pool.free_places() > 0)
            tap.narrow("traced")
            pool.dial(ONE, order("traced-1"))
            invite = await far.request("INVITE")
            assert told(await taken(tap, (">", "INVITE")))
            far.reply(invite, 486)
            await events.over(ONE)


@async_test
async def test_what_is_sent_again_is_told_again() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), workers=1) as (pool, events):
        with pool.taps.tap("traced") as tap:
            pool.dial(ONE, order("traced-1"))
            await far.request("INVITE")
            # As it comes: `request` passes over what is sent again.
            again = await far.receive()
            assert isinstance(again, Request)
            far.reply(again, 486)
            await events.over(ONE)
            messages = await taken(tap, (">", "ACK"))
        invites = [one.text for one in messages if one.text.startswith("INVITE")]
        assert len(invites) >= 2
        assert invites[0] == invites[1]
