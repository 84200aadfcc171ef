"""Why a call is not being made now: the first rule that holds it back, in the order in which dispatch asks them."""

from dataclasses import dataclass
from enum import StrEnum

from dialer.core.amounts import amount
from dialer.core.attempt import State
from dialer.core.attempts import Attempts
from dialer.core.gate import Later
from dialer.core.lanes import Lane
from dialer.core.model import CallRecord, CampaignStatus, Now, WallMs
from dialer.core.pacing import Pacing
from dialer.core.quota import first_full


class Rule(StrEnum):
    """What may hold a call back."""

    FINISHED = "finished"
    LIVE = "live"
    TECHNICAL_RETRY = "technical_retry"
    REVIEW = "review"
    PAUSED = "paused"
    LAUNCH = "launch_at"
    SLOT = "stagger_slot"
    RECALL = "recall"
    SNOOZE = "snooze"
    DO_NOT_CALL = "do_not_call"
    EXPIRES = "expires_at"
    CALLING_HOURS = "calling_hours"
    NO_TRUNK = "no_trunk"
    NUMBER_BUSY = "number_busy"
    STAGGER = "stagger"
    CONCURRENCY = "concurrent_calls"
    CHANNELS = "channels"
    TRUNK_DOWN = "trunk_down"
    CPS = "calls_per_second"
    TURN = "turn"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Hold:
    """The rule, in words, and when it will clear. `until` None: not by itself, or nobody can say."""

    rule: Rule
    reason: str
    until: WallMs | None = None


def explain(
    record: CallRecord,
    next_at: WallMs | None,
    lane: Lane | None,
    attempts: Attempts,
    pacing: Pacing,
    now: Now,
) -> Hold:
    """What holds the call back at this moment.

    `next_at` is its timer's time; None: a first attempt in its slot.
    """
    if record.finished or lane is None:
        return Hold(Rule.FINISHED, "the call is finished")
    attempt = attempts.get(record.id)
    if attempt is not None:
        if attempt.state is State.WAITING:
            return Hold(Rule.TECHNICAL_RETRY, "a trunk refused without reaching the callee: another INVITE follows")
        return Hold(Rule.LIVE, f"attempt {attempt.number} is under way ({attempt.state})")
    if record.under_review:
        return Hold(
            Rule.REVIEW, "the database was restored, and it may have been made before: a person releases or cancels it"
        )
    if lane.status is CampaignStatus.PAUSED:
        return Hold(Rule.PAUSED, "the campaign is paused, until somebody resumes it")
    return (
        _not_due(record, next_at, lane, now)
        or _not_allowed(record, lane, now)
        or _no_room(record, lane, attempts, pacing, now)
    )


def _not_due(record: CallRecord, next_at: WallMs | None, lane: Lane, now: Now) -> Hold | None:
    if next_at is not None and next_at > now.wall:
        if record.attempts and record.put_off is None:
            return Hold(Rule.RECALL, f"recall {record.attempts} of the call is due then", next_at)
        held = lane.gate.look(record, now.wall)
        by_hours = isinstance(held, Later) and held.reason == record.put_off
        return Hold(Rule.CALLING_HOURS if by_hours else Rule.SNOOZE, record.put_off or "it was put off", next_at)
    if next_at is None and record.attempts == 0:
        slot = lane.campaign.slot(record.id)
        if lane.campaign.launch_at > now.wall:
            return Hold(Rule.LAUNCH, "the campaign's launch_at is still to come", slot)
        if slot > now.wall:
            return Hold(
                Rule.SLOT, "first attempts of a campaign are a stagger apart, in the order of its contacts", slot
            )
    return None


def _not_allowed(record: CallRecord, lane: Lane, now: Now) -> Hold | None:
    if record.suppressed:
        return Hold(Rule.DO_NOT_CALL, "the number is on a do-not-call list: the call will be finished as suppressed")
    held = lane.gate.look(record, now.wall)
    if isinstance(held, Later):
        return Hold(Rule.CALLING_HOURS, held.reason, held.due_at)
    if held is not None:
        rule = Rule.EXPIRES if lane.gate.rules is None else Rule.CALLING_HOURS
        return Hold(rule, f"{held.reason}: the call will be finished as {held.disposition}")
    if not lane.route:
        return Hold(Rule.NO_TRUNK, "this server has none of the playbook's trunks, or none that allows its caller id")
    return None


def _no_room(  # noqa: PLR0911 - one for each rule
    record: CallRecord, lane: Lane, attempts: Attempts, pacing: Pacing, now: Now
) -> Hold:
    if attempts.busy(record.phone):
        return Hold(Rule.NUMBER_BUSY, "the number is in another call")
    quota = first_full(lane.quotas)
    if quota is not None:
        most = amount(quota.most, "call at once is", "calls at once are")
        return Hold(Rule.CONCURRENCY, f"{most} allowed ({quota.name}), and under way")
    admission = pacing.next_dial_time(lane.route, now.mono)
    if admission is None and not any(pacing.breaker(name).usable for name in lane.route):
        failures = [f"{name}: {failed.reason}" for name in lane.route if (failed := pacing.breaker(name).last_failure)]
        return Hold(Rule.TRUNK_DOWN, "the playbook's trunks are down (" + "; ".join(failures) + ")")
    if admission is None:
        return Hold(Rule.CHANNELS, "no channel is free, on the playbook's trunks or on this server")
    if record.attempts == 0 and lane.stagger.earliest() > now.mono:
        return Hold(
            Rule.STAGGER, "the campaign's stagger since its last first attempt", now.wall_of(lane.stagger.earliest())
        )
    if admission.at > now.mono:
        return Hold(Rule.CPS, f"calls_per_second of trunk {admission.trunk}", now.wall_of(admission.at))
    return Hold(Rule.TURN, "it is due: other calls that are due take turns with it")
