"""Dialogs that a dead process left behind: the called side is let go, whatever state it was in."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from dialer.core.events import Answered, InviteSent, Rang
from dialer.core.model import LegId
from sip.lab import Lab
from sip.orphan_dialog import Orphan
from sip.orphans import end_orphans
from sip.pool import WorkerPool
from sip.wire import Request
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, trunk_to

ONE = LegId(1)
INVITE = (
    "INVITE sip:+34600@192.0.2.5:5060 SIP/2.0\r\n"
    "Via: SIP/2.0/TLS [2001:db8::9]:5081;rport;branch=z9hG4bK1\r\n"
    'From: "A;tag=x" <sip:+34910@192.0.2.5>;tag=ours\r\nTo: <sip:+34600@192.0.2.5;tag=no>\r\n'
    "Call-ID: one@here\r\nCSeq: 77 INVITE"
)
FACTS = {
    "invite": INVITE,
    "response": "SIP/2.0 200 OK\r\nTo: <sip:+34600@192.0.2.5;tag=no>;tag=theirs;x=y",
    "destination": "[2001:db8::5]:5060",
    "confirmed": True,
}


@dataclass
class Stage:
    """A call from a worker that `kill` kills; nobody but the test ends its dialog."""

    pool: WorkerPool
    events: Events

    async def kill_at(self, state: type[InviteSent] | type[Rang] | type[Answered]) -> str:
        """Kill the worker once the call is there; its dialog."""
        dialog = (await self.events.wait(state, ONE)).dialog
        process = self.pool._carriers[ONE]._child._process
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.wait)
        return dialog


@contextlib.asynccontextmanager
async def call_to(far_port: int, number: str = "+34600000001", transport: str = "udp") -> AsyncIterator[Stage]:
    async with pool_to(trunk_to(far_port, transport=transport), max_concurrent_calls=4, workers=1) as (pool, events):

        async def nothing(*_: object) -> None:
            return None

        pool._running._lost = nothing
        pool.dial(ONE, order(number))
        yield Stage(pool, events)


@async_test
async def test_an_answered_call_gets_a_bye_of_its_dialog() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.talking()
        dialog = await stage.kill_at(Answered)
        ending = asyncio.create_task(end_orphans([dialog]))
        bye = await far.request("BYE")
        assert (bye.call_id, bye.from_.tag, bye.to.tag) == (invite.call_id, invite.from_.tag, "far")
        assert bye.cseq[0] > invite.cseq[0]
        far.reply(bye, 200)
        assert await ending == 1


@async_test
async def test_a_lost_bye_is_repeated() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        await far.talking()
        dialog = await stage.kill_at(Answered)
        ending = asyncio.create_task(end_orphans([dialog]))
        first = await far.request("BYE")
        again = await far.request("BYE")
        assert again.via.branch == first.via.branch
        far.reply(again, 200)
        assert await ending == 1


@async_test
async def test_a_ringing_call_is_cancelled_and_its_487_acknowledged() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.ringing()
        dialog = await stage.kill_at(Rang)
        ending = asyncio.create_task(end_orphans([dialog]))
        await far.confirm_cancel(invite)
        assert await ending == 1
        assert [m.method for m in far.seen if isinstance(m, Request)] == ["INVITE", "CANCEL", "ACK"]


@async_test
async def test_an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.ringing()
        dialog = await stage.kill_at(Rang)
        ending = asyncio.create_task(end_orphans([dialog]))
        cancel = await far.request("CANCEL")
        far.reply(invite, 200, sdp=True)
        far.reply(cancel, 200)
        assert (await far.request("ACK")).cseq[0] == invite.cseq[0]
        bye = await far.request("BYE")
        assert bye.cseq[0] > invite.cseq[0]
        far.reply(bye, 200)
        assert await ending == 1


@async_test
async def test_an_answer_that_nobody_saw_is_ended_by_a_bye() -> None:
    """The 200 was lost with the process: the CANCEL comes too late (481), and the dialog is known from the 180."""
    async with FarEnd() as far, call_to(far.port) as stage:
        await far.ringing()
        dialog = await stage.kill_at(Rang)
        ending = asyncio.create_task(end_orphans([dialog]))
        far.reply(await far.request("CANCEL"), 481)
        far.reply(await far.request("BYE"), 200)
        assert await ending == 1


@async_test
async def test_an_invite_that_nothing_came_back_for_is_cancelled() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.request("INVITE")
        dialog = await stage.kill_at(InviteSent)
        ending = asyncio.create_task(end_orphans([dialog]))
        cancel = await far.request("CANCEL")
        assert cancel.via.branch == invite.via.branch
        far.reply(cancel, 481)
        assert await ending == 1


@async_test
async def test_a_call_that_was_answered_unseen_is_ended_when_its_200_is_repeated() -> None:
    """Of an INVITE that was recorded and nothing else: the CANCEL has no effect, and only the 200 names the dialog."""
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.request("INVITE")
        dialog = await stage.kill_at(InviteSent)
        ending = asyncio.create_task(end_orphans([dialog]))
        far.reply(await far.request("CANCEL"), 481)
        with pytest.raises(TimeoutError):
            await far.receive(1.0)
        far._peers[invite.call_id] = ("127.0.0.1", invite.via.port or 0)
        far.reply(invite, 200, sdp=True)
        await far.request("ACK")
        far.reply(await far.request("BYE"), 200)
        assert await ending == 1


@async_test
async def test_a_200_that_comes_before_anything_was_sent_is_acknowledged_and_ended() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.request("INVITE")
        dialog = await stage.kill_at(InviteSent)
        loop = asyncio.get_running_loop()
        opened, acknowledged = loop.create_datagram_endpoint, asyncio.Event()

        async def open_while_the_200_comes(*words: Any, **named: Any) -> Any:
            endpoint = await opened(*words, **named)
            far._peers[invite.call_id] = ("127.0.0.1", invite.via.port or 0)
            far.reply(invite, 200, sdp=True)
            await acknowledged.wait()
            return endpoint

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "create_datagram_endpoint", open_while_the_200_comes)
            ending = asyncio.create_task(end_orphans([dialog]))
            await far.request("ACK")
            acknowledged.set()
            far.reply(await far.request("CANCEL"), 481)
            far.reply(await far.request("BYE"), 200)
            assert await ending == 1


@async_test
async def test_a_peer_that_hangs_up_itself_gets_its_answer() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        invite = await far.talking()
        dialog = await stage.kill_at(Answered)
        ending = asyncio.create_task(end_orphans([dialog]))
        bye = await far.request("BYE")
        far._peers[invite.call_id] = ("127.0.0.1", invite.via.port or 0)
        far.hang_up(invite)
        assert (await far.response(200)).cseq[1] == "BYE"
        far.reply(bye, 481)
        assert await ending == 1


@async_test
async def test_a_peer_that_is_gone_costs_a_moment_only() -> None:
    async with FarEnd() as far, call_to(far.port) as stage:
        await far.talking()
        dialog = await stage.kill_at(Answered)
        began = time.monotonic()
        assert await end_orphans([dialog], seconds=0.8) == 0
        assert 0.7 < time.monotonic() - began < 5


@pytest.mark.parametrize(("number", "state"), [("34600000010", Rang), ("34600000002", Answered)])
@async_test
async def test_calls_over_tcp_are_ended_on_a_new_connection(number: str, state: type[Rang] | type[Answered]) -> None:
    async with Lab(pace=0.05) as lab, call_to(lab.port, number, "tcp") as stage:
        dialog = await stage.kill_at(state)
        assert await end_orphans([dialog]) == 1
        await lab.log.wait_until(lambda log: log.count("ended") == 1, seconds=5)
        assert lab.log.of("ended")[0].reason == ("cancelled" if state is Rang else "caller_hung_up")


@async_test
async def test_facts_that_cannot_be_read_stop_nothing() -> None:
    broken = json.dumps({**FACTS, "invite": INVITE.replace("Via", "Fia")})
    assert await end_orphans(["", "{", "[]", "7", '{"invite": 7}', '{"uri": "sip:x"}', "{}", broken]) == 0


def test_where_a_dialog_was_and_by_which_name() -> None:
    orphan = Orphan(json.dumps(FACTS))
    assert orphan.dialog.remote == "<sip:+34600@192.0.2.5;tag=no>;tag=theirs;x=y"
    assert (orphan.local, orphan.invite_at, orphan.host) == (("2001:db8::9", 5081), ("2001:db8::5", 5060), "192.0.2.5")
    named = INVITE.replace("192.0.2.5:5060 SIP", "pbx.example.org;transport=tls SIP")
    assert Orphan(json.dumps({**FACTS, "invite": named})).host == "pbx.example.org"
