"""What every store promises the engine of attempts and campaigns, and what it refuses.

The one on SQLite and the fake that the engine's tests use are held to the same.
"""

import pytest

from dialer.core.changes import (
    AttemptAnswered,
    AttemptArmed,
    AttemptRetried,
    AttemptRinging,
)
from dialer.core.model import (
    CallId,
    CampaignId,
    CampaignStatus,
    Disposition,
    OpenAttempt,
    WallMs,
)
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
    whole_life,
)

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
