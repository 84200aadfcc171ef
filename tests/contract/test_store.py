"""What every store promises the engine.

The one on SQLite and the fake that the engine's tests use are held to the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dialer.core.changes import (
    AgentArmed,
    AgentEnded,
    AgentMoved,
    AttemptAnswered,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    AttemptRinging,
    AttemptWithdrawn,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    ContactWritten,
    LegStage,
    RecallScheduled,
    StepTaken,
    TransferMoved,
    TransferStage,
)
from dialer.core.model import (
    CallId,
    Campaign,
    CampaignId,
    CampaignStatus,
    Disposition,
    OpenAgentLeg,
    OpenAttempt,
    WallMs,
)
from tests.support.fake_store import Counts, FakeStore
from tests.support.sqlite_world import SqliteWorld

T0 = 1_740_823_200_000  # 2025-03-01T10:00:00Z
MINUTE = 60_000


@dataclass
class World:
    """One store, and what a test does to it from outside. The fake is both; SQLite has a file beside the store."""

    inner: Any

    @property
    def store(self) -> Any:
        return getattr(self.inner, "store", self.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture(params=["sqlite", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "fake":
        yield World(FakeStore())
        return
    sqlite = SqliteWorld(tmp_path / "dialer.db")
    yield World(sqlite)
    sqlite.close()


def call_of(campaign: Campaign, position: int = 0) -> CallId:
    return CallId(campaign.first_call + position)


def arm(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0) -> AttemptArmed:
    call = call_of(campaign, position)
    return AttemptArmed(call, campaign.id, number, WallMs(at), WallMs(at), "pbx", "", f"{call}-{number}@dialer")


def dial(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0) -> AttemptDialed:
    return AttemptDialed(call_of(campaign, position), campaign.id, number, WallMs(at), "")


def end(
    campaign: Campaign,
    position: int = 0,
    number: int = 1,
    at: int = T0 + 5_000,
    disposition: Disposition = Disposition.BUSY,
) -> AttemptEnded:
    return AttemptEnded(
        call_of(campaign, position), campaign.id, number, WallMs(at), disposition, "Busy Here", 486, 17, "far"
    )


def recall(campaign: Campaign, position: int = 0, number: int = 2, at: int = T0 + MINUTE) -> RecallScheduled:
    return RecallScheduled(call_of(campaign, position), campaign.id, number, WallMs(at))


def finish(
    campaign: Campaign,
    position: int = 0,
    disposition: Disposition = Disposition.BUSY,
    attempted: bool = True,
    at: int = T0 + 5_000,
) -> CallFinished:
    return CallFinished(call_of(campaign, position), campaign.id, WallMs(at), disposition, "Busy Here", attempted)


def snooze(campaign: Campaign, position: int = 0, number: int = 1, at: int = T0 + MINUTE) -> CallSnoozed:
    return CallSnoozed(call_of(campaign, position), campaign.id, number, WallMs(at), "the number is in another call")


def move(campaign: Campaign, status: CampaignStatus, at: int = T0) -> CampaignMoved:
    return CampaignMoved(campaign.id, WallMs(at), status)


def whole_life(campaign: Campaign, position: int = 0) -> list[Change]:
    return [
        arm(campaign, position),
        dial(campaign, position),
        end(campaign, position, disposition=Disposition.ANSWERED),
        finish(campaign, position, Disposition.ANSWERED),
    ]


def due(world: World, until: int) -> list[tuple[int, int]]:
    return list(world.store.due_timers(WallMs(until)))


# Attempts


def test_an_armed_attempt_makes_the_call_live_and_moves_the_cursor(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    world.store.apply([arm(c)])
    assert world.counts(c.id) == Counts(scheduled=2, live=1, finished=0, attempts=1, outcomes={})
    stored = world.store.campaign(c.id)
    assert (stored.cursor, stored.live, stored.finished) == (1, 1, 0)
    assert stored.last_first_attempt_at == T0
    assert stored.campaign == c
    assert world.store.call(call_of(c)).attempts == 0


def test_an_open_attempt_is_found_after_the_process_died(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c), arm(c, 1, at=T0 + 200)])
    world.store.apply([dial(c, at=T0 + 1)])
    world.store.apply([AttemptAnswered(call_of(c), c.id, 1, WallMs(T0 + 900), "")])
    world.reopen()
    assert world.store.open_attempts() == [
        OpenAttempt(call_of(c), 1, WallMs(T0), WallMs(T0), WallMs(T0 + 1), WallMs(T0 + 900), "pbx"),
        OpenAttempt(call_of(c, 1), 1, WallMs(T0 + 200), WallMs(T0 + 200), None, None, "pbx"),
    ]


def test_a_finished_call_is_counted_with_its_disposition(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c)])
    world.store.apply([dial(c, at=T0 + 3)])
    world.store.apply([AttemptRinging(call_of(c), c.id, 1, WallMs(T0 + 500), "")])
    world.store.apply([end(c, disposition=Disposition.DECLINED), finish(c, disposition=Disposition.DECLINED)])
    assert world.counts(c.id) == Counts(1, 0, 1, 1, {"declined": 1})
    record = world.store.call(call_of(c))
    assert (record.attempts, record.first_dialed_at, record.finished) == (1, T0 + 3, True)
    assert world.store.open_attempts() == []


def test_the_first_invite_of_the_first_attempt_is_the_anchor_for_good(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), dial(c, at=T0 + 3)])
    retried = AttemptRetried(call_of(c), 1, WallMs(T0 + 5_000), "backup", "", "again@dialer", "503")
    world.store.apply([retried, dial(c, at=T0 + 5_001)])
    (opened,) = world.store.open_attempts()
    assert (opened.trunk, opened.fire_at, opened.dialed_at) == ("backup", T0 + 5_000, T0 + 3)
    world.store.apply([end(c), recall(c)])
    world.store.apply([arm(c, number=2, at=T0 + MINUTE), dial(c, number=2, at=T0 + MINUTE)])
    assert world.store.call(call_of(c)).first_dialed_at == T0 + 3
    assert world.store.call(call_of(c)).attempts == 1


def test_whole_lives_of_many_calls_fit_in_one_batch_in_any_mixture(world: World) -> None:
    a = world.add_campaign(size=3, launch_at=T0)
    b = world.add_campaign(size=1, launch_at=T0)
    world.store.apply(
        [
            *whole_life(a, 0),
            arm(b),
            arm(a, 1),
            end(b),
            recall(b, at=T0 + 10),
            arm(b, number=2, at=T0 + 10),
            *whole_life(a, 2),
            end(b, number=2),
            finish(b),
            move(b, CampaignStatus.COMPLETED),
        ]
    )
    assert world.counts(a.id) == Counts(0, 1, 2, 3, {"answered": 2})
    assert world.counts(b.id) == Counts(0, 0, 1, 2, {"busy": 1})
    assert [one.campaign.id for one in world.store.active_campaigns()] == [a.id]
    assert due(world, T0 + MINUTE) == []
    world.reopen()
    assert due(world, T0 + MINUTE) == []


def test_the_last_first_attempt_is_remembered_for_the_stagger(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    world.store.apply([arm(c, at=T0), arm(c, 1, at=T0 + 200), end(c), recall(c)])
    world.store.apply([arm(c, number=2, at=T0 + MINUTE)])
    assert world.store.campaign(c.id).last_first_attempt_at == T0 + 200


# What cannot follow is refused, and stores nothing


def refused(world: World, campaign: Campaign, *changes: Change) -> None:
    before = world.counts(campaign.id), world.store.campaign(campaign.id), world.store.open_attempts()
    with pytest.raises(ValueError, match=r"call|campaign|attempt"):
        world.store.apply(list(changes))
    assert (world.counts(campaign.id), world.store.campaign(campaign.id), world.store.open_attempts()) == before


def test_a_batch_whose_last_change_cannot_follow_leaves_no_trace(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    refused(world, c, arm(c), dial(c), end(c), recall(c), end(c, 1))
    assert world.store.call(call_of(c)).attempts == 0
    assert world.store.next_timer() is None


def test_an_attempt_is_never_armed_twice(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c)])
    refused(world, c, arm(c))


def test_an_attempt_is_not_armed_while_another_of_its_call_is_open(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c)])
    refused(world, c, arm(c, number=2))


def test_an_attempt_is_not_armed_out_of_turn(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    refused(world, c, arm(c, number=2))


def test_a_finished_call_is_never_armed_again(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply(whole_life(c))
    refused(world, c, arm(c, number=2))
    refused(world, c, recall(c))
    refused(world, c, finish(c))


def test_a_call_with_an_open_attempt_is_neither_put_off_nor_finished(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c)])
    refused(world, c, recall(c))
    refused(world, c, snooze(c))
    refused(world, c, finish(c))


def test_after_a_refusal_the_store_knows_only_what_it_knew_before(world: World) -> None:
    c = world.add_campaign(size=4, launch_at=T0)
    world.store.apply([arm(c)])
    refused(world, c, arm(c, 1, at=T0 + 500), end(c), finish(c), end(c))
    world.store.apply([arm(c, 1, at=T0 + 200), end(c), finish(c)])
    assert world.counts(c.id) == Counts(2, 1, 1, 2, {"busy": 1})
    world.reopen()
    stored = world.store.campaign(c.id)
    assert (stored.cursor, stored.live, stored.finished, stored.last_first_attempt_at) == (2, 1, 1, T0 + 200)


def test_a_technical_retry_is_no_first_attempt(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c)])
    world.store.apply([AttemptRetried(call_of(c), 1, WallMs(T0 + 5_000), "backup", "", "again@dialer", "503")])
    world.reopen()
    assert world.store.campaign(c.id).last_first_attempt_at == T0
    world.store.apply([end(c), recall(c)])
    world.reopen()
    assert world.store.campaign(c.id).last_first_attempt_at == T0


def test_an_attempt_ends_once(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([arm(c), arm(c, 1), end(c), recall(c)])
    refused(world, c, end(c), finish(c))


def test_an_attempt_that_ends_must_say_what_becomes_of_its_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c)])
    refused(world, c, end(c))


def test_the_cursor_never_jumps_over_a_call_that_nobody_claimed(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    refused(world, c, arm(c, 1))
    refused(world, c, arm(c, 0), snooze(c, 2))


def test_a_campaign_is_not_completed_before_its_last_call(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply(whole_life(c))
    refused(world, c, move(c, CampaignStatus.COMPLETED))


def test_an_ended_campaign_stays_ended(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0)
    world.store.apply([move(c, CampaignStatus.CANCELLED)])
    refused(world, c, move(c, CampaignStatus.RUNNING))
    refused(world, c, arm(c))
    refused(world, c, snooze(c))


def test_a_call_of_another_campaign_is_refused(world: World) -> None:
    a = world.add_campaign(launch_at=T0)
    b = world.add_campaign(launch_at=T0)
    call = call_of(b)
    refused(world, a, AttemptArmed(call, a.id, 1, WallMs(T0), WallMs(T0), "pbx", "", "x"))


# Campaigns


def test_a_campaign_moves_through_its_statuses(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    assert world.store.campaign(c.id).status is CampaignStatus.SCHEDULED
    for status in (CampaignStatus.RUNNING, CampaignStatus.PAUSED, CampaignStatus.PAUSED, CampaignStatus.RUNNING):
        world.store.apply([move(c, status)])
        world.reopen()
        assert [one.status for one in world.store.active_campaigns()] == [status]
    world.store.apply([*whole_life(c), move(c, CampaignStatus.COMPLETED)])
    assert world.store.active_campaigns() == []
    assert world.store.campaign(c.id).status is CampaignStatus.COMPLETED


def test_cancelling_finishes_every_pending_call_at_once_and_lets_live_ones_end(world: World) -> None:
    c = world.add_campaign(size=5, launch_at=T0)
    world.store.apply([*whole_life(c, 0), arm(c, 1), arm(c, 2), end(c, 2), recall(c, 2)])
    world.store.apply([move(c, CampaignStatus.CANCELLED)])
    assert world.counts(c.id) == Counts(0, 1, 4, 3, {"answered": 1, "cancelled": 3})
    assert [world.store.call(call_of(c, i)).finished for i in range(5)] == [True, False, True, True, True]
    assert [one.campaign.id for one in world.store.active_campaigns()] == [c.id]
    world.store.apply([end(c, 1), finish(c, 1), move(c, CampaignStatus.CANCELLED)])
    assert world.counts(c.id) == Counts(0, 0, 5, 3, {"answered": 1, "cancelled": 3, "busy": 1})
    assert world.store.active_campaigns() == []


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("read_ahead", [False, True])
def test_a_cancelled_campaign_gives_no_timers(world: World, reopened: bool, read_ahead: bool) -> None:
    gone = world.add_campaign(size=2, launch_at=T0)
    kept = world.add_campaign(size=1, launch_at=T0)
    for c, i in ((gone, 0), (gone, 1), (kept, 0)):
        world.store.apply([arm(c, i), end(c, i), recall(c, i)])
    if read_ahead:
        assert due(world, T0 + MINUTE - 1) == []
    world.store.apply([move(gone, CampaignStatus.CANCELLED)])
    if reopened:
        world.reopen()
    assert due(world, T0 + MINUTE) == [(T0 + MINUTE, call_of(kept))]
    world.store.apply([])
    world.reopen()
    assert due(world, T0 + MINUTE) == [(T0 + MINUTE, call_of(kept))]


def test_a_call_cancelled_ahead_of_the_cursor_is_passed_over(world: World) -> None:
    c = world.add_campaign(size=4, launch_at=T0)
    world.store.apply([finish(c, 1, Disposition.CANCELLED, attempted=False)])
    assert world.store.campaign(c.id).cursor == 0
    assert world.store.call(call_of(c, 1)).finished
    world.store.apply([arm(c, 0)])
    world.store.apply([arm(c, 2)])
    assert world.store.campaign(c.id).cursor == 3
    assert world.counts(c.id) == Counts(1, 2, 1, 2, {"cancelled": 1})


def test_active_campaigns_come_by_id_with_how_far_they_came(world: World) -> None:
    a = world.add_campaign(size=2, launch_at=T0, stagger_ms=200, recall_ms=(90_000, 7_200_000), scheduled=True)
    b = world.add_campaign(size=1, launch_at=T0, account=2)
    world.store.apply([*whole_life(a)])
    world.reopen()
    stored = world.store.active_campaigns()
    assert [one.campaign for one in stored] == [a, b]
    assert [(one.cursor, one.finished) for one in stored] == [(1, 1), (0, 0)]


def test_what_does_not_exist_is_a_key_error(world: World) -> None:
    with pytest.raises(KeyError):
        world.store.call(CallId(99))
    with pytest.raises(KeyError):
        world.store.campaign(CampaignId(99))


def test_a_number_on_a_do_not_call_list_is_suppressed_from_then_on(world: World) -> None:
    c = world.add_campaign(launch_at=T0, phones=["+34910000001"])
    assert not world.store.call(call_of(c)).suppressed
    world.forbid("+34910000001")
    assert world.store.call(call_of(c)).suppressed


# Timers


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


# What a playbook did on a call


def taken(c: Campaign, position: int, *, number: int = 1) -> StepTaken:
    line = f'{{"step":{position - 1},"do":"wait","at":{T0},"ended_at":{T0 + 10}}}'
    return StepTaken(call_of(c), c.id, number, WallMs(T0 + 10), position, line, '{"gathered":{"pin":"1"}}')


def test_steps_are_kept_for_an_open_attempt_and_no_other(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    refused(world, c, taken(c, 1))
    world.store.apply([arm(c), dial(c), taken(c, 1), taken(c, 2), end(c), finish(c)])
    refused(world, c, taken(c, 3))


def test_fields_that_a_playbook_writes_change_nothing_about_the_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    before = world.store.call(call_of(c)).contact
    written = ContactWritten(call_of(c), c.id, 1, WallMs(T0), world.store.call(call_of(c)).phone, '{"asked":"yes"}')
    world.store.apply([arm(c), dial(c), written, end(c), finish(c)])
    assert world.store.call(call_of(c)).contact == before


# Calls under review


def under_review(world: World, campaign: Campaign, limit: int = 100) -> list[tuple[int, int, int]]:
    """(position, number of the attempt, due) of the campaign's calls under review."""
    first, last = campaign.first_call, campaign.first_call + campaign.size - 1
    held = world.store.under_review(CallId(first), CallId(last), limit)
    return [(one.id - first, one.number, one.due_at - T0) for one in held]


def test_what_is_due_comes_under_review_and_nothing_gives_it_to_dispatch(world: World) -> None:
    before = world.add_campaign(size=2, launch_at=T0 - MINUTE)
    c = world.add_campaign(size=8, launch_at=T0, stagger_ms=1000)
    later = world.add_campaign(size=2, launch_at=T0 + 2 * MINUTE)
    world.store.apply([arm(c, 0), end(c, 0), recall(c, 0, at=T0 + 4000)])
    world.store.apply([arm(c, 1), end(c, 1), recall(c, 1, at=T0 + 9000)])
    world.store.apply([arm(c, 2)])
    world.store.apply([finish(c, 4, Disposition.CANCELLED, attempted=False)])
    world.hold(T0 + 5000)
    # 2 is under way, 4 is finished, 6 and 7 are due later.
    assert under_review(world, c) == [(0, 2, 4000), (3, 1, 3000), (5, 1, 5000)]
    assert under_review(world, before) == [(0, 1, -MINUTE), (1, 1, -MINUTE)]
    assert under_review(world, later) == []
    assert [world.store.call(call_of(c, i)).under_review for i in range(8)] == [1, 0, 0, 1, 0, 1, 0, 0]
    assert world.store.campaign(c.id).cursor == 6
    assert due(world, T0 + MINUTE) == [(T0 + 9000, call_of(c, 1))]
    assert world.counts(c.id) == Counts(6, 1, 1, 3, {"cancelled": 1})
    for reviewed in (arm(c, 3), arm(c, 0, number=2)):
        refused(world, c, reviewed)
    world.store.apply([arm(c, 6)])


def test_what_is_released_has_a_timer_again_and_comes_in_its_turn(world: World) -> None:
    c = world.add_campaign(size=5, launch_at=T0, stagger_ms=1000)
    world.store.apply([arm(c, 0), end(c, 0), recall(c, 0, at=T0 + 4000)])
    world.hold(T0 + 4000)
    assert under_review(world, c, limit=2) == [(0, 2, 4000), (1, 1, 1000)]
    assert due(world, T0 + MINUTE) == []
    world.store.apply([snooze(c, 2, at=T0 + 2000), snooze(c, 0, number=2, at=T0 + 4000)])
    assert under_review(world, c) == [(1, 1, 1000), (3, 1, 3000), (4, 1, 4000)]
    assert due(world, T0 + MINUTE) == [(T0 + 2000, call_of(c, 2)), (T0 + 4000, call_of(c, 0))]
    world.store.apply([arm(c, 2), arm(c, 0, number=2)])
    assert world.counts(c.id) == Counts(3, 2, 0, 3, {})


def test_a_review_ends_with_its_call_and_with_its_campaign(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    other = world.add_campaign(size=2, launch_at=T0)
    world.hold(T0)
    world.store.apply([finish(c, 1, Disposition.CANCELLED, attempted=False)])
    assert under_review(world, c) == [(0, 1, 0), (2, 1, 0)]
    world.store.apply([move(c, CampaignStatus.CANCELLED)])
    assert under_review(world, c) == []
    assert under_review(world, other) == [(0, 1, 0), (1, 1, 0)]
    assert world.counts(c.id) == Counts(0, 0, 3, 0, {"cancelled": 3})
    world.store.apply([finish(other, 0, Disposition.CANCELLED, False), finish(other, 1, Disposition.CANCELLED, False)])
    world.store.apply([move(other, CampaignStatus.COMPLETED)])
    assert world.store.active_campaigns() == []


def test_a_batch_that_is_refused_leaves_the_review_as_it_was(world: World) -> None:
    c = world.add_campaign(size=3, launch_at=T0)
    world.hold(T0)
    refused(world, c, snooze(c, 1), move(c, CampaignStatus.COMPLETED))
    assert len(under_review(world, c)) == 3


def test_a_clock_that_was_set_moves_what_is_under_review(world: World) -> None:
    c = world.add_campaign(size=2, launch_at=T0, recall_ms=(MINUTE,))
    world.store.apply([arm(c, 0), dial(c, 0), end(c, 0), recall(c, 0, at=T0 + MINUTE)])
    world.hold(T0 + MINUTE)
    world.store.clock_stepped(3000, WallMs(T0 + 2 * MINUTE))
    assert under_review(world, c) == [(0, 2, MINUTE + 3000), (1, 1, 3000)]
    assert world.store.call(call_of(c)).first_dialed_at == T0 + 3000


# Legs to agents


def agent_arm(c: Campaign, position: int = 1, *, number: int = 1) -> AgentArmed:
    call = call_of(c)
    until, sip_call_id = WallMs(T0 + 30_000), f"{call}-{number}-agent-{position}@dialer"
    return AgentArmed(call, c.id, number, position, WallMs(T0), until, "+34910000009", "pbx", "+34900", sip_call_id)


def agent_move(c: Campaign, stage: LegStage, dialog: str, position: int = 1) -> AgentMoved:
    return AgentMoved(call_of(c), c.id, 1, position, stage, WallMs(T0 + 100), dialog)


def agent_end(c: Campaign, position: int = 1) -> AgentEnded:
    return AgentEnded(call_of(c), c.id, 1, position, WallMs(T0 + 900), Disposition.BUSY, "Busy Here", 486, 17, "far")


def test_an_agents_leg_is_found_open_until_it_has_ended_which_may_be_after_its_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    assert world.store.open_agent_legs() == []
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    found = OpenAgentLeg(call_of(c), c.id, 1, 1, "pbx", WallMs(T0 + 30_000))
    assert world.store.open_agent_legs() == [found]
    world.store.apply([agent_move(c, LegStage.DIALED, "one"), agent_move(c, LegStage.RINGING, "two")])
    world.store.apply([end(c, disposition=Disposition.ANSWERED), finish(c, disposition=Disposition.ANSWERED)])
    world.reopen()
    (held,) = world.store.open_agent_legs()
    assert held.dialog == "two"
    world.store.apply([agent_move(c, LegStage.ANSWERED, "three")])
    world.store.apply([agent_end(c)])
    assert world.store.open_agent_legs() == []
    assert world.counts(c.id) == Counts(0, 0, 1, 1, {"answered": 1})


def test_agents_legs_follow_one_another_in_one_batch(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    sent = agent_move(c, LegStage.DIALED, "one")
    world.store.apply([arm(c), dial(c), agent_arm(c), sent, agent_end(c), agent_arm(c, 2)])
    assert [leg.position for leg in world.store.open_agent_legs()] == [2]


def test_an_agents_leg_needs_an_open_attempt_and_begins_and_ends_once(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    refused(world, c, agent_arm(c))
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    refused(world, c, agent_arm(c))
    refused(world, c, agent_end(c, 2))
    world.store.apply([agent_end(c)])
    refused(world, c, agent_end(c))
    refused(world, c, agent_move(c, LegStage.RINGING, "late"))


def test_a_clock_that_was_set_moves_the_time_at_which_an_agent_is_given_up(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    world.store.apply([arm(c), dial(c), agent_arm(c)])
    world.store.clock_stepped(5_000, WallMs(T0 + 1_000))
    assert [leg.until for leg in world.store.open_agent_legs()] == [T0 + 35_000]


def test_what_is_told_of_a_transfer_changes_nothing_about_the_call(world: World) -> None:
    c = world.add_campaign(launch_at=T0)
    told = TransferMoved(call_of(c), c.id, 1, WallMs(T0), TransferStage.TRANSFERRED, "{}")
    world.store.apply([arm(c), dial(c), told, end(c), finish(c)])
    assert world.counts(c.id) == Counts(0, 0, 1, 1, {"busy": 1})
