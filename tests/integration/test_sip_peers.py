"""Far ends that are odd, and yet within their rights: a call with them goes as with any other."""

import asyncio
import contextlib

import pytest

from dialer.core.events import Answered, DigitPressed, EndedBy, LegEnded, Rang
from dialer.core.model import LegId
from sip.pool import WorkerPool
from sip.wire import Request, respond
from tests.support.caller import offer
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)


async def hung_up(pool: WorkerPool, far: FarEnd, events: Events) -> Request:
    """End the call from our side; the BYE."""
    await events.wait(Answered, ONE)
    pool.hang_up(ONE)
    bye = await far.ended_by_peer()
    end = await events.over(ONE)
    assert isinstance(end, LegEnded)
    assert (end.by, end.sip_status) == (EndedBy.US, 200)
    return bye


@async_test
async def test_what_answers_may_have_another_port_and_is_spoken_to_there() -> None:
    async with FarEnd() as far, FarEnd() as other, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        other.meet(invite, far)
        other.reply(invite, 180)
        other.reply(invite, 200, sdp=True)
        await other.request("ACK")
        await hung_up(pool, other, events)


@async_test
async def test_requests_in_a_call_take_the_recorded_route_whatever_contact_says() -> None:
    async with FarEnd() as far, FarEnd() as proxy, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        routes = [f"<sip:127.0.0.1:{far.port};lr>", f"<sip:127.0.0.1:{proxy.port};lr>"]
        recorded = ("Record-Route", ", ".join(routes)), ("Contact", '"A, B" <sip:elsewhere@127.0.0.1:9>;expires=60')
        far.reply(invite, 200, *recorded, sdp=True)
        ack = await proxy.request("ACK")
        bye = await hung_up(pool, proxy, events)
        for request in (ack, bye):
            assert request.uri == "sip:elsewhere@127.0.0.1:9"
            assert request.values("Route") == routes[::-1]


@pytest.mark.parametrize(
    ("statuses", "rang"),
    [
        ([], None),
        ([183, 180], 183),
        ([180, 183, 180], 180),
        ([181, 182, 180], 181),
        ([199], None),
        ([100, 180, 199], 180),
    ],
)
@async_test
async def test_provisional_responses_may_come_in_any_order_from_any_branch_or_not_at_all(
    statuses: list[int], rang: int | None
) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        for n, status in enumerate(statuses):
            far.reply(invite, status, tag=f"branch{n}")
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        await hung_up(pool, far, events)
        told = [event.sip_status for event in events.of(ONE) if isinstance(event, Rang)]
        assert told == ([] if rang is None else [rang])


@async_test
async def test_headers_may_be_compact_folded_and_in_lower_case() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        body = offer(far.rtp.port).encode()
        kind = ("Content-Type", "application/sdp")
        text = respond(invite, 200, to_tag="far", headers=(far.contact, kind), body=body).encode().decode()
        compact = {
            "Via: ": "v:",
            "From: ": "f :  ",
            "To: ": "t:\r\n\t",
            "Call-ID: ": "i: ",
            "Contact: ": "m:",
            "Content-Type: ": "c:",
            "Content-Length: ": "l  :  ",
            "CSeq: ": "cseq:",
        }
        for full, short in compact.items():
            assert f"\r\n{full}" in text
            text = text.replace(f"\r\n{full}", f"\r\n{short}")
        far.send_bytes(invite.call_id, text.encode())
        await far.request("ACK")
        await hung_up(pool, far, events)


@async_test
async def test_a_description_may_have_come_before_the_answer_or_be_one_part_of_its_body() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        sdp = offer(far.rtp.port).encode()
        isup = b"--b\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n--b--\r\n"
        body = b"--b\r\nContent-Type: application/sdp\r\n\r\n" + sdp + b"\r\n" + isup
        far.reply(invite, 183, ("Content-Type", "multipart/mixed;boundary=b"), body=body)
        assert (await events.wait(Rang, ONE)).early_media
        far.reply(invite, 200)
        await far.request("ACK")
        await hung_up(pool, far, events)


@pytest.mark.parametrize("body", [b"", b"v=1\r\nhello\r\n"])
@async_test
async def test_an_answer_without_a_description_that_can_be_read_gets_its_bye_and_is_no_answer(body: bytes) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 200, body=body)
        await far.ended_by_peer()
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.STACK, 200)
        assert end.reason.startswith("SDP ")
        assert events.kinds(ONE) == ["InviteSent", "LegEnded"]


@async_test
async def test_each_repetition_of_the_answer_is_acknowledged_until_the_end() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        for _ in range(3):  # the ACK was lost twice
            far.reply(invite, 200, sdp=True)
            await far.request("ACK")
        await hung_up(pool, far, events)
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        assert events.kinds(ONE) == ["InviteSent", "Answered", "LegEnded"]


@async_test
async def test_a_second_answer_from_another_branch_is_acknowledged_and_ended_and_the_call_goes_on() -> None:
    async with FarEnd() as far, FarEnd() as other, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        other.meet(invite, far)
        far.reply(invite, 180, tag="one")
        other.reply(invite, 180, tag="two")
        far.reply(invite, 200, sdp=True, tag="one")
        await far.request("ACK")
        other.reply(invite, 200, sdp=True, tag="two")
        ack = await other.request("ACK")
        bye = await other.ended_by_peer()
        assert (ack.to.tag, bye.to.tag) == ("two", "two")
        assert (await hung_up(pool, far, events)).to.tag == "one"


@async_test
async def test_the_branch_that_answers_need_not_be_the_one_that_rang() -> None:
    async with FarEnd() as far, FarEnd() as other, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        other.meet(invite, far)
        far.reply(invite, 183, sdp=True, tag="one")
        other.reply(invite, 200, sdp=True, tag="two")
        assert (await other.request("ACK")).to.tag == "two"
        assert (await hung_up(pool, other, events)).to.tag == "two"


@async_test
async def test_reliable_provisional_responses_are_acknowledged_and_may_be_updated() -> None:
    """RFC 3262 and RFC 3311."""
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 183, ("Require", "100rel"), ("RSeq", "17"), sdp=True)
        prack = await far.request("PRACK")
        assert prack.first("Rack") == f"17 {invite.cseq[0]} INVITE"
        far.reply(prack, 200)
        far.ask("UPDATE", invite, body=offer(far.rtp.port).encode())
        assert (await far.answered("UPDATE")).status == 200
        far.reply(invite, 180, ("Require", "100rel"), ("RSeq", "18"))
        far.reply(await far.request("PRACK"), 200)
        far.reply(invite, 200)
        await far.request("ACK")
        await hung_up(pool, far, events)


@pytest.mark.parametrize(
    ("method", "kind", "body", "status", "keys"),
    [
        ("INFO", "application/dtmf", b"5", 200, "5"),
        ("INFO", "application/dtmf", b"11\r\n", 200, "#"),
        ("INFO", "application/dtmf-relay", b"Signal=*\r\nDuration=160\r\n", 200, "*"),
        ("INFO", "application/hook-flash", b"16", 415, ""),
        ("INFO", "", b"", 200, ""),
        ("OPTIONS", "", b"", 200, ""),
    ],
)
@async_test
async def test_a_request_in_a_call_is_answered_each_time_it_comes_and_counts_once(
    method: str, kind: str, body: bytes, status: int, keys: str
) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        request = far.ask(method, invite, *([("Content-Type", kind)] if kind else []), body=body)
        assert (await far.answered(method)).status == status
        far.send(request)
        assert (await far.answered(method)).status == status
        await hung_up(pool, far, events)
        assert "".join(event.digit for event in events.of(ONE) if isinstance(event, DigitPressed)) == keys


@pytest.mark.parametrize("status", [408, 481, 500])
@async_test
async def test_a_bye_that_is_refused_ends_the_call_all_the_same(status: int) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        far.reply(await far.request("BYE"), status)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.US


@async_test
async def test_two_byes_that_cross_are_one_end() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        ours = await far.request("BYE")
        far.hang_up(invite)
        assert (await far.answered("BYE")).status == 200
        far.reply(ours, 481)
        await events.over(ONE)
        assert events.kinds(ONE)[-2:] == ["Answered", "LegEnded"]


@async_test
async def test_a_bye_whose_answer_was_lost_is_answered_again() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        bye = far.hang_up(invite)
        assert (await far.answered("BYE")).status == 200
        await events.over(ONE)
        far.send(bye)
        assert (await far.answered("BYE")).status == 200


@async_test
async def test_an_answer_that_comes_late_is_an_answer() -> None:
    """After the INVITE's repetitions over UDP have ended, and a 100 that came at last."""
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(4):
                while True:
                    await far.receive()
        far.reply(invite, 100)
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        await hung_up(pool, far, events)
        assert events.kinds(ONE).count("Answered") == 1
