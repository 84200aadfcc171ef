"""What every store promises of timers: each is given at its time and once, in order, over restarts and clocks that are set."""

import pytest

from dialer.core.changes import AttemptWithdrawn
from dialer.core.model import CampaignStatus, Disposition, WallMs
from tests.support.fake_store import Counts
from tests.support.store_world import (
    MINUTE,
    T0,
    World,
    arm,
    call_of,
    dial,
    due,
    end,
    finish,
    move,
    recall,
    refused,
    snooze,
)


def test_a_recall_is_given_at_its_due_time_and_once(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), end(c), recall(c)])
    assert world.store.next_timer() == T0 + MINUTE
    assert due(world, T0 + MINUTE - 1) == []
    assert due(world, T0 + MINUTE) == [(T0 + MINUTE, call_of(c))]
    assert due(world, T0 + 2 * MINUTE) == []
    assert world.store.next_timer() is None


def test_a_timer_that_was_given_and_not_used_is_given_again_to_the_next_process(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), end(c), recall(c)])
    assert len(due(world, T0 + MINUTE)) == 1
    world.reopen()
    assert world.store.next_timer() == T0 + MINUTE
    assert len(due(world, T0 + MINUTE)) == 1


def test_arming_uses_the_timer_up(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), end(c), recall(c)])
    assert len(due(world, T0 + MINUTE)) == 1
    world.store.apply([arm(c, number=2, at=T0 + MINUTE)])
    world.reopen()
    assert due(world, T0 + 10 * MINUTE) == []


def test_a_call_says_why_it_was_put_off_until_its_next_attempt(world: World) -> None:
    c = world.add_campaign(size=1, launch_at=T0)
    assert world.store.call(call_of(c)).put_off is None
    world.store.apply([snooze(c)])
    world.reopen()
    assert world.store.call(call_of(c)).put_off == "the number is in another call"
    world.store.apply([arm(c)])
    assert world.store.call(call_of(c)).put_off is None
    world.store.apply([end(c), recall(c)])
    world.reopen()
    assert world.store.call(call_of(c)).put_off is None
    world.store.apply([snooze(c, number=2)])
    assert world.store.call(call_of(c)).put_off == "the number is in another call"


def test_a_snoozed_first_attempt_is_claimed_and_comes_back_by_its_timer(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([snooze(c, at=T0 + 5_000)])
    assert world.store.campaign(c.id).cursor == 1
    assert world.counts(c.id) == Counts(2, 0, 0, 0, {})
    world.store.apply([arm(c, 1)])
    assert due(world, T0 + 5_000) == [(T0 + 5_000, call_of(c))]
    world.store.apply([arm(c, at=T0 + 5_000)])
    assert world.store.campaign(c.id).cursor == 2
    world.reopen()
    assert due(world, T0 + MINUTE) == []


@pytest.mark.parametrize("later", [T0 + 5_001, T0 + 40_000, T0 + 30 * MINUTE])
def test_snoozing_again_moves_the_timer(world: World, later: int) -> None:
    c = world.add_campaign(launch_at=T0)
    assert due(world, T0) == []
    world.store.apply([snooze(c, at=T0 + 5_000)])
    world.store.apply([snooze(c, at=later)])
    assert world.store.next_timer() == later
    assert due(world, later - 1) == []
    assert due(world, later) == [(later, call_of(c))]
    world.store.apply([snooze(c, at=later)])
    assert due(world, later) == [(later, call_of(c))]
    world.reopen()
    assert due(world, later) == [(later, call_of(c))]


def test_a_snooze_and_its_attempt_in_one_batch_leave_no_timer(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([snooze(c, at=T0 + 5_000), arm(c, at=T0 + 5_000)])
    assert world.store.next_timer() is None
    world.reopen()
    assert due(world, T0 + MINUTE) == []


def test_finishing_a_waiting_call_removes_its_timer(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), end(c), recall(c)])
    world.store.apply([finish(c, disposition=Disposition.SUPPRESSED)])
    assert due(world, T0 + MINUTE) == []
    world.reopen()
    assert due(world, T0 + MINUTE) == []


def test_a_backlog_comes_whole_and_in_order_also_when_it_was_left_half_way(world: World) -> None:
    size = 2_500
    c = world.add_campaign(size=size, launch_at=T0)
    dues = [T0 + MINUTE + (i * 7919) % 90_000 for i in range(size)]
    world.store.apply([arm(c, i) for i in range(size)])
    world.store.apply([change for i in range(size) for change in (end(c, i), recall(c, i, at=dues[i]))])
    world.reopen()
    expected = sorted((dues[i], call_of(c, i)) for i in range(size))
    got = []
    for timer in world.store.due_timers(WallMs(T0 + 10 * MINUTE)):
        got.append(timer)
        if len(got) == 1_300:
            break
    got += due(world, T0 + 10 * MINUTE)
    assert got == expected


def test_timers_keep_their_order_while_new_ones_come_and_the_clock_goes_both_ways(world: World) -> None:
    c = world.add_campaign(size=4, launch_at=T0)
    assert due(world, T0) == []
    for i, at in enumerate([T0 + 70_000, T0 + 1_000, T0 + 100 * MINUTE, T0 + 63_999]):
        world.store.apply([arm(c, i), end(c, i), recall(c, i, at=at)])
    assert world.store.next_timer() == T0 + 1_000
    assert due(world, T0 + 64_000) == [(T0 + 1_000, call_of(c, 1)), (T0 + 63_999, call_of(c, 3))]
    assert due(world, T0 - 100 * MINUTE) == []
    assert world.store.next_timer() == T0 + 70_000
    assert due(world, T0 + 69_999) == []
    assert due(world, T0 + 1_000 * MINUTE) == [(T0 + 70_000, call_of(c, 0)), (T0 + 100 * MINUTE, call_of(c, 2))]


@pytest.mark.parametrize("step", [-2 * 3_600_000, 2 * 3_600_000])
def test_a_clock_that_was_set_moves_timers_anchors_and_launched_slots(world: World, step: int) -> None:
    launched = world.add_campaign(size=3, launch_at=T0, recall_ms=(MINUTE, 5 * MINUTE))
    ahead = world.add_campaign(size=1, launch_at=T0 + 10 * MINUTE, scheduled=True)
    world.store.apply([arm(launched), dial(launched), end(launched), recall(launched)])
    world.store.apply([arm(launched, 1), dial(launched, 1, at=T0 + 7)])
    before = T0 + 30_000
    world.store.clock_stepped(step, WallMs(before))
    assert list(world.store.due_timers(WallMs(before + step + 29_999))) == []
    assert list(world.store.due_timers(WallMs(T0 + MINUTE + step))) == [(T0 + MINUTE + step, call_of(launched))]
    assert world.store.call(call_of(launched)).first_dialed_at == T0 + step
    assert world.store.call(call_of(launched, 1)).first_dialed_at == T0 + 7 + step
    assert world.store.campaign(launched.id).campaign.launch_at == T0 + step
    assert world.store.campaign(launched.id).last_first_attempt_at == T0 + step
    (opened,) = world.store.open_attempts()
    assert (opened.due_at, opened.fire_at, opened.dialed_at) == (T0 + step, T0 + step, T0 + 7 + step)
    assert world.store.campaign(ahead.id).campaign.launch_at == T0 + 10 * MINUTE
    # A timer that was given is still one that was given; it is used up by its attempt at the new time.
    assert list(world.store.due_timers(WallMs(T0 + 2 * MINUTE + step))) == []
    world.store.apply([arm(launched, number=2, at=T0 + MINUTE + step)])
    world.reopen()
    assert list(world.store.due_timers(WallMs(T0 + 10 * MINUTE + abs(step)))) == []


def test_what_is_noted_of_the_clock_is_told_to_the_next_process_of_the_same_boot_and_moves_with_a_step(
    world: World,
) -> None:
    assert world.store.noted_offset_ms("one") is None
    world.store.note_offset("one", 1_000.5)
    world.reopen()
    assert (world.store.noted_offset_ms("one"), world.store.noted_offset_ms("two")) == (1_000.5, None)
    world.store.clock_stepped(-3_000, WallMs(T0))
    assert world.store.noted_offset_ms("one") == -1_999.5
    world.store.note_offset("two", 7.0)
    assert (world.store.noted_offset_ms("one"), world.store.noted_offset_ms("two")) == (None, 7.0)


@pytest.mark.parametrize("step", [-2 * 3_600_000, 2 * 3_600_000])
def test_a_clock_set_while_nobody_ran_moves_the_slots_of_what_was_begun_or_was_to_begin_at_once(
    world: World, step: int
) -> None:
    at_once = world.add_campaign(size=1, launch_at=T0)
    begun, snoozed, ahead = (world.add_campaign(size=2, launch_at=T0 + MINUTE, scheduled=True) for _ in range(3))
    running = world.add_campaign(size=1, launch_at=T0 + MINUTE, scheduled=True)
    world.store.apply([arm(begun, at=T0 + MINUTE), snooze(snoozed, at=T0 + 2 * MINUTE)])
    world.store.apply([move(running, CampaignStatus.RUNNING)])
    world.store.clock_stepped(step, None)
    world.reopen()
    moved = {
        one.campaign.id: one.campaign.launch_at - before.launch_at
        for one, before in zip(world.store.active_campaigns(), (at_once, begun, snoozed, ahead, running), strict=True)
    }
    assert moved == {at_once.id: step, begun.id: step, snoozed.id: step, ahead.id: 0, running.id: step}


def test_a_withdrawn_attempt_is_found_as_such_after_the_process_died(world: World) -> None:
    campaign = world.add_campaign(size=2, launch_at=T0, recall_ms=(MINUTE,))
    world.store.apply([arm(campaign), arm(campaign, 1)])
    world.store.apply([AttemptWithdrawn(call_of(campaign), campaign.id, 1)])
    world.reopen()
    assert [opened.withdrawn for opened in world.store.open_attempts()] == [True, False]
    refused(world, campaign, AttemptWithdrawn(call_of(campaign), campaign.id, 2))
