"""The engine's loop: what is submitted is dialed in time, as it was ordered, and once."""

import asyncio

import pytest

from dialer.core.explain import Rule
from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition
from dialer.engine import LOOK_SECONDS
from tests.support.engine_bench import BUSY, TALK, Bench, engine_story
from tests.support.fake_calls import ANSWERS
from tests.support.leftovers import leftovers


@engine_story
async def test_a_submitted_campaign_is_dialed_at_once_and_completed(bench: Bench) -> None:
    before = bench.clock.mono
    campaign = bench.submit()
    await bench.until(lambda: len(bench.dialed) == 1)
    assert bench.calls.mono[0] - before < 0.003
    await bench.until(lambda: bench.status(campaign) is CampaignStatus.COMPLETED)
    assert bench.outcome() is Disposition.NO_ANSWER


@engine_story
async def test_nothing_is_early_and_nothing_more_than_three_milliseconds_late(bench: Bench) -> None:
    launch = bench.clock.wall + 5_000
    bench.submit(150, BUSY * 150, launch_at=launch, stagger_ms=40, scheduled=True, recall_ms=(20_000,))
    await bench.until(lambda: len(bench.dialed) == 300)
    first, recalls = bench.calls.wall[:150], bench.calls.wall[150:]
    for at, slot in zip(first, range(launch, launch + 150 * 40, 40), strict=True):
        assert 0 <= at - slot <= 3
    for at, slot in zip(recalls, range(launch + 20_000, launch + 20_000 + 150 * 40, 40), strict=True):
        assert 0 <= at - slot <= 3


@engine_story
async def test_turns_follow_what_happens_and_an_idle_engine_hardly_wakes(bench: Bench) -> None:
    bench.submit(100, stagger_ms=50)
    await bench.until(lambda: bench.engine.state.live == 0 and len(bench.dialed) == 100)
    assert bench.engine.turns < 100 * 8
    await asyncio.sleep(2)
    turns = bench.engine.turns
    bench.submit(1, launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    await asyncio.sleep(60)
    assert bench.engine.turns - turns <= 60 / LOOK_SECONDS + 5


@pytest.mark.parametrize("uptime", [5_000.0, 19_400.000009, 86_400.1, 2_000_000.7])
def test_what_waits_for_company_is_committed_in_time_however_the_clock_rounds(uptime: float) -> None:
    """(a + b) - a is less than b for some, so a turn at its time may not ask for the difference."""

    @engine_story
    async def story(bench: Bench) -> None:
        bench.clock.advance_to(uptime)
        bench.clock.cost = 0
        bench.submit(25, stagger_ms=50)
        await bench.until(lambda: bench.engine.state.live == 0 and len(bench.dialed) == 25)
        assert bench.engine.turns < 25 * 8 + 20

    story()


@engine_story
async def test_pause_resume_and_cancel_are_on_disk_when_they_return(bench: Bench) -> None:
    campaign = bench.submit(20, stagger_ms=100)
    await bench.until(lambda: len(bench.dialed) == 3)
    bench.engine.pause(campaign)
    assert bench.status(campaign) is CampaignStatus.PAUSED
    dialed = len(bench.dialed)
    await asyncio.sleep(5)
    assert len(bench.dialed) == dialed
    bench.engine.resume(campaign)
    assert bench.status(campaign) is CampaignStatus.RUNNING
    await bench.until(lambda: len(bench.dialed) == dialed + 2, 1)
    bench.engine.cancel(campaign)
    assert bench.status(campaign) is CampaignStatus.CANCELLED
    dialed = len(bench.dialed)
    await asyncio.sleep(5)
    assert len(bench.dialed) == dialed
    assert bench.engine.state.live == 0
    assert bench.store.counts(campaign).finished == 20


@engine_story
async def test_a_call_that_is_cancelled_while_it_waits_in_the_backlog_is_not_dialed(bench: Bench) -> None:
    bench.submit(30)
    await bench.until(lambda: len(bench.dialed) == 20)
    await asyncio.sleep(0.5)
    bench.calls.lose()
    bench.engine.cancel_call(CallId(21))
    await bench.until(lambda: len(bench.dialed) == 29, 30)
    await asyncio.sleep(1)
    assert bench.outcome(21) is Disposition.CANCELLED
    assert 21 not in bench.dialed


@engine_story
async def test_a_call_that_is_cancelled_in_the_moment_of_its_end_is_finished_once(bench: Bench) -> None:
    bench.submit(2, stagger_ms=60_000)
    await bench.until(lambda: bool(bench.calls.legs))
    await bench.until(lambda: not bench.calls.legs)
    bench.engine.cancel_call(CallId(1))
    assert bench.outcome() is Disposition.NO_ANSWER


@engine_story
async def test_cancelling_a_live_call_hangs_it_up_for_good(bench: Bench) -> None:
    bench.submit(recall_ms=(1000,))
    await bench.until(lambda: bool(bench.calls.legs))
    bench.engine.cancel_call(CallId(1))
    await bench.until(lambda: bench.outcome() is Disposition.CANCELLED, 1)
    with pytest.raises(KeyError):
        bench.engine.cancel_call(CallId(99))


@engine_story
async def test_an_answered_call_goes_through_its_steps(bench: Bench) -> None:
    bench.submit(1, (ANSWERS,), playbook=TALK)
    await bench.until(lambda: any(leg.playing for leg in bench.calls.legs.values()))
    assert bench.engine.state.talking == 1
    answered = bench.clock.mono
    await bench.until(lambda: bench.outcome() is Disposition.ANSWERED, 90)
    assert 62 <= bench.clock.mono - answered < 62.2


@engine_story
async def test_workers_that_come_up_late_find_the_calls_waiting(bench: Bench) -> None:
    bench.calls.have_places(0)
    bench.submit(3, stagger_ms=10)
    await asyncio.sleep(10)
    assert bench.dialed == []
    bench.calls.have_places(2)
    await bench.until(lambda: len(bench.dialed) == 2, LOOK_SECONDS + 0.1)
    await asyncio.sleep(0.5)
    assert len(bench.dialed) == 2
    assert bench.store.calls[CallId(3)].attempts == []


@engine_story
async def test_calls_under_review_wait_for_a_person_and_then_take_their_turn(bench: Bench) -> None:
    bench.submit(5, stagger_ms=1000, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 62_000)
    bench.start()
    await asyncio.sleep(70)
    assert bench.dialed == [4, 5]
    for call in (CallId(1), CallId(3)):
        hold = bench.engine.explain(call, None)
        assert (hold.rule, hold.until) == (Rule.REVIEW, None)
    assert bench.engine.release(CallId(1), CallId(9), 2) == [1, 2]
    assert bench.engine.cancel_under_review(CallId(1), CallId(9), 100) == [3]
    assert bench.engine.release(CallId(1), CallId(9), 100) == []
    released_at = bench.clock.mono
    await bench.until(lambda: bench.dialed == [4, 5, 1, 2])
    assert bench.clock.mono >= released_at + 0.99, "the stagger holds"
    await bench.until(lambda: bench.status(CampaignId(1)) is CampaignStatus.COMPLETED)
    assert bench.outcome(3) is Disposition.CANCELLED


@engine_story
async def test_calls_of_a_paused_campaign_are_released_and_wait_for_it(bench: Bench) -> None:
    campaign = bench.submit(2, launch_at=bench.clock.wall + 60_000, scheduled=True)
    bench.engine.pause(campaign)
    bench.engine.stop()
    bench.store.hold(bench.clock.wall + 60_000)
    bench.start()
    assert bench.engine.explain(CallId(1), None).rule is Rule.REVIEW
    bench.engine.release(CallId(1), CallId(2), 10)
    assert bench.engine.explain(CallId(1), None).rule is Rule.PAUSED
    await asyncio.sleep(70)
    assert bench.dialed == []
    bench.engine.resume(campaign)
    await bench.until(lambda: bench.dialed == [1, 2])


@engine_story
async def test_campaigns_that_are_over_leave_nothing_to_the_cycle_collector(bench: Bench) -> None:
    with leftovers() as found:
        for _ in range(20):
            campaign = bench.submit(2, BUSY, stagger_ms=100, recall_ms=(1000,))
            await bench.until(lambda campaign=campaign: bench.status(campaign) is CampaignStatus.COMPLETED)  # type: ignore[misc]
    assert found["dialer.core.pacing.Interval"] == 0, found
    assert found.total() < 20, found
