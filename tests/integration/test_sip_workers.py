"""Workers that die, stall or are left alone: whose calls end, and that nobody stays in one."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from dialer.core.events import Answered, LegEnded, LegLost, LegRefused, Rang
from dialer.core.model import LegId
from sip import supervisor
from sip.facts import BuildFacts, StackUnusable, probe
from sip.plan import PlanImpossible
from sip.pool import WorkerPool
from tests.support.far_end import FarEnd
from tests.support.labs import async_test
from tests.support.pools import Events, order, pool_to, pool_until, trunk_to

ONE, TWO = LegId(1), LegId(2)
ROOT = Path(__file__).resolve().parents[2]


async def _until_up(pool: WorkerPool, workers: int) -> None:
    await pool_until(pool, lambda: pool.state().workers_up >= workers)


def _pid_of(pool: WorkerPool, leg: LegId) -> int:
    return pool._carriers[leg].pid


async def _two_talking(far: FarEnd, pool: WorkerPool, events: Events) -> None:
    """Leg 1 and leg 2 in a call each, in different workers."""
    await _until_up(pool, 2)
    for leg in (ONE, TWO):
        pool.dial(leg, order())
        await far.talking()
        await events.wait(Answered, leg)
    assert _pid_of(pool, ONE) != _pid_of(pool, TWO)


@async_test
async def test_a_killed_worker_costs_its_own_calls_only_and_is_replaced() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), max_concurrent_calls=8, workers=2) as (pool, events):
        await _two_talking(far, pool, events)
        os.kill(_pid_of(pool, ONE), signal.SIGKILL)
        # The called side is not left in a call with nobody, and the channel counts until it is out of it.
        bye = await far.request("BYE")
        assert "LegLost" not in events.kinds(ONE)
        far.reply(bye, 200)
        lost = await events.over(ONE)
        assert isinstance(lost, LegLost)
        assert "signal 9" in lost.reason
        await _until_up(pool, 2)
        assert events.kinds(TWO) == ["InviteSent", "Rang", "Answered"]
        third = LegId(3)
        pool.dial(third, order())
        invite = await far.ringing()
        far.reply(invite, 486)
        assert isinstance(await events.over(third), LegEnded)
        pool.hang_up(TWO)
        far.reply(await far.request("BYE"), 200)
        await events.over(TWO)


@async_test
async def test_a_worker_that_is_stopped_is_killed_and_replaced() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), max_concurrent_calls=8, workers=2) as (pool, events):
        await _two_talking(far, pool, events)
        stopped = _pid_of(pool, ONE)
        os.kill(stopped, signal.SIGSTOP)
        far.reply(await far.request("BYE"), 200)
        assert isinstance(await events.over(ONE), LegLost)
        await _until_up(pool, 2)
        assert stopped not in {worker.pid for worker in pool._running.workers.values()}
        pool.hang_up(TWO)
        far.reply(await far.request("BYE"), 200)
        await events.over(TWO)


@async_test
async def test_what_a_worker_was_told_to_dial_while_it_was_held_up_does_not_leave_at_once_when_it_goes_on() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), workers=1) as (pool, events):
        await _until_up(pool, 1)
        (worker,) = pool._running.workers.values()
        os.kill(worker.pid, signal.SIGSTOP)
        for leg in (ONE, TWO):
            pool.dial(leg, order())
        pool.hang_up(TWO)
        await asyncio.sleep(0.5)
        os.kill(worker.pid, signal.SIGCONT)
        for leg in (ONE, TWO):
            refused = await events.over(leg)
            assert isinstance(refused, LegRefused)
            assert (refused.reason, refused.transient) == ("the worker was held up", True)
        third = order()
        pool.dial(LegId(3), third)
        invite = await far.ringing()
        assert invite.call_id == third.sip_call_id, "an INVITE of before"
        far.reply(invite, 486)
        await events.over(LegId(3))
        assert events.kinds(ONE) == events.kinds(TWO) == ["LegRefused"]


@async_test
async def test_a_server_that_is_killed_leaves_nobody_in_a_call() -> None:
    script = """
import asyncio, sys
from pathlib import Path
from dialer.ports import DialOrder
from sip.pool import WorkerPool
from sip.trunk import TrunkProfile
async def main():
    pool = WorkerPool([TrunkProfile("far", sys.argv[1])], max_concurrent_calls=4, bind_host="127.0.0.1",
                      media_directory=Path("/nonexistent"))
    await pool.start()
    for leg in (1, 2):
        pool.dial(leg, DialOrder("far", "+3460000000%d" % leg, "", "orphan-%d" % leg))
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    async with FarEnd() as far:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, f"sip:127.0.0.1:{far.port}", cwd=ROOT
        )
        try:
            await far.talking()
            ringing = await far.ringing()
            server.kill()
            far.reply(await far.request("BYE"), 200)
            await far.confirm_cancel(ringing)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            await server.wait()


@async_test
async def test_stopping_lets_calls_end_and_then_ends_them() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port)) as (pool, events):
        pool.dial(ONE, order())
        pool.dial(TWO, order())
        first, second = await far.talking(), await far.ringing()
        await events.wait(Rang, TWO)
        stopping = asyncio.create_task(pool.stop(0.5))
        await asyncio.sleep(0)
        pool.dial(LegId(3), order())
        refused = await events.over(LegId(3))
        assert isinstance(refused, LegRefused)
        assert refused.transient
        assert "LegEnded" not in events.kinds(ONE)
        far.reply(await far.request("BYE"), 200)
        assert first.call_id != second.call_id
        await far.confirm_cancel(second)
        await stopping
        assert events.kinds(ONE)[-1] == events.kinds(TWO)[-1] == "LegEnded"
        assert pool.state().workers_up == 0


@async_test
async def test_a_full_pool_refuses_for_now() -> None:
    async with FarEnd() as far, pool_to(trunk_to(far.port), max_concurrent_calls=2, workers=1) as (pool, events):
        legs = [LegId(n) for n in range(pool.free_places() + 1)]
        for leg in legs:
            pool.dial(leg, order())
        refused = await events.over(legs[-1])
        assert isinstance(refused, LegRefused)
        assert refused.transient
        for _ in legs[:-1]:
            far.reply(await far.request("INVITE"), 486)
        for leg in legs[:-1]:
            await events.over(leg)
        assert pool.free_places() == len(legs) - 1


@async_test
async def test_the_probe_tells_what_the_build_carries() -> None:
    facts = await probe()
    assert facts.max_calls >= 4
    assert facts.version.startswith("2.")


@async_test
async def test_a_pool_that_cannot_work_says_why(tmp_path: Path) -> None:
    facts = BuildFacts("2.15.1", 4, waits_by_epoll=False, tls_1_3=False)
    tls = trunk_to(5061, transport="tls")
    with pytest.raises(StackUnusable, match="trunk far wants TLS"):
        await WorkerPool([tls], max_concurrent_calls=4, media_directory=tmp_path, facts=facts).start()
    narrow = WorkerPool(
        [trunk_to(5060)], max_concurrent_calls=30, media_directory=tmp_path, facts=facts, rtp_ports=(10_000, 10_050)
    )
    with pytest.raises(PlanImpossible, match="rtp_port_min 10000"):
        await narrow.start()


@async_test
async def test_a_worker_that_has_done_its_share_leaves_after_its_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RECYCLE_CALLS", {True: 1, False: 1})
    async with FarEnd() as far, pool_to(trunk_to(far.port), max_concurrent_calls=4, workers=1) as (pool, events):
        pool.dial(ONE, order())
        invite = await far.talking()
        await events.wait(Answered, ONE)
        old = _pid_of(pool, ONE)

        def replaced() -> bool:
            workers = pool._running.workers.values()
            return any(worker.pid == old and worker.retiring for worker in workers) and any(
                worker.up and worker.pid != old for worker in workers
            )

        await pool_until(pool, replaced)
        pool.dial(TWO, order())
        far.reply(await far.request("INVITE"), 486)
        assert isinstance(await events.over(TWO), LegEnded)
        assert events.kinds(ONE)[-1] == "Answered"
        far.hang_up(invite)
        assert isinstance(await events.over(ONE), LegEnded)
        await pool_until(pool, lambda: old not in {worker.pid for worker in pool._running.workers.values()})


@async_test
async def test_a_port_that_is_taken_is_told_as_the_trunks_problem() -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with pool_to(trunk_to(5060), max_concurrent_calls=2, workers=1, port=port) as (pool, events):
            assert any("trunk far: " in problem and "in use" in problem for problem in pool.state().problems)
            pool.dial(ONE, order())
            assert isinstance(await events.over(ONE), LegRefused)


@async_test
async def test_ports_that_others_hold_are_passed_over_however_many_they_are() -> None:
    """The stack gives up after 100 pairs; the calls of another trunk, or long ones of the same, hold more than that."""
    held = []
    base = free_udp_ports(1_300)
    try:
        for port in range(base, base + 500, 2):  # of the 650 that are the first worker's
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(one)
            one.bind(("127.0.0.1", port))
        rtp = (base, base + 1_299)
        async with FarEnd() as far, pool_to(trunk_to(far.port), workers=1, rtp_ports=rtp) as (pool, events):
            pool.dial(ONE, order())
            await far.talking()
            await events.wait(Answered, ONE)
            pool.hang_up(ONE)
            far.reply(await far.request("BYE"), 200)
            await events.over(ONE)
    finally:
        for one in held:
            one.close()


def free_udp_ports(size: int) -> int:
    """The first of so many ports in a row, all of them free now."""
    for base in range(20_000, 32_000, 500):
        trials = []
        try:
            for port in range(base, base + size, 2):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                trials.append(one)
                one.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in trials:
                one.close()
        return base
    raise AssertionError("no free ports")
