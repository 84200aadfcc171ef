"""The engine whose wall clock is set, or slews, while it runs and while nobody does: nothing early, nothing twice."""

import asyncio
from itertools import pairwise

import pytest

from dialer.core.model import CallId, CampaignStatus, Disposition
from dialer.core.playbook import Playbook
from dialer.engine import LOOK_SECONDS
from tests.support.engine_bench import BUSY, Bench, engine_story
from tests.support.fake_calls import ANSWERS


@engine_story
async def test_a_wall_clock_that_is_set_forward_is_noticed_and_one_set_back_makes_nothing_early(bench: Bench) -> None:
    bench.submit(launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    bench.submit(launch_at=bench.clock.wall + 3_700_000, scheduled=True)
    await asyncio.sleep(5)
    bench.clock.step_wall(3_600_000)
    await bench.until(lambda: len(bench.dialed) == 1, LOOK_SECONDS + 0.1)
    bench.clock.step_wall(-600_000)
    await asyncio.sleep(300)
    assert len(bench.dialed) == 1
    await bench.until(lambda: len(bench.dialed) == 2, 600)
    assert 0 <= bench.calls.wall[1] - (bench.store.campaigns[2].campaign.launch_at) <= 3


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_and_slots_keep_their_distance_when_the_wall_clock_is_set(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(3, ends=BUSY * 3, stagger_ms=1000, recall_ms=(10_000, 20_000))
        await bench.until(lambda: len(bench.dialed) == 2)
        began = bench.calls.mono[0]
        bench.clock.step_wall(step)
        await bench.until(lambda: len(bench.dialed) == 9, 60)
        times = [mono - began for mono in bench.calls.mono]
        assert times == pytest.approx([0, 1, 2, 10, 11, 12, 20, 21, 22], abs=0.3)
        assert all(sooner >= due - 0.001 for sooner, due in zip(times, [0, 1, 2, 10, 11, 12, 20, 21, 22], strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
@pytest.mark.parametrize("readings", range(1, 40))
def test_recalls_keep_their_distance_between_whichever_readings_the_wall_clock_is_set(step: int, readings: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(2, ends=BUSY * 2, stagger_ms=1000, recall_ms=(5_000, 10_000))
        await bench.until(lambda: len(bench.dialed) == 1)
        await asyncio.sleep(0.999)
        bench.clock.step_wall_after(step, readings)
        await bench.until(lambda: len(bench.dialed) == 6, 60)
        times = [mono - bench.calls.mono[0] for mono in bench.calls.mono]
        assert times == pytest.approx([0, 1, 5, 6, 10, 11], abs=0.3)
        assert all(sooner >= due - 0.001 for sooner, due in zip(times, [0, 1, 5, 6, 10, 11], strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_keep_their_distance_though_reports_bear_the_time_of_the_clock_before_it_was_set(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(2, ends=BUSY * 2, stagger_ms=1000, recall_ms=(3_000, 3_050))
        await bench.until(lambda: len(bench.dialed) == 1)
        bench.clock.step_wall(step)
        bench.calls.stamped_ms = -step
        await asyncio.sleep(1.5)
        bench.calls.stamped_ms = 0
        await bench.until(lambda: len(bench.dialed) == 6, 60)
        times = sorted(mono - bench.calls.mono[0] for mono in bench.calls.mono)
        # The second recall comes 0.1 s after the end of the first: the least gap.
        due = [0, 1, 3, 3.1, 4, 4.1]
        assert times == pytest.approx(due, abs=0.3)
        assert all(sooner >= at - 0.001 for sooner, at in zip(times, due, strict=True))

    story()


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_recalls_and_slots_keep_their_distance_when_the_wall_clock_is_set_while_nobody_runs(step: int) -> None:
    @engine_story
    async def story(bench: Bench) -> None:
        bench.submit(3, ends=BUSY * 3, stagger_ms=2000, recall_ms=(10_000, 20_000))
        ahead = bench.submit(launch_at=bench.clock.wall + 3_600_000, scheduled=True)
        await bench.until(lambda: len(bench.dialed) == 2)
        await asyncio.sleep(0.5)
        began = bench.calls.mono[0]
        bench.die()
        bench.clock.step_wall(step)
        bench.start()
        await bench.until(lambda: bench.dialed.count(3) == 3, 60)
        times = [mono - began for call, mono in zip(bench.dialed, bench.calls.mono, strict=True) if call <= 3]
        due = [0, 2, 4, 10, 12, 14, 20, 22, 24]
        assert times == pytest.approx(due, abs=0.3)
        assert all(sooner >= at - 0.001 for sooner, at in zip(times, due, strict=True))
        # A launch to come was promised by the wall clock: set forward by two hours, it is past.
        assert bench.store.campaigns[ahead].campaign.launch_at == 5_000_000 + 3_600_000
        assert (4 in bench.dialed) is (step > 0)

    story()


@engine_story
async def test_a_clock_set_while_nobody_ran_is_followed_when_the_disk_works(bench: Bench) -> None:
    bench.submit(2, ends=BUSY, stagger_ms=20_000, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    began = bench.clock.mono
    await asyncio.sleep(1)
    bench.die()
    bench.clock.step_wall(86_400_000)
    bench.store.refuse = "full"
    bench.start()
    await asyncio.sleep(3)
    assert bench.engine.state.store_fault == "full"
    bench.die()
    bench.start()
    await asyncio.sleep(3)
    bench.store.refuse = None
    await bench.until(lambda: bench.dialed == [1, 1])
    assert 10 <= bench.clock.mono - began < 10.5
    await bench.until(lambda: bench.dialed == [1, 1, 2])
    assert 20 <= bench.clock.mono - began < 20.5


@engine_story
async def test_a_clock_that_slewed_is_noted_for_the_next_process_and_after_a_boot_nothing_is_known_of_it(
    bench: Bench,
) -> None:
    bench.submit(ends=BUSY, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    await asyncio.sleep(1)
    for _ in range(4):
        bench.clock.step_wall(40)
        await asyncio.sleep(0.5)
    bench.die()
    bench.start()
    due = bench.store.calls[CallId(1)].next_at
    assert due is not None
    assert due == pytest.approx(5_010_000, abs=50), "taken for a step"
    bench.die()
    bench.clock.step_wall(-5_000)
    bench.clock.boots += 1
    bench.start()
    assert bench.store.calls[CallId(1)].next_at == due
    bench.die()
    bench.clock.step_wall(-5_000)
    bench.start()
    assert bench.store.calls[CallId(1)].next_at == due - 5_000


@engine_story
async def test_a_wall_clock_that_is_set_ends_no_call_that_speaks(bench: Bench) -> None:
    steps = [{"do": "play", "audio": "hello.wav"}, {"do": "hangup"}]
    playbook = Playbook.model_validate({"name": "Speak", "trunks": ["pbx"], "steps": steps})
    campaign = bench.submit(1, ends=(ANSWERS,), playbook=playbook)
    await bench.until(lambda: bench.engine.state.talking == 1)
    await asyncio.sleep(1)
    bench.clock.step_wall(-3_600_000)
    await bench.until(lambda: bench.status(campaign) is CampaignStatus.COMPLETED)
    assert bench.outcome() is Disposition.ANSWERED


@engine_story
async def test_a_launch_to_come_follows_the_wall_clock_that_was_set(bench: Bench) -> None:
    bench.submit(1, launch_at=bench.clock.wall + 3_600_000, scheduled=True)
    bench.clock.step_wall(3_590_000)
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) == 1)
    assert bench.clock.mono - began == pytest.approx(10, abs=0.1)


@engine_story
async def test_what_falls_due_while_the_machine_sleeps_is_dialed_afterwards_at_the_usual_pace(bench: Bench) -> None:
    bench.submit(6, ends=BUSY * 6, stagger_ms=1000, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 2)
    bench.clock.suspend(3600)
    began = bench.clock.mono
    await bench.until(lambda: len(bench.dialed) == 12)
    left = list(zip(bench.dialed, bench.calls.mono, strict=True))
    recalls = [mono for call, mono in left[2:] if call in {1, 2}]
    firsts = [mono for index, (call, mono) in enumerate(left) if call not in bench.dialed[:index]]
    assert max(recalls) - began < LOOK_SECONDS + 0.1
    assert [later - sooner for sooner, later in pairwise(firsts)] == pytest.approx([1] * 5, abs=0.01)


@engine_story
async def test_a_clock_set_while_the_disk_refuses_is_followed_when_it_works_again(bench: Bench) -> None:
    bench.submit(1, ends=BUSY, recall_ms=(10_000,))
    await bench.until(lambda: len(bench.dialed) == 1)
    began = bench.clock.mono
    await asyncio.sleep(1)
    bench.store.refuse = "full"
    bench.clock.step_wall(86_400_000)
    await asyncio.sleep(2)
    bench.store.refuse = None
    await bench.until(lambda: len(bench.dialed) == 2)
    assert 10 <= bench.clock.mono - began < 10.5
