"""The dialing core through its own doors, one story each. What holds in every order is in tests/properties/test_dispatch.py."""

from itertools import pairwise
from typing import Any

import pytest

from dialer.core.changes import (
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    AttemptRetried,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    Change,
    RecallScheduled,
)
from dialer.core.dispatch import ARM_AHEAD_SECONDS, ARM_TOGETHER_SECONDS, SNOOZE_MS
from dialer.core.events import Answered, EndedBy, InviteSent, LegEnded, LegLost, Rang
from dialer.core.model import CallId, Campaign, CampaignStatus, Disposition, OpenAttempt, Trunk, WallMs
from dialer.core.playbook import Playbook
from tests.support.dispatch_judge import Leg
from tests.support.model_dispatch import Rig

MAIN, SPARE, FAST = Trunk("main", 5, 20), Trunk("spare", 5, 20), Trunk("fast", 5, 1000)


def rig(**more: Any) -> Rig:
    more.setdefault("max_concurrent_calls", 10)
    return Rig([MAIN, SPARE, FAST], **more)


def submit(bench: Rig, *phones: str, trunks: tuple[str, ...] = ("main",), delay_ms: int = 0, **more: Any) -> Campaign:
    playbook = Playbook(name="any", trunks=list(trunks), ring_timeout_seconds=10, max_call_seconds=20)
    more.setdefault("playbook", playbook)
    campaign = bench.store.add_campaign(size=len(phones), phones=phones, launch_at=bench.clock.wall + delay_ms, **more)
    bench.submit(campaign)
    return campaign


def changes(bench: Rig, kind: type[Change]) -> list[Any]:
    return [change for batch in bench.store.commits for change in batch if isinstance(change, kind)]


def only_leg(bench: Rig) -> Leg:
    (leg,) = bench.judge.legs.values()
    return leg


def ring(bench: Rig) -> Leg:
    leg = only_leg(bench)
    bench.happen(leg, "sent")
    bench.happen(leg, "rang")
    return leg


def test_an_attempt_is_recorded_a_little_ahead_and_leaves_at_its_time() -> None:
    bench = rig()
    submit(bench, "+1", delay_ms=1000, scheduled=True)
    due = bench.clock.mono + 1
    bench.advance(1 - ARM_AHEAD_SECONDS + 0.001)
    assert len(changes(bench, AttemptArmed)) == 1
    assert not bench.judge.legs
    bench.advance(0.2)
    assert 0 <= only_leg(bench).since - due < 0.001


def test_what_is_due_soon_behind_an_attempt_is_recorded_with_it_and_leaves_at_its_own_time() -> None:
    bench = rig()
    stagger_ms = round(ARM_TOGETHER_SECONDS * 1000) // 2
    submit(bench, "+1", "+2", "+3", "+4", stagger_ms=stagger_ms, trunks=("fast",), delay_ms=1000, scheduled=True)
    due = bench.clock.mono + 1
    bench.advance(1 - ARM_AHEAD_SECONDS + 0.001)
    recorded = [[c.call for c in batch if isinstance(c, AttemptArmed)] for batch in bench.store.commits]
    assert [calls for calls in recorded if calls] == [[1, 2, 3]], "the fourth is due later than that"
    bench.advance(0.2)
    legs = sorted(bench.judge.legs.values(), key=lambda leg: leg.since)
    late = [leg.since - due - place * stagger_ms / 1000 for place, leg in enumerate(legs)]
    assert len(late) == 4
    assert min(late) >= 0


def test_a_campaign_that_waits_for_its_launch_is_scheduled_until_its_first_attempt() -> None:
    bench = rig()
    campaign = submit(bench, "+1", delay_ms=1000, scheduled=True)
    bench.pause(campaign.id)
    bench.resume(campaign.id)
    assert bench.store.campaigns[campaign.id].status is CampaignStatus.SCHEDULED
    bench.advance(1.1)
    assert bench.store.campaigns[campaign.id].status is CampaignStatus.RUNNING


def test_an_invite_does_not_leave_while_the_disk_refuses_its_record() -> None:
    bench = rig()
    bench.store.refuse = "full"
    submit(bench, "+1")
    bench.advance(5)
    assert not bench.judge.legs
    bench.store.refuse = None
    bench.advance(0.3)
    assert only_leg(bench).call == 1


def test_a_number_that_is_in_a_call_is_looked_at_again_in_a_second_and_counts_no_attempt() -> None:
    bench = rig()
    submit(bench, "+1")
    submit(bench, "+1", account=2)
    began = bench.clock.wall
    bench.advance(0.1)
    (snoozed,) = changes(bench, CallSnoozed)
    assert (snoozed.call, snoozed.number) == (2, 1)
    assert began + SNOOZE_MS <= snoozed.due_at <= began + SNOOZE_MS + 100
    bench.happen(ring(bench), "final 486")
    bench.advance(1.01)
    assert only_leg(bench).call == 2
    assert [change.number for change in changes(bench, AttemptArmed)] == [1, 1]


def test_a_busy_first_attempt_that_was_snoozed_keeps_the_campaigns_stagger() -> None:
    bench = rig()
    submit(bench, "+1")
    submit(bench, "+1", "+2", "+3", stagger_ms=900, account=2)
    bench.happen(ring(bench), "final 486")
    bench.advance(10)
    times = sorted(at for at in bench.judge.departures["main"][1:])
    assert len(times) == 3
    assert all(later - sooner >= 0.898 for sooner, later in pairwise(times))


def test_a_number_on_the_do_not_call_list_finishes_suppressed_without_an_invite() -> None:
    bench = rig()
    bench.store.forbid("+1")
    campaign = submit(bench, "+1", recall_ms=(100,))
    assert [(c.disposition, c.attempted) for c in changes(bench, CallFinished)] == [(Disposition.SUPPRESSED, False)]
    assert bench.store.campaigns[campaign.id].status is CampaignStatus.COMPLETED
    assert not bench.judge.invites


def test_a_number_that_came_on_the_list_meanwhile_has_no_recall() -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(1000,))
    bench.happen(ring(bench), "final 486")
    bench.store.forbid("+1")
    bench.advance(2)
    assert [(c.disposition, c.attempted) for c in changes(bench, CallFinished)] == [(Disposition.SUPPRESSED, True)]
    assert len(bench.judge.invites) == 1


def test_a_trunks_refusal_goes_to_the_next_trunk_inside_the_same_attempt() -> None:
    bench = rig()
    submit(bench, "+1", trunks=("main", "spare"))
    leg = only_leg(bench)
    bench.happen(leg, "sent")
    bench.happen(leg, "final 503")
    bench.advance(0.1)
    assert only_leg(bench).trunk == "spare"
    assert [change.trunk for change in changes(bench, AttemptRetried)] == ["spare"]
    assert changes(bench, AttemptEnded) == []
    bench.happen(ring(bench), "final 486")
    bench.advance(0.1)
    assert [(c.number, c.disposition) for c in changes(bench, AttemptEnded)] == [(1, Disposition.BUSY)]


def test_an_answer_that_lies_unread_when_the_ring_timeout_is_found_to_be_over_is_taken() -> None:
    bench = rig()
    talk = Playbook.model_validate(
        {"name": "any", "trunks": ["main"], "ring_timeout_seconds": 10, "steps": [{"do": "wait", "seconds": 5}]}
    )
    submit(bench, "+1", playbook=talk)
    leg = ring(bench)
    # The loop stood still; the turn after that finds the time over before anything was read.
    bench.be_late(12)
    bench.happen(leg, "answered")
    bench.advance(1)
    assert not leg.hung_up
    bench.happen(leg, "bye")
    bench.advance(0.02)
    assert [change.disposition for change in changes(bench, CallFinished)] == [Disposition.ANSWERED]


def test_a_ring_timeout_that_was_missed_ends_a_call_that_nobody_has_answered() -> None:
    bench = rig()
    submit(bench, "+1")
    leg = ring(bench)
    bench.be_late(12)
    bench.be_late(12)
    assert leg.hung_up


@pytest.mark.parametrize("order", ["ring timeout", "cancel", "drain"])
def test_who_has_answered_before_we_gave_up_is_called_no_more_though_the_answer_is_read_later(order: str) -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(100,))
    leg = ring(bench)
    if order == "ring timeout":
        bench.advance(10.01)
    elif order == "cancel":
        bench.cancel_call(CallId(1))
    else:
        bench.advance(0.01)
        bench.drain()
    bench.happen(leg, "answered unread")
    bench.happen(leg, "bye")
    bench.advance(1)
    assert [change.disposition for change in changes(bench, CallFinished)] == [Disposition.ANSWERED]
    assert changes(bench, RecallScheduled) == []
    assert len(bench.judge.invites) == 1


def test_technical_retries_that_are_spent_wait_on_the_ladder_as_for_unreachable() -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(3_600_000,))
    for _ in range(4):
        leg = only_leg(bench)
        bench.happen(leg, "sent")
        bench.happen(leg, "final 500")
        bench.advance(46)
    assert [c.disposition for c in changes(bench, AttemptEnded)] == [Disposition.TRUNK_FAILURE]
    assert len(changes(bench, AttemptRetried)) == 3
    bench.advance(3_600)
    assert only_leg(bench).call == 1
    assert [c.number for c in changes(bench, AttemptArmed)] == [1, 2]


def test_a_worker_without_a_place_costs_half_a_second_and_no_retry_round() -> None:
    bench = rig()
    submit(bench, "+1")
    for _ in range(6):
        bench.happen(only_leg(bench), "refused transient")
        assert not bench.judge.legs
        bench.advance(0.52)
    assert only_leg(bench).trunk == "main"
    assert changes(bench, AttemptEnded) == []


def test_an_order_that_a_worker_found_too_old_after_the_ring_timeout_was_no_attempt() -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(100,))
    bench.advance(10.01)
    assert only_leg(bench).hung_up
    bench.happen(only_leg(bench), "refused transient")
    bench.advance(0.52)
    bench.happen(ring(bench), "final 486")
    bench.advance(0.05)
    assert [(c.number, c.disposition) for c in changes(bench, AttemptEnded)] == [(1, Disposition.BUSY)]


def test_first_attempts_that_no_worker_would_send_keep_the_campaigns_stagger_when_they_go() -> None:
    bench = rig()
    submit(bench, "+1", "+2", "+3", "+4", stagger_ms=300)
    bench.advance(0.61)
    assert len(bench.judge.legs) == 3
    for leg in list(bench.judge.legs.values()):
        bench.happen(leg, "refused transient")
    tried = len(bench.judge.departures["main"])
    bench.advance(5)
    times = bench.judge.departures["main"][tried:]
    assert sorted(leg.phone for leg in bench.judge.legs.values()) == ["+1", "+2", "+3", "+4"]
    assert all(later - sooner >= 0.298 for sooner, later in pairwise(times))
    assert times[-1] - times[0] < 0.95


@pytest.mark.parametrize("over", ["call", "campaign"])
def test_an_order_that_a_worker_found_too_old_after_a_cancel_is_not_given_again(over: str) -> None:
    bench = rig()
    campaign = submit(bench, "+1", recall_ms=(100,))
    leg = only_leg(bench)
    if over == "call":
        bench.cancel_call(CallId(1))
    else:
        bench.cancel(campaign.id)
    bench.happen(leg, "refused transient")
    bench.advance(5)
    assert [change.disposition for change in changes(bench, CallFinished)] == [Disposition.CANCELLED]
    assert len(bench.judge.invites) == 1


def test_an_invite_that_is_told_of_after_the_ring_timeout_is_on_record_and_recalls_count_from_it() -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(20_000,))
    leg = only_leg(bench)
    bench.advance(9.9)
    sent_at = bench.clock.wall
    bench.advance(0.2)
    assert leg.hung_up
    bench.news(InviteSent(leg.id, sent_at, "dialog"))
    bench.happen(leg, "final 487")
    bench.advance(0.1)
    assert [change.at for change in changes(bench, AttemptDialed)] == [sent_at]
    assert [change.due_at for change in changes(bench, RecallScheduled)] == [sent_at + 20_000]


def test_a_technical_retry_waits_for_the_trunks_rate_and_then_goes_by_itself() -> None:
    bench = Rig([Trunk("slow", 5, 0.2)], max_concurrent_calls=5)
    submit(bench, "+1", trunks=("slow",))
    bench.happen(only_leg(bench), "refused transient")
    bench.advance(4.9)
    assert not bench.judge.legs
    bench.advance(0.15)
    assert only_leg(bench).call == 1


def test_the_leg_after_a_ring_timeout_without_any_reply_is_judged_by_its_own_end() -> None:
    bench = rig()
    submit(bench, "+1", trunks=("main", "spare"))
    silent = only_leg(bench)
    bench.happen(silent, "sent")
    bench.advance(10.01)
    bench.happen(silent, "silence 0")
    bench.advance(0.1)
    bench.happen(ring(bench), "final 486")
    bench.advance(0.1)
    assert [c.disposition for c in changes(bench, AttemptEnded)] == [Disposition.BUSY]


def test_a_paused_campaigns_technical_retry_waits_for_the_campaign() -> None:
    bench = rig()
    campaign = submit(bench, "+1")
    leg = only_leg(bench)
    bench.happen(leg, "sent")
    bench.happen(leg, "final 500")
    bench.pause(campaign.id)
    bench.advance(60)
    assert not bench.judge.legs
    bench.resume(campaign.id)
    bench.advance(0.1)
    assert only_leg(bench).call == 1


@pytest.mark.parametrize("trunks", [("main",), ("main", "spare")])
def test_a_number_that_is_forbidden_after_a_refusal_gets_no_technical_retry(trunks: tuple[str, ...]) -> None:
    bench = rig()
    submit(bench, "+1", "+2", trunks=trunks, recall_ms=(60_000,), stagger_ms=0)
    for leg in list(bench.judge.legs.values()):
        bench.happen(leg, "sent")
    bench.store.forbidden.add("+1")
    for leg in list(bench.judge.legs.values()):
        bench.happen(leg, "final 500")
    bench.advance(5.1)
    assert only_leg(bench).call == 2
    assert [change.disposition for change in changes(bench, AttemptEnded)] == [Disposition.SUPPRESSED]
    assert [(change.call, change.disposition) for change in changes(bench, CallFinished)] == [
        (1, Disposition.SUPPRESSED)
    ]


def test_cancelling_a_campaign_ends_what_rings_and_leaves_what_talks() -> None:
    bench = rig()
    playbook = Playbook.model_validate(
        {"name": "long", "trunks": ["main"], "steps": [{"do": "wait", "seconds": 60}], "max_call_seconds": 600}
    )
    campaign = submit(bench, "+1", "+2", "+3", stagger_ms=100, playbook=playbook, recall_ms=(1000,))
    bench.advance(0.15)
    talking, ringing = bench.judge.legs.values()
    for leg in (talking, ringing):
        bench.happen(leg, "sent")
        bench.happen(leg, "rang")
    bench.happen(talking, "answered")
    bench.cancel(campaign.id)
    assert (talking.hung_up, ringing.hung_up) == (False, True)
    bench.happen(ringing, "final 487")
    bench.happen(talking, "bye")
    bench.advance(60)
    assert bench.store.counts(campaign.id).outcomes == {"answered": 1, "cancelled": 2}


def test_a_ring_timeout_cancels_and_an_answer_that_crosses_it_is_not_talked_to() -> None:
    bench = rig()
    submit(bench, "+1")
    leg = ring(bench)
    bench.advance(10.01)
    assert leg.hung_up
    bench.happen(leg, "answered")
    assert leg.playing is None
    bench.happen(leg, "bye")
    bench.advance(0.1)
    assert [c.disposition for c in changes(bench, AttemptEnded)] == [Disposition.NO_ANSWER]


def test_a_call_is_hung_up_at_max_call_seconds() -> None:
    bench = rig()
    steps = [{"do": "wait", "seconds": 3000}]
    playbook = Playbook.model_validate({"name": "long", "trunks": ["main"], "steps": steps, "max_call_seconds": 7})
    submit(bench, "+1", playbook=playbook)
    leg = ring(bench)
    bench.happen(leg, "answered")
    bench.advance(6.99)
    assert not leg.hung_up
    bench.advance(0.02)
    assert leg.hung_up
    bench.happen(leg, "bye")
    bench.advance(0.1)
    assert [c.reason for c in changes(bench, AttemptEnded)] == ["max_call_seconds reached"]


def test_a_playbooks_trunks_that_this_machine_lacks_are_passed_over_and_without_any_the_campaign_waits() -> None:
    bench = rig()
    submit(bench, "+1", trunks=("gone", "main"))
    assert only_leg(bench).trunk == "main"
    campaign = submit(bench, "+2", trunks=("gone",))
    bench.advance(100)
    assert bench.store.counts(campaign.id).scheduled == 1


def test_news_of_legs_that_are_over_is_ignored() -> None:
    bench = rig()
    submit(bench, "+1", recall_ms=(5_000,))
    leg = ring(bench)
    bench.happen(leg, "final 486")
    bench.advance(0.1)
    batches = len(bench.store.commits)
    now, at = bench.clock.now(), bench.clock.wall
    for late in (
        Rang(leg.id, at, 180),
        Answered(leg.id, at),
        LegEnded(leg.id, at, EndedBy.FAR, 200),
        LegLost(leg.id, at, ""),
    ):
        bench.dispatch.on_leg(late, now)
    assert bench.dispatch.take_changes() == []
    assert bench.dispatch.take_effects() == []
    bench.advance(1)
    assert len(bench.store.commits) == batches
    bench.check()


def test_the_timers_of_ended_attempts_do_not_pile_up() -> None:
    bench = rig()
    steps = [{"do": "wait", "seconds": 3000}]
    playbook = Playbook.model_validate({"name": "x", "trunks": ["main"], "steps": steps, "max_call_seconds": 86_400})
    submit(bench, *(f"+1{n}" for n in range(1200)), playbook=playbook)
    while bench.advance_to_next_turn(0.001):
        for leg in list(bench.judge.legs.values()):
            bench.happen(leg, "sent")
            bench.happen(leg, "answered")
            bench.happen(leg, "bye")
        if len(bench.judge.invites) == 1200 and not bench.dispatch.live:
            break
    assert len(bench.dispatch._attempts._timers) < 1200 * 2


def test_an_open_attempt_of_a_campaign_without_work_is_a_defect_and_says_so() -> None:
    bench = rig()
    opened = OpenAttempt(CallId(7), 1, WallMs(0), WallMs(0), None, None, "main")
    campaign = submit(bench, "+1")
    with pytest.raises(ValueError, match="call 7 has an open attempt"):
        bench.dispatch.recover(opened, bench.store.call(campaign.first_call), bench.clock.now())


def test_a_campaign_moves_through_its_states_once() -> None:
    bench = rig()
    submit(bench, "+1")
    bench.happen(ring(bench), "final 404")
    bench.advance(0.1)
    assert [c.status for c in changes(bench, CampaignMoved)] == [CampaignStatus.RUNNING, CampaignStatus.COMPLETED]
