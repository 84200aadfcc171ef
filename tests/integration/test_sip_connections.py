"""Trunks over TCP and TLS whose connections close: while a phone rings, in a call, between calls."""

import asyncio
import ssl
from pathlib import Path

import pytest

from dialer.core.events import Answered, EndedBy, InviteSent, LegEnded, Rang
from dialer.core.model import LegId
from sip.orphans import end_orphans
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile
from sip.wire import Request, respond
from tests.integration.test_trunk_settings import make_certificate
from tests.support.caller import offer
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to
from tests.support.stream_far_end import StreamFarEnd

ONE = LegId(1)


async def hung_up(pool: WorkerPool, far: StreamFarEnd, events: Events) -> None:
    pool.hang_up(ONE)
    await far.ended_by_peer()
    end = await events.over(ONE)
    assert isinstance(end, LegEnded)
    assert end.by is EndedBy.US


@async_test
async def test_messages_may_come_in_any_pieces_with_keep_alives_between() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        kind = ("Content-Type", "application/sdp")
        pieces = [
            b"\r\n\r\n",
            respond(invite, 100).encode(),
            respond(invite, 180, to_tag="far", headers=(far.contact,)).encode(),
            b"\r\n",
            respond(invite, 200, to_tag="far", headers=(far.contact, kind), body=offer(far.rtp.port).encode()).encode(),
        ]
        for byte in b"".join(pieces):
            far.send_bytes(invite.call_id, bytes([byte]))
            await far.connections[-1].drain()
        await far.request("ACK")
        assert (await events.wait(Rang, ONE)).sip_status == 180
        await hung_up(pool, far, events)


@async_test
async def test_a_call_outlives_its_connection_and_is_ended_on_a_new_one() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        far.connections[0].transport.abort()
        await hung_up(pool, far, events)
        assert len(far.connections) == 2


@async_test
async def test_the_far_side_may_end_a_call_on_a_connection_of_its_own() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        far.connections[0].close()
        await far.call_back(invite)
        far.hang_up(invite)
        assert (await far.answered("BYE")).status == 200
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.by is EndedBy.FAR


@async_test
async def test_a_bye_that_a_connection_has_swallowed_is_sent_again_on_another() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        await far.request("BYE")
        far.connections[0].close()
        await hung_up(pool, far, events)


@pytest.mark.parametrize("status", [100, 180])
@async_test
async def test_a_phone_that_rings_when_its_connection_closes_is_called_off_before_the_leg_ends(status: int) -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.request("INVITE")
        far.reply(invite, status)
        if status > 100:
            await events.wait(Rang, ONE)
        far.connections[0].close()
        cancel = await far.request("CANCEL")
        assert cancel.via.branch == invite.via.branch
        assert not any(isinstance(event, LegEnded) for event in events.of(ONE))
        assert len(far.connections) == 2
        far.reply(cancel, 200)
        far.reply(invite, 487)
        await far.request("ACK")
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.STACK, status)


@async_test
async def test_a_pool_that_stops_meanwhile_tells_of_that_end_too() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        far.reply(await far.request("INVITE"), 180)
        await events.wait(Rang, ONE)
        far.connections[0].close()
        await far.request("CANCEL")  # and no answer
        await pool.stop(0)
        assert events.kinds(ONE) == ["InviteSent", "Rang", "LegEnded"]


def security(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def tls_trunk(port: int, folder: Path) -> TrunkProfile:
    return TrunkProfile("far", f"sip:127.0.0.1:{port};transport=tls", ca_file=str(folder / "cert.pem"))


async def called_again(pool: WorkerPool, far: StreamFarEnd, events: Events) -> tuple[LegId, Request]:
    """The first INVITE after a restart: a leg of before the worker has seen it ends at once, as by any transport error."""
    inviting = asyncio.create_task(far.request("INVITE"))
    for leg in (LegId(2), LegId(3)):
        pool.dial(leg, order())
        ending = asyncio.create_task(events.over(leg))
        await asyncio.wait({inviting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if inviting.done():
            ending.cancel()
            return leg, inviting.result()
        end = ending.result()
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.STACK, 0)
    raise AssertionError("two legs have found a dead connection")


@async_test
async def test_a_tls_trunk_that_restarts_is_called_again_and_calls_it_knows_go_on(tmp_path: Path) -> None:
    pem = make_certificate(tmp_path, "IP:127.0.0.1")
    async with StreamFarEnd(security(pem)) as far, pool_to(tls_trunk(far.port, tmp_path)) as (pool, events):
        pool.dial(ONE, order())
        await far.talking()
        await events.wait(Answered, ONE)
        await far.stop_listening()
        await far.listen()
        leg, invite = await called_again(pool, far, events)
        far.reply(invite, 486)
        end = await events.over(leg)
        assert isinstance(end, LegEnded)
        assert end.sip_status == 486
        await hung_up(pool, far, events)


@async_test
async def test_a_dead_workers_call_over_tls_is_ended_by_the_trunks_own_certificates(tmp_path: Path) -> None:
    pem = make_certificate(tmp_path, "IP:127.0.0.1")
    async with StreamFarEnd(security(pem)) as far, pool_to(tls_trunk(far.port, tmp_path)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        dialog = (await events.wait(Answered, ONE)).dialog
        assert await end_orphans([dialog], seconds=2) == 0, "a stranger to the system's list"
        ending = asyncio.create_task(end_orphans([dialog], [tls_trunk(far.port, tmp_path)]))
        bye = await far.ended_by_peer()
        assert bye.call_id == invite.call_id
        assert await ending == 1
        pool.hang_up(ONE)  # its worker lives in this test
        far.reply(await far.request("BYE"), 481)
        await events.over(ONE)


@async_test
async def test_nothing_is_left_to_be_called_off_where_nothing_had_come_back() -> None:
    async with StreamFarEnd() as far, pool_to(trunk_to(far.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        await events.wait(InviteSent, ONE)
        await far.request("INVITE")
        far.connections[0].close()
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.STACK, 0)
        assert not [message for message in far.seen if isinstance(message, Request) and message.method == "CANCEL"]
