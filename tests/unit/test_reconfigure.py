"""A new configuration while calls are under way, one story each. Random ones are in tests/properties/test_dispatch.py."""

from dataclasses import replace
from typing import Any

import pytest

from dialer.core.breaker import Breaker, TrunkState
from dialer.core.changes import AttemptArmed, AttemptEnded, AttemptRetried, Change, RecallScheduled
from dialer.core.dispatch import Limits
from dialer.core.effects import TrunkMoved
from dialer.core.explain import Rule
from dialer.core.model import Campaign, Disposition, LegId, Mono, Now, Trunk, WallMs
from dialer.core.pacing import GUARD_SECONDS, Pacing, Rate, Sent
from dialer.core.playbook import Playbook
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig

MAIN, SPARE = Trunk("main", 5, 20), Trunk("spare", 5, 20)


def rig(*trunks: Trunk, **more: Any) -> Rig:
    return Rig(list(trunks or (MAIN, SPARE)), **{"max_concurrent_calls": 10, **more})


def reload(bench: Rig, *trunks: Trunk, calls: int = 10, gap_ms: int = 0, **more: Any) -> None:
    bench.reconfigure(list(trunks), calls, gap_ms, **more)


def submit(
    bench: Rig, *phones: str, trunks: tuple[str, ...] = ("main",), caller_id: str | None = None, **more: Any
) -> Campaign:
    playbook = Playbook(
        name="any",
        trunks=list(trunks),
        ring_timeout_seconds=60,
        max_call_seconds=600,
        caller_id=caller_id,
        steps=[
            {"do": "wait", "seconds": 500}  # type: ignore[list-item]
        ],
    )
    campaign = bench.store.add_campaign(
        size=len(phones), phones=phones, launch_at=bench.clock.wall, playbook=playbook, **more
    )
    bench.submit(campaign)
    return campaign


def people(count: int, block: int = 0) -> list[str]:
    return [f"+34{block:03d}{n:03d}" for n in range(count)]


def told(bench: Rig, kind: type[Change]) -> list[Any]:
    return [change for batch in bench.store.commits for change in batch if isinstance(change, kind)]


def legs(bench: Rig) -> list[Leg]:
    return list(bench.judge.legs.values())


def talk(bench: Rig, leg: Leg) -> None:
    for what in ("sent", "rang", "answered"):
        bench.happen(leg, what)


def test_a_call_on_a_trunk_that_is_removed_goes_on_and_holds_its_channel_until_its_natural_end() -> None:
    bench = rig()
    submit(bench, *people(2))
    bench.advance(1)
    for leg in legs(bench):
        talk(bench, leg)
    reload(bench, SPARE, calls=3)
    shown = {view.name: view for view in bench.dispatch.pacing.views(bench.clock.now())}
    assert (shown["main"].removed, shown["main"].usable, shown["main"].channels_in_use) == (True, False, 2)
    assert not shown["spare"].removed
    submit(bench, *people(5, block=1), trunks=("main", "spare"))
    bench.advance(5)
    assert [leg.trunk for leg in legs(bench)] == ["main", "main", "spare"], "three calls at once, wherever they are"
    for leg in legs(bench)[:2]:
        bench.happen(leg, "bye")
    bench.advance(1)
    assert [leg.trunk for leg in legs(bench)] == ["spare"] * 3
    assert [view.name for view in bench.dispatch.pacing.views(bench.clock.now())] == ["spare"]
    assert [end.disposition for end in told(bench, AttemptEnded)] == [Disposition.ANSWERED] * 2


def test_a_campaign_without_a_trunk_waits_and_is_dialed_when_one_of_its_trunks_comes() -> None:
    bench = rig()
    campaign = submit(bench, *people(2), trunks=("new", "newer"))
    bench.advance(30)
    assert not legs(bench)
    record = bench.store.call(campaign.first_call)
    assert bench.dispatch.explain(record, None, bench.clock.now()).rule is Rule.NO_TRUNK
    reload(bench, MAIN, Trunk("newer", 1, 20))
    bench.advance(0.1)
    assert [leg.trunk for leg in legs(bench)] == ["newer"]
    reload(bench, MAIN, Trunk("newer", 1, 20), Trunk("new", 1, 20))
    bench.advance(0.1)
    assert [leg.trunk for leg in legs(bench)] == ["newer", "new"]


def test_the_order_of_a_playbooks_trunks_is_kept_when_the_preferred_one_returns() -> None:
    bench = rig(SPARE)
    submit(bench, *people(6), trunks=("main", "spare"), stagger_ms=1000)
    bench.advance(1.5)
    reload(bench, SPARE, MAIN)
    bench.advance(2)
    reload(bench, SPARE)
    bench.advance(2)
    assert [armed.trunk for armed in told(bench, AttemptArmed)] == ["spare"] * 2 + ["main"] * 2 + ["spare"] * 2


def test_a_lower_cps_holds_from_the_last_invite_on_and_a_higher_one_does_not_wait_for_the_old() -> None:
    bench = rig(Trunk("main", 50, 10))
    submit(bench, *people(40))
    bench.advance(0.95)
    assert len(legs(bench)) == 10
    reload(bench, Trunk("main", 50, 0.5), calls=50)
    bench.advance(1.9)
    assert len(legs(bench)) <= 11, "one may have been recorded before"
    before = len(legs(bench))
    bench.advance(0.2)
    assert len(legs(bench)) == before + 1
    reload(bench, Trunk("main", 50, 20), calls=50)
    bench.advance(0.5)
    assert len(legs(bench)) >= before + 9


def test_a_sliding_second_counts_what_left_before_the_change() -> None:
    rate = Rate(20)
    for n in range(20):
        sent = Sent(Mono(n * 0.05))
        rate.take(sent)
        sent.left(sent.at)
    rate.change_to(3)
    assert rate.earliest() == pytest.approx(0.85 + 1 + GUARD_SECONDS), "the third last of them is still in the second"
    rate.change_to(25)
    assert rate.earliest() == pytest.approx(0.95 + 0.04)


def test_fewer_channels_end_no_call_and_the_next_one_waits_until_it_fits() -> None:
    bench = rig()
    submit(bench, *people(6))
    bench.advance(1)
    assert len(legs(bench)) == 5
    reload(bench, replace(MAIN, max_concurrent_calls=2))
    for left in (4, 3, 2, 2):
        bench.happen(legs(bench)[0], "sent")
        bench.happen(legs(bench)[0], "final 486")
        bench.advance(1)
        assert len(legs(bench)) == left
    assert len(bench.judge.invites) == 6


@pytest.mark.parametrize("calls", [1, 4])
def test_the_machines_own_limit_is_followed_in_both_directions(calls: int) -> None:
    bench = rig(max_concurrent_calls=2)
    submit(bench, *people(8))
    bench.advance(1)
    reload(bench, MAIN, calls=calls)
    bench.advance(1)
    assert len(legs(bench)) == max(2, calls)
    while len(legs(bench)) > 1:
        bench.happen(legs(bench)[0], "lost")
    bench.advance(1)
    assert len(legs(bench)) == calls


def test_the_gap_before_a_recall_is_that_of_the_attempts_end() -> None:
    bench = rig()
    submit(bench, *people(2), recall_ms=(100,))
    bench.advance(1)
    for gap_ms in (5000, 9000):
        reload(bench, MAIN, gap_ms=gap_ms)
        bench.happen(legs(bench)[0], "sent")
        bench.happen(legs(bench)[0], "final 486")
        bench.advance(0.5)
    ends = told(bench, AttemptEnded)
    assert [recall.due_at - end.at for recall, end in zip(told(bench, RecallScheduled), ends, strict=True)] == [
        5000,
        9000,
    ]


@pytest.mark.parametrize(("limit", "whose"), [("max_per_account", "account"), ("max_per_token", "token")])
def test_quotas_come_change_and_go_with_the_calls_that_are_under_way(limit: str, whose: str) -> None:
    bench = rig()
    bench.judge.closed = lambda _: True  # it knows nothing of quotas, and would call it forgotten what they hold back
    submit(bench, *people(2), **{whose: 1})
    submit(bench, *people(2, block=1), **{whose: 2})
    bench.advance(1)
    reload(bench, MAIN, SPARE, calls=20, **{limit: 2})
    submit(bench, *people(4, block=2), **{whose: 1})
    submit(bench, *people(4, block=3), **{whose: 2})
    bench.advance(1)
    assert len(legs(bench)) == 4, "each has the two that it had"
    reload(bench, replace(MAIN, max_concurrent_calls=20), calls=20, **{limit: 3})
    bench.advance(1)
    assert len(legs(bench)) == 6
    reload(bench, replace(MAIN, max_concurrent_calls=20), calls=20)
    bench.advance(1)
    assert len(legs(bench)) == 12
    reload(bench, replace(MAIN, max_concurrent_calls=20), calls=20, **{limit: 1})
    submit(bench, *people(1, block=4), **{whose: 1})
    for leg in legs(bench)[1:]:
        bench.happen(leg, "lost")
    bench.advance(1)
    assert len(legs(bench)) == 1, "it still has one"
    bench.happen(legs(bench)[0], "lost")
    bench.advance(1)
    assert len(legs(bench)) == 1


def test_what_is_recorded_of_an_invite_is_what_leaves_and_the_next_one_shows_the_new_caller_id() -> None:
    bench = rig(replace(MAIN, caller_id="+1"))
    sent: list[str] = []
    see = bench.judge.dial
    bench.judge.dial = lambda order: (sent.append(order.caller_id), see(order))[1]  # type: ignore[method-assign]
    bench.store.refuse = "disk full"
    submit(bench, *people(2), stagger_ms=1000)
    bench.advance(0.5)
    reload(bench, replace(MAIN, caller_id="+2"))
    bench.store.refuse = None
    bench.advance(3)
    assert sent == [armed.caller_id for armed in told(bench, AttemptArmed)] == ["+1", "+2"]


def test_a_caller_id_that_a_trunk_allows_no_more_takes_the_trunk_off_the_campaigns_route() -> None:
    bench = rig(replace(MAIN, allowed_caller_ids=frozenset({"+1", "+2"})), SPARE)
    bench.judge.closed = lambda _: True  # it knows nothing of caller ids
    campaign = submit(bench, *people(4), trunks=("main", "spare"), caller_id="+1", stagger_ms=1000)
    bench.advance(0.1)
    narrow = frozenset({"+2"})
    reload(bench, replace(MAIN, allowed_caller_ids=narrow), SPARE)
    bench.advance(1)
    reload(bench, *(replace(trunk, allowed_caller_ids=narrow) for trunk in (MAIN, SPARE)))
    bench.advance(5)
    assert [armed.trunk for armed in told(bench, AttemptArmed)] == ["main", "spare"]
    hold = bench.dispatch.explain(bench.store.call(campaign.first_call + 2), None, bench.clock.now())  # type: ignore[arg-type]
    assert hold.rule is Rule.NO_TRUNK
    assert "caller id" in hold.reason


def refused(bench: Rig, status: int = 503) -> None:
    leg = legs(bench)[0]
    bench.happen(leg, "sent")
    bench.happen(leg, f"final {status}")


def test_a_technical_retry_whose_trunk_is_removed_goes_over_the_trunk_that_is_left() -> None:
    bench = rig()
    submit(bench, *people(1), trunks=("main", "spare"))
    refused(bench)
    bench.advance(0.1)
    refused(bench)
    bench.advance(1)
    assert not legs(bench), "the round is over, and a pause begins"
    reload(bench, SPARE)
    bench.advance(30)
    assert [retry.trunk for retry in told(bench, AttemptRetried)] == ["spare", "spare"]


def test_a_technical_retry_without_any_trunk_waits_for_one() -> None:
    bench = rig()
    submit(bench, *people(1))
    refused(bench)
    reload(bench, SPARE)
    bench.advance(600)
    assert not legs(bench)
    assert not told(bench, AttemptEnded)
    reload(bench, SPARE, MAIN)
    bench.advance(1)
    assert [leg.trunk for leg in legs(bench)] == ["main"]


@pytest.mark.parametrize("change", ["removed", "renewed"])
def test_the_word_of_a_trunk_that_is_not_there_any_more_marks_no_number(change: str) -> None:
    bench = rig()
    submit(bench, *people(1), trunks=("main", "spare"))
    refused(bench, 404)
    bench.advance(1)
    assert not legs(bench), "it is doubted"
    if change == "removed":
        reload(bench, SPARE)
    else:
        reload(bench, MAIN, SPARE, renewed={"main"})
    bench.advance(0.1)
    assert [leg.trunk for leg in legs(bench)] == ["spare"]


def test_the_state_of_a_trunk_is_kept_unless_it_leads_elsewhere_now() -> None:
    bench = rig()
    submit(bench, *people(8))
    bench.options_reason = "no answer"
    for _ in range(5):
        refused(bench, 500)
        bench.advance(0.1)
    breaker = bench.dispatch.pacing.breaker("main")
    assert breaker.state is TrunkState.DOWN
    reload(bench, replace(MAIN, max_concurrent_calls=9, calls_per_second=30))
    assert bench.dispatch.pacing.breaker("main") is breaker
    assert breaker.state is TrunkState.DOWN
    late = legs(bench)
    bench.dispatch.reconfigure([MAIN], Limits(10, 0), bench.clock.now(), {"main"})
    moved = [effect for effect in bench.dispatch.take_effects() if isinstance(effect, TrunkMoved)]
    assert [(effect.trunk, effect.state) for effect in moved] == [("main", TrunkState.UP)]
    for leg in late:
        bench.happen(leg, "lost")
    bench.advance(10)
    assert bench.dispatch.pacing.breaker("main").state is TrunkState.UP
    assert len(legs(bench)) > 0


def test_news_of_the_peer_before_mean_nothing_to_a_breakers_successor() -> None:
    def at(seconds: float) -> Now:
        return Now(WallMs(round(seconds * 1000)), Mono(seconds))

    before = Breaker(5, options_interval_seconds=10)
    for n in range(3):
        before.departed(LegId(n), f"+{n}", Mono(n))
    before.poll(at(3))
    assert before.poll(at(13)), "an OPTIONS is on its way"
    after = before.successor()
    after.change_to(5, 10)
    for n in range(3):
        after.silent(LegId(n), at(14))
        after.refused(LegId(n), at(14), "500", sip_status=500)
        after.over(LegId(n))
    assert after.state is TrunkState.UP
    assert after.last_failure is None
    assert after.departed(LegId(9), "+9", Mono(14)) == 4
    after.options_ended(at(14), None)
    # Were that answer its own, two that are missing would open it.
    after.poll(at(15))
    for seconds in (25, 35, 45):
        assert after.poll(at(seconds))
        after.options_ended(at(seconds), "no answer to OPTIONS")
    assert after.state is TrunkState.UP


def test_a_new_interval_of_options_counts_from_the_change() -> None:
    bench = rig(replace(MAIN, options_interval_seconds=60))
    bench.turn()
    assert bench.dispatch.pacing.next_poll() == pytest.approx(bench.clock.mono + 60, abs=0.1)
    reload(bench, replace(MAIN, options_interval_seconds=5))
    assert bench.dispatch.pacing.next_poll() == pytest.approx(bench.clock.mono + 5, abs=0.1)
    reload(bench, MAIN)
    assert bench.dispatch.pacing.next_poll() is None


def test_a_new_trunk_keeps_the_hold_of_the_start() -> None:
    pacing = Pacing([], 5)
    pacing.hold_until(Mono(10))
    pacing.reconfigure([MAIN], 5)
    admission = pacing.next_dial_time(["main"], Mono(3))
    assert admission is not None
    assert admission.at == pytest.approx(10)


def test_what_a_status_means_on_a_trunk_is_what_it_means_when_the_leg_ends() -> None:
    bench = rig()
    submit(bench, *people(1))
    bench.judge.verdicts_known = False
    reload(bench, replace(MAIN, dispositions={503: Disposition.BUSY}))
    refused(bench, 503)
    bench.advance(0.1)
    assert [end.disposition for end in told(bench, AttemptEnded)] == [Disposition.BUSY]


def test_a_removed_trunk_is_given_nothing_by_whatever_way_it_is_asked_for() -> None:
    pacing = Pacing([MAIN, replace(SPARE, options_interval_seconds=1)], 5)
    pacing.take("spare", Mono(0))
    pacing.reconfigure([MAIN], 5)
    assert pacing.next_dial_time(["spare"], Mono(1)) is None
    assert pacing.poll(Now(WallMs(9000), Mono(9))) == []
    assert pacing.next_poll() is None
    assert not pacing.usable("spare")
    pacing.release("spare")
    assert pacing.taken == 0
