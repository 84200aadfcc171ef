"""What every store promises of calls under review: what a restored backup may have dialed is held, released in its turn."""

from dialer.core.model import (
    CallId,
    Campaign,
    CampaignStatus,
    Disposition,
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
)


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
