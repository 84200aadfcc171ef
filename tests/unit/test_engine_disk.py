"""The engine whose disk refuses: it stops dialing, loses nothing that happened, and goes on by itself."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition
from dialer.ports import StoreUnavailable
from tests.support.engine_bench import Bench, engine_story


@engine_story
async def test_a_disk_that_refuses_stops_dialing_and_keeps_what_happened_until_it_works_again(bench: Bench) -> None:
    bench.submit(10, stagger_ms=200)
    await bench.until(lambda: len(bench.dialed) == 3)
    bench.store.refuse = "database or disk is full"
    await asyncio.sleep(5)
    assert len(bench.dialed) == 3
    assert bench.engine.state.live <= 1, "more than the attempt whose record was refused"
    assert bench.engine.state.store_fault == "database or disk is full"
    assert [bench.outcome(call) for call in (1, 2, 3)] == [None, None, None]
    bench.store.refuse = None
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) > 3)
    assert bench.clock.mono - began < 0.5
    assert [bench.outcome(call) for call in (1, 2, 3)] == [Disposition.NO_ANSWER] * 3
    await bench.until(lambda: len(bench.dialed) == 10)
    assert all(later - sooner >= 0.197 for sooner, later in pairwise(bench.calls.mono))
    assert bench.engine.state.store_fault is None


@engine_story
async def test_an_attempt_whose_record_was_refused_leaves_only_after_it_was_stored(bench: Bench) -> None:
    bench.store.refuse = "no"
    bench.submit()
    await asyncio.sleep(3)
    assert bench.dialed == []
    bench.store.refuse = None
    await bench.until(lambda: len(bench.dialed) == 1, 1)


@engine_story
async def test_a_store_that_cannot_be_read_stops_dialing_and_loses_no_call(bench: Bench) -> None:
    def broken(*_: object) -> Any:
        raise StoreUnavailable("I/O error")

    bench.store.call = broken  # type: ignore[method-assign]
    bench.submit(2, stagger_ms=10)
    await asyncio.sleep(1)
    assert bench.engine.state.store_fault == "I/O error"
    bench.store.next_timer = broken  # type: ignore[method-assign]
    await asyncio.sleep(1)
    del bench.store.call, bench.store.next_timer  # type: ignore[attr-defined]
    await bench.until(lambda: len(bench.dialed) == 2, 2)


def refused_orders(bench: Bench, campaign: CampaignId) -> dict[str, Callable[[], object]]:
    return {
        "pause": lambda: bench.engine.pause(campaign),
        "cancel": lambda: bench.engine.cancel(campaign),
        "cancel_call": lambda: bench.engine.cancel_call(CallId(2)),
    }


@pytest.mark.parametrize("order", ["pause", "cancel", "cancel_call"])
def test_an_order_that_the_disk_refuses_says_so_and_does_not_happen_later(order: str) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        campaign = bench.submit(2, stagger_ms=5_000)
        await bench.until(lambda: len(bench.dialed) == 1)
        bench.store.refuse = "disk full"
        # Nobody has written since: the order is the first to meet the fault.
        assert bench.engine.state.store_fault is None
        with pytest.raises(StoreUnavailable, match="disk full"):
            refused_orders(bench, campaign)[order]()
        bench.store.refuse = None
        await bench.until(lambda: len(bench.dialed) == 2)
        await asyncio.sleep(5)
        assert bench.status(campaign) is CampaignStatus.COMPLETED

    story()


@engine_story
async def test_a_disk_that_refuses_releases_nothing(bench: Bench) -> None:
    bench.submit(2, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 60_000)
    bench.start()
    bench.store.refuse = "disk full"
    await bench.until(lambda: bench.engine.state.store_fault is not None)
    with pytest.raises(StoreUnavailable):
        bench.engine.release(CallId(1), CallId(2), 10)
    bench.store.refuse = None
    await asyncio.sleep(70)
    assert bench.dialed == []
    assert len(bench.store.reviewed) == 2


@engine_story
async def test_a_defect_ends_the_engine_instead_of_going_on_with_a_doubtful_memory(bench: Bench) -> None:
    def contradicts(_: object) -> None:
        raise ValueError("the changes contradict what is stored")

    bench.submit(3, stagger_ms=100)
    await bench.until(lambda: len(bench.dialed) == 1)
    bench.store.apply = contradicts  # type: ignore[method-assign]
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await bench.until(bench.engine.failed.done, 5)
    assert isinstance(bench.engine.failed.exception(), ValueError)
    await asyncio.sleep(2)
    assert len(bench.dialed) == 1
