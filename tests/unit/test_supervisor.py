"""When a worker that ends without being told to is started again. The rest is in tests/integration/test_sip_workers.py."""

import asyncio
from typing import Any, cast

import pytest

from sip import supervisor
from sip.facts import BuildFacts
from sip.plan import PoolPlan
from sip.process import WorkerProcess
from sip.supervisor import Supervisor
from tests.support.labs import async_test

TICK = 1234.5


class Stillborn(WorkerProcess):
    """A process that no machine starts."""

    async def start(self) -> None:
        raise OSError("no more processes")


@async_test
async def test_workers_that_die_in_a_row_are_replaced_ever_later_but_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    enough = asyncio.Event()
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds == TICK or enough.is_set():
            await asyncio.Event().wait()
        waits.append(seconds)
        if len(waits) == 9:
            enough.set()
        await real_sleep(0)

    monkeypatch.setattr(supervisor, "TICK_SECONDS", TICK)
    monkeypatch.setattr(supervisor, "WorkerProcess", Stillborn)
    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def lost(_worker: WorkerProcess, _reason: str) -> None:
        """Nothing to be cleared away."""

    watching = Supervisor(
        PoolPlan(workers=1, places=100, slots=2, rtp_base=10_000, rtp_ports=400),
        BuildFacts("2.17", max_calls=1024, waits_by_epoll=True, tls_1_3=True),
        lambda _slot: cast(Any, None),
        list,
        receive=lambda _worker, _message: None,
        lost=lost,
        changed=lambda: None,
    )
    watching.grow()
    await asyncio.wait_for(enough.wait(), 10)
    await watching.stop(0, 0)
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert watching.restarts >= 8
    assert "no more processes" in watching.last_fault
