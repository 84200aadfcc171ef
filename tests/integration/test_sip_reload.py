"""Other trunks and limits for a pool that runs: legs go on as they were begun, the next ones find what is new."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialer.core.events import Answered, EndedBy, LegEnded, LegRefused
from dialer.core.model import LegId
from sip import supervisor
from sip.facts import BuildFacts
from sip.lab import Lab
from sip.lab.guard import Auth
from sip.plan import PlanImpossible, plan_pool
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile, UnfitForSip
from sip.wire import Request
from tests.integration.test_trunk_settings import make_certificate, tls_far_end
from tests.support.far_end import FarEnd
from tests.support.labs import AT_ONCE, FAST, WAITS, async_test
from tests.support.pools import order, pool_to, trunk_to

ONE, TWO, THREE = LegId(1), LegId(2), LegId(3)
RIGHT = {"username": "dialer", "password": "secret"}


async def change(pool: WorkerPool, *trunks: TrunkProfile, calls: int = 4) -> None:
    (await pool.prepare(trunks, calls))()


async def until(pool: WorkerPool, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            changed = asyncio.Event()
            pool.on_state(changed.set)
            await changed.wait()


async def seen(true: Callable[[], bool]) -> None:
    """What no event tells of."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("after", ["changed", "removed"])
@async_test
async def test_a_leg_goes_on_to_its_natural_end_whatever_becomes_of_its_trunk(after: str) -> None:
    async with FarEnd() as far, FarEnd() as other, pool_to(trunk_to(far.port, **RIGHT)) as (pool, events):
        pool.dial(ONE, order())
        talks = await far.talking()
        await events.wait(Answered, ONE)
        pool.dial(TWO, order("+34600000002"))
        rings = await far.ringing()
        moved = trunk_to(other.port, username="somebody", password="else", caller_id="+34911", transport="udp")
        await change(pool, *([moved] if after == "changed" else []))
        pool.dial(THREE, order("+34600000003"))
        if after == "changed":
            invite = await other.ringing()
            assert (invite.uri, invite.from_.uri) == (
                f"sip:+34600000003@127.0.0.1:{other.port};transport=udp",
                "sip:+34911@127.0.0.1",
            )
            other.reply(invite, 486)
        refused = await events.over(THREE)
        assert isinstance(refused, LegRefused if after == "removed" else LegEnded)
        far.reply(rings, 486)
        ended = await events.over(TWO)
        assert isinstance(ended, LegEnded)
        assert (ended.by, ended.sip_status) == (EndedBy.FAR, 486)
        assert events.kinds(ONE) == ["InviteSent", "Rang", "Answered"]
        far.hang_up(talks)
        assert (await events.over(ONE)) in events.of(ONE)
        assert [message for message in other.seen if message.call_id.startswith(talks.call_id)] == []


@async_test
async def test_a_trunk_that_is_added_or_comes_back_carries_calls_and_one_that_is_gone_none() -> None:
    async with Lab(pace=FAST) as lab, pool_to() as (pool, events):
        for number in range(1, 4):
            leg = LegId(number)
            await change(pool, trunk_to(lab.port, "new"))
            pool.dial(leg, order(AT_ONCE, trunk="new"))
            await events.wait(Answered, leg)
            await events.over(leg)
            await change(pool)
            gone = LegId(number + 10)
            pool.dial(gone, order(AT_ONCE, trunk="new"))
            assert isinstance(await events.over(gone), LegRefused)
        assert pool.state().problems == ()


@async_test
async def test_new_credentials_and_another_transport_are_those_of_the_next_leg() -> None:
    auth = Auth("dialer", "secret", status=407)
    wrong = {"username": "dialer", "password": "wrong"}
    async with Lab(pace=FAST, auth=auth) as lab, pool_to(trunk_to(lab.port, **wrong)) as (pool, events):
        pool.dial(ONE, order(AT_ONCE))
        ended = await events.over(ONE)
        assert isinstance(ended, LegEnded)
        assert ended.sip_status == 407
        await change(pool, trunk_to(lab.port, transport="tcp", **RIGHT))
        pool.dial(TWO, order(AT_ONCE))
        await events.wait(Answered, TWO)
        assert "Via: SIP/2.0/TCP" in events.of(TWO)[0].dialog  # type: ignore[union-attr]
        await events.over(TWO)


@async_test
async def test_every_setting_of_a_trunk_is_that_of_the_next_invite() -> None:
    async with FarEnd() as far, FarEnd() as proxy, pool_to(trunk_to(far.port)) as (pool, events):

        async def invite_after(leg: int, at: FarEnd = far, **profile: Any) -> Request:
            await change(pool, trunk_to(far.port, **profile))
            pool.dial(LegId(leg), order("+34600000001", caller_id="+34910000000"))
            invite = await at.ringing()
            at.reply(invite, 486)
            await events.over(LegId(leg))
            return invite

        def users(invite: Request) -> list[str]:
            return [uri.partition("@")[0].removeprefix("sip:") for uri in (invite.uri, invite.from_.uri)]

        def codecs(invite: Request) -> list[str]:
            (media,) = [line for line in invite.body.decode().splitlines() if line.startswith("m=audio")]
            return media.split()[3:-1]

        plain = await invite_after(1)
        local = await invite_after(2, strip_digits=2, prefix="0", from_user="acct7", codecs=["pcmu"])
        assert (users(local), codecs(local)) == (["0600000001", "acct7"], ["0"])
        hidden = await invite_after(3, send_plus=False, anonymous=True)
        assert (users(hidden), hidden.first("Privacy")) == (["34600000001", "anonymous"], "id")
        assert codecs(hidden) == codecs(plain) != ["0"]
        over = f"sip:127.0.0.1:{proxy.port};transport=udp"
        routed = await invite_after(4, proxy, assert_identity=True, outbound_proxy=over)
        assert routed.uri == plain.uri
        assert routed.values("Route") == [f"<{over};lr>"]
        assert routed.first("P-Asserted-Identity") == "<sip:+34910000000@127.0.0.1>"
        again = await invite_after(5)
        for name in ("Route", "P-Asserted-Identity", "Privacy"):
            assert again.first(name) is None
        assert (again.uri, again.from_.uri) == (plain.uri, plain.from_.uri)


@async_test
async def test_certificates_are_checked_as_the_trunk_says_now_whatever_was_let_in_before(tmp_path: Path) -> None:
    make_certificate(tmp_path, "IP:127.0.0.1")
    async with tls_far_end(tmp_path / "far.pem") as (port, seen), pool_to() as (pool, events):

        async def ends_after(leg: int, **profile: Any) -> int:
            await change(pool, TrunkProfile("far", f"sip:127.0.0.1:{port};transport=tls", **profile))
            pool.dial(LegId(leg), order())
            end = await events.over(LegId(leg))
            assert isinstance(end, LegEnded)
            return end.sip_status

        assert await ends_after(1) == 0
        assert await ends_after(2, ca_file=str(tmp_path / "cert.pem")) == 486
        assert await ends_after(3, verify=False, srtp="mandatory") == 486
        assert await ends_after(4) == 0
        assert b" RTP/AVP " in (await seen.get()).body
        assert b" RTP/SAVP " in (await seen.get()).body
        assert seen.empty()


@async_test
async def test_registrations_come_change_and_go() -> None:
    async with Lab(pace=FAST, auth=Auth("dialer", "secret")) as lab, Lab(auth=Auth("dialer", "secret")) as other:

        def at(place: Lab) -> bool:
            return place.registrar.contact_of("dialer", time.monotonic()) is not None

        async with pool_to(trunk_to(lab.port), max_concurrent_calls=8) as (pool, _):
            assert pool.state().registered == {}
            wrong = trunk_to(lab.port, register=True, username="dialer", password="wrong")
            await change(pool, wrong, calls=8)
            assert pool.state().problems == ("trunk far is not registered",)
            await change(pool, trunk_to(lab.port, register=True, **RIGHT), calls=8)
            await until(pool, lambda: pool.state().registered == {"far": True})
            assert at(lab)
            await change(pool, trunk_to(other.port, register=True, **RIGHT), calls=8)
            await seen(lambda: at(other) and not at(lab))
            assert pool.state().registered == {"far": True}
            await change(pool, trunk_to(other.port, **RIGHT), calls=8)
            await seen(lambda: not at(other))
            assert (pool.state().registered, pool.state().problems) == ({}, ())
            await change(pool, trunk_to(other.port, "again", register=True, **RIGHT), calls=8)
            await until(pool, lambda: pool.state().registered == {"again": True})
            await change(pool, calls=8)
            await seen(lambda: not at(other))
            assert pool.state().registered == {}


@async_test
async def test_more_calls_than_the_workers_were_made_for_get_other_workers_and_no_leg_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "TICK_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "START_TICKS", 150)
    monkeypatch.setattr(supervisor, "PINGS_MISSED", 50)
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port), max_concurrent_calls=2) as (pool, events):
        pool.dial(ONE, order(WAITS))
        await events.wait(Answered, ONE)
        assert pool.free_places() < 6
        await change(pool, trunk_to(lab.port), calls=6)
        await until(pool, lambda: pool.free_places() >= 6)
        legs = [LegId(number) for number in range(2, 8)]
        for leg in legs:
            pool.dial(leg, order(WAITS))
        for leg in legs:
            await events.wait(Answered, leg)
        assert events.kinds(ONE) == ["InviteSent", "Rang", "Answered"]
        await change(pool, trunk_to(lab.port), calls=2)
        assert pool.state().workers_planned == 2
        for leg in (ONE, *legs):
            pool.hang_up(leg)
        for leg in (ONE, *legs):
            assert isinstance(await events.over(leg), LegEnded)
        assert pool.state().restarts == 0


@async_test
async def test_what_cannot_be_is_refused_before_anything_has_changed() -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port)) as (pool, events):
        with pytest.raises(UnfitForSip):
            await pool.prepare([TrunkProfile("far", "sip:somebody's pbx")], 4)
        with pytest.raises(PlanImpossible):
            await pool.prepare([trunk_to(lab.port)], 1_000_000)
        pool.dial(ONE, order(AT_ONCE))
        await events.wait(Answered, ONE)
        await events.over(ONE)


@async_test
async def test_a_name_that_does_not_resolve_is_a_fault_of_its_trunk_only() -> None:
    async with Lab(pace=FAST) as lab, pool_to(trunk_to(lab.port)) as (pool, events):
        await change(pool, trunk_to(lab.port), TrunkProfile("nowhere", "sip:pbx.invalid"))
        assert list(pool.state().trunk_faults) == ["nowhere"]
        pool.dial(ONE, order(AT_ONCE))
        await events.wait(Answered, ONE)
        await events.over(ONE)
        await change(pool, trunk_to(lab.port))
        assert pool.state().problems == ()


def test_a_plan_beside_another_has_ports_of_its_own_or_shares_them_in_the_same_way() -> None:
    build = BuildFacts("2.17", 1024, waits_by_epoll=True, tls_1_3=True)
    for calls in (30, 300):
        first = plan_pool(build, calls)
        second = plan_pool(build, 2 * calls, beside=first)
        theirs = range(first.rtp_base, first.rtp_base + first.slots * first.rtp_ports)
        ours = range(second.rtp_base, second.rtp_base + second.slots * second.rtp_ports)
        assert not set(theirs) & set(ours)
    ports = (10_000, 60_000)
    first = plan_pool(build, 30, rtp=ports)
    second = plan_pool(build, 300, rtp=ports, beside=first)
    assert [second.rtp_port(slot) for slot in range(3)] == [first.rtp_port(slot) for slot in range(3)]
    with pytest.raises(PlanImpossible, match="needs a restart"):
        plan_pool(build, 3000, rtp=ports, beside=first)
