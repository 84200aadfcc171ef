import pytest

from dialer.core.disposition import Why, classify
from dialer.core.events import EndedBy, LegEnded
from dialer.core.lanes import Lane
from dialer.core.live import LiveAttempt
from dialer.core.model import AccountId, CallId, CallRecord, Campaign, CampaignId, CampaignStatus, LegId, Mono, WallMs
from dialer.core.pacing import Interval
from dialer.core.playbook import Playbook
from dialer.core.recall import Ladder


def attempt(*route: str, on: int = 0) -> LiveAttempt:
    playbook = Playbook(name="any", trunks=list(route))
    campaign = Campaign(CampaignId(1), AccountId(1), WallMs(0), 0, CallId(1), 1, (), False, playbook)
    lane = Lane(campaign, CampaignStatus.RUNNING, route, Ladder((), frozenset(), 0), Interval(0))
    record, due = CallRecord(CallId(1), "u", "+1"), WallMs(0)
    return LiveAttempt(record, lane, 1, due, due, trunk=route[on], fire_at=Mono(0), sip_call_id="u-1")


def refusal(retry_after: int | None = None, status: int = 503) -> LegEnded:
    return LegEnded(LegId(1), WallMs(0), EndedBy.FAR, status, retry_after_s=retry_after)


def follow(live: LiveAttempt, end: LegEnded, *down: str) -> tuple[str, float] | None:
    invite = live.next_invite(classify(live.evidence(end)), end.retry_after_s, lambda trunk: trunk not in down)
    if invite is not None:
        live.trunk = invite[0]
    return invite


def test_the_next_trunk_follows_at_once_and_then_the_rounds_with_their_pauses() -> None:
    live = attempt("a", "b")
    given = [follow(live, refusal()) for _ in range(9)]
    assert given == [
        ("b", 0.0),
        ("a", 5.0),
        ("b", 0.0),
        ("a", 15.0),
        ("b", 0.0),
        ("a", 45.0),
        ("b", 0.0),
        None,
        None,
    ]


def test_an_attempt_that_began_on_the_second_trunk_comes_to_the_first_in_the_next_round() -> None:
    live = attempt("a", "b", on=1)
    assert follow(live, refusal()) == ("a", 5.0)


@pytest.mark.parametrize(("asked", "pause"), [(None, 5.0), (2, 5.0), (30, 30.0), (3600, 3600.0)])
def test_retry_after_is_honoured_where_it_is_longer(asked: int | None, pause: float) -> None:
    assert follow(attempt("a"), refusal(asked)) == ("a", pause)


def test_a_wait_that_any_trunk_of_the_round_asked_for_holds_the_next_round_and_only_that() -> None:
    live = attempt("a", "b")
    assert follow(live, refusal(60)) == ("b", 0.0)
    assert follow(live, refusal()) == ("a", 60.0)
    assert follow(live, refusal()) == ("b", 0.0)
    assert follow(live, refusal()) == ("a", 15.0)


def test_a_trunk_that_asks_for_more_than_an_hour_ends_the_attempt() -> None:
    assert follow(attempt("a"), refusal(3601)) is None


@pytest.mark.parametrize("status", [486, 603, 404, 480])
def test_the_callees_own_word_is_never_followed_by_another_invite(status: int) -> None:
    assert follow(attempt("a", "b"), refusal(status=status)) is None


def test_a_phone_that_rang_never_gets_another_invite() -> None:
    live = attempt("a", "b")
    live.rang = True
    assert follow(live, refusal()) is None
    live.asked = Why.RING_TIMEOUT
    assert follow(live, LegEnded(LegId(1), WallMs(0), EndedBy.US, 0)) is None


def test_a_trunk_that_is_down_is_passed_over() -> None:
    live = attempt("a", "b", "c")
    assert follow(live, refusal(), "b") == ("c", 0.0)
    assert follow(live, refusal(), "b") == ("a", 5.0)


def test_a_retry_whose_trunk_went_down_moves_to_the_first_that_is_usable_or_waits() -> None:
    live = attempt("a", "b", "c", on=1)
    live.find_trunk(lambda trunk: trunk != "b")
    assert live.trunk == "a"
    live.find_trunk(lambda trunk: False)
    assert live.trunk == "a"


def test_a_trunk_that_left_the_route_keeps_its_place_in_the_playbook() -> None:
    live = attempt("a", "b", "c", on=1)
    live.lane.route = ("a", "c")
    assert follow(live, refusal()) == ("c", 0.0)
    live = attempt("a", "b", "c", on=1)
    live.lane.route = ("a", "c")
    live.find_trunk(lambda trunk: True)
    assert live.trunk == "a"
    live = attempt("a", "b", on=1)
    live.lane.route = ("a",)
    live.find_trunk(lambda trunk: False)
    assert live.trunk == "a", "it is waited for"


def test_without_any_trunk_of_the_playbook_the_rounds_go_on_where_it_was() -> None:
    live = attempt("a", on=0)
    live.lane.route = ()
    assert follow(live, refusal()) == ("a", 5.0)
