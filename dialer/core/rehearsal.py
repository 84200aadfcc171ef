"""What a campaign would do if it were posted: the timetable of its first attempts, by the rules that would make them.

Slots, stagger, calling hours and expiry are those of `dialer.core.model.Campaign` and `dialer.core.gate`. Channels, CPS and
other campaigns are not foreseen: attempts may come later than said, never earlier.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from dialer.core.gate import Gate, Never
from dialer.core.model import CallId, CallRecord, Campaign, Disposition, WallMs
from dialer.core.timetable import show_time


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One call: when its first attempt would be made, or what it would come to without one. `reason` "": nothing shifts it."""

    phone: str
    due_at: WallMs | None
    disposition: Disposition | None = None
    reason: str = ""


def rehearse(
    campaign: Campaign, people: Sequence[tuple[str, Mapping[str, Any]]], listed: Set[str], now: WallMs
) -> list[Rehearsed]:
    """The campaign's calls in the order of its contacts. `people` are (phone, fields), `listed` the numbers never dialed."""
    gate = Gate.of(campaign)
    calls: list[Rehearsed] = []
    free_from = campaign.launch_at
    for i, (phone, fields) in enumerate(people):
        record = CallRecord(CallId(campaign.first_call + i), "", phone, dict(fields))
        slot = WallMs(max(campaign.slot(record.id), now))
        if phone in listed:
            calls.append(Rehearsed(phone, None, Disposition.SUPPRESSED, "the number is on a do-not-call list"))
            continue
        at = gate.opens_at(WallMs(max(slot, free_from)))
        held = gate.judge(record, at)
        if isinstance(held, Never):
            calls.append(Rehearsed(phone, None, held.disposition, held.reason))
        elif held is not None:
            calls.append(Rehearsed(phone, held.due_at, None, held.reason))
        else:
            calls.append(Rehearsed(phone, at, None, gate.delay(record, slot, at) or ""))
            free_from = WallMs(at + campaign.stagger_ms)
    return calls


def rehearsal_answer(
    campaign: Campaign, calls: Sequence[Rehearsed], *, total_contacts: int, ring_ms: int
) -> dict[str, Any]:
    """The answer to a dry run."""
    dues = [call.due_at for call in calls if call.due_at is not None]
    last = max(dues, default=None)
    longest = campaign.recall_ms[-1] if campaign.recall_ms else 0
    # A last recall that falls into closed hours waits for the next opening.
    end = None if last is None else WallMs(Gate.of(campaign).opens_at(WallMs(last + longest)) + ring_ms)
    return {
        "success": True,
        "dry_run": True,
        "total_contacts": total_contacts,
        "duplicate_contacts": total_contacts - len(calls),
        "first_attempt_at": show_time(min(dues)) if dues else None,
        "last_attempt_at": None if last is None else show_time(last),
        "estimated_end_at": None if end is None else show_time(end),
        "shifted": sum(call.due_at is not None and bool(call.reason) for call in calls),
        "suppressed": sum(call.disposition is Disposition.SUPPRESSED for call in calls),
        "expired": sum(call.disposition is Disposition.EXPIRED for call in calls),
        "calls": [
            {
                "phone": call.phone,
                "due_at": None if call.due_at is None else show_time(call.due_at),
                "disposition": call.disposition,
                "reason": call.reason or None,
            }
            for call in calls
        ],
    }
