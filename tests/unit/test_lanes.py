import pytest

from dialer.core.lanes import Lane, Lanes, Pick
from dialer.core.model import AccountId, CallId, Campaign, CampaignId, CampaignStatus, Mono, Now, Trunk, WallMs
from dialer.core.pacing import Interval, Pacing
from dialer.core.playbook import Playbook
from dialer.core.recall import Ladder

PLAYBOOK = Playbook(name="any", trunks=["pbx"])
LAUNCH = 1_000_000


def lane(
    id_: int = 1, *, account: int = 1, size: int = 3, stagger_ms: int = 100, route: tuple[str, ...] = ("pbx",)
) -> Lane:
    campaign = Campaign(
        CampaignId(id_), AccountId(account), WallMs(LAUNCH), stagger_ms, CallId(id_ * 100), size, (), True, PLAYBOOK
    )
    return Lane(campaign, CampaignStatus.RUNNING, route, Ladder((), frozenset(), 0), Interval(stagger_ms / 1000))


def pacing(channels: int = 100) -> Pacing:
    return Pacing([Trunk("pbx", channels, 1000), Trunk("spare", channels, 1000)], 1000)


def at(ms: int) -> Now:
    """So long after the launch; the monotonic clock shows the same in seconds."""
    return Now(WallMs(LAUNCH + ms), Mono(ms / 1000))


def pick(lanes: Lanes, ms: int, line: Pacing, ahead: float = 0.0) -> Pick | None:
    return lanes.pick(at(ms), Mono(ms / 1000 + ahead), line)


def test_first_attempts_come_at_launch_plus_i_times_stagger() -> None:
    lanes, line = Lanes(), pacing()
    lanes.add(lane(), at(-5000))
    given = []
    for ms in range(-5000, 1000, 10):
        while (picked := pick(lanes, ms, line)) is not None:
            given.append((ms, picked.call, picked.due_at, picked.fire_at))
            picked.lane.stagger.take(line.take("pbx", picked.fire_at))
    assert given == [
        (0, 100, LAUNCH, 0.0),
        (100, 101, LAUNCH + 100, pytest.approx(0.1)),
        (200, 102, LAUNCH + 200, pytest.approx(0.2)),
    ]


def test_a_pick_made_ahead_fires_at_its_due_time_and_not_before() -> None:
    lanes, line = Lanes(), pacing()
    lanes.add(lane(), at(-5000))
    picked = pick(lanes, -10, line, ahead=0.010)
    assert picked is not None
    assert picked.fire_at == 0


def test_the_next_wake_up_is_the_next_slot_and_none_when_only_a_channel_can_help() -> None:
    lanes, line = Lanes(), pacing(channels=1)
    lanes.add(lane(), at(-5000))
    assert lanes.next_wake(at(-5000), line) == 0
    picked = pick(lanes, 0, line)
    assert picked is not None
    picked.lane.stagger.take(line.take("pbx", picked.fire_at))
    assert pick(lanes, 500, line) is None
    assert lanes.next_wake(at(500), line) is None
    line.release("pbx")
    assert lanes.next_wake(at(500), line) == 0.5


def test_a_recall_that_is_due_goes_before_a_first_attempt_that_is_due_later() -> None:
    lanes, line = Lanes(), pacing()
    one = lane()
    lanes.add(one, at(0))
    one.recalls.append((WallMs(LAUNCH - 50), CallId(102)))
    lanes.rouse(one, at(0))
    picked = pick(lanes, 0, line)
    assert picked is not None
    assert (picked.call, picked.first) == (102, False)


def test_a_lane_that_a_person_stopped_gives_nothing_until_it_is_roused_again() -> None:
    lanes, line = Lanes(), pacing()
    one = lane()
    lanes.add(one, at(0))
    one.status = CampaignStatus.PAUSED
    lanes.rouse(one, at(0))
    assert pick(lanes, 1000, line) is None
    one.status = CampaignStatus.RUNNING
    lanes.rouse(one, at(1000))
    assert pick(lanes, 1000, line) is not None


def test_a_clock_that_was_set_back_puts_due_calls_off_and_one_set_forward_brings_them() -> None:
    lanes, line = Lanes(), pacing()
    lanes.add(lane(), at(-1000))
    back = Now(WallMs(LAUNCH - 3_600_000), Mono(1))
    lanes.rouse_all(back)
    assert lanes.pick(back, Mono(1), line) is None
    assert lanes.next_wake(back, line) == 3601
    forward = Now(WallMs(LAUNCH), Mono(2))
    lanes.rouse_all(forward)
    assert lanes.pick(forward, Mono(2), line) is not None


def test_campaigns_of_one_route_and_routes_of_one_trunk_take_turns() -> None:
    lanes, line = Lanes(), pacing()
    for id_, account, route in [(1, 1, ("pbx",)), (2, 2, ("pbx",)), (3, 3, ("pbx", "spare"))]:
        lanes.add(lane(id_, account=account, size=50, stagger_ms=0, route=route), at(0))
    order = []
    for _ in range(12):
        picked = pick(lanes, 10, line)
        assert picked is not None
        order.append(picked.lane.campaign.id)
        assert order[-6:].count(picked.lane.campaign.id) <= 3
    assert {order.count(CampaignId(id_)) for id_ in (1, 2)} == {3}
    assert order.count(CampaignId(3)) == 6


def test_a_call_is_found_by_its_number_in_the_campaign_that_owns_it() -> None:
    lanes = Lanes()
    one, two = lane(1), lane(2)
    lanes.add(one, at(0))
    lanes.add(two, at(0))
    assert lanes.of_call(CallId(99)) is None
    assert lanes.of_call(CallId(100)) is one
    assert lanes.of_call(CallId(102)) is one
    assert lanes.of_call(CallId(103)) is None
    assert lanes.of_call(CallId(201)) is two
    lanes.remove(one)
    assert lanes.of_call(CallId(100)) is None
    assert lanes.of_call(CallId(201)) is two


def test_the_same_campaign_cannot_be_added_twice() -> None:
    lanes = Lanes()
    lanes.add(lane(), at(0))
    with pytest.raises(ValueError, match="campaign 1 is there already"):
        lanes.add(lane(), at(0))


def test_a_removed_campaign_gives_nothing_even_if_its_wake_up_was_planned() -> None:
    lanes, line = Lanes(), pacing()
    one = lane()
    lanes.add(one, at(-1000))
    lanes.remove(one)
    assert pick(lanes, 1000, line) is None
    assert len(lanes) == 0
