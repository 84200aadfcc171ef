"""How legs end, against a called party that is scripted message by message."""

import pytest

from dialer.core.events import Answered, EndedBy, InviteSent, LegEnded, Rang
from dialer.core.model import LegId
from sip.orphan_dialog import Orphan
from sip.wire import respond
from tests.support.faketime import hurry, needs_faketime
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import order, pool_to, trunk_to

ONE = LegId(1)


@async_test
async def test_a_call_is_reported_from_its_invite_to_the_far_sides_bye() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        dialed = order()
        pool.dial(ONE, dialed)
        invite = await far.ringing()
        assert invite.call_id == dialed.sip_call_id
        await events.wait(Rang, ONE)
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        await events.wait(Answered, ONE)
        far.hang_up(invite, ("Reason", 'SIP;cause=200, Q.850;cause=31;text="Normal, unspecified"'))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.q850, end.reason) == (EndedBy.FAR, 200, 31, "Normal, unspecified")
        assert end.rtp is not None
        assert end.rtp["packets_sent"] >= 0
        assert events.kinds(ONE) == ["InviteSent", "Rang", "Answered", "LegEnded"]
        assert [event.at for event in events.of(ONE)] == sorted(event.at for event in events.of(ONE))


@pytest.mark.parametrize(
    ("status", "headers", "q850", "retry_after"),
    [
        (486, [("Reason", "Q.850;cause=17")], 17, None),
        (503, [("Retry-After", "7;duration=60")], None, 7),
        (404, [("Reason", 'Q.850 ;text="Unallocated"; cause=1')], 1, None),
        (603, [], None, None),
        (302, [("Contact", "<sip:elsewhere@127.0.0.1:9>")], None, None),
        (408, [], None, None),
    ],
)
@async_test
async def test_a_refusal_is_told_with_its_status_cause_and_retry_after(
    status: int, headers: list[tuple[str, str]], q850: int | None, retry_after: int | None
) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 100)
        far.reply(invite, status, *headers)
        await far.request("ACK")
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.q850, end.retry_after_s) == (EndedBy.FAR, status, q850, retry_after)
        assert end.reason
        assert events.kinds(ONE) == ["InviteSent", "LegEnded"]


@async_test
async def test_words_that_are_no_utf_8_are_told_and_cost_no_worker() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        ringing = respond(invite, 180, to_tag="far", headers=(far.contact,))
        far.send_bytes(invite.call_id, ringing.encode().replace(b"Ringing", b"Sonnerie \xe9"))
        await events.wait(Rang, ONE)
        busy = respond(invite, 486, to_tag="far", headers=(("Reason", 'Q.850;cause=17;text="Occup*"'),))
        far.send_bytes(invite.call_id, busy.encode().replace(b"Busy Here", b"Occup\xe9").replace(b"*", b"\xe9"))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.sip_status, end.q850, end.reason) == (486, 17, "Occup?")


@async_test
async def test_early_media_is_told_apart_from_ringing_and_only_the_first_18x_is_told() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 183, sdp=True)
        far.reply(invite, 180)
        rang = await events.wait(Rang, ONE)
        assert (rang.sip_status, rang.early_media) == (183, True)
        far.reply(invite, 480)
        await events.over(ONE)
        assert events.kinds(ONE).count("Rang") == 1


@async_test
async def test_a_leg_that_we_cancel_ends_only_when_the_far_side_confirms() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.ringing()
        await events.wait(Rang, ONE)
        before = pool.free_places()
        pool.hang_up(ONE)
        cancel = await far.request("CANCEL")
        far.reply(cancel, 200)
        assert not any(isinstance(event, LegEnded) for event in events.of(ONE))
        assert pool.free_places() == before
        far.reply(invite, 487, ("Reason", "Q.850;cause=127"))
        await far.request("ACK")
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.q850, end.reason) == (EndedBy.US, 487, 127, "we sent CANCEL")
        assert pool.free_places() > before


@async_test
async def test_a_refusal_that_crosses_our_cancel_is_told_in_its_own_words() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, 100)
        await events.wait(InviteSent, ONE)
        pool.hang_up(ONE)
        far.reply(await far.request("CANCEL"), 200)
        far.reply(invite, 486)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.reason) == (EndedBy.US, 486, "Busy Here")


@async_test
async def test_an_answer_that_crosses_our_cancel_gets_an_ack_and_a_bye_before_the_leg_ends() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.ringing()
        await events.wait(Rang, ONE)
        pool.hang_up(ONE)
        cancel = await far.request("CANCEL")
        far.reply(invite, 200, sdp=True)
        far.reply(cancel, 481)  # a 2xx ends the server transaction, so that nothing matches the CANCEL (RFC 3261 9.2)
        await far.request("ACK")
        bye = await far.request("BYE")
        assert "LegEnded" not in events.kinds(ONE)
        far.reply(bye, 200)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.US, 200)
        assert "Answered" not in events.kinds(ONE)


@pytest.mark.parametrize("status", [486, 603, 500])
@async_test
async def test_a_refusal_that_crosses_our_cancel_is_told_as_it_came(status: int) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.ringing()
        await events.wait(Rang, ONE)
        pool.hang_up(ONE)
        cancel = await far.request("CANCEL")
        far.reply(invite, status, ("Reason", "Q.850;cause=17"))
        far.reply(cancel, 481)
        await far.request("ACK")
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status, end.q850) == (EndedBy.US, status, 17)


@async_test
async def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        pool.hang_up(ONE)
        assert await far.receive() == invite  # the first retransmission, T1 later: no CANCEL before it
        far.reply(invite, 100)
        await far.confirm_cancel(invite)
        assert isinstance(await events.over(ONE), LegEnded)


@async_test
async def test_a_bye_before_the_answer_ends_the_leg_unanswered() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.ringing()
        await events.wait(Rang, ONE)
        far.hang_up(invite)
        await far.response(200)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.FAR
        assert end.sip_status < 200
        assert "Answered" not in events.kinds(ONE)


@async_test
async def test_our_bye_holds_the_channel_until_it_is_answered() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        pool.hang_up(ONE)  # a second order changes nothing
        await far.request("BYE")
        bye = await far.request("BYE")  # repeated, for want of an answer
        assert "LegEnded" not in events.kinds(ONE)
        far.reply(bye, 200)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.US, 200)


@needs_faketime
@async_test
async def test_a_peer_that_never_answers_costs_32_seconds_and_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 16)
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        pool.dial(LegId(2), order())
        await events.wait(InviteSent, ONE)
        pool.hang_up(ONE)
        for leg in (ONE, LegId(2)):
            end = await events.over(leg, seconds=40)
            assert isinstance(end, LegEnded)
            assert end.sip_status == 0
        assert [events.of(LegId(n))[-1].by for n in (1, 2)] == [EndedBy.US, EndedBy.STACK]


@async_test
async def test_the_dialog_of_a_report_is_what_the_wire_saw() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        sent = Orphan((await events.wait(InviteSent, ONE)).dialog)
        assert sent.invite.uri == invite.uri
        assert sent.invite.values("Via") == invite.values("Via")
        assert (sent.invite.call_id, sent.invite.cseq) == (invite.call_id, invite.cseq)
        assert (sent.invite_at, sent.transport) == (("127.0.0.1", far.port), "UDP")
        routes = ["<sip:127.0.0.1:9;lr>", "<sip:127.0.0.2:9;lr>"]
        far.reply(invite, 180, *(("Record-Route", route) for route in routes))
        rang = Orphan((await events.wait(Rang, ONE)).dialog).dialog
        assert rang.remote.endswith(";tag=far")
        assert rang.remote_target == f"sip:far@127.0.0.1:{far.port}"
        assert list(rang.route_set) == routes[::-1]
        far.reply(invite, 486)
        await events.over(ONE)
