"""Addressing and credentials: what of a trunk's profile reaches the wire, and what never does."""

import asyncio
import contextlib
import socket
import time
from dataclasses import replace

import pytest

from dialer.core.events import Answered, EndedBy, LegEnded, LegRefused, NoReply, Rang
from dialer.core.model import LegId
from sip.lab import Lab
from sip.lab.guard import Auth
from sip.pool import WorkerPool
from sip.wire import Request, Response, parse
from sip.wire_requests import called_dialog, dialog_request, options_request
from tests.support.far_end import FarEnd
from tests.support.labs import AT_ONCE, FAST, WAITS, async_test
from tests.support.pools import order, pool_to, trunk_to

ONE = LegId(1)
RIGHT = {"username": "dialer", "password": "secret"}


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("stale_first", [False, True])
@async_test
async def test_digest_credentials_are_given_when_asked_for(status: int, stale_first: bool) -> None:
    auth = Auth("dialer", "secret", status=status, stale_first=stale_first)
    async with Lab(pace=FAST, auth=auth) as lab, pool_to(trunk_to(lab.port, **RIGHT)) as (pool, events):
        pool.dial(ONE, order(AT_ONCE))
        await events.wait(Answered, ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert end.sip_status == 200
        assert events.kinds(ONE).count("InviteSent") == 1


@pytest.mark.parametrize("profile", [{}, {"username": "dialer", "password": "wrong"}])
@async_test
async def test_missing_or_wrong_credentials_end_the_leg_with_the_challenges_status(profile: dict[str, str]) -> None:
    auth = Auth("dialer", "secret", status=407)
    async with Lab(pace=FAST, auth=auth) as lab, pool_to(trunk_to(lab.port, **profile)) as (pool, events):
        pool.dial(ONE, order(AT_ONCE))
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.FAR, 407)


@pytest.mark.parametrize(
    ("profile", "caller_id", "from_user", "asserted"),
    [
        ({"caller_id": "+34910000000"}, "", "+34910000000", None),
        ({"caller_id": "+34910000000"}, "+34911111111", "+34911111111", None),
        ({"username": "acct"}, "", "acct", None),
        ({}, "", "anonymous", None),
        ({"from_user": "acct7"}, "+34911111111", "acct7", "<sip:+34911111111@127.0.0.1>"),
    ],
)
@async_test
async def test_from_carries_the_caller_id_as_the_profile_says(
    profile: dict[str, str], caller_id: str, from_user: str, asserted: str | None
) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, **profile)) as (pool, events):
        pool.dial(ONE, order("+34600#*1", caller_id=caller_id))
        invite = await far.request("INVITE")
        assert invite.uri == f"sip:+34600%23*1@127.0.0.1:{far.port};transport=udp"
        assert invite.from_.uri == f"sip:{from_user}@127.0.0.1"
        assert invite.first("P-Asserted-Identity") == asserted
        far.reply(invite, 486)
        await events.over(ONE)


@pytest.mark.parametrize(
    ("number", "caller_id"),
    [
        ("+34600\r\nX-Evil: 1", ""),
        ("34600@elsewhere", ""),
        ("", ""),
        ("sip:34600", ""),
        ("346;method=BYE", ""),
        ("+34600000001", "+349\r\nX-Evil: 1"),
        ("+34600000001", "a b"),
        ("+34600000001", "1>;tag=x"),
    ],
)
@async_test
async def test_what_is_no_number_is_refused_and_nothing_leaves(number: str, caller_id: str) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order(number, caller_id=caller_id))
        refused = await events.over(ONE)
        assert isinstance(refused, LegRefused)
        assert not refused.transient
        pool.dial(LegId(2), order())
        far.reply(await far.request("INVITE"), 486)
        await events.over(LegId(2))
        assert (
            len([message for message in far.seen if isinstance(message, Request) and message.method == "INVITE"]) == 1
        )


@async_test
async def test_an_unknown_trunk_and_one_that_does_not_resolve_are_refused() -> None:
    async with FarEnd() as far:
        nowhere = trunk_to(far.port, "nowhere")
        nowhere = type(nowhere)("nowhere", "sip:pbx.invalid:5060")
        async with pool_to(trunk_to(far.port), nowhere) as (pool, events):
            pool.dial(ONE, order(trunk="nowhere"))
            pool.dial(LegId(2), order(trunk="unheard-of"))
            for leg in (ONE, LegId(2)):
                refused = await events.over(leg)
                assert isinstance(refused, LegRefused)
                assert not refused.transient
            assert any("pbx.invalid does not resolve" in problem for problem in pool.state().problems)


@async_test
async def test_a_trunk_named_by_host_is_resolved_outside_the_stack_and_stays_in_the_uri() -> None:
    async with FarEnd() as far:
        named = type(trunk_to(far.port))("far", f"sip:localhost:{far.port}")
        async with pool_to(named) as (pool, events):
            pool.dial(ONE, order())
            invite = await far.ringing()
            assert invite.uri == f"sip:+34600000001@localhost:{far.port}"
            assert not invite.values("Route")
            await events.wait(Rang, ONE)
            pool.hang_up(ONE)
            await far.confirm_cancel(invite)
            await events.over(ONE)


@async_test
async def test_a_tcp_trunk_is_called_over_tcp() -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        pool.hang_up(ONE)
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert "Via: SIP/2.0/TCP" in events.of(ONE)[0].dialog  # type: ignore[union-attr]


@async_test
async def test_a_tcp_trunk_that_nobody_listens_on_ends_by_the_stack_without_a_status() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    async with pool_to(trunk_to(port, transport="tcp")) as (pool, events):
        pool.dial(ONE, order())
        end = await events.over(ONE)
        assert isinstance(end, LegEnded)
        assert (end.by, end.sip_status) == (EndedBy.STACK, 0)


@async_test
async def test_an_invite_too_long_for_one_packet_still_goes_over_udp() -> None:
    async with FarEnd() as far:
        long = type(trunk_to(far.port))("far", f"sip:127.0.0.1:{far.port};transport=udp;x={'a' * 1200}")
        async with pool_to(long) as (pool, events):
            pool.dial(ONE, order())
            invite = await far.request("INVITE")
            assert len(invite.encode()) > 1_500
            far.reply(invite, 486)
            await events.over(ONE)


async def registered(pool: WorkerPool) -> None:
    async with asyncio.timeout(10):
        while not pool.state().registered["far"]:
            changed = asyncio.Event()
            pool.on_state(changed.set)
            await changed.wait()


@async_test
async def test_a_registering_trunk_registers_once_and_says_good_bye() -> None:
    async with Lab(pace=FAST, auth=Auth("dialer", "secret")) as lab:
        async with pool_to(trunk_to(lab.port, register=True, **RIGHT), max_concurrent_calls=8) as (pool, _):
            await registered(pool)
            assert "dialer@127.0.0.1" in (lab.registrar.contact_of("dialer", time.monotonic()) or "")
            assert not pool.state().problems
        assert lab.registrar.contact_of("dialer", time.monotonic()) is None


@async_test
async def test_a_pool_that_stops_registers_nothing_more_and_one_that_registers_says_good_bye_after_it() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **RIGHT), workers=3) as (pool, _):
        first = await far.request("REGISTER")
        stopping = asyncio.create_task(pool.stop(0))
        await far.request("REGISTER")  # repeated, while the good-bye waits for its answer
        far.reply(first, 200, ("Contact", f"{first.lines('Contact')[0]};expires=300"))
        leaving = await far.request("REGISTER")
        while leaving.first("Expires") != "0":
            leaving = await far.request("REGISTER")
        far.reply(leaving, 200)
        await stopping
        contacts = {message.lines("Contact")[0] for message in far.seen if isinstance(message, Request)}
        assert len(contacts) == 1


@async_test
async def test_a_registrar_that_is_slow_to_answer_the_good_bye_is_waited_for() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port, register=True, **RIGHT)) as (pool, _):
        first = await far.request("REGISTER")
        far.reply(first, 200, ("Contact", f"{first.lines('Contact')[0]};expires=300"))
        await registered(pool)
        stopping = asyncio.create_task(pool.stop(0))
        await far.request("REGISTER")
        leaving = await far.request("REGISTER")  # repeated, for want of an answer
        await far.request("REGISTER")
        assert not stopping.done()
        far.reply(leaving, 200)
        await stopping


@async_test
async def test_rejected_registration_is_a_problem_of_the_pool() -> None:
    async with Lab(pace=FAST, auth=Auth("dialer", "secret")) as lab:
        wrong = trunk_to(lab.port, register=True, username="dialer", password="wrong")
        async with pool_to(wrong) as (pool, _):
            assert pool.state().problems == ("trunk far is not registered",)


@async_test
async def test_strangers_are_refused_and_options_is_answered() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        worker = ("127.0.0.1", invite.via.port)
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
            stranger.setblocking(False)
            stranger.bind(("127.0.0.1", 0))
            loop = asyncio.get_running_loop()
            port = stranger.getsockname()[1]

            async def asked(method: str, *extra: str) -> int:
                options = options_request(
                    f"sip:x@127.0.0.1:{worker[1]}",
                    from_uri="sip:stranger@127.0.0.1",
                    sent_by=f"127.0.0.1:{port}",
                    token=f"stranger{method}",
                )
                text = options.encode().decode().replace("OPTIONS", method)
                text = text.replace("\r\n\r\n", "\r\n" + "".join(f"{line}\r\n" for line in extra) + "\r\n", 1)
                await loop.sock_sendto(stranger, text.encode(), worker)
                while True:
                    answer = parse(await asyncio.wait_for(loop.sock_recv(stranger, 65_535), 5))
                    if isinstance(answer, Response) and answer.cseq[1] == method and answer.status >= 200:
                        return answer.status

            contact = f"Contact: <sip:stranger@127.0.0.1:{port}>"
            assert await asked("OPTIONS") == 200
            assert await asked("INVITE", contact) >= 400
            assert await asked("SUBSCRIBE", contact, "Event: presence", "Expires: 60") >= 400
            assert await asked("OPTIONS") == 200
        assert events.kinds(ONE)[-1] == "Answered"
        assert pool.state().workers_up >= 1
        far.hang_up(invite)
        await events.over(ONE)


@async_test
async def test_a_far_side_that_wants_to_move_the_call_is_declined() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        dialog = called_dialog(invite, "far")
        refer = dialog_request("REFER", dialog, sent_by=f"127.0.0.1:{far.port}", token="refer")
        far.send(replace(refer, headers=(*refer.headers, far.contact, ("Refer-To", "<sip:other@127.0.0.1>"))))
        await far.response(603)
        await events.wait(Answered, ONE)
        assert events.kinds(ONE) == ["InviteSent", "Rang", "Answered"]
        pool.hang_up(ONE)
        far.reply(await far.request("BYE"), 200)
        await events.over(ONE)


@async_test
async def test_a_leg_that_nothing_answers_is_told_after_four_seconds_and_one_that_got_a_100_is_not() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        pool.dial(LegId(2), order("+34600000002"))
        first = await far.request("INVITE")
        second = await far.request("INVITE")
        heard = LegId(1 if first.uri.startswith("sip:+34600000001") else 2)
        far.reply(first, 100)
        silent = LegId(3 - heard)
        await events.wait(NoReply, silent)
        assert "NoReply" not in events.kinds(heard)
        far.reply(first, 486)
        far.reply(second, 486)
        for leg in (heard, silent):
            assert isinstance(await events.over(leg), LegEnded)


@pytest.mark.parametrize(("status", "usable"), [(200, True), (404, True), (503, False), (408, False)])
@async_test
async def test_a_trunk_is_asked_by_options_and_any_status_but_503_and_408_is_an_answer(
    status: int, usable: bool
) -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, _):
        told: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        pool.ask("far", told.set_result)
        far.reply(await far.request("OPTIONS"), status)
        reason = await asyncio.wait_for(told, 10)
        assert (reason is None) == usable
        assert usable or str(status) in (reason or "")
